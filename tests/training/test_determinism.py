"""What a sample looks like to the model is a function of seed, epoch and sample: of nothing else."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest
import torch
from torch import Tensor

from imagekit.batch.erase import RandomErasing
from imagekit.batch.geometry import Flip, Rotate, Shift, Warp, Zoom
from imagekit.batch.lighting import Brightness, Hue
from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.data.bunch import DataBunch
from imagekit.data.cache_files import Room
from imagekit.data.caching import join, share_images
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import RandomResizedCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.warp import TiltRandomCrop

EPOCH = 3


def _augment() -> BatchPipeline:
    geometry, light = [Flip(), Rotate(), Zoom(), Shift(), Warp()], [Brightness(), Hue()]
    return BatchPipeline([ToFloat(), *geometry, *light, Normalize([0.5] * 3, [0.25] * 3), RandomErasing()])


def _seen(
    path, *, batch_size: int, n_workers: int = 0, epochs_before: int = 0, seed: int = 1, cache: str = "none"
) -> dict[int, Tensor]:
    """What the model sees of each train row in one epoch, after gone through `epochs_before` others."""
    manifest = read_manifest(path)
    data = DataBunch.from_manifest(
        manifest,
        train_transforms=[RandomResizedCrop(24, filter=("bilinear", "bicubic")), RandomFlip(), TiltRandomCrop(16)],
        valid_transforms=[],
        batch_size=batch_size,
        n_workers=n_workers,
        seed=seed,
    )
    augment, seen = _augment(), {}
    room = Room(folder=path.parent / "cache", limit_bytes=10**9)
    stores = [] if cache == "none" else join(share_images(manifest, [data.train_ds]), cache, room)
    with closing(data), ExitStack() as opened:
        for store in stores:
            opened.callback(store.close)
        for epoch in (*range(EPOCH - epochs_before, EPOCH), EPOCH):
            data.set_epoch(epoch)
            for batch in data.train_dl:
                x = augment(batch.x, batch.keys)
                if epoch == EPOCH:
                    seen |= dict(zip(batch.rows.tolist(), x, strict=True))
    return seen


def _assert_alike(one: dict[int, Tensor], other: dict[int, Tensor]) -> None:
    assert sorted(one) == sorted(other) == list(range(12))
    assert all(torch.equal(one[row], other[row]) for row in one)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_no_bit_depends_on_the_batch_size(manifest_path, batch_size):
    _assert_alike(_seen(manifest_path, batch_size=batch_size), _seen(manifest_path, batch_size=4))


@pytest.mark.slow
def test_no_bit_depends_on_the_workers(manifest_path):
    _assert_alike(_seen(manifest_path, batch_size=4, n_workers=2), _seen(manifest_path, batch_size=4))


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("epochs_before", [0, 1])
def test_no_bit_depends_on_where_images_are_kept(manifest_path, cache, epochs_before):
    kept = _seen(manifest_path, batch_size=4, cache=cache, epochs_before=epochs_before)

    _assert_alike(kept, _seen(manifest_path, batch_size=4))


def test_no_bit_depends_on_the_epochs_before(manifest_path):
    _assert_alike(_seen(manifest_path, batch_size=4, epochs_before=2), _seen(manifest_path, batch_size=4))


def test_no_bit_depends_on_the_number_of_threads(manifest_path, set_threads):
    set_threads(1)
    alone = _seen(manifest_path, batch_size=12)
    set_threads(2)

    _assert_alike(alone, _seen(manifest_path, batch_size=12))


def test_no_bit_depends_on_the_global_generator(manifest_path):
    torch.manual_seed(1)
    first = _seen(manifest_path, batch_size=4)
    torch.manual_seed(2)
    state = torch.get_rng_state()

    second = _seen(manifest_path, batch_size=4)

    _assert_alike(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_shows_other_pictures(manifest_path):
    one, other = _seen(manifest_path, batch_size=4), _seen(manifest_path, batch_size=4, seed=2)

    assert not any(torch.equal(one[row], other[row]) for row in one)
