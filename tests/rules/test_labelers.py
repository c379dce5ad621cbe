"""Labelers: from the name of a file to its label."""

from __future__ import annotations

from pathlib import PurePosixPath

import pyarrow as pa
import pytest

from imagekit.errors import LabelError
from imagekit.rules.columns import label_names
from imagekit.rules.labelers import LabelRule, find_label, parent_labeler, parse_label_rule

AT_ROOT = (
    "1.jpg lies directly in the root, so no folder gives its label\n  where: --label parent\n"
    "  fix: move it into the folder of its class, or out of the root"
)


@pytest.mark.parametrize(
    ("file_name", "label"),
    [("train/n01440764/1.JPEG", "n01440764"), ("cats/1.jpg", "cats"), ("a/b/c/d.e/1", "d.e"), ("a b/é/1.jpg", "é")],
)
def test_the_label_is_the_folder_that_the_file_lies_in(file_name, label):
    assert parent_labeler(file_name) == label


def test_a_file_in_the_root_has_no_label_and_is_named():
    with pytest.raises(LabelError) as caught:
        parent_labeler("1.jpg")

    assert str(caught.value) == AT_ROOT
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("file_name", ["train/n1/1.jpg", "/train/n1/1.jpg", "n1/1.jpg"])
def test_a_path_has_the_label_of_its_text(file_name):
    assert parent_labeler(PurePosixPath(file_name)) == parent_labeler(file_name) == "n1"


def test_a_path_in_the_root_is_named_too():
    with pytest.raises(LabelError) as caught:
        parent_labeler(PurePosixPath("1.jpg"))

    assert str(caught.value) == AT_ROOT


def labels_of(names, rule):
    coded = label_names(pa.array([name.encode() for name in names], pa.large_binary()), rule, tables={})
    return [coded.values[code] if code >= 0 else None for code in coded.codes.tolist()]


def test_labels_come_in_the_order_of_the_files():
    names = ["train/b/1.jpg", "val/a/1.jpg", "train/b/2.jpg"]

    assert labels_of(names, "parent") == [parent_labeler(name) for name in names] == ["b", "a", "b"]


def test_rows_of_one_folder_share_one_string():
    labels = labels_of(["train/n1/1.jpg", "train/n1/2.jpg"], "parent")

    assert labels[0] is labels[1]


def test_no_files_have_no_labels():
    assert labels_of([], "parent") == []


def test_a_file_in_the_root_has_no_label_among_others():
    assert labels_of(["train/a/1.jpg", "1.jpg"], "parent") == ["a", None]


@pytest.mark.parametrize(
    ("spec", "guess"),
    [
        ("parents", 'did you mean "parent"? '),
        ("parent:1", 'did you mean "parent"? '),
        ("Parent", 'did you mean "parent"? '),
        ("folder", 'did you mean "folder:N"? '),
        ("name", ""),
        ("", ""),
    ],
)
def test_an_unknown_label_rule_is_refused_with_the_nearest_one(spec, guess):
    assert error_text(parse_label_rule, spec) == (
        f'the label rule "{spec}" is not known\n  where: --label\n  fix: {guess}'
        "known: folder:N, name:REGEX, parent, table:FILE[:PATH:LABEL]"
    )


def error_text(call, *args):
    with pytest.raises(LabelError) as caught:
        call(*args)
    return str(caught.value)


def test_the_parent_is_level_0_and_has_no_pattern():
    assert parse_label_rule("parent") == LabelRule(level=0, pattern=None)


# folder:N


@pytest.mark.parametrize("level", [1, 2, 10, 9999])
def test_a_folder_rule_holds_its_level(level):
    assert parse_label_rule(f"folder:{level}") == LabelRule(level=level)


def test_a_folder_is_counted_from_the_top():
    names = ["train/n1/images/1.jpg", "val/n2/2.jpg"]

    assert labels_of(names, "folder:1") == ["train", "val"]
    assert labels_of(names, "folder:2") == ["n1", "n2"]


@pytest.mark.parametrize("name", ["1.jpg", "a/1.jpg", "a/b/1.jpg"])
def test_a_name_with_too_few_folders_has_no_label(name):
    assert labels_of(["a/b/c/1.jpg", name], "folder:3") == ["c", None]


@pytest.mark.parametrize("level", ["", "0", "-1", "1.5", "x", "01", "١", "99999"])
def test_a_folder_without_a_number_from_one_is_refused(level):
    assert error_text(parse_label_rule, f"folder:{level}") == (
        f'the label rule "folder:{level}" must be folder:N with N from 1, counted from the top\n'
        "  where: --label\n  fix: write folder:2 for train/<class>/images/1.jpg"
    )


# name:REGEX


@pytest.mark.parametrize(
    ("regex", "labels"),
    [
        (r"^(.+)_\d+", ["great_pyrenees", "Abyssinian"]),
        (r"_(?P<label>\d)(\d)", ["1", "9"]),
        (r"^(?P<label>[A-Za-z])", ["g", "A"]),
        (r"(?i)^([a-z])(?:.*)", ["g", "A"]),
    ],
)
def test_a_regular_expression_is_searched_in_the_file_name(regex, labels):
    assert labels_of(["images_7/great_pyrenees_173.jpg", "Abyssinian_92.jpg"], f"name:{regex}") == labels


def test_the_rest_of_the_rule_is_the_expression_colons_and_all():
    assert labels_of(["a/tench:1.jpg"], r"name:^(\w+?):") == ["tench"]


@pytest.mark.parametrize(("regex", "name"), [("([0-9]+)", "12/cat.jpg"), ("([0-9]*)", "cat.jpg"), ("(x)?c", "cat.jpg")])
def test_a_file_name_that_gives_no_text_has_no_label(regex, name):
    rule = parse_label_rule(f"name:{regex}")

    assert find_label(name.rpartition("/")[2], rule.pattern) is None
    assert labels_of(["7xc.jpg", name], f"name:{regex}")[1] is None
    assert labels_of(["7xc.jpg", name], f"name:{regex}")[0] in ("7", "x")


FIX_REGEX = r"write name:^(.+)_\d+ for tench_12.jpg, or call the group that counts (?P<label>...)"


def test_an_expression_that_is_none_is_refused_with_its_fault():
    assert error_text(parse_label_rule, "name:(a") == (
        'the label rule "name:(a" holds no regular expression: missing ), unterminated subpattern at position 0\n'
        f"  where: --label\n  fix: {FIX_REGEX}"
    )


@pytest.mark.parametrize(("regex", "n_groups"), [("", 0), ("abc", 0), ("(a)(b)", 2), ("(?P<name>a)(b)", 2)])
def test_an_expression_must_say_which_group_counts(regex, n_groups):
    assert error_text(parse_label_rule, f"name:{regex}") == (
        f'the label rule "name:{regex}" has {n_groups} groups and none is called label\n'
        f"  where: --label\n  fix: {FIX_REGEX}"
    )
