"""How a batch is made of a job, in this process or in a worker: always the very same bytes."""

from __future__ import annotations

import pickle
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from data.rows import STORES, Rows, epochs, filled, told
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data.batches import Batch, Sample, collate, padding_collate
from imagekit.data.dataset import ManifestDataset
from imagekit.data.items import ItemList
from imagekit.data.loaders import Loader
from imagekit.data.making import BatchMaker, Job
from imagekit.data.order import SampleRef, keys_of
from imagekit.errors import ImageError, ManifestError
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import CenterCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.flips import RandomDihedral, RandomFlip
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import make_rgb, to_byte_tensor, to_float_tensor


class Invert:
    """A plain function, run before or after the size is made."""

    def __init__(self, order):
        self._order = order

    def __call__(self, image):
        return 255 - image


TRANSFORMS = (
    [ResizeFixed((5, 3))],
    [ResizeFixed(6), RandomFlip()],
    [make_rgb, CenterCrop(6), RandomDihedral()],
    [RandomCrop((5, 3), crop_size=(5, 3)), RandomFlip(), to_byte_tensor],
    [ResizeFixed(8), RandomCrop(5, crop_size=5), RandomFlip()],
    [RandomResizedCrop(5), RandomFlip()],
    [CenterCrop(6), Invert(15)],
    [Invert(0), CenterCrop(6), RandomFlip()],
    [ResizeFixed(5), to_byte_tensor, to_float_tensor],
)


def by_hand(rows, *, batch_size, epoch, shuffle=True, balance_by=None, first_batch=0):
    """Each sample for itself, stacked."""
    loader = Loader(rows, batch_size=batch_size, shuffle=shuffle, n_workers=0, balance_by=balance_by)
    loader._batches.epoch = epoch
    batches = list(loader._batches)
    made = []
    for number, refs in enumerate(batches[first_batch:], start=first_batch):
        batch = collate([rows.samples([ref])[0] for ref in refs if ref.row not in rows.bad])
        made.append(told(Batch(*batch, batch.keys, batch.rows, number)))
    return made


@pytest.mark.parametrize("n_workers", [0, 1, 2])
@pytest.mark.parametrize("kind", STORES)
def test_any_store_and_any_number_of_workers_give_the_very_same_batches(kind, n_workers, tmp_path):
    transforms, balance_by = [ResizeFixed(8), RandomCrop(5, crop_size=5), RandomFlip()], torch.arange(13) % 4 // 3
    rows = Rows(13, transforms=transforms, sizes=[(12, 10), (9, 20)])
    wanted = [by_hand(rows, batch_size=5, epoch=epoch, balance_by=balance_by) for epoch in range(3)]

    got = epochs(rows, filled(kind, rows, tmp_path), n_workers=n_workers, balance_by=balance_by)

    assert got == wanted
    assert [len(epoch) for epoch in got] == [3] * 3
    assert any(len(set(batch[-2])) < len(batch[-2]) for epoch in got for batch in epoch)  # rows that came twice


@settings(deadline=None, max_examples=60)
@given(
    transforms=st.sampled_from(TRANSFORMS),
    kind=st.sampled_from(STORES),
    batch_size=st.integers(1, 9),
    n=st.integers(1, 9),
    seed=st.integers(0, 2**40),
    options=st.fixed_dictionaries({"shuffle": st.booleans(), "on_error": st.sampled_from(["stop", "skip"])}),
)
def test_any_transforms_batch_size_and_store_give_the_very_same_batches(transforms, kind, batch_size, n, seed, options):
    rows = Rows(n, transforms=transforms, seed=seed, sizes=[(12, 10), (9, 20), (10, 10)])
    wanted = [
        by_hand(rows, batch_size=batch_size, epoch=epoch * options["shuffle"], shuffle=options["shuffle"])
        for epoch in range(2)
    ]

    with tempfile.TemporaryDirectory() as folder:
        got = epochs(rows, filled(kind, rows, Path(folder)), batch_size=batch_size, epochs=2, **options)

    assert got == wanted


@settings(deadline=None, max_examples=30)
@given(
    transforms=st.sampled_from(TRANSFORMS),
    bad=st.sets(st.integers(0, 8), max_size=8),
    batch_size=st.integers(1, 9),
    kind=st.sampled_from(["none", "memory"]),
)
def test_with_skip_nothing_but_the_bad_rows_is_missing(transforms, bad, batch_size, kind):
    rows = Rows(9, transforms=transforms, bad=bad, sizes=[(12, 10), (9, 20)])
    if kind == "memory":
        rows.keep_in(filled(kind, rows, Path()), np.arange(9))
    loader = Loader(rows, batch_size=batch_size, shuffle=True, n_workers=0, on_error="skip")

    got = list(loader)

    refs = [[ref for ref in batch if ref.row not in bad] for batch in loader._batches]  # of epoch 0
    left = [(number, batch) for number, batch in enumerate(refs) if batch]
    assert [(batch.number, batch.rows.tolist()) for batch in got] == [(n, [ref.row for ref in b]) for n, b in left]
    for batch, (_, kept) in zip(got, left, strict=True):
        samples = [rows.samples([ref])[0] for ref in kept]
        assert batch.keys.equal(keys_of(kept, seed=0))
        assert batch.y.tolist() == [sample.y for sample in samples]
        assert all(x.equal(sample.x) for x, sample in zip(batch.x, samples, strict=True))
    assert sorted(each.row for each in loader.skipped) == sorted(bad)


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("transforms", [TRANSFORMS[4], TRANSFORMS[6]])
def test_skipping_is_the_same_wherever_it_is_done(n_workers, transforms):
    rows = Rows(13, transforms=transforms, bad=[0, 1, 2, 3, 4, 8])
    with closing(Loader(rows, batch_size=5, shuffle=False, n_workers=n_workers, on_error="skip")) as loader:
        for _ in range(2):
            batches = list(loader)

            assert [(batch.number, batch.rows.tolist()) for batch in batches] == [(1, [5, 6, 7, 9]), (2, [10, 11, 12])]
            assert [each.row for each in loader.skipped] == [0, 1, 2, 3, 4, 8]
            assert [each.place for each in loader.skipped] == [0, 1, 2, 3, 4, 3]
            assert loader.skipped[-1].error.what.startswith("8.png: unidentified: ")
            assert batches[0].x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_where_every_row_is_bad_the_first_is_raised(n_workers):
    rows = Rows(4, transforms=[ResizeFixed(4)], bad=range(4))

    with closing(Loader(rows, batch_size=2, shuffle=False, n_workers=n_workers, on_error="skip")) as loader:
        for _ in range(2):
            with pytest.raises(ManifestError) as caught:
                list(loader)

    assert str(caught.value) == (
        "0.png: unidentified: the content is no known image; it begins with b'no pictu'\n  where: row 0\n  fix: mend it"
    )


@pytest.mark.parametrize("n_workers", [0, 2])
def test_one_bad_row_stops_an_epoch_and_the_loader_can_be_used_again(n_workers):
    rows = Rows(9, transforms=[ResizeFixed(4)], bad=[4])

    with closing(Loader(rows, batch_size=3, shuffle=False, n_workers=n_workers)) as loader:
        for _ in range(2):
            numbers = []
            with pytest.raises(ManifestError, match=r"4\.png: unidentified"):
                numbers += [batch.number for batch in loader]
            for batch in loader:
                numbers.append(batch.number)
                break
            assert numbers == [0]


def test_an_error_that_names_only_an_image_is_skipped_too():
    class Pictures(ItemList):
        def get(self, item):
            if item == 1:
                raise ImageError("truncated", "it ends early", where="1.jpg")
            return torch.full((3, 2, 2), item)

    loader = Loader(Pictures([0, 1, 2]), batch_size=3, shuffle=False, n_workers=0, on_error="skip")

    (batch,) = loader

    assert batch.rows.tolist() == [0, 2]
    assert [str(each.error) for each in loader.skipped] == ["truncated: it ends early\n  where: 1.jpg"]
    assert loader.skipped[0].error.__traceback__ is None


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_epoch_may_begin_with_any_of_its_batches(n_workers):
    rows = Rows(13, transforms=TRANSFORMS[5])
    with closing(Loader(rows, batch_size=5, shuffle=True, n_workers=n_workers)) as loader:
        loader.set_epoch(4, first_batch=2)
        rest, following = [told(batch) for batch in loader], [told(batch) for batch in loader]
        loader.set_epoch(4, first_batch=3)
        nothing = list(loader)

    assert rest == by_hand(rows, batch_size=5, epoch=4, first_batch=2)
    assert following == by_hand(rows, batch_size=5, epoch=5)
    assert nothing == []


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("transforms", [TRANSFORMS[1], TRANSFORMS[6]])
def test_a_batch_that_is_held_never_changes(n_workers, transforms):
    with closing(Loader(Rows(13, transforms=transforms), batch_size=2, shuffle=True, n_workers=n_workers)) as loader:
        pairs = [(batch, told(batch)) for _ in range(2) for batch in loader]

    assert [told(batch) for batch, _ in pairs] == [then for _, then in pairs]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_collate_of_ones_own_gets_the_samples_and_gives_what_it_likes(n_workers):
    rows = Rows(5, transforms=[ResizeFixed(4)])

    with closing(Loader(rows, batch_size=3, shuffle=False, n_workers=n_workers, collate=names)) as loader:
        assert list(loader) == [
            [("Sample", 0, 0), ("Sample", 1, 1), ("Sample", 2, 2)],
            [("Sample", 3, 0), ("Sample", 4, 1)],
        ]


def names(samples):
    return [(type(sample).__name__, sample.row, sample.y) for sample in samples]


def test_images_of_several_sizes_are_padded_in_workers_too():
    rows = Rows(5, sizes=[(12, 10), (9, 20)])
    options = {"batch_size": 5, "shuffle": False, "collate": padding_collate}

    with closing(Loader(rows, n_workers=1, **options)) as loader:
        ((mine,), (theirs,)) = list(Loader(rows, n_workers=0, **options)), list(loader)

    assert theirs.x.shape == (5, 3, 20, 12)
    assert told(theirs) == told(mine)


class Fancy(Rows):
    """Makes each sample itself."""

    def samples(self, refs):
        return [Sample(torch.zeros(3, 4, 4), 7, 0, ref.row) for ref in refs]


class Doubled(Rows):
    """Changes each image itself."""

    def load(self, row, draws):
        return super().load(row, draws) * 2


@pytest.mark.parametrize("n_workers", [0, 1])
def test_what_a_subclass_makes_of_its_samples_is_what_comes(n_workers):
    fancy, doubled = (kind(3, transforms=[ResizeFixed(4)]) for kind in (Fancy, Doubled))

    with (
        closing(Loader(fancy, batch_size=3, shuffle=False, n_workers=n_workers)) as one,
        closing(Loader(doubled, batch_size=3, shuffle=False, n_workers=n_workers)) as other,
    ):
        ((batch,), (twice,)) = list(one), list(other)

    assert (batch.y.tolist(), batch.x.dtype) == ([7, 7, 7], torch.float32)
    plain = Rows(3, transforms=[ResizeFixed(4)]).samples([SampleRef(0, row) for row in range(3)])
    assert twice.x.equal(torch.stack([sample.x for sample in plain]) * 2)


def job(rows, number=0):
    return Job(number, 0, np.array(rows, np.int64), np.zeros(len(rows), np.int64))


def make(maker, wanted):
    """As a worker does it, in this process: (what is told of the batch, the rows that were marked)."""
    slot, marked = memoryview(bytearray(maker.slot_bytes)), []
    made = maker.do(maker.put(job(wanted, 3), slot), slot, marked.append)
    return made, maker.take(job(wanted, 3), pickle.loads(pickle.dumps(made)), slot), marked


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_a_worker_writes_into_its_slot_what_this_process_makes_itself(transforms):
    maker = BatchMaker(Rows(7, transforms=transforms), collate, batch_size=5, skip=False, pin=False)

    for wanted in ([3, 1, 6, 1, 0], [2]):
        made, batch, marked = make(maker, wanted)

        alone, skipped = maker.batch(job(wanted, 3))
        assert told(batch) == told(alone)
        assert (batch.number, marked, skipped, made.skipped) == (3, wanted, [], [])


@pytest.mark.parametrize(("skip", "marked"), [(False, [4]), (True, [4, 2])])
def test_of_what_is_made_all_at_once_the_first_row_is_marked_and_said_to_be_that(skip, marked):
    maker = BatchMaker(ItemList([torch.zeros(1)] * 5), collate, batch_size=5, skip=skip, pin=False)

    assert make(maker, [4, 2])[2] == marked
    assert maker.row_name(4) == ("row 4" if skip else "a row of the batch that begins with row 4")


def test_a_row_is_named_as_its_dataset_names_it(manifest_path):
    maker = BatchMaker(
        ManifestDataset(read_manifest(manifest_path), "train"), collate, batch_size=5, skip=False, pin=False
    )

    assert maker.row_name(1) == "train/cat/1.JPEG"


def test_the_message_of_a_batch_is_three_numbers_however_large_it_is():
    rows = Rows(1, transforms=[ResizeFixed(2)])
    maker = BatchMaker(rows, collate, batch_size=5000, skip=False, pin=False)
    slot = memoryview(bytearray(maker.slot_bytes))

    message = maker.put(Job(2, 7, np.zeros(5000, np.int64), np.arange(5000)), slot)

    assert message == (2, 7, 5000)
    assert len(slot) == 2 * 8 * 5000 + 5000 * 2 * 2 * 3


class Quick(Rows):
    """Images of one value, the row's number."""

    def fixed(self, row):
        return np.full((2, 2, 3), row % 256, np.uint8)


@pytest.mark.parametrize("collate_fn", [collate, padding_collate])
def test_batches_of_five_thousand_rows_hold_nothing_up(collate_fn):
    rows = Quick(4, transforms=[ResizeFixed(2)])
    rows.files *= 2500
    with closing(Loader(rows, batch_size=5000, shuffle=False, n_workers=2, collate=collate_fn)) as loader:
        batches = list(loader)

    assert [len(batch.rows) for batch in batches] == [5000] * 2
    assert all(batch.x[:, 0, 0, 0].equal((batch.rows % 256).to(torch.uint8)) for batch in batches)


def test_a_manifest_of_a_hundred_thousand_rows_goes_to_a_worker_as_its_buffers(manifest_path):
    dataset = ManifestDataset(read_manifest(manifest_path), "train", transforms=[ResizeFixed(4)])
    dataset._names = pa.concat_arrays([dataset._names] * 8000)
    dataset._targets = np.tile(dataset._targets, 8000)
    maker = BatchMaker(dataset, collate, batch_size=64, skip=False, pin=False)

    n_bytes = len(pickle.dumps(maker))

    assert len(dataset) == 96_000
    assert n_bytes < dataset._names.nbytes + dataset._targets.nbytes + 10_000


def test_pixels_and_targets_are_made_where_a_gpu_can_fetch_them(monkeypatch):
    asked, real = [], torch.empty

    def empty(*args, pin_memory, **options):
        asked.append(pin_memory)
        return real(*args, **options)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append("targets") or tensor)
    rows = Rows(4, transforms=[ResizeFixed(4)], bad=[2])
    maker = BatchMaker(rows, collate, batch_size=4, skip=True, pin=True)

    batch, _ = maker.batch(job([0, 1, 2, 3]))

    assert asked == [True, "targets"]
    assert batch.rows.tolist() == [0, 1, 3]
    assert batch.x.untyped_storage().nbytes() == 4 * 4 * 4 * 3  # the memory that was asked for, not a copy of it
