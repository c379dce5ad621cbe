"""A manifest's rows as samples."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from imagekit.data.dataset import ManifestDataset
from imagekit.data.order import SampleRef
from imagekit.data.store import Layout, memory_store
from imagekit.errors import ManifestError
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import RandomResizedCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.resize import ResizeFixed


@pytest.fixture
def manifest(manifest_path):
    return read_manifest(manifest_path)


def test_an_item_is_the_decoded_image_and_its_target(manifest):
    dataset = ManifestDataset(manifest, "train")

    image, target = dataset[7]

    expected = np.asarray(Image.open(manifest.root / dataset.file_names()[7]))
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)
    assert target == 1
    assert manifest.vocab[target] == dataset.file_names()[7].split("/")[1]


def test_the_length_and_targets_are_those_of_the_split(manifest):
    assert len(ManifestDataset(manifest, "train")) == 12
    assert ManifestDataset(manifest, "valid").targets().tolist() == [0, 0, 0, 1, 1, 1]


def test_a_negative_index_counts_from_the_end_and_one_outside_is_an_error(manifest):
    dataset = ManifestDataset(manifest, "valid")

    assert dataset[-1][0].equal(dataset[5][0])
    with pytest.raises(IndexError) as caught:
        dataset[6]
    assert str(caught.value) == "index 6 is outside the 6 rows of valid"


def test_a_sample_of_one_epoch_does_not_depend_on_its_batch(manifest):
    dataset = ManifestDataset(manifest, "train", transforms=[RandomResizedCrop(16), RandomFlip()], seed=3)
    refs = [SampleRef(2, row) for row in range(12)]

    together = dataset.samples(refs)
    alone = [dataset.samples([ref])[0] for ref in refs]

    assert [sample.row for sample in together] == list(range(12))
    assert all(a.x.equal(b.x) and a[1:] == b[1:] for a, b in zip(together, alone, strict=True))


def test_another_epoch_or_seed_draws_another_crop(manifest):
    crop = [RandomResizedCrop(16)]
    first = ManifestDataset(manifest, "train", transforms=crop)
    other_seed = ManifestDataset(manifest, "train", transforms=crop, seed=1)

    assert not first[SampleRef(0, 0)][0].equal(first[SampleRef(1, 0)][0])
    assert not first[0][0].equal(other_seed[0][0])


def test_a_dataset_works_in_a_plain_torch_loader(manifest):
    loader = DataLoader(ManifestDataset(manifest, "train", transforms=[ResizeFixed(8)]), batch_size=5)

    images, targets = next(iter(loader))

    assert images.shape == (5, 3, 8, 8)
    assert targets.tolist() == [0] * 5


def test_a_dataset_can_be_pickled(manifest):
    dataset = ManifestDataset(manifest, "train")

    copy = pickle.loads(pickle.dumps(dataset))

    assert copy[3][0].equal(dataset[3][0])


def test_a_file_that_went_bad_is_named_with_its_row(manifest):
    dataset = ManifestDataset(manifest, "train")
    (manifest.root / "train/cat/1.JPEG").write_bytes(b"no longer a picture")

    with pytest.raises(ManifestError) as caught:
        dataset[1]

    assert str(caught.value) == (
        "train/cat/1.JPEG cannot be used any more: "
        "unidentified: the content is no known image; it begins with b'no longe'\n"
        f"  where: {manifest.root}, row 1 of train in {manifest.path}\n"
        "  fix: restore the file, or build the manifest again so that it is left out"
    )


def test_a_split_that_is_not_there_lists_those_that_are(manifest):
    with pytest.raises(ManifestError) as caught:
        ManifestDataset(manifest, "test")

    assert str(caught.value) == (f"no row has split test\n  where: {manifest.path}\n  fix: known: train, valid")


def test_images_are_found_under_another_root(manifest, tmp_path):
    moved = manifest.root.rename(tmp_path / "moved")

    dataset = ManifestDataset(manifest, "train", root=moved)

    assert dataset[0][0].shape == (3, 32, 40)


@pytest.mark.parametrize("index", [1.7, slice(2), "1"])
def test_what_is_no_row_number_is_a_type_error(manifest, index):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        ManifestDataset(manifest, "valid")[index]


def test_samples_with_a_store_are_those_without_one_and_nobody_elses_to_write_into(manifest):
    options = {"transforms": [ResizeFixed(8), RandomFlip()], "seed": 3}
    plain, stored = (ManifestDataset(manifest, "train", **options) for _ in range(2))
    sides_N = np.full(12, 8, np.int64)
    stored.keep_in(memory_store(Layout(heights_N=sides_N, widths_N=sides_N)), np.arange(12)[::-1])
    refs = [SampleRef(1, row) for row in (4, 11, 0, 4)]

    for _ in range(3):
        for one, other in zip(plain.samples(refs), stored.samples(refs), strict=True):
            assert one.x.equal(other.x)
            assert one[1:] == other[1:]
            other.x.zero_()

    assert stored.store.n_there() == 3


def test_a_row_is_named_and_its_file_read_as_the_manifest_says(manifest):
    dataset = ManifestDataset(manifest, "valid")

    assert [dataset.row_name(row) for row in (0, 5)] == ["val/cat/0.JPEG", "val/dog/2.JPEG"]
    assert dataset.read(5) == (manifest.root / "val/dog/2.JPEG").read_bytes()
    assert dataset.targets_of(np.array([5, 0])).tolist() == [1, 0]
    assert (len(dataset.targets()), dataset.image_size) == (6, None)


def test_rows_without_a_label_have_the_target_minus_one(manifest):
    dataset = ManifestDataset(manifest, "valid")
    dataset._targets[2] = -1

    assert dataset.targets_of(np.array([1, 2])).tolist() == [0, -1]
    assert dataset[2][1] == -1
