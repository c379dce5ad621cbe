"""Labelers: from the name of a file to its label."""

from __future__ import annotations

import pytest

from imagekit.errors import LabelError
from imagekit.rules.labelers import make_labeler, parent_labeler, parse_label_rule

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


def test_labels_come_in_the_order_of_the_files():
    labels = make_labeler("parent")(["train/b/1.jpg", "val/a/1.jpg", "train/b/2.jpg"])

    assert labels == ["b", "a", "b"]


def test_rows_of_one_folder_share_one_string():
    labels = make_labeler("parent")(["train/n1/1.jpg", "train/n1/2.jpg"])

    assert labels[0] is labels[1]


def test_no_files_have_no_labels():
    assert make_labeler("parent")([]) == []


def test_the_labeler_names_the_file_in_the_root():
    with pytest.raises(LabelError) as caught:
        make_labeler("parent")(["train/a/1.jpg", "1.jpg"])

    assert str(caught.value) == AT_ROOT


def test_an_unknown_label_rule_is_refused_with_the_nearest_one():
    with pytest.raises(LabelError) as caught:
        make_labeler("parents")

    assert str(caught.value) == (
        'the label rule "parents" is not known\n  where: --label\n  fix: did you mean "parent"? '
        "known: folder:N, name:REGEX, parent"
    )


def error_text(call, *args):
    with pytest.raises(LabelError) as caught:
        call(*args)
    return str(caught.value)


# folder:N


def test_a_folder_is_counted_from_the_top():
    names = ["train/n1/images/1.jpg", "val/n2/2.jpg"]

    assert make_labeler("folder:1")(names) == ["train", "val"]
    assert make_labeler("folder:2")(names) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("name", "deep"), [("1.jpg", "0 folders"), ("a/1.jpg", "1 folder"), ("a/b/1.jpg", "2 folders")]
)
def test_a_name_with_too_few_folders_is_named(name, deep):
    assert error_text(make_labeler("folder:3"), ["a/b/c/1.jpg", name]) == (
        f"{name} lies {deep} deep, so no folder 3 gives its label\n  where: --label folder:3\n"
        "  fix: give the number of the folder that is the class, 1 being the first, or move the file"
    )


@pytest.mark.parametrize("level", ["", "0", "-1", "1.5", "x", "01", "١", "99999"])
def test_a_folder_without_a_number_from_one_is_refused(level):
    assert error_text(make_labeler, f"folder:{level}") == (
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
    assert make_labeler(f"name:{regex}")(["images_7/great_pyrenees_173.jpg", "Abyssinian_92.jpg"]) == labels


def test_the_rest_of_the_rule_is_the_expression_colons_and_all():
    assert make_labeler(r"name:^(\w+?):")(["a/tench:1.jpg"]) == ["tench"]


@pytest.mark.parametrize(("regex", "name"), [("([0-9]+)", "12/cat.jpg"), ("([0-9]*)", "cat.jpg"), ("(x)?c", "cat.jpg")])
def test_a_file_name_that_gives_no_text_is_named(regex, name):
    assert error_text(make_labeler(f"name:{regex}"), ["7.jpg" if "x" not in regex else "xc.jpg", name]) == (
        f"the name of {name} does not match, so nothing gives its label\n  where: --label name:{regex}\n"
        "  fix: widen the regular expression, which is searched in the file name without its folders"
    )


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
