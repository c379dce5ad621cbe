"""Splits that something outside the rows decides on: as the plain list functions say, as tables and functions do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SplitError
from imagekit.files.listing import display_names
from imagekit.rules import given as module
from imagekit.rules.columns import Coded, SourceTable
from imagekit.rules.given import (
    Names,
    splits_by_folder,
    splits_by_function,
    splits_by_hash,
    splits_by_lists,
    splits_by_table,
)
from imagekit.rules.split_rules import parse_split_rule
from imagekit.rules.splitters import folder_splits, hash_splits
from imagekit.rules.tables import parse_table_rule

FIX_FOLDERS = "use --split random:0.2 or hash:0.2, or name the folders train and valid (or val)"
WORDS = "known: dev, test, testing, train, training, unlabeled, unlabelled, unsup, unsupervised, val, valid, validation"


def named(names: list[bytes]) -> Names:
    raw = pa.array(names, pa.large_binary())
    return Names(raw, display_names(raw)[0])


FIVE = named([f"a/{i}.jpg".encode() for i in range(1, 6)])


def table(*rows: tuple[str | None, ...], base: str = "", has_header: bool = False) -> SourceTable:
    cells = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    data = pa.table(cells, names=[str(i + 1) for i in range(len(cells))])
    return SourceTable(data=data, has_header=has_header, base=base)


def texts(coded: Coded) -> list[str | None]:
    assert coded.codes.dtype == np.int32
    assert list(coded.values) == sorted(set(coded.values))
    assert set(coded.codes.tolist()) - {-1} == set(range(len(coded.values)))
    return [coded.values[code] if code >= 0 else None for code in coded.codes]


def error_text(call, *args, **options) -> str:
    with pytest.raises(SplitError) as caught:
        call(*args, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


# folders

PIECE = st.binary(min_size=1, max_size=5).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"0"))
FOLDER = st.sampled_from([b"train", b"Val", b"test", b"unlabelled", b"val_night", b"valid-night", b"Validation:night"])
IN_FOLDERS = st.tuples(FOLDER, st.lists(PIECE, min_size=1, max_size=3)).map(lambda it: b"/".join([it[0], *it[1]]))


@settings(deadline=None)
@given(st.lists(IN_FOLDERS, max_size=30))
def test_the_first_folder_gives_the_split_that_the_list_function_gives(names):
    names = [b"train/1.jpg", *names, b"val/1.jpg"]

    assert texts(splits_by_folder(named(names))) == folder_splits(named(names).shown.to_pylist())


def test_the_validation_sets_of_several_folders_keep_their_names():
    coded = splits_by_folder(named([b"train/a/1.jpg", b"val_night/a/1.jpg", b"valid-night/b/\xff.jpg", b"val/a/1.jpg"]))

    assert texts(coded) == ["train", "valid:night", "valid:night", "valid"]
    assert (coded.problems, coded.listed) == ((), None)


@settings(deadline=None)
@given(st.lists(IN_FOLDERS | PIECE | st.just(b"holdout/1.jpg"), max_size=12))
def test_folders_that_give_no_split_are_refused_in_the_words_of_the_list_function(names):
    try:
        expected = folder_splits(named(names).shown.to_pylist())
    except SplitError as error:
        assert error_text(splits_by_folder, named(names)) == str(error)
    else:
        assert texts(splits_by_folder(named(names))) == expected


def test_files_in_the_root_are_refused_and_shown_as_people_see_them():
    names = [b"train/1.jpg", b"val/1.jpg", b"\xff.jpg", b"b\n.jpg", b"c.jpg", b"d.jpg"]

    assert error_text(splits_by_folder, named(names)) == (
        "4 files lie directly in the root, outside any split folder: \\xff.jpg, b\\n.jpg, c.jpg, ...\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )
    assert texts(splits_by_folder(named(names[:2]))) == ["train", "valid"]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            [b"train/1.jpg", b"val/1.jpg", b"val.night/1.jpg"],
            "no split is known for the folders val.night; found: train (1), val (1), val.night (1)",
        ),
        ([b"train/1.jpg", b"test/1.jpg"], "valid would be empty; folders found: test (1), train (1)"),
        ([b"val_a/1.jpg"], "train would be empty; folders found: val_a (1)"),
        ([], "train would be empty; there are no files"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(names, what):
    assert error_text(splits_by_folder, named(names)) == f"{what}\n  where: --split folders\n  fix: {FIX_FOLDERS}"


def test_one_named_validation_set_is_enough():
    assert texts(splits_by_folder(named([b"train/1.jpg", b"val_a/1.jpg"]))) == ["train", "valid:a"]


# a table


def by_table(*rows: tuple[str | None, ...], names: Names = FIVE, rule: str = "table:s.csv", **options) -> Coded:
    return splits_by_table(names, parse_table_rule(rule), tables={"s.csv": table(*rows, **options)})


def test_a_table_gives_splits_by_every_spelling():
    coded = by_table(
        ("a/1.jpg", "Train"),
        ("a/2.jpg", "VAL"),
        ("a/3.jpg", "val_night"),
        ("a/4.jpg", "valid:night"),
        ("gone.jpg", "train"),
        ("../x.jpg", "train"),
    )

    assert texts(coded) == ["train", "valid", "valid:night", "valid:night", None]
    assert coded.listed is not None
    assert coded.listed.tolist() == [True, True, True, True, False]
    assert [(bad.file_name, bad.reason, bad.detail) for bad in coded.problems] == [
        ("gone.jpg", "vanished", "listed in s.csv, line 5, but not in the source"),
        ("../x.jpg", "path-escape", "listed in s.csv, line 6: it does not name a file below the source"),
    ]


def test_an_image_that_is_listed_without_a_word_has_no_split_but_is_listed():
    coded = by_table(("a/1.jpg", "train"), ("a/2.jpg", "val"), ("a/3.jpg", None))

    assert texts(coded) == ["train", "valid", None, None, None]
    assert coded.listed is not None
    assert coded.listed.tolist() == [True, True, True, False, False]
    assert coded.problems == ()


def test_the_columns_of_a_table_may_be_named():
    rows = [("x", "val", "a/1.jpg"), ("y", "train", "a/2.jpg")]

    assert texts(by_table(*rows, rule="table:s.csv:3:2")) == ["valid", "train", None, None, None]


def test_a_table_names_images_that_are_not_utf8_no_other_way_than_by_escapes_that_mean_none():
    names = named([b"\xff.jpg", b"1.jpg", b"2.jpg"])

    coded = by_table(("1.jpg", "train"), ("2.jpg", "val"), ("\\xff.jpg", "val"), names=names)

    assert texts(coded) == [None, "train", "valid"]
    assert [bad.file_name for bad in coded.problems] == ["\\xff.jpg"]


@pytest.mark.parametrize(
    ("word", "guess"), [("vall", 'did you mean "val"? '), ("holdout", ""), ("train_a", 'did you mean "train"? ')]
)
def test_a_table_that_names_an_unknown_split_is_refused_by_line(word, guess):
    rows = [("a/1.jpg", "train"), ("a/2.jpg", "val_a"), ("a/3.jpg", word), ("a/4.jpg", "zzz")]

    assert error_text(by_table, *rows, has_header=True) == (
        f'the split "{word}" of line 4 is not known\n  where: table s.csv\n  fix: {guess}{WORDS}'
    )
    assert texts(by_table(*rows[:2])) == ["train", "valid:a", None, None, None]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("train", "test"), "valid would be empty; the table gives: test (1), train (1)"),
        (("val", "val_a"), "train would be empty; the table gives: val (1), val_a (1)"),
    ],
)
def test_a_table_that_leaves_train_or_valid_empty_is_refused(words, what):
    assert error_text(by_table, ("a/1.jpg", words[0]), ("a/2.jpg", words[1])) == (
        f"{what}\n  where: table s.csv\n"
        "  fix: list images for train and valid (or val), name another column, or use another split rule"
    )


def test_a_table_that_does_not_fit_is_an_error_of_the_split():
    assert error_text(by_table, ("b/9.jpg", "train")) == (
        "no line lists an image of the source; it starts with: b/9.jpg; the images with: a/1.jpg, a/2.jpg, a/3.jpg\n"
        "  where: table s.csv\n"
        "  fix: write the paths relative to the source or to the table's own folder, or name the column that holds them"
    )
    assert error_text(by_table, ("a/1.jpg", "train"), ("a/1.jpg", "val")) == (
        'a/1.jpg has two values: line 1 says "train", line 2 says "val"\n'
        "  where: table s.csv\n  fix: list every image once, or with one value"
    )


# lists


def by_lists(spec: str, names: Names = FIVE, **lists: list[str]) -> Coded:
    tables = {f"{file}.txt": table(*((path,) for path in paths)) for file, paths in lists.items()}
    return splits_by_lists(names, parse_split_rule(spec), tables=tables)


def test_images_that_no_list_names_are_train():
    coded = by_lists("list:val=v.txt,test=t.txt", v=["a/2.jpg", "a/4.jpg"], t=["a/1.jpg"])

    assert texts(coded) == ["test", "valid", "train", "valid", "train"]
    assert coded.listed is not None
    assert coded.listed.all()
    assert coded.problems == ()


def test_where_train_has_a_list_what_none_names_has_no_split():
    coded = by_lists("list:val=v.txt,train=t.txt", v=["a/2.jpg"], t=["a/5.jpg", "a/1.jpg"])

    assert texts(coded) == ["train", "valid", None, None, "train"]
    assert coded.listed is not None
    assert coded.listed.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("rule", "lists", "what"),
    [
        (
            "list:val=v.txt",
            {"v": [f"a/{i}.jpg" for i in range(1, 6)]},
            "train would be empty; the lists give: valid (5)",
        ),
        ("list:test=t.txt", {"t": ["a/1.jpg"]}, "valid would be empty; the lists give: test (1), train (4)"),
    ],
)
def test_lists_that_leave_no_train_or_no_valid_are_told(rule, lists, what):
    with pytest.raises(SplitError) as caught:
        by_lists(rule, **lists)

    assert str(caught.value) == f"{what}\n  where: --split list\n  fix: name images for train and valid"


def test_several_validation_sets_have_a_list_each():
    coded = by_lists("list:valid:day=d.txt,val_night=n.txt", d=["a/2.jpg"], n=["a/1.jpg", "a/1.jpg"])

    assert texts(coded) == ["valid:night", "valid:day", "train", "train", "train"]


def test_what_the_lists_name_and_the_source_lacks_is_told_list_by_list():
    coded = by_lists("list:val=v.txt,test=t.txt", v=["a/2.jpg", "gone.jpg"], t=["/etc/x.jpg", "a/1.jpg", "gone.jpg"])

    assert [(bad.file_name, bad.reason, bad.detail) for bad in coded.problems] == [
        ("gone.jpg", "vanished", "listed in v.txt, line 2, but not in the source"),
        ("/etc/x.jpg", "path-escape", "listed in t.txt, line 1: it does not name a file below the source"),
        ("gone.jpg", "vanished", "listed in t.txt, line 3, but not in the source"),
    ]
    assert texts(coded) == ["test", "valid", "train", "train", "train"]


def test_an_image_in_two_lists_is_refused():
    lists = {"v": ["a/2.jpg", "a/4.jpg"], "t": ["a/4.jpg"]}

    assert error_text(by_lists, "list:valid:a=v.txt,test=t.txt", **lists) == (
        "a/4.jpg is listed for valid:a and for test\n  where: --split list: t.txt\n"
        "  fix: take it out of one of the lists"
    )
    assert error_text(by_lists, "list:test=t.txt,valid:a=v.txt", **lists) == (
        "a/4.jpg is listed for test and for valid:a\n  where: --split list: v.txt\n"
        "  fix: take it out of one of the lists"
    )


def test_an_image_in_two_lists_is_shown_as_people_see_it():
    names = named(["a\u200e/1.jpg".encode(), b"2.jpg"])
    lists = {"v": ["a\u200e/1.jpg"], "t": ["1.jpg"]}

    assert error_text(by_lists, "list:val=v.txt,test=t.txt", names, **lists) == (
        "a\\u200e/1.jpg is listed for valid and for test\n  where: --split list: t.txt\n"
        "  fix: take it out of one of the lists"
    )


def test_a_list_that_names_no_image_is_refused():
    assert error_text(by_lists, "list:val=v.txt", v=["b.jpg"]) == (
        "no line lists an image of the source; it starts with: b.jpg; the images with: a/1.jpg, a/2.jpg, a/3.jpg\n"
        "  where: table v.txt\n"
        "  fix: write the paths relative to the source or to the table's own folder, or name the column that holds them"
    )


def test_the_column_of_a_list_may_be_named():
    tables = {"v.csv": table(("1.jpg", "a/2.jpg"), ("x", "a/3.jpg"))}

    coded = splits_by_lists(FIVE, parse_split_rule("list:val=v.csv:2:1"), tables=tables)

    assert texts(coded) == ["train", "valid", "valid", "train", "train"]


# a function


def test_a_function_is_asked_for_every_shown_name_and_may_answer_in_every_way():
    answers = {"\\xff.jpg": True, "b.jpg": False, "c.jpg": None, "d.jpg": "val", "e.jpg": "Test", "f.jpg": "dev-night"}
    asked = []

    def function(name):
        asked.append(name)
        return answers[name]

    coded = splits_by_function(named([b"\xff.jpg", *(f"{c}.jpg".encode() for c in "bcdef")]), function)

    assert texts(coded) == ["valid", "train", None, "valid", "test", "valid:night"]
    assert asked == list(answers)
    assert (coded.problems, coded.listed) == ((), None)


@pytest.mark.parametrize(("answer", "said"), [(None, "train would be empty; the function gives: nothing"),
    (False, "valid would be empty; the function gives: train (5)")])  # fmt: skip
def test_a_function_that_leaves_no_train_or_no_valid_is_told(answer, said):
    with pytest.raises(SplitError) as caught:
        splits_by_function(FIVE, lambda _: answer)

    assert str(caught.value) == f"{said}\n  where: split function\n  fix: name images for train and valid"


@pytest.mark.parametrize(
    ("answer", "guess"),
    [
        ("vall", 'did you mean "val"? '),
        ("", ""),
        ("val_a b", 'did you mean "val"? '),
        (1, ""),
        (0.5, ""),
        (["train"], 'did you mean "train"? '),
        (b"train", 'did you mean "train"? '),
    ],
)
def test_any_other_answer_of_a_function_is_refused_with_the_image(answer, guess):
    assert error_text(splits_by_function, FIVE, lambda name: answer if name == "a/3.jpg" else True) == (
        f"the split function returned {answer!r} for a/3.jpg\n  where: split function\n"
        "  fix: return True for valid, False for train, None to leave the image out, or the name of a split; "
        f"{guess}{WORDS}"
    )


# the hash


def by_hash(keys: list[str], **options) -> list[str | None]:
    return texts(splits_by_hash(pa.array(keys, pa.string()), **options))


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=6), max_size=60),
    st.floats(0.05, 0.5),
    st.just(0.0) | st.floats(0.05, 0.4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
def test_the_hash_split_is_that_of_the_list_function(names, valid, test, salt):
    keys = [*named(names).shown.to_pylist(), *(f"{i}.jpg" for i in range(200))]  # so many that no split is empty

    assert by_hash(keys, valid=valid, test=test, salt=salt) == hash_splits(keys, valid=valid, test=test, salt=salt)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=40), st.data())
def test_names_that_come_later_never_move_a_name(names, data):
    n_old = data.draw(st.integers(0, len(names)))
    mixed = data.draw(st.permutations(names))
    options = {"valid": 0.3, "test": 0.2, "salt": "7"}

    old = dict(zip(names[:n_old], by_hash(names[:n_old], **options), strict=True))
    new = dict(zip(mixed, by_hash(mixed, **options), strict=True))

    assert {name: new[name] for name in old} == old


def test_a_hash_may_leave_a_split_empty_and_no_keys_have_none():
    assert by_hash(["a"], valid=0.0001, test=0.0, salt="0") == ["train"]
    assert by_hash([], valid=0.2, test=0.1, salt="0") == []


def test_a_hash_split_is_the_same_in_batches(monkeypatch):
    keys = pa.array(["cut off", *(f"é{i}.jpg" for i in range(60))], pa.string()).slice(1)
    whole = texts(splits_by_hash(keys, valid=0.3, test=0.2, salt="0"))

    monkeypatch.setattr(module, "BATCH_ROWS", 7)

    assert texts(splits_by_hash(keys, valid=0.3, test=0.2, salt="0")) == whole


FORTY = [f"{'train' if i % 3 else 'old'}/n{i % 4}/{i:02}.jpg" for i in range(40)]


def test_the_hash_split_of_40_fixed_names_never_changes():
    """Published splits depend on it."""
    # fmt: off
    assert by_hash(FORTY, valid=0.3, test=0.2, salt="42") == [
        "train", "test", "train", "train", "valid", "train", "valid", "train", "test", "valid",
        "train", "train", "valid", "valid", "valid", "valid", "train", "train", "train", "train",
        "test", "train", "valid", "valid", "train", "train", "train", "valid", "train", "train",
        "train", "test", "train", "train", "valid", "train", "train", "train", "train", "train",
    ]
    # fmt: on
