"""choose_classes and missing_classes: what a recipe's class list keeps."""

from __future__ import annotations

from imagekit.rules.choosing import choose_classes, missing_classes

CLASSES = {"n2": "beagle", "n1": "tench", "n3": "church"}


def test_rows_of_the_listed_classes_are_kept():
    assert choose_classes(["n1", "n9", "n3", "n1"], CLASSES) == [True, False, True, True]


def test_a_row_without_a_label_is_not_of_a_listed_class():
    assert choose_classes([None, "n1"], CLASSES) == [False, True]


def test_an_empty_class_list_keeps_every_row():
    assert choose_classes([None, "n9"], {}) == [True, True]


def test_the_readable_name_is_not_the_id():
    assert choose_classes(["tench"], CLASSES) == [False]


def test_classes_that_no_row_has_are_listed_in_the_order_of_the_recipe():
    assert missing_classes(["n1", None, "n9"], CLASSES) == ["n2", "n3"]


def test_nothing_is_missing_where_every_class_has_a_row():
    assert missing_classes(iter(["n1", "n2", "n3", "n1"]), CLASSES) == []
