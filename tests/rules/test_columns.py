"""label_names and split_names: one text a row for a whole source, as codes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import LabelError, SplitError
from imagekit.rules import columns
from imagekit.rules.columns import Coded, SourceTable, label_names, split_names, table_files
from imagekit.rules.splitters import hash_splits

TINY = [
    b"train/n1/images/n1_0.JPEG",
    b"train/n2/images/n2_0.JPEG",
    b"val/images/val_0.JPEG",
    b"val/images/val_1.JPEG",
    b"val/images/val_2.JPEG",
]
TINY_RULE = {"train": "folder:2", "val": "table:val/val_annotations.txt"}


def arrow(names: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(names, pa.large_binary())


def table(*rows: tuple[str, ...], base: str = "", has_header: bool = False) -> SourceTable:
    cells = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    data = pa.table(cells, names=[str(i + 1) for i in range(len(cells))])
    return SourceTable(data=data, has_header=has_header, base=base)


def texts(coded: Coded) -> list[str | None]:
    assert coded.codes.dtype == np.int32
    assert list(coded.values) == sorted(set(coded.values))
    assert set(coded.codes.tolist()) - {-1} == set(range(len(coded.values)))
    return [coded.values[code] if code >= 0 else None for code in coded.codes]


def labels_of(names: list[bytes], rule: str | dict[str, str], **tables: SourceTable) -> list[str | None]:
    return texts(label_names(arrow(names), rule, tables=tables))


def splits_of(names: list[bytes], rule: str, *, labels: Coded | None = None, **tables: SourceTable) -> list[str | None]:
    labels = labels or label_names(arrow(names), "parent", tables={})
    return texts(split_names(arrow(names), rule, tables=tables, labels=labels, salt="tiny"))


def error_text(kind, call, *args, **options) -> str:
    with pytest.raises(kind) as caught:
        call(*args, **options)
    return str(caught.value)


# labels


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("parent", ["a", "c", None, "b", "a"]),
        ("folder:1", ["b", "b", None, "b", "a"]),
        ("folder:2", ["a", "a", None, None, None]),
        ("folder:3", [None, "c", None, None, None]),
        (r"name:^(\w)_", ["x", "y", "x", None, "y"]),
    ],
)
def test_a_rule_labels_every_name_and_gives_none_where_it_says_nothing(rule, labels):
    names = [b"b/a/x_1.jpg", b"b/a/c/y_1.jpg", b"x_1.jpg", b"b/1.jpg", b"a/y_2.jpg"]

    assert labels_of(names, rule) == labels


def test_no_names_have_no_labels():
    for rule in ("parent", "folder:2", "name:(.)", {"a": "parent"}):
        coded = label_names(arrow([]), rule, tables={})
        assert (coded.codes.tolist(), coded.values, coded.problems, coded.listed) == ([], (), (), None)


def test_a_folder_that_is_not_utf8_has_a_label_that_gives_its_bytes_back():
    labels = labels_of([b"\xff\xe9/1.jpg", "é/1.jpg".encode()], "parent")

    assert [label.encode("utf-8", "surrogateescape") for label in labels if label] == [b"\xff\xe9", "é".encode()]


def test_names_are_labelled_the_same_in_batches(monkeypatch):
    names = [f"{i % 7}_{i}.jpg".encode() for i in range(50)]
    whole = labels_of(names, r"name:^(\d)_")

    monkeypatch.setattr(columns, "BATCH_ROWS", 8)

    assert labels_of(names, r"name:^(\d)_") == whole == [str(i % 7) for i in range(50)]


def test_a_table_labels_what_it_lists():
    tables = {"val/list.csv": table(("images/val_0.JPEG", "n2"), ("images/gone.JPEG", "n3"), base="val")}

    coded = label_names(arrow(TINY), "table:val/list.csv", tables=tables)

    assert texts(coded) == [None, None, "n2", None, None]
    assert coded.listed is not None
    assert coded.listed.tolist() == [False, False, True, False, False]
    assert [bad.detail for bad in coded.problems] == ["listed in val/list.csv, line 2, but not in the source"]


def test_each_first_folder_may_have_its_own_rule():
    """Tiny ImageNet: class folders below train, an annotation file for val."""
    annotations = table(("val_0.JPEG", "n2", "0"), ("val_1.JPEG", "n1", "0"), ("val_9.JPEG", "n9", "0"), base="val")

    coded = label_names(arrow(TINY), TINY_RULE, tables={"val/val_annotations.txt": annotations})

    assert texts(coded) == ["n1", "n2", "n2", "n1", None]
    assert coded.values == ("n1", "n2")
    assert coded.listed is not None
    assert coded.listed.tolist() == [True, True, True, True, False]
    assert [bad.file_name for bad in coded.problems] == ["val_9.JPEG"]


def test_a_rule_for_one_folder_says_nothing_about_others():
    names = [b"1.jpg", b"a/b/1.jpg", b"aa/b/1.jpg", b"b/a/1.jpg"]

    assert labels_of(names, {"a": "parent", "b": "folder:1", "z": "folder:1"}) == [None, "b", None, "b"]


def test_a_table_for_one_folder_may_list_files_of_another():
    tables = {"all.csv": table(("a/1.jpg", "x"), ("b/1.jpg", "y"))}

    coded = label_names(arrow([b"a/1.jpg", b"b/1.jpg"]), {"a": "table:all.csv", "b": "folder:1"}, tables=tables)

    assert texts(coded) == ["x", "b"]
    assert coded.problems == ()


def test_a_table_that_serves_two_folders_tells_its_problems_once():
    tables = {"all.csv": table(("a/1.jpg", "x"), ("b/1.jpg", "y"), ("c/1.jpg", "z"))}

    for other in ("table:all.csv", "table:all.csv:1:2"):
        coded = label_names(arrow([b"a/1.jpg", b"b/1.jpg"]), {"a": "table:all.csv", "b": other}, tables=tables)

        assert texts(coded) == ["x", "y"]
        assert len(coded.problems) == 1


def test_a_label_rule_that_cannot_be_is_refused():
    assert error_text(LabelError, label_names, arrow([]), "parents", tables={}) == (
        'the label rule "parents" is not known\n  where: --label\n'
        '  fix: did you mean "parent"? known: folder:N, name:REGEX, parent, table:FILE[:PATH:LABEL]'
    )


def test_the_tables_that_a_rule_needs_are_told():
    assert table_files("parent") == table_files("hash:0.2") == ()
    assert table_files("table:a.csv:1:2") == ("a.csv",)
    assert table_files({**TINY_RULE, "test": "table:val/val_annotations.txt:1:2", "x": "table:b"}) == (
        "val/val_annotations.txt",
        "b",
    )


# splits


def test_no_split_is_no_split():
    assert splits_of(TINY, "none") == [None] * 5


def test_the_first_folder_gives_the_split():
    names = [b"Train/a/1.jpg", b"VAL/a/1.jpg", b"test/train/1.jpg", b"other/1.jpg", b"1.jpg", b"unlabelled/1.jpg"]

    assert splits_of(names, "folders") == ["train", "valid", "test", None, None, "unsup"]


def test_two_folders_may_stand_for_one_split():
    assert splits_of([b"train/1.jpg", b"training/1.jpg", b"dev/1.jpg"], "folders") == ["train", "train", "valid"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ([b"train/1.jpg", b"test/1.jpg"], ["train", "test"]),
        ([b"train/1.jpg", b"unlabeled/1.jpg"], ["train", "unsup"]),
        ([b"val/1.jpg", b"a/1.jpg", b"a/2.jpg"], ["valid", None, None]),
        ([b"test/1.jpg"], ["test"]),
    ],
)
def test_folders_are_taken_as_they_are_whichever_splits_they_stand_for(names, splits):
    assert splits_of(names, "folders") == splits


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([b"b/1.jpg", b"a/1.jpg", b"a/2.jpg"], "no folder stands for a split; folders found: a (2), b (1)"),
        ([b"1.jpg"], "no folder stands for a split; there are no files"),
        ([], "no folder stands for a split; there are no files"),
    ],
)
def test_folders_of_which_none_stands_for_a_split_are_refused(names, what):
    assert error_text(SplitError, splits_of, names, "folders") == (
        f"{what}\n  where: split folders\n"
        "  fix: use --split random:0.2 or hash:0.2, or name the folders train and valid (or val)"
    )


FILE_NAMES = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", "é".encode(), b"\xff"]), st.binary(min_size=1, max_size=4)),
    min_size=40,
    max_size=60,
    unique=True,
)


@settings(deadline=None)
@given(FILE_NAMES, st.sampled_from([0.0, 0.2]))
def test_the_hash_split_is_that_of_label_and_file_name(pairs, test):
    pairs = [(label, file.replace(b"/", b"_") + bytes([48 + i])) for i, (label, file) in enumerate(pairs)]
    names = [b"train/%s/%s" % pair for pair in pairs]
    keys = [b"/".join(pair).decode("utf-8", "surrogateescape") for pair in pairs]
    try:
        expected = hash_splits(keys, valid=0.3, test=test, salt="tiny")
    except SplitError:  # few rows: a split may stay empty, and then both refuse
        expected = None

    if expected is None:
        assert "would be empty" in error_text(SplitError, splits_of, names, f"hash:0.3,{test}")
    else:
        assert splits_of(names, f"hash:0.3,{test}") == expected


def test_the_hash_split_of_fixed_names_never_changes():
    names = [f"{split}/n{c}/{i}.JPEG".encode() for split in ("train", "val") for c in range(2) for i in range(4)]

    # fmt: off
    assert splits_of(names, "hash:0.3,0.2") == [
        "test", "valid", "test", "train", "train", "train", "train", "train",
        "test", "valid", "test", "train", "train", "train", "train", "train",
    ]
    # fmt: on


def test_a_row_without_a_label_has_no_hash_split():
    names = [f"{i}.jpg".encode() for i in range(60)]
    labels = label_names(arrow(names), r"name:(\d)\d", tables={})

    splits = splits_of(names, "hash:0.5", labels=labels)

    assert splits[:10] == [None] * 10
    assert set(splits[10:]) == {"train", "valid"}


def test_a_hash_split_is_the_same_in_batches(monkeypatch):
    names = [f"train/{i % 3}/{i}\udcff.jpg".encode("utf-8", "surrogateescape") for i in range(60)]
    whole = splits_of(names, "hash:0.3,0.2")

    monkeypatch.setattr(columns, "BATCH_ROWS", 7)

    assert splits_of(names, "hash:0.3,0.2") == whole


def test_a_hash_split_that_would_be_empty_is_refused():
    assert error_text(SplitError, splits_of, [b"a/1.jpg"], "hash:0.0001") == (
        "valid would be empty with fractions 0.0001 for valid and 0 for test; found: train (1)\n"
        "  where: --split hash\n  fix: add images, or change the fractions"
    )


def test_a_table_gives_splits_by_every_spelling():
    rows = [("a/1.jpg", "Train"), ("a/2.jpg", "VAL"), ("a/3.jpg", "dev"), ("a/4.jpg", "test"), ("gone.jpg", "train")]
    names = [*(f"a/{i}.jpg".encode() for i in range(1, 6))]
    labels = label_names(arrow(names), "parent", tables={})

    coded = split_names(arrow(names), "table:s.csv", tables={"s.csv": table(*rows)}, labels=labels, salt="")

    assert texts(coded) == ["train", "valid", "valid", "test", None]
    assert coded.listed is not None
    assert coded.listed.tolist() == [True, True, True, True, False]
    assert [bad.file_name for bad in coded.problems] == ["gone.jpg"]


def test_a_table_that_names_an_unknown_split_is_refused_by_line():
    rows = [("a/1.jpg", "train"), ("a/2.jpg", "val"), ("a/3.jpg", "vall"), ("a/4.jpg", "hold")]
    names = [f"a/{i}.jpg".encode() for i in range(1, 5)]

    assert error_text(SplitError, splits_of, names, "table:s.csv", **{"s.csv": table(*rows, has_header=True)}) == (
        'the split "vall" of line 4 is not known\n  where: table s.csv\n'
        '  fix: did you mean "val"? known: dev, test, testing, train, training, unlabeled, unlabelled, unsup, '
        "unsupervised, val, valid, validation"
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("train", "test"), "valid would be empty; the table gives: test (1), train (1)"),
        (("val", "Valid"), "train would be empty; the table gives: Valid (1), val (1)"),
    ],
)
def test_a_table_that_leaves_train_or_valid_empty_is_refused(words, what):
    rows = [(f"a/{i}.jpg", word) for i, word in enumerate(words)]

    assert error_text(SplitError, splits_of, [b"a/0.jpg", b"a/1.jpg"], "table:s.csv", **{"s.csv": table(*rows)}) == (
        f"{what}\n  where: table s.csv\n"
        "  fix: list images for train and valid (or val), name another column, or use another split rule"
    )


def test_a_table_that_does_not_fit_is_an_error_of_the_split():
    text = error_text(SplitError, splits_of, [b"a/1.jpg"], "table:s.csv", **{"s.csv": table(("b/2.jpg", "train"))})

    assert text.startswith("no line lists an image of the source; it starts with: b/2.jpg")
    assert "  where: table s.csv\n" in text


@pytest.mark.parametrize(("rule", "guess"), [("random:0.2", ""), ("folder", 'did you mean "folders"? ')])
def test_a_split_rule_that_no_recipe_can_have_is_refused(rule, guess):
    assert error_text(SplitError, splits_of, [b"a/1.jpg"], rule) == (
        f'the split rule "{rule}" is not known\n  where: split\n'
        f"  fix: {guess}known: folders, hash:V[,T], none, table:FILE[:PATH:SPLIT]"
    )


@pytest.mark.slow
def test_a_million_names_are_labelled_and_split_without_an_object_each():
    numbers = np.arange(1_000_000)
    names = arrow([b"%s/n%04d/%d.jpg" % (b"val" if i % 5 == 0 else b"train", i % 1000, i) for i in numbers.tolist()])

    labels = label_names(names, "parent", tables={})
    splits = split_names(names, "folders", tables={}, labels=labels, salt="")

    assert labels.values == tuple(f"n{i:04}" for i in range(1000))
    assert np.array_equal(labels.codes, numbers % 1000)
    assert splits.values == ("train", "valid")
    assert np.array_equal(splits.codes == 1, numbers % 5 == 0)
