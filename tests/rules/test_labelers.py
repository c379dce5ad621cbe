"""Labelers: from the name of a file to its label."""

from __future__ import annotations

import pytest

from imagekit.errors import LabelError
from imagekit.rules.labelers import make_labeler, parent_labeler

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
        'the label rule "parents" is not known\n  where: --label\n  fix: did you mean "parent"? known: parent'
    )
