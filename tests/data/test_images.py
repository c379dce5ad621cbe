"""Rows of images: as samples, written into a batch, and through a store."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from data.rows import Rows, damage, noise, png, store_on_disk
from PIL import Image

from imagekit.data.images import Skipped, size_of
from imagekit.data.order import SampleRef
from imagekit.data.store import memory_store
from imagekit.errors import ManifestError, ShapeError
from imagekit.transforms.crops import CenterCrop, GeneralCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.flips import RandomDihedral, RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import make_rgb, to_byte_tensor, to_float_tensor


def fill(rows, wanted, *, skip=False, mark=int):
    """(batch of bytes, what was skipped) of these rows in epoch 1."""
    height, width = rows.image_size
    out_BHWC = np.full((len(wanted), height, width, 3), 9, np.uint8)
    rows_B = np.array(wanted)
    return out_BHWC, rows.fill(out_BHWC, rows_B, np.zeros_like(rows_B), epoch=1, mark=mark, skip=skip)


class Darken:
    """Writes into its image; `order` says when it runs."""

    def __init__(self, order):
        self._order = order

    def __call__(self, image):
        image //= 2
        return image


@pytest.mark.parametrize(
    ("transforms", "size"),
    [
        ([], None),
        ([make_rgb], None),
        ([RandomFlip()], None),
        ([ResizeFixed((8, 6))], (6, 8)),
        ([ResizeFixed(8), RandomFlip(), to_byte_tensor], (8, 8)),
        ([ResizeFixed((8, 6)), RandomCrop((5, 4), crop_size=4)], (4, 5)),
        ([CenterCrop((8, 6)), RandomDihedral()], None),
        ([CenterCrop(6), RandomDihedral()], (6, 6)),
        ([RandomDihedral(), ResizeFixed((8, 6))], None),
        ([ResizeFixed(8), Darken(15)], None),
        ([ResizeFixed(8), Darken(0)], (8, 8)),
        ([ResizeFixed(8), to_byte_tensor, to_float_tensor], None),
    ],
)
def test_the_size_of_all_images_is_known_where_the_last_resampling_says_it(transforms, size):
    assert Rows(0, transforms=transforms).image_size == size
    assert size_of(Rows(0, transforms=transforms).pipeline.transforms) == size


@pytest.mark.parametrize(
    "transforms",
    [
        [ResizeFixed((8, 6))],
        [ResizeFixed((8, 6), filter="lanczos"), RandomFlip()],
        [CenterCrop(6), RandomDihedral()],
        [RandomCrop((7, 5), crop_size=(7, 5)), RandomFlip()],
        [RandomResizedCrop((7, 5), filter=("bilinear", "box")), to_byte_tensor],
        [make_rgb, GeneralCrop(10), RandomCrop(4, crop_size=4), RandomDihedral(p=1)],
    ],
)
@pytest.mark.parametrize("with_store", [False, True])
def test_a_batch_is_filled_with_the_very_pixels_of_the_samples(transforms, with_store):
    rows = Rows(8, transforms=transforms, sizes=[(12, 10), (30, 17)])
    wanted = [3, 7, 0, 3, 5]
    samples = rows.samples([SampleRef(1, row) for row in wanted])
    if with_store:
        rows.keep_in(memory_store(rows.layout()), np.arange(8))

    out_BHWC, skipped = fill(rows, wanted)
    again_BHWC, _ = fill(rows, wanted)

    assert skipped == []
    assert out_BHWC.tobytes() == b"".join(sample.x.permute(1, 2, 0).numpy().tobytes() for sample in samples)
    assert np.array_equal(again_BHWC, out_BHWC)
    assert all(a.x.equal(b.x) for a, b in zip(samples, rows.samples([SampleRef(1, n) for n in wanted]), strict=True))


def test_a_row_is_told_before_it_is_read():
    told = []
    rows = Rows(4, transforms=[ResizeFixed(4)], on_read=lambda row: told.append(f"read {row}"))

    fill(rows, [2, 0], mark=lambda row: told.append(f"mark {row}"))
    rows.samples([SampleRef(0, 3)], mark=lambda row: told.append(f"mark {row}"))

    assert told == ["mark 2", "read 2", "mark 0", "read 0", "mark 3", "read 3"]


def test_a_row_that_cannot_be_used_is_raised_with_its_name_or_left_out_and_kept_apart():
    rows = Rows(5, transforms=[ResizeFixed(4)], bad=[1, 3])

    out_BHWC, skipped = fill(rows, [0, 1, 2, 3], skip=True)
    with pytest.raises(ManifestError) as caught:
        fill(rows, [0, 1, 2, 3])

    assert [(each.place, each.row, str(each.error)) for each in skipped] == [
        (
            n,
            n,
            f"{n}.png: unidentified: the content is no known image; it begins with b'no pictu'\n"
            f"  where: row {n}\n  fix: mend it",
        )
        for n in (1, 3)
    ]
    assert str(caught.value) == str(skipped[0].error)
    assert np.array_equal(out_BHWC[[0, 2]], fill(rows, [0, 2])[0])


def test_what_was_left_out_does_not_hold_on_to_its_batch():
    rows = Rows(5, transforms=[ResizeFixed(4)], bad=[1])

    out_BHWC, skipped = fill(rows, [0, 1], skip=True)

    told, batch = skipped[0], weakref.ref(out_BHWC)
    del out_BHWC
    gc.collect()
    assert isinstance(told, Skipped)
    assert (told.error.__traceback__, told.error.__cause__, batch()) == (None, None, None)


@dataclass(frozen=True)
class Liar(ResizeFixed):
    """Makes an image one pixel wide."""

    def apply(self, image, draws):
        return image[:, :1]


def test_a_transform_whose_size_is_not_true_is_told():
    with pytest.raises(ShapeError) as caught:
        fill(Rows(1, transforms=[Liar(4)]), [0])

    assert str(caught.value) == (
        "the transforms made [10, 1, 3] of an image, and said [4, 4, 3]\n  where: ImageRows: transforms\n"
        "  fix: let out_size of your transform say (width, height) of what it makes"
    )


def test_an_image_comes_from_its_file_once_and_from_the_store_ever_after():
    read = []
    rows = Rows(6, transforms=[ResizeFixed(4), RandomFlip()], on_read=read.append)
    rows.keep_in(memory_store(rows.layout()), np.arange(6))

    for _ in range(3):
        fill(rows, [4, 2])

    assert read == [4, 2]


def test_rows_find_their_images_at_the_places_that_were_told():
    train, valid = Rows(3, transforms=[ResizeFixed(4)]), Rows(3, transforms=[ResizeFixed(4)])
    train.files, valid.files = valid.files[1:], valid.files[:2]
    whole = Rows(3, transforms=[ResizeFixed(4)])
    store, read = memory_store(whole.layout()), []
    whole.put_all(store, range(3))
    train.on_read = valid.on_read = read.append
    train.keep_in(store, np.array([1, 2]))
    valid.keep_in(store, np.array([0, 1]))

    got = [fill(train, [0, 1])[0], fill(valid, [0, 1])[0]]

    assert read == []
    assert np.array_equal(np.concatenate(got), fill(whole, [1, 2, 0, 1])[0])


def test_a_damaged_image_is_made_anew_and_mended():
    read = []
    rows = Rows(4, transforms=[ResizeFixed(4)], on_read=read.append)
    store = memory_store(rows.layout())
    rows.put_all(store, range(4))
    right = fill(rows, [0, 1, 2])[0]
    store_of_another_run = memory_store(rows.layout())
    rows.put_all(store_of_another_run, range(4))
    store_of_another_run._known_N[:] = 0
    damage(store_of_another_run, [1])
    rows.keep_in(store_of_another_run, np.arange(4))
    read.clear()

    got = [fill(rows, [0, 1, 2])[0] for _ in range(2)]

    assert (read, store_of_another_run.n_damaged) == ([1], 1)
    assert all(np.array_equal(each, right) for each in got)


def test_writing_into_a_sample_or_a_batch_reaches_neither_the_store_nor_later_ones(tmp_path):
    rows = Rows(3, transforms=[ResizeFixed(4)])
    rows.keep_in(store_on_disk(tmp_path, rows), np.arange(3))
    first = fill(rows, [0, 1])[0].copy()

    for _ in range(2):
        rows[0][0].zero_()
        fill(rows, [0, 1])[0][...] = 0

    assert np.array_equal(fill(rows, [0, 1])[0], first)
    assert np.array_equal(rows[0][0].permute(1, 2, 0).numpy(), first[0])


@pytest.mark.parametrize("order", [0, 15])
def test_a_function_that_writes_into_its_image_is_given_one_of_its_own(order):
    rows = Rows(3, transforms=[ResizeFixed(4), Darken(order)])
    without = [rows[0][0] for _ in range(2)]
    rows.keep_in(memory_store(rows.layout()), np.arange(3))

    stored = [rows[0][0] for _ in range(3)]

    assert all(x.equal(without[0]) for x in [*without, *stored])


@dataclass(frozen=True)
class Greedy(RandomFlip):
    """Writes into the image."""

    def apply(self, image, draws):
        image[...] = 0
        return image


def test_a_flip_of_ones_own_cannot_write_into_the_store():
    rows = Rows(3, transforms=[ResizeFixed(4), Greedy()])
    rows.keep_in(memory_store(rows.layout()), np.arange(3))
    fill(rows, [0])

    with pytest.raises(ValueError, match="read-only"):
        fill(rows, [0])


@dataclass(frozen=True)
class ToPicture(ItemTransform):
    """Makes a PIL image."""

    def apply(self, image, draws):
        return Image.fromarray(np.asarray(image))


def test_a_fixed_transform_that_makes_another_kind_of_thing_is_told_how_to_say_so():
    rows = Rows(3, transforms=[ToPicture()])
    rows.keep_in(memory_store(rows.layout()), np.arange(3))

    with pytest.raises(ShapeError) as caught:
        rows[0]

    assert str(caught.value) == (
        "the transforms made a Image of an image, and a cache keeps uint8 [H, W, 3]\n  where: PixelStore: transforms\n"
        "  fix: say keeps_kind = False in the class of the transform that makes it, or use --cache none"
    )


def test_a_file_that_is_another_one_than_the_store_was_made_for_is_named():
    rows = Rows(3, transforms=[ResizeFixed(4)])
    rows.keep_in(memory_store(rows.layout()), np.arange(3))
    rows.files[1] = png(noise(99))

    with pytest.raises(ManifestError) as caught:
        fill(rows, [0, 1])

    assert str(caught.value) == (
        "1.png: corrupt: the bytes are not those that the manifest lists: their sha256 differs\n"
        "  where: row 1\n  fix: mend it"
    )


def test_without_a_store_again_everything_is_decoded_again():
    read = []
    rows = Rows(3, transforms=[ResizeFixed(4)], on_read=read.append)
    rows.keep_in(memory_store(rows.layout()), np.arange(3))
    fill(rows, [0])

    rows.keep_in(None, np.zeros(0, np.int64))
    fill(rows, [0])

    assert read == [0, 0]
