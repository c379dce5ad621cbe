"""A set of images on the device: the very batches that a Loader gives."""

import pytest
import torch

from imagekit.data.batches import Batch
from imagekit.data.dataset import ManifestDataset
from imagekit.data.device_cache import DeviceLoader, total_bytes, why_not
from imagekit.data.loaders import Loader
from imagekit.errors import ConfigError, ManifestError
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import CenterCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.flips import AlternatingFlip, RandomDihedral, RandomFlip
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB, ToByteTensor

CPU = torch.device("cpu")
SERVED = {
    "whole images": [MakeRGB(), CenterCrop(16)],
    "flips": [ResizeFixed(16), RandomFlip()],
    "alternating flips": [ResizeFixed(16), AlternatingFlip()],
    "crops": [ResizeFixed((24, 20)), RandomCrop((16, 12), crop_size=(16, 12))],
    "crops, then flips": [ResizeFixed(20), RandomCrop(16, crop_size=16), RandomFlip(), ToByteTensor()],
    "flips, then crops": [ResizeFixed(20), RandomFlip(), RandomCrop(16, crop_size=16)],
    "two crops and two flips": [
        ResizeFixed(20),
        RandomCrop(18, crop_size=18),
        RandomFlip(),
        RandomCrop(16, crop_size=16),
        RandomFlip(p=0.3),
    ],
}


def dataset_of(path, transforms, split="train"):
    return ManifestDataset(read_manifest(path), split, transforms=transforms, seed=3)


def on_device(path, transforms, *, on_error="stop", shuffle=True, device=CPU, **options):
    dataset = dataset_of(path, transforms)
    decoder = Loader(dataset.as_kept(), batch_size=5, shuffle=False, n_workers=0, on_error=on_error)
    return DeviceLoader(dataset, batch_size=5, shuffle=shuffle, device=device, decoder=decoder, **options)


def parts(batch: Batch):
    return [part.tolist() for part in (batch.x, batch.y, batch.keys, batch.rows)] + [batch.number]


@pytest.mark.parametrize("name", SERVED)
def test_its_batches_are_those_of_a_loader_to_the_last_bit(manifest_path, name):
    plain = Loader(dataset_of(manifest_path, SERVED[name]), batch_size=5, shuffle=True, n_workers=0)
    ours = on_device(manifest_path, SERVED[name])

    for epoch, first_batch in ((0, 0), (1, 0), (4, 2)):
        plain.set_epoch(epoch, first_batch)
        ours.set_epoch(epoch, first_batch)
        pairs = list(zip(plain, ours, strict=True))

        assert len(pairs) == 3 - first_batch
        for one, other in pairs:
            assert parts(one) == parts(other)
            assert other.x.is_contiguous(memory_format=torch.channels_last)


def test_balanced_epochs_draw_anew_for_a_row_that_comes_again(manifest_path):
    transforms = SERVED["crops"]
    targets = torch.tensor([0] * 3 + [1] * 9)
    plain = Loader(dataset_of(manifest_path, transforms), batch_size=5, shuffle=True, n_workers=0, balance_by=targets)

    ours = on_device(manifest_path, transforms, balance_by=targets)

    assert [parts(batch) for batch in ours] == [parts(batch) for batch in plain]
    assert len(ours) == len(plain)


def test_each_iteration_is_the_next_epoch_and_without_shuffling_the_same(manifest_path):
    ours = on_device(manifest_path, SERVED["flips"])
    still = on_device(manifest_path, SERVED["flips"], shuffle=False)

    assert [batch.rows.tolist() for batch in ours] != [batch.rows.tolist() for batch in ours]
    assert [batch.rows.tolist() for batch in still] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_file_is_read_once_however_many_epochs_there_are(manifest_path):
    root = read_manifest(manifest_path).root
    ours = on_device(manifest_path, SERVED["flips"])
    n_first = sum(len(batch.rows) for batch in ours)
    for path in root.rglob("*.JPEG"):
        path.unlink()

    assert sum(len(batch.rows) for batch in ours) == n_first == 12


def test_a_row_that_cannot_be_used_is_left_out_of_every_epoch_and_told(manifest_path):
    root = read_manifest(manifest_path).root
    (root / "train/cat/1.JPEG").write_bytes(b"no picture")
    bad = dataset_of(manifest_path, []).file_names().index("train/cat/1.JPEG")
    plain = Loader(dataset_of(manifest_path, SERVED["flips"]), batch_size=5, shuffle=True, n_workers=0, on_error="skip")

    ours = on_device(manifest_path, SERVED["flips"], on_error="skip")

    for _ in range(2):
        assert [parts(batch) for batch in ours] == [parts(batch) for batch in plain]
        assert [each.row for each in ours.skipped] == [each.row for each in plain.skipped] == [bad]
    with pytest.raises(ManifestError):
        list(on_device(manifest_path, SERVED["flips"]))


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        ([RandomResizedCrop(16)], "its images have no one size before the random transforms"),
        ([ResizeFixed(20), RandomResizedCrop(16)], "RandomResizedCrop is done on the processor"),
        ([ResizeFixed(20), RandomCrop(16)], "RandomCrop is done on the processor"),
        ([ResizeFixed(20), RandomDihedral()], "RandomDihedral is done on the processor"),
    ],
)
def test_what_a_gather_cannot_do_is_refused_with_the_reason(manifest_path, transforms, reason):
    with pytest.raises(ConfigError) as caught:
        on_device(manifest_path, transforms)

    assert why_not(dataset_of(manifest_path, transforms)) == reason
    assert str(caught.value) == (
        f"a cache on the device cannot serve this training: {reason}\n"
        "  where: --cache device\n"
        "  fix: use --cache ram, or transforms that do not resize at random (crop_scale = 1)"
    )


def test_the_bytes_that_it_takes_are_told_beforehand(manifest_path):
    train, valid = (dataset_of(manifest_path, [ResizeFixed((16, 8))], split) for split in ("train", "valid"))

    assert total_bytes([train, valid]) == 18 * 16 * 8 * 3


def test_closed_it_decodes_anew(manifest_path):
    ours = on_device(manifest_path, SERVED["flips"])
    first = [parts(batch) for batch in ours]

    ours.close()
    ours.set_epoch(0)

    assert [parts(batch) for batch in ours] == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", SERVED)
def test_on_a_gpu_they_are_the_same_and_lie_there(manifest_path, name):
    transforms = SERVED[name]
    plain = Loader(dataset_of(manifest_path, transforms), batch_size=5, shuffle=True, n_workers=0)
    ours = on_device(manifest_path, transforms, device=torch.device("cuda"))

    for one, other in zip(plain, ours, strict=True):
        assert other.x.is_cuda
        assert torch.equal(one.x, other.x.cpu())
