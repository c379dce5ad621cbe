"""From files to batches in the data block's steps, and the same way through a manifest."""

import copy
import pickle
from contextlib import closing
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader
from trees import draw_image, draw_tree

from imagekit.data.batches import Batch
from imagekit.data.block import LabeledData, SplitData, label_by_func
from imagekit.data.bunch import DataBunch, get_dls
from imagekit.data.dataset import ManifestDataset
from imagekit.data.items import ImageList, ItemList
from imagekit.data.on_lists import OnLists
from imagekit.data.order import SampleRef
from imagekit.errors import ImageError, LabelError, ManifestError, ShapeError, SplitError, UsageError
from imagekit.manifest.build import build_manifest
from imagekit.manifest.numbers import MedianFillProcessor
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.read import read_manifest
from imagekit.manifest.text import NumericalizeProcessor, TokenizeProcessor
from imagekit.rules.labelers import parent_labeler
from imagekit.rules.splitters import grandparent_splitter
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import make_rgb, to_byte_tensor, to_float_tensor

FIXED = (make_rgb, ResizeFixed(16), to_byte_tensor, to_float_tensor)
RANDOM = (make_rgb, RandomResizedCrop(16), RandomFlip(), to_byte_tensor)
by_folder = partial(grandparent_splitter, valid_name="val")


@pytest.fixture
def root(tmp_path):
    return draw_tree(tmp_path / "pictures")


@pytest.fixture
def manifest(manifest_path):
    return read_manifest(manifest_path)


def label_folder(root, tfms=FIXED, **options):
    """The lesson's way from a folder to labelled data."""
    sd = SplitData.split_by_func(ImageList.from_files(root, tfms=tfms, **options), by_folder)
    return label_by_func(sd, parent_labeler, proc_y=CategoryProcessor())


def split_numbers(n_items=10):
    """Numbers: even ones train, odd ones valid, those from 8 on neither."""
    return SplitData.split_by_func(ItemList(range(n_items)), lambda item: item % 2 == 1 if item < 8 else None)


def batches_of(data):
    return [batch for loader in (data.train_dl, data.valid_dl) for batch in loader]


def assert_equal_batches(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.x.dtype == b.x.dtype
        assert a.x.equal(b.x)
        assert a.y.equal(b.y)
        assert a.keys.equal(b.keys)
        assert a.rows.equal(b.rows)


class Shift:
    """A Processor that learns the least item it is first given, and counts from there."""

    def __init__(self, factor=1):
        self.least = None
        self.factor = factor

    def process(self, items):
        self.least = min(items) if self.least is None else self.least
        return [(item - self.least) * self.factor for item in items]

    def deprocess(self, items):
        return [item // self.factor + self.least for item in items]


# the lesson's own example


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_example_of_the_lesson_gives_batches_of_floats(root, num_workers):
    path, bs = root, 4
    tfms = [make_rgb, ResizeFixed(24), to_byte_tensor, to_float_tensor]

    il = ImageList.from_files(path, tfms=tfms)
    sd = SplitData.split_by_func(il, partial(grandparent_splitter, valid_name="val"))
    ll = label_by_func(sd, parent_labeler, proc_y=CategoryProcessor())
    data = ll.to_databunch(bs, c_in=3, c_out=10, num_workers=num_workers)

    with closing(data):
        x, y = next(iter(data.train_dl))
        valid_x, _ = next(iter(data.valid_dl))
    assert (x.shape, x.dtype, y.shape) == ((bs, 3, 24, 24), torch.float32, (bs,))
    assert 0 <= x.min() < x.max() <= 1
    assert valid_x.shape == (6, 3, 24, 24)  # twice the batch, as far as there are rows
    assert (data.c_in, data.c_out) == (3, 10)
    assert (data.train_ds, data.valid_ds) == (ll.train, ll.valid)


def test_every_row_is_in_one_batch_of_an_epoch_with_its_own_class(root):
    ll = label_folder(root)

    batches = list(ll.to_databunch(5).train_dl)

    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert all(isinstance(batch, Batch) for batch in batches)
    assert sorted(rows) == list(range(12))
    assert [y for batch in batches for y in batch.y.tolist()] == [ll.train.y[row] for row in rows]


# the same through a manifest


@pytest.mark.parametrize("tfms", [FIXED, RANDOM], ids=["fixed", "random"])
def test_folder_block_and_manifest_give_the_same_batches_to_the_bit(manifest, tfms):
    by_files = label_folder(manifest.root, tfms, seed=5).to_databunch(4)
    by_manifest = SplitData.from_manifest(manifest, tfms=tfms, seed=5).to_databunch(4)
    plain = DataBunch.from_manifest(manifest, train_transforms=tfms, valid_transforms=tfms, batch_size=4, seed=5)

    for data in (by_files, by_manifest, plain):
        data.set_epoch(2)

    expected = batches_of(plain)
    assert_equal_batches(batches_of(by_files), expected)
    assert_equal_batches(batches_of(by_manifest), expected)
    assert (by_files.c_out, by_manifest.c_out) == (2, 2)


def test_valid_may_have_transforms_of_its_own(manifest):
    ll = SplitData.from_manifest(manifest, tfms=RANDOM)
    plain = DataBunch.from_manifest(
        manifest, train_transforms=RANDOM, valid_transforms=[CenterCrop(16), to_byte_tensor], batch_size=4
    )

    ll.valid.x.tfms = [make_rgb, CenterCrop(16), to_byte_tensor]

    assert_equal_batches(batches_of(ll.to_databunch(4)), batches_of(plain))


def test_a_labelled_item_is_the_sample_of_the_dataset(manifest):
    labeled = LabeledData.from_manifest(manifest, "train", tfms=RANDOM, seed=2)
    dataset = ManifestDataset(manifest, "train", transforms=RANDOM, seed=2)

    for row in range(12):
        (x, y), (expected_x, expected_y) = labeled[row], dataset[row]
        assert x.equal(expected_x)
        assert y == expected_y


def test_a_manifest_labels_with_one_processor_for_both_splits(manifest):
    ll = SplitData.from_manifest(manifest)

    assert ll.train.proc_y is ll.valid.proc_y
    assert ll.train.proc_y.vocab == manifest.vocab
    assert ll.valid.y.items == [0, 0, 0, 1, 1, 1]
    assert ll.valid.y_obj(slice(2, 4)) == ["cat", "dog"]


def test_a_manifest_validates_on_the_first_named_valid_split(tmp_path):
    for seed, folder in enumerate(["train", "val_night", "val_day"]):
        draw_image(tmp_path / folder / "cat/1.JPEG", "cat", seed=seed)
    manifest = read_manifest(build_manifest(tmp_path, n_workers=1).output)

    ll = SplitData.from_manifest(manifest)

    assert [item.parts[-3] for item in ll.valid.x.items] == ["val_day"]


def test_a_manifest_can_be_used_under_another_root(manifest, tmp_path):
    moved = manifest.root.rename(tmp_path / "moved")

    ll = SplitData.from_manifest(manifest, tfms=FIXED, root=moved)

    assert ll.valid[0][0].shape == (3, 16, 16)


def test_several_label_columns_are_no_single_label(manifest):
    several = replace(manifest, metadata=replace(manifest.metadata, label_columns=("a", "b")))

    with pytest.raises(ManifestError) as caught:
        SplitData.from_manifest(several)

    assert str(caught.value) == (
        "the manifest has 2 label columns, and a model learns one: a, b\n"
        f"  where: {manifest.path}\n"
        "  fix: choose one with --target-column a, say"
    )


def test_rows_without_a_label_are_counted_and_the_way_out_is_named(manifest):
    targets = [None if row < 2 else 0 for row in range(18)]
    column = manifest.table.schema.get_field_index("target")
    table = manifest.table.set_column(column, "target", pa.array(targets, pa.int32()))

    with pytest.raises(LabelError) as caught:
        LabeledData.from_manifest(replace(manifest, table=table), "train")

    assert str(caught.value) == (
        "2 of the 12 rows of train have no label\n"
        f"  where: {manifest.path}\n"
        '  fix: take ImageList.from_manifest(manifest, "train") for images without labels'
    )


# draws


def test_the_draws_of_a_sample_do_not_depend_on_batch_size_or_on_the_epochs_before(root):
    ll = label_folder(root, RANDOM, seed=8)
    images = []
    for bs, epochs in ((4, range(4)), (5, [3]), (12, [3])):
        data = ll.to_databunch(bs)
        for epoch in epochs:
            data.set_epoch(epoch)
            by_row = {row: x for batch in data.train_dl for row, x in zip(batch.rows.tolist(), batch.x, strict=True)}
        images.append(by_row)

    for row in range(12):
        assert images[0][row].equal(images[1][row])
        assert images[0][row].equal(images[2][row])
        assert images[0][row].equal(ll.train.samples([SampleRef(3, row)])[0].x)
    assert not images[0][0].equal(ll.train[0][0])  # which is of epoch 0


@pytest.mark.slow
def test_the_draws_of_a_sample_do_not_depend_on_workers(root):
    ll = label_folder(root, RANDOM, seed=8)
    alone, helped = ll.to_databunch(4), ll.to_databunch(4, num_workers=1)

    with closing(helped):
        for data in (alone, helped):
            data.set_epoch(3)
        assert_equal_batches(batches_of(alone), batches_of(helped))


# splitting


def test_a_split_keeps_the_kind_of_list_and_tells_what_is_in_neither():
    sd = split_numbers()

    assert (sd.train.items, sd.valid.items, sd.n_dropped) == ([0, 2, 4, 6], [1, 3, 5, 7], 2)
    assert repr(sd) == (
        "SplitData\n"
        "Train: ItemList (4 items)\n[0, 2, 4, 6]\nPath: .\n"
        "Valid: ItemList (4 items)\n[1, 3, 5, 7]\nPath: .\n"
        "In neither: 2 items\n"
    )


def test_a_split_of_all_items_says_nothing_of_neither():
    assert repr(split_numbers(n_items=2)) == (
        "SplitData\nTrain: ItemList (1 items)\n[0]\nPath: .\nValid: ItemList (1 items)\n[1]\nPath: .\n"
    )


def test_images_stay_images_with_their_transforms(root):
    sd = SplitData.split_by_func(ImageList.from_files(root, tfms=FIXED, seed=6), by_folder)

    for part, n_items in ((sd.train, 12), (sd.valid, 6)):
        assert (type(part), len(part), part.tfms, part.seed, part.path) == (ImageList, n_items, FIXED, 6, root)


@pytest.mark.parametrize(
    ("answer", "empty", "counts"),
    [
        (False, "valid", "True (valid) for 0, False (train) for 3, None (neither) for 0"),
        (True, "train", "True (valid) for 3, False (train) for 0, None (neither) for 0"),
        (None, "train and valid", "True (valid) for 0, False (train) for 0, None (neither) for 3"),
    ],
)
def test_an_empty_split_is_an_error_with_counts_and_the_likely_cure(answer, empty, counts):
    with pytest.raises(SplitError) as caught:
        SplitData.split_by_func(ItemList(range(3)), lambda item: answer)

    assert str(caught.value) == (
        f"{empty} would be empty: of 3 items the function said {counts}\n"
        "  where: SplitData.split_by_func\n"
        '  fix: name the folders as they are: partial(grandparent_splitter, valid_name="val"), say'
    )


def test_a_valid_folder_called_val_does_not_end_in_training_without_validation(root):
    with pytest.raises(SplitError) as caught:
        SplitData.split_by_func(ImageList.from_files(root), grandparent_splitter)

    assert str(caught.value) == (
        "valid would be empty: of 18 items the function said "
        "True (valid) for 0, False (train) for 12, None (neither) for 6\n"
        "  where: SplitData.split_by_func\n"
        '  fix: name the folders as they are: partial(grandparent_splitter, valid_name="val"), say'
    )


def test_an_attribute_that_a_split_lacks_is_that_of_train(root):
    ll = label_folder(root)

    assert ll.x is ll.train.x
    assert ll.y_obj(0) == "cat"


def test_an_attribute_that_nobody_has_and_private_ones_are_attribute_errors():
    sd = split_numbers()
    sd.train._private = 1
    bare = SplitData.__new__(SplitData)

    for owner, name, kind in ((sd, "nosuch", "ItemList"), (sd, "_private", "SplitData"), (bare, "train", "SplitData")):
        with pytest.raises(AttributeError) as caught:
            getattr(owner, name)
        assert str(caught.value) == f"'{kind}' object has no attribute '{name}'"


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_split_and_labelled_data_can_be_copied_and_loaded_back(root, make_copy):
    ll = label_folder(root, RANDOM)

    again = make_copy(ll)

    assert again.valid.proc_y is again.train.proc_y
    assert again.n_dropped == 0
    assert again.valid[1][0].equal(ll.valid[1][0])
    assert make_copy(split_numbers()).n_dropped == 2


# labelling


def test_the_vocab_is_sorted_whatever_the_order_of_the_files(root):
    il = ImageList.from_files(root)
    backwards = SplitData.split_by_func(il.new(il.items[::-1]), by_folder)

    ll = label_by_func(backwards, parent_labeler, proc_y=CategoryProcessor())

    assert ll.train.proc_y.vocab == ("cat", "dog")
    assert (ll.train.y[0], ll.train.y_obj(0)) == (1, "dog")


def test_valid_is_labelled_with_what_train_taught(root):
    processor = CategoryProcessor()
    sd = SplitData.split_by_func(ImageList.from_files(root), by_folder)

    ll = label_by_func(sd, parent_labeler, proc_y=processor)

    assert ll.train.proc_y is ll.valid.proc_y is processor
    assert (ll.train[0][1], ll.train.y_obj(0), ll.train.y_obj(slice(2))) == (0, "cat", ["cat", "cat"])
    assert ll.valid.y.items == [0, 0, 0, 1, 1, 1]


def test_a_test_set_is_labelled_with_what_train_taught(root):
    ll = label_folder(root)
    dogs = ImageList.from_files(root / "val/dog")

    test = LabeledData.label_by_func(dogs, parent_labeler, proc_y=ll.train.proc_y)

    assert test.y.items == [1, 1, 1]


def test_a_label_that_train_does_not_have_is_refused_and_no_new_class(root):
    draw_image(root / "val/emu/0.JPEG", "emu", seed=1)
    processor = CategoryProcessor()
    sd = SplitData.split_by_func(ImageList.from_files(root), by_folder)

    with pytest.raises(LabelError) as caught:
        label_by_func(sd, parent_labeler, proc_y=processor)

    assert str(caught.value) == (
        "1 label is not in train: emu (1 rows)\n"
        "  where: labels\n"
        "  fix: add images of them to train, or take them out; known: cat, dog"
    )
    assert processor.vocab == ("cat", "dog")


def test_labelling_opens_no_file(root):
    il = ImageList.from_files(root, tfms=FIXED)
    for item in il.items:
        item.unlink()

    ll = label_by_func(SplitData.split_by_func(il, by_folder), parent_labeler, proc_y=CategoryProcessor())

    assert ll.train.y.items == [0] * 6 + [1] * 6


def test_the_number_of_items_in_neither_is_kept():
    assert label_by_func(split_numbers(), str).n_dropped == 2


def test_labels_without_a_processor_are_what_the_function_says():
    ll = label_by_func(split_numbers(), str)

    assert ll.train[1] == (2, "2")
    assert ll.train[:2] == ([0, 2], ["0", "2"])
    assert ll.train[[3, 0]] == ([6, 0], ["6", "0"])
    assert ll.train[torch.tensor([False, True, False, False])] == ([2], ["2"])
    assert (ll.train.y_obj(1), ll.train.y_obj(slice(2))) == ("2", ["0", "2"])
    assert list(ll.valid) == [(1, "1"), (3, "3"), (5, "5"), (7, "7")]


def test_several_processors_encode_in_turn_and_are_undone_backwards():
    processors = [Shift(factor=3), Shift(factor=5)]
    ll = label_by_func(split_numbers(), lambda item: item + 100, proc_x=Shift(), proc_y=processors)

    assert ll.train.y.items == [0, 30, 60, 90]
    assert ll.valid.x.items == [1, 3, 5, 7]
    assert ll.valid.y.items == [15, 45, 75, 105]
    assert ll.valid.y_obj(slice(1, 3)) == [103, 105]
    assert (ll.valid.y_obj(-1), ll.valid.x_obj(0), ll.valid.x_obj([0, 2])) == (107, 1, [1, 5])


def test_the_transforms_of_the_items_leave_the_labels_alone():
    il = ItemList(range(4), tfms=lambda item: item * 10)

    labeled = LabeledData.label_by_func(il, lambda item: item)

    assert labeled[:] == ([0, 10, 20, 30], [0, 1, 2, 3])


def test_labelled_data_shows_items_and_labels():
    labeled = LabeledData(ItemList([5, 6], "some/folder"), ItemList(["a", "b"]))

    assert repr(labeled) == (
        "LabeledData\nx: ItemList (2 items)\n[5, 6]\nPath: some/folder\ny: ItemList (2 items)\n['a', 'b']\nPath: .\n"
    )


def test_labels_for_fewer_items_are_refused():
    with pytest.raises(ShapeError) as caught:
        LabeledData(ItemList([1, 2, 3]), ItemList([1, 2]))

    assert str(caught.value) == (
        "x has 3 items, y has 2\n"
        "  where: LabeledData\n"
        "  fix: give a label for each item, and Processors that keep the length of a list"
    )


# loaders


def test_samples_carry_key_and_row_in_the_order_of_the_refs(manifest):
    labeled = LabeledData.from_manifest(manifest, "train", tfms=FIXED, seed=4)
    dataset = ManifestDataset(manifest, "train", transforms=FIXED, seed=4)
    refs = [SampleRef(1, 7), SampleRef(1, 2)]

    samples = labeled.samples(refs)

    assert [sample[1:] for sample in samples] == [sample[1:] for sample in dataset.samples(refs)]
    assert [sample.row for sample in samples] == [7, 2]


def test_labelled_data_works_in_a_plain_torch_loader(root):
    x, y = next(iter(DataLoader(label_folder(root).train, batch_size=5)))

    assert (x.shape, y.tolist()) == ((5, 3, 16, 16), [0] * 5)


@pytest.mark.parametrize(
    ("processor", "c_out"), [(CategoryProcessor(), 4), ([Shift(), CategoryProcessor()], 4), (Shift(), None)]
)
def test_the_number_of_classes_is_that_of_the_vocab_where_there_is_one(processor, c_out):
    il = ItemList([torch.tensor(0)] * 8)
    train, valid = (LabeledData(il, ItemList([0, 1, 2, 3] * 2), proc_y=processor) for _ in range(2))

    data = SplitData(train, valid).to_databunch(2)

    assert (data.c_in, data.c_out) == (None, c_out)


def test_a_collate_of_ones_own_takes_the_place():
    ll = label_by_func(split_numbers(), str)

    assert list(ll.to_databunch(3, collate=len).train_dl) == [3, 1]


def test_items_without_labels_make_no_batches_and_the_step_between_is_named(root):
    sd = SplitData.split_by_func(ImageList.from_files(root), by_folder)

    with pytest.raises(LabelError) as caught:
        sd.to_databunch(4)

    assert str(caught.value) == (
        "the items have no labels yet: train is an ImageList\n"
        "  where: SplitData.to_databunch\n"
        "  fix: label them first: label_by_func(sd, parent_labeler, proc_y=CategoryProcessor()), say"
    )


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_that_went_bad_is_named_by_the_loader(root, num_workers):
    data = label_folder(root).to_databunch(4, num_workers=num_workers)
    (root / "val/cat/1.JPEG").write_bytes(b"no longer a picture")

    with closing(data), pytest.raises(ImageError) as caught:
        list(data.valid_dl)

    assert str(caught.value) == (
        f"unidentified: the content is no known image; it begins with b'no longe'\n  where: {root / 'val/cat/1.JPEG'}"
    )


def test_items_without_labels_are_loaded_without_targets(root):
    il = ImageList.from_files(root / "train", tfms=FIXED)
    train_dl, _ = get_dls(il, il, 4)

    batch = next(iter(train_dl))

    assert batch.y is None
    assert torch.equal(batch.x[0], il[int(batch.rows[0])])


def test_a_function_that_gives_no_label_is_told_with_an_item():
    with pytest.raises(LabelError) as caught:
        LabeledData.label_by_func(ItemList(["a", "b", "c"]), {"a": 1}.get)

    assert str(caught.value) == (
        "the function gave no label for 2 of 3 items, b for one\n"
        "  where: label_by_func\n"
        "  fix: return a label for each item, or leave such items out before"
    )


def test_what_a_split_shows_of_train_cannot_be_set_on_the_split():
    sd = SplitData(ItemList([1]), ItemList([2]))

    with pytest.raises(AttributeError) as caught:
        sd.tfms = []

    assert str(caught.value) == "set 'tfms' on train or on valid: what is read here is train's"


def test_processors_of_manifests_encode_lists_in_their_wrapper():
    fill, words = OnLists(MedianFillProcessor()), OnLists(TokenizeProcessor())
    train, valid = ItemList([1.0, None, 3.0]), ItemList([None, 9.0])

    sd = label_by_func(SplitData(train, valid), str, proc_x=fill)
    spoken = LabeledData(ItemList(["My name"]), ItemList([0]), proc_x=[words, OnLists(NumericalizeProcessor())])

    assert fill.columns == ("filled", "was_missing")
    assert [sd.train.x[:], sd.valid.x[:]] == [[(1.0, False), (2.0, True), (3.0, False)], [(2.0, True), (9.0, False)]]
    assert sd.train.x_obj(slice(None)) == [1.0, None, 3.0]
    assert all(isinstance(number, int) for number in spoken.x[0])


def test_a_processor_of_manifests_alone_is_told_its_wrapper():
    with pytest.raises(UsageError) as caught:
        LabeledData(ItemList([1.0]), ItemList([0]), proc_x=MedianFillProcessor())

    assert str(caught.value) == (
        "MedianFillProcessor encodes columns of a manifest\n"
        "  where: LabeledData\n"
        "  fix: wrap it: OnLists(MedianFillProcessor())"
    )
