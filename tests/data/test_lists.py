"""Anything as a list, and a list that takes ints, slices, lists and masks."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data.lists import ListContainer, is_position, listify, setify, uniqueify
from imagekit.errors import ShapeError


@pytest.mark.parametrize(
    ("x", "listed"),
    [
        (None, []),
        ([], []),
        (1, [1]),
        ("aa", ["aa"]),
        (b"aa", [b"aa"]),
        (Path("a/b"), [Path("a/b")]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}, ["a"]),
        ((n * n for n in range(3)), [0, 1, 4]),
    ],
)
def test_anything_becomes_a_list(x, listed):
    assert listify(x) == listed


def test_a_list_becomes_itself():
    x = [1, 2]

    assert listify(x) is x


@pytest.mark.parametrize("x", [torch.arange(3), np.arange(3)])
def test_a_tensor_and_an_array_are_one_object(x):
    listed = listify(x)

    assert len(listed) == 1
    assert listed[0] is x


@pytest.mark.parametrize(("x", "as_set"), [(None, set()), (1, {1}), ("aa", {"aa"}), (["a", 1, "a"], {"a", 1})])
def test_anything_becomes_a_set(x, as_set):
    assert setify(x) == as_set


def test_a_set_becomes_itself():
    x = {1, "a"}

    assert setify(x) is x


def test_unique_elements_stand_where_they_first_appear_or_sorted():
    assert uniqueify("banana") == ["b", "a", "n"]
    assert uniqueify("banana", sort=True) == ["a", "b", "n"]


def test_an_index_is_an_int_a_slice_a_list_of_ints_or_a_mask():
    container = ListContainer(range(10))

    assert (container[0], container[-1]) == (0, 9)
    assert container[0:2] == [0, 1]
    assert container[[1, 2]] == [1, 2]
    assert container[[-1, 0]] == [9, 0]
    assert container[[False] * 8 + [True, False]] == [8]
    assert container[[]] == []


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_an_index_may_be_a_tensor_or_an_array(make):
    container = ListContainer(list("abcd"))

    assert container[make(1)] == "b"
    assert container[make([3, 0])] == ["d", "a"]
    assert container[make([3])] == ["d"]
    assert container[make([True, False, False, True])] == ["a", "d"]
    assert container[list(make([True, False, False, True]))] == ["a", "d"]


@settings(deadline=None)
@given(st.lists(st.integers()), st.slices(12))
def test_a_slice_gives_what_a_list_gives(items, index):
    assert ListContainer(items)[index] == items[index]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(), st.booleans()), min_size=1))
def test_a_mask_gives_the_marked_items_in_order(pairs):
    container = ListContainer([item for item, _ in pairs])

    assert container[[is_marked for _, is_marked in pairs]] == [item for item, is_marked in pairs if is_marked]


@pytest.mark.parametrize("index", [10, -11])
def test_an_int_outside_is_an_index_error_that_says_both_numbers(index):
    container = ListContainer(range(10))

    with pytest.raises(IndexError) as caught:
        container[index]
    with pytest.raises(IndexError) as in_a_list:
        container[[0, index]]

    assert str(caught.value) == f"index {index} is outside the 10 items of ListContainer"
    assert str(in_a_list.value) == str(caught.value)


def test_a_mask_of_another_length_says_both_lengths():
    container = ListContainer(range(10))

    with pytest.raises(ShapeError) as caught:
        container[[True, False]]

    assert str(caught.value) == (
        "the mask has 2 values for 10 items\n  where: ListContainer\n  fix: give one bool for each item"
    )


def test_a_pair_is_no_index():
    container = ListContainer(range(10))

    with pytest.raises(TypeError) as caught:
        container[1, 2]

    assert str(caught.value) == "ListContainer indices must be integers, slices, lists or masks, not tuple"


def test_a_number_with_a_fraction_is_no_index():
    with pytest.raises(TypeError):
        ListContainer(range(10))[[0.5]]
    with pytest.raises(TypeError):
        ListContainer(range(10))[torch.tensor(0.5)]


@pytest.mark.parametrize(
    ("index", "is_one"),
    [(1, True), (np.int64(1), True), (torch.tensor(1), True), (torch.tensor([1]), False), ([1], False), ("1", False)],
)
def test_an_index_without_axes_names_one_item(index, is_one):
    assert is_position(index) == is_one


def test_iterating_and_len_are_those_of_a_list():
    container = ListContainer(list("abc"))

    assert list(container) == ["a", "b", "c"]
    assert len(container) == 3
    assert len(ListContainer(None)) == 0


def test_items_can_be_set_and_deleted():
    container = ListContainer(range(6))

    container[-1] = "last"
    container[0:2] = ["a", "b"]
    del container[2]
    del container[-2:]

    assert container.items == ["a", "b", 3]


def test_setting_and_deleting_outside_is_an_index_error():
    container = ListContainer(range(3))

    with pytest.raises(IndexError, match="index 3 is outside the 3 items of ListContainer"):
        container[3] = 1
    with pytest.raises(IndexError, match="index -4 is outside the 3 items of ListContainer"):
        del container[-4]


def test_a_change_of_the_container_changes_no_other_list():
    items = [1, 2, 3]
    container = ListContainer(items)

    del container[0]

    assert items == [1, 2, 3]


@pytest.mark.parametrize(
    ("n_items", "shown"),
    [
        (0, "ListContainer (0 items)\n[]"),
        (1, "ListContainer (1 items)\n[0]"),
        (10, "ListContainer (10 items)\n[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        (100, "ListContainer (100 items)\n[0, 1, 2, 3, 4, 5, 6, 7, 8, 9...]"),
    ],
)
def test_the_first_ten_items_are_shown(n_items, shown):
    assert repr(ListContainer(range(n_items))) == shown


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda container: pickle.loads(pickle.dumps(container))])
def test_a_container_can_be_copied(make_copy):
    assert make_copy(ListContainer(list("abc"))).items == ["a", "b", "c"]
