"""Batches from a manifest, with and without worker processes."""

import multiprocessing
import os
import re
import signal
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from data.rows import Rows, told
from PIL import Image
from torch.utils.data import TensorDataset
from trees import draw_image

from imagekit.data.batches import Batch, Sample, collate, padding_collate
from imagekit.data.bunch import DataBunch, get_dls
from imagekit.data.loaders import Loader, check_one_label, valid_split
from imagekit.errors import ConfigError, ManifestError, ShapeError, WorkerError
from imagekit.manifest.build import build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.resize import ResizeFixed

pytestmark = pytest.mark.usefixtures("own_children")


def make_loaders(path, **options):
    return DataBunch.from_manifest(
        read_manifest(path),
        train_transforms=[RandomResizedCrop(16)],
        valid_transforms=[CenterCrop(16)],
        batch_size=4,
        seed=5,
        **options,
    )


def test_a_batch_is_uint8_with_targets_keys_and_rows(manifest_path):
    batch = next(iter(make_loaders(manifest_path).train_dl))

    assert isinstance(batch, Batch)
    x, y = batch
    assert (x.shape, x.dtype) == ((4, 3, 16, 16), torch.uint8)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert [part.dtype for part in (y, batch.keys, batch.rows)] == [torch.int64] * 3
    assert (batch[0] is x, batch[1] is y, len(batch)) == (True, True, 2)


def test_the_valid_batch_is_twice_as_large_and_in_order(manifest_path):
    loaders = make_loaders(manifest_path)

    rows = [batch.rows.tolist() for batch in loaders.valid_dl]

    assert rows == [[0, 1, 2, 3, 4, 5]]
    assert len(loaders.valid_dl) == 1
    assert loaders.valid_dl.batch_size == 8


def test_every_train_row_comes_once_an_epoch_in_another_order_each_time(manifest_path):
    loaders = make_loaders(manifest_path)
    orders = []
    for epoch in range(2):
        loaders.set_epoch(epoch)
        orders.append([row for batch in loaders.train_dl for row in batch.rows.tolist()])

    assert [sorted(order) for order in orders] == [list(range(12))] * 2
    assert orders[0] != orders[1]


def test_workers_give_the_batches_that_one_process_gives(manifest_path):
    alone, helped = make_loaders(manifest_path), make_loaders(manifest_path, n_workers=2)
    for epoch in range(2):
        alone.set_epoch(epoch)
        helped.set_epoch(epoch)
        for one, other in zip(alone.train_dl, helped.train_dl, strict=True):
            pairs = [(one.x, other.x), (one.y, other.y), (one.keys, other.keys), (one.rows, other.rows)]
            assert all(a.equal(b) for a, b in pairs)


def test_close_ends_the_workers_and_another_iteration_starts_new_ones(manifest_path):
    loaders = make_loaders(manifest_path, n_workers=1)
    first = [batch.rows.tolist() for batch in loaders.train_dl]
    workers = multiprocessing.active_children()

    loaders.close()

    assert len(workers) == 1
    assert not any(worker in multiprocessing.active_children() for worker in workers)
    loaders.set_epoch(0)
    with closing(loaders):
        assert [batch.rows.tolist() for batch in loaders.train_dl] == first


def test_loaders_that_decode_in_this_process_have_nothing_to_close(manifest_path):
    loaders = make_loaders(manifest_path)

    loaders.close()

    assert len(list(loaders.train_dl)) == 3


def test_the_same_epoch_again_gives_the_same_batches(manifest_path):
    loaders = make_loaders(manifest_path)

    first = list(loaders.train_dl)
    loaders.set_epoch(0)
    again = list(loaders.train_dl)

    assert all(a.x.equal(b.x) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_each_iteration_of_a_loop_of_ones_own_is_the_next_epoch(manifest_path, n_workers):
    with closing(make_loaders(manifest_path, n_workers=n_workers)) as loaders:
        told = []
        for epoch in range(2):
            loaders.set_epoch(epoch)
            told.append([batch.keys.tolist() for batch in loaders.train_dl])
        loaders.set_epoch(0)

        untold = [[batch.keys.tolist() for batch in loaders.train_dl] for _ in range(2)]
        valid = [[batch.keys.tolist() for batch in loaders.valid_dl] for _ in range(2)]

    assert untold == told
    assert told[0] != told[1]
    assert valid[0] == valid[1]


def test_two_iterations_at_once_do_not_touch_each_other(manifest_path):
    loaders = make_loaders(manifest_path)
    one_by_one = [[batch.rows.tolist() for batch in loaders.train_dl] for _ in range(2)]
    loaders.set_epoch(0)

    together = [(a.rows.tolist(), b.rows.tolist()) for a, b in zip(loaders.train_dl, loaders.train_dl, strict=True)]

    assert [list(rows) for rows in zip(*together, strict=True)] == one_by_one


def test_workers_serve_one_iteration_at_a_time(manifest_path):
    with closing(make_loaders(manifest_path, n_workers=1)) as loaders:
        rows = []
        for batch in loaders.train_dl:
            rows += batch.rows.tolist()
            with pytest.raises(ConfigError) as caught:
                next(iter(loaders.train_dl))
        left_early = next(iter(loaders.train_dl))

        assert len(list(loaders.train_dl)) == 3

    assert sorted(rows) == list(range(12))
    assert len(left_early.rows) == 4
    assert str(caught.value) == (
        "the loader is gone through already, and its workers serve one iteration at a time\n"
        "  where: Loader\n"
        "  fix: make a second loader, or one with n_workers 0"
    )


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_less_than_one_is_refused(manifest_path, batch_size):
    with pytest.raises(ConfigError) as caught:
        DataBunch.from_manifest(
            read_manifest(manifest_path), train_transforms=[], valid_transforms=[], batch_size=batch_size
        )

    assert str(caught.value) == (
        f"batch_size is {batch_size}, must be at least 1\n  where: Loader: batch_size\n  fix: give 64, say"
    )


def test_a_dataset_of_torch_is_told_what_it_lacks():
    dataset = TensorDataset(torch.zeros(3))

    with pytest.raises(ConfigError) as caught:
        get_dls(dataset, dataset, 2)

    assert str(caught.value) == (
        "a TensorDataset cannot be loaded by key: it has no `samples` and `seed`\n"
        "  where: get_dls\n"
        "  fix: give LabeledData, an ItemList or a ManifestDataset, or use torch's own DataLoader"
    )


@pytest.mark.parametrize("target", [3, 3.5, True, np.int64(3), np.float32(3.5), torch.tensor(3)])
def test_targets_of_any_kind_of_number_are_stacked(target):
    y = collate([Sample(torch.zeros(2), target, 0, 0)] * 2).y

    assert y.tolist() == [target, target]


def test_rows_without_targets_make_batches_without_them():
    batch = collate([Sample(torch.zeros(2), None, 5, 0)])

    x, y = batch
    assert (x.shape, y, batch.keys.tolist()) == ((1, 2), None, [5])


@pytest.mark.parametrize(("a", "b"), [(1, None), (1, torch.tensor([1])), (torch.zeros(2), torch.zeros(3))])
def test_targets_of_several_kinds_cannot_be_stacked(a, b):
    with pytest.raises(ShapeError) as caught:
        collate([Sample(torch.zeros(2), a, 0, 0), Sample(torch.zeros(2), b, 0, 1)])

    assert str(caught.value) == (
        "some targets of the batch are numbers, some tensors of another shape, or absent\n"
        "  where: collate\n"
        "  fix: give every row a target of one kind"
    )


def test_no_sample_makes_no_batch():
    with pytest.raises(ShapeError) as caught:
        collate([])

    assert str(caught.value) == "there is no sample to stack\n  where: collate\n  fix: ask for at least one row"


@pytest.mark.parametrize(
    ("shapes", "listed"), [([(3, 4, 4), (1, 4, 4)], "[1, 4, 4], [3, 4, 4]"), ([(5,), (3,)], "[3], [5]")]
)
def test_samples_that_are_no_images_of_two_sizes_are_told_by_their_shapes(shapes, listed):
    with pytest.raises(ShapeError) as caught:
        collate([Sample(torch.zeros(shape), 0, 0, 0) for shape in shapes])

    assert str(caught.value) == (
        f"samples of 2 sizes cannot be stacked: {listed}\n"
        "  where: collate\n"
        "  fix: make them alike, or use padding_collate"
    )


def test_images_of_several_sizes_cannot_be_stacked_and_the_cure_is_named(tmp_path):
    draw_image(tmp_path / "train/cat/1.JPEG", "cat", seed=1, size=(40, 32))
    draw_image(tmp_path / "train/cat/2.JPEG", "cat", seed=2, size=(20, 32))
    draw_image(tmp_path / "val/cat/3.JPEG", "cat", seed=3)
    manifest = read_manifest(build_manifest(tmp_path, n_workers=1).output)
    loaders = DataBunch.from_manifest(manifest, train_transforms=[], valid_transforms=[], batch_size=4)

    with pytest.raises(ShapeError) as caught:
        next(iter(loaders.train_dl))

    assert str(caught.value) == (
        "images of 2 sizes cannot be stacked: 20 x 32, 40 x 32\n"
        "  where: collate\n"
        "  fix: add ResizeFixed, CenterCrop or RandomResizedCrop to the transforms, or give your own collate"
    )


def test_a_collate_of_ones_own_takes_the_place(manifest_path):
    def count(samples: list[Sample]) -> int:
        return len(samples)

    assert list(make_loaders(manifest_path, collate=count).train_dl) == [4, 4, 4]


def test_collate_keeps_pixels_and_order():
    samples = [Sample(torch.full((3, 2, 2), value, dtype=torch.uint8), value, 10 + value, value) for value in range(3)]

    batch = collate(samples)

    assert batch.x[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (batch.y.tolist(), batch.keys.tolist()) == ([0, 1, 2], [10, 11, 12])


def test_images_that_are_no_tensors_yet_cannot_be_stacked():
    with pytest.raises(ShapeError) as caught:
        collate([Sample(Image.new("RGB", (2, 2)), 0, 0, 7)])

    assert str(caught.value) == (
        "row 7 is a Image, must be a tensor\n  where: collate\n  fix: end the transforms with to_byte_tensor"
    )


def test_labels_that_are_still_names_cannot_be_stacked():
    with pytest.raises(ShapeError) as caught:
        collate([Sample(torch.zeros(3, 2, 2), "cat", 0, 7)])

    assert str(caught.value) == (
        "the target of row 7 is 'cat', must be a number or a tensor\n"
        "  where: collate\n"
        "  fix: encode labels with a Processor, names with label_by_func(..., proc_y=CategoryProcessor()) say"
    )


def test_padding_fills_up_to_the_largest_of_the_batch():
    words = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    samples = [Sample(x, number, number, number) for number, x in enumerate(words)]

    batch = padding_collate(samples, value=9)

    assert batch.x.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch.y.tolist() == [0, 1]


def test_padding_pictures_keeps_their_pixels_at_the_top_left():
    small, large = torch.ones(3, 2, 4), torch.ones(3, 5, 3)

    batch = padding_collate([Sample(small, 0, 0, 0), Sample(large, 1, 1, 1)])

    assert batch.x.shape == (2, 3, 5, 4)
    assert torch.equal(batch.x[0, :, :2], small)
    assert batch.x.sum() == small.sum() + large.sum()


def test_samples_of_other_axes_cannot_be_padded():
    with pytest.raises(ShapeError) as caught:
        padding_collate([Sample(torch.zeros(3), 0, 0, 0), Sample(torch.zeros(3, 4), 0, 0, 1)])

    assert str(caught.value) == (
        "samples with 1 and 2 axes cannot be padded to one size\n"
        "  where: padding_collate\n"
        "  fix: give tensors with the same number of axes"
    )


def test_a_padding_collate_serves_images_of_several_sizes(tmp_path):
    for number, size in enumerate([(40, 32), (20, 32), (30, 10)]):
        draw_image(tmp_path / f"train/cat/{number}.JPEG", "cat", seed=number, size=size)
    draw_image(tmp_path / "val/cat/3.JPEG", "cat", seed=3)
    manifest = read_manifest(build_manifest(tmp_path, n_workers=1).output)
    options = {"train_transforms": [], "valid_transforms": [], "collate": padding_collate}

    batch = next(iter(DataBunch.from_manifest(manifest, batch_size=4, **options).train_dl))

    assert batch.x.shape == (3, 3, 32, 40)


def test_a_pinned_batch_keeps_everything(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = collate([Sample(torch.zeros(3, 2, 2), 4, 10, 7)])

    pinned = batch.pin_memory()

    assert (pinned.x.max(), pinned.y.tolist(), pinned.keys.tolist(), pinned.rows.tolist()) == (1, [5], [10], [7])


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_file_that_went_bad_is_told_alike_wherever_it_was_decoded(manifest_path, n_workers):
    loaders = make_loaders(manifest_path, n_workers=n_workers)
    root = read_manifest(manifest_path).root
    (root / "val/cat/1.JPEG").write_bytes(b"no longer a picture")

    with closing(loaders), pytest.raises(ManifestError) as caught:
        list(loaders.valid_dl)

    assert str(caught.value) == (
        "val/cat/1.JPEG cannot be used any more: "
        "unidentified: the content is no known image; it begins with b'no longe'\n"
        f"  where: {root}, row 1 of valid in {manifest_path}\n"
        "  fix: restore the file, or build the manifest again so that it is left out"
    )


@pytest.mark.parametrize(
    ("folders", "chosen"),
    [
        (["val", "val_day"], "valid"),
        (["val_night", "val_day"], "valid:day"),
        (["val_night"], "valid:night"),
    ],
)
def test_the_rows_to_validate_on_are_valid_or_else_the_first_named_ones(tmp_path, folders, chosen):
    for seed, folder in enumerate(["train", *folders]):
        draw_image(tmp_path / folder / "cat/1.JPEG", "cat", seed=seed)
    manifest = read_manifest(build_manifest(tmp_path, n_workers=1).output)

    loaders = DataBunch.from_manifest(manifest, train_transforms=[], valid_transforms=[])

    assert (valid_split(manifest), loaders.valid_dl.dataset.split) == (chosen, chosen)


def test_a_manifest_without_any_of_them_is_refused_for_lack_of_valid(manifest_path):
    manifest = read_manifest(manifest_path)
    bare = replace(manifest, table=manifest.rows("train"))

    with pytest.raises(ManifestError) as caught:
        DataBunch.from_manifest(bare, train_transforms=[], valid_transforms=[])

    assert str(caught.value) == f"no row has split valid\n  where: {manifest_path}\n  fix: known: train"


def test_several_label_columns_are_no_single_target(manifest_path):
    manifest = read_manifest(manifest_path)
    columns = tuple(f"c{i:02}" for i in range(40))
    several = replace(manifest, metadata=replace(manifest.metadata, label_columns=columns))

    with pytest.raises(ManifestError) as caught:
        DataBunch.from_manifest(several, train_transforms=[], valid_transforms=[])

    assert str(caught.value) == (
        "the manifest has 40 label columns, and a model learns one: "
        "c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, "
        "c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, ...\n"
        f"  where: {manifest_path}\n"
        "  fix: choose one with --target-column c00, say"
    )
    check_one_label(manifest)


@pytest.mark.parametrize("pin_memory", [False, True])
def test_a_loader_pins_where_it_is_told_to(manifest_path, monkeypatch, pin_memory):
    asked, real = [], torch.empty

    def empty(*size, pin_memory=False, **options):
        asked.append(pin_memory)
        return real(*size, **options)  # without a GPU there is nothing to pin for

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append(True) or tensor)
    batches = list(make_loaders(manifest_path, pin_memory=pin_memory).train_dl)
    plain, asked[:] = sum(asked), []
    own = list(make_loaders(manifest_path, pin_memory=pin_memory, collate=padding_collate).train_dl)

    assert (plain, sum(asked)) == (6 * pin_memory, 6 * pin_memory)  # x and y of three batches
    assert all(a.x.equal(b.x) for a, b in zip(batches, own, strict=True))


def test_what_a_collate_of_ones_own_makes_is_pinned_where_it_is_a_batch(manifest_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pytest.fail("nobody said how"))

    assert list(make_loaders(manifest_path, pin_memory=True, collate=len).train_dl) == [4, 4, 4]


@pytest.mark.parametrize("on_error", ["ignore", None, "Skip"])
def test_what_becomes_of_bad_samples_is_one_of_two_words(manifest_path, on_error):
    with pytest.raises(ConfigError) as caught:
        make_loaders(manifest_path, on_error=on_error)

    assert str(caught.value) == (
        f'on_error is "{on_error}", must be "stop" or "skip"\n  where: Loader: on_error\n  fix: leave it out to stop'
    )


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_bad_file_is_skipped_counted_and_named_in_every_epoch(manifest_path, n_workers):
    root = read_manifest(manifest_path).root
    (root / "train/cat/1.JPEG").write_bytes(b"no longer a picture")
    (root / "train/dog/0.JPEG").unlink()

    with closing(make_loaders(manifest_path, n_workers=n_workers, on_error="skip")) as loaders:
        for _ in range(2):
            rows = [row for batch in loaders.train_dl for row in batch.rows.tolist()]

            assert sorted(rows) == [0, 2, 3, 4, 5, 7, 8, 9, 10, 11]
            assert sorted(each.row for each in loaders.train_dl.skipped) == [1, 6]
            told = sorted(each.error.what.split(" cannot")[0] for each in loaders.train_dl.skipped)
            assert told == ["train/cat/1.JPEG", "train/dog/0.JPEG"]
    assert loaders.valid_dl.skipped == []


def test_samples_of_an_epoch_are_counted_with_those_that_come_twice(manifest_path):
    plain, balanced = (make_loaders(manifest_path, balance=balance).train_dl for balance in (False, True))

    assert (plain.n_samples, balanced.n_samples, len(balanced)) == (12, 12, 3)


def test_an_empty_dataset_gives_no_batch_and_starts_no_worker():
    loader = Loader(Rows(0), batch_size=4, shuffle=True, n_workers=2)

    assert (len(loader), list(loader), multiprocessing.active_children()) == (0, [], [])


def die_at_five(row):
    if row == 5:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("collate_fn", [collate, padding_collate])
def test_a_worker_that_dies_names_its_file_and_the_loader_can_be_used_again(collate_fn, capfd):
    rows = Rows(8, transforms=[ResizeFixed(4)], on_read=die_at_five)
    with closing(Loader(rows, batch_size=2, shuffle=False, n_workers=2, collate=collate_fn)) as loader:
        with pytest.raises(WorkerError) as caught:
            list(loader)
        rows.on_read = int
        after = [batch.rows.tolist() for batch in loader]

    assert re.sub(r"pid \d+", "pid N", str(caught.value)) == (
        "worker process 1 of 2 (pid N) was killed by SIGKILL at 5.png\n  where: Loader\n"
        "  fix: the usual cause is too little memory, for which the system kills the largest: "
        "try fewer --workers than 2"
    )
    assert after == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert multiprocessing.active_children() == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_workers", [0, 1])
def test_leaving_an_epoch_early_many_times_leaves_a_loader_as_new(n_workers):
    rows = Rows(12, transforms=[ResizeFixed(4)])
    with closing(Loader(rows, batch_size=2, shuffle=True, n_workers=n_workers)) as loader:
        for _ in range(8):
            next(iter(loader))
            with pytest.raises(KeyError):
                for _batch in loader:
                    raise KeyError
        loader.set_epoch(0)

        assert [told(batch) for batch in loader] == [told(batch) for batch in Loader(
            rows, batch_size=2, shuffle=True, n_workers=0
        )]  # fmt: skip
