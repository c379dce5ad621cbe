"""Exact splits and folds, whole groups at a time: the counts, who stays together, and that order does not matter."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagekit.errors import SplitError
from imagekit.rules.assign import FREE, TEST, TRAIN, VALID, Draw, assign_folds, assign_splits, rank_names
from imagekit.rules.splitters import random_splits

FORTY = [f"{'train' if i % 3 else 'old'}/n{i % 4}/{i:02}.jpg" for i in range(40)]
PART = {"train": TRAIN, "valid": VALID, "test": TEST}


def draw(
    n: int,
    *,
    groups: list[int] | None = None,
    classes: list[int] | None = None,
    given: list[int] | None = None,
    names: list[str] | None = None,
    seed: int = 42,
) -> Draw:
    names = names or [f"{i}.jpg" for i in range(n)]
    return Draw(
        groups=np.array(range(n) if groups is None else groups, np.int64),
        classes=np.array([-1] * n if classes is None else classes, np.int32),
        ranks=rank_names((name.encode("utf-8", "surrogatepass") for name in names[:n]), seed=seed),
        given=np.array([FREE] * n if given is None else given, np.int8),
    )


def splits(n: int, *, valid: float = 0.3, test: float = 0.2, **options) -> list[int]:
    parts = assign_splits(draw(n, **options), valid=valid, test=test)
    assert parts.dtype == np.int8
    assert set(parts.tolist()) <= {TRAIN, VALID, TEST}
    return parts.tolist()


def folds(n: int, *, n_folds: int, **options) -> list[int]:
    parts = assign_folds(draw(n, **options), n_folds=n_folds)
    assert parts.dtype == np.int8
    assert set(parts.tolist()) <= set(range(n_folds))
    return parts.tolist()


def counts_of(parts: list[int]) -> list[int]:
    return [parts.count(part) for part in (TRAIN, VALID, TEST)]


def wanted_of(n: int, valid: float, test: float, *, leave_one: bool) -> list[int]:
    """Train, valid and test of n rows; Python's round. test gives way before valid where nothing is left to train."""
    n_valid, n_test = round(valid * n), round(test * n)
    if leave_one and n:
        n_test = max(0, min(n_test, n - 1 - n_valid))
        n_valid = min(n_valid, n - 1 - n_test)
    return [n - n_valid - n_test, n_valid, n_test]


FRACTIONS = st.tuples(st.floats(0.05, 0.6), st.just(0.0) | st.floats(0.05, 0.39))
CLASSES = st.lists(st.integers(-1, 4), max_size=60)


# ranks


def test_the_ranks_of_fixed_names_never_change():
    ranks = rank_names([b"a/1.jpg", "é.jpg".encode(), b"\xff"], seed=42)

    assert ranks.dtype == np.dtype("<u8")
    assert ranks.tolist() == [11275033643927171055, 2864615591904874017, 2847452202742612041]


@given(st.lists(st.binary(max_size=8), max_size=20), st.integers())
def test_a_rank_is_the_first_64_bits_of_the_sha256_of_seed_and_name(names, seed):
    expected = [int(hashlib.sha256(f"{seed}\0".encode() + name).hexdigest()[:16], 16) for name in names]

    assert rank_names(iter(names), seed=seed).tolist() == expected


# counts


@settings(deadline=None)
@given(st.lists(st.text(max_size=6), min_size=5, max_size=60, unique=True), FRACTIONS, st.integers())
def test_one_class_is_split_as_the_random_splitter_splits_it(names, fractions, seed):
    valid, test = fractions
    try:
        expected = [PART[split] for split in random_splits(names, valid=valid, test=test, seed=seed)]
    except SplitError:  # a split would be empty: that is asked of the usable rows
        assume(False)
    options = {"names": names, "seed": seed, "valid": valid, "test": test}

    assert splits(len(names), **options) == expected
    assert splits(len(names), classes=[0] * len(names), **options) == expected


@settings(deadline=None)
@given(CLASSES, FRACTIONS)
def test_without_groups_the_counts_of_every_class_are_exact(classes, fractions):
    valid, test = fractions
    told_apart = max(classes, default=-1) > 0

    parts = splits(len(classes), classes=classes, valid=valid, test=test)

    for c in set(classes):
        of_class = [part for part, other in zip(parts, classes, strict=True) if other == c]
        assert counts_of(of_class) == wanted_of(len(of_class), valid, test, leave_one=told_apart)


@pytest.mark.parametrize(("n", "n_valid"), [(2, 0), (6, 2), (10, 2), (14, 4)])
def test_a_half_is_rounded_to_the_even_neighbour_in_each_class(n, n_valid):
    parts = splits(2 * n, classes=[0, 1] * n, valid=0.25, test=0.0)

    assert counts_of(parts[::2]) == counts_of(parts[1::2]) == [n - n_valid, n_valid, 0]


@pytest.mark.parametrize(
    ("n", "valid", "test", "counts"),
    [
        (1, 0.6, 0.0, [1, 0, 0]),
        (1, 0.3, 0.6, [1, 0, 0]),
        (2, 0.4, 0.4, [1, 1, 0]),
        (2, 0.1, 0.8, [1, 0, 1]),
        (3, 0.4, 0.4, [1, 1, 1]),
    ],
)
def test_each_class_leaves_one_row_to_train_and_test_gives_way_first(n, valid, test, counts):
    parts = splits(n + 20, classes=[1] * n + [0] * 20, valid=valid, test=test)

    assert counts_of(parts[:n]) == counts


def test_rows_without_a_class_are_split_among_themselves():
    parts = splits(30, classes=[-1] * 10 + [0] * 10 + [1] * 10, valid=0.3, test=0.2)

    assert [counts_of(parts[at : at + 10]) for at in (0, 10, 20)] == [[5, 3, 2]] * 3


def test_the_rows_of_lowest_rank_in_their_class_are_valid_then_test():
    one = draw(40, classes=[i % 2 for i in range(40)])

    parts = assign_splits(one, valid=0.25, test=0.1)

    for c in (0, 1):
        ranked = sorted(range(c, 40, 2), key=lambda i: int(one.ranks[i]))
        assert parts[ranked].tolist() == [VALID] * 5 + [TEST] * 2 + [TRAIN] * 13


def test_no_rows_have_no_parts():
    assert splits(0) == folds(0, n_folds=5) == []


def test_the_draw_itself_is_left_as_it_was():
    one = draw(6, groups=[0, 0, 1, 1, 2, 3], given=[FREE, VALID, FREE, FREE, FREE, FREE])

    assign_splits(one, valid=0.3, test=0.2)
    assign_folds(one, n_folds=2)

    assert one.given.tolist() == [FREE, VALID, FREE, FREE, FREE, FREE]


# folds


@settings(deadline=None)
@given(CLASSES, st.integers(2, 7))
def test_without_groups_the_folds_of_every_class_and_of_all_differ_by_one_row_at_most(classes, n_folds):
    parts = folds(len(classes), classes=classes, n_folds=n_folds)

    for c in {*classes, None}:
        sizes = Counter(part for part, other in zip(parts, classes, strict=True) if c is None or other == c)
        all_sizes = [sizes[k] for k in range(n_folds)]
        assert max(all_sizes) - min(all_sizes) <= 1


def test_the_remainders_of_many_small_classes_go_round():
    parts = folds(30, classes=[c for c in range(10) for _ in range(3)], n_folds=5)

    assert [parts.count(k) for k in range(5)] == [6] * 5


def test_as_many_folds_as_a_column_can_hold_may_be_asked_for():
    assert sorted(folds(127, n_folds=127)) == list(range(127))


# groups

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(-1, 3)), max_size=50)  # (group, class)
# (group, class of the group)
PURE = st.lists(st.integers(0, 12), max_size=50).map(lambda groups: [(group, group % 3) for group in groups])
SETTINGS = st.tuples(FRACTIONS, st.integers(0, 3))


def columns(rows: list[tuple[int, int]]) -> dict[str, list[int]]:
    return {"groups": [group for group, _ in rows], "classes": [c for _, c in rows]}


def parts_by_group(groups: list[int], parts: list[int]) -> list[set[int]]:
    found: dict[int, set[int]] = {}
    for group, part in zip(groups, parts, strict=True):
        found.setdefault(group, set()).add(part)
    return list(found.values())


@settings(deadline=None)
@given(ROWS, FRACTIONS, st.integers(2, 5), st.integers())
def test_rows_of_one_group_are_never_in_two_parts(rows, fractions, n_folds, seed):
    valid, test = fractions
    options = columns(rows) | {"seed": seed}

    by_split = splits(len(rows), valid=valid, test=test, **options)
    by_fold = folds(len(rows), n_folds=n_folds, **options)

    assert all(len(parts) == 1 for parts in parts_by_group(options["groups"], by_split))
    assert all(len(parts) == 1 for parts in parts_by_group(options["groups"], by_fold))


@settings(deadline=None)
@given(ROWS, st.data())
def test_given_rows_stay_and_their_group_follows_the_first_of_them(rows, data):
    given_parts = data.draw(st.lists(st.sampled_from([FREE, FREE, 0, 1, 2]), min_size=len(rows), max_size=len(rows)))
    options = columns(rows) | {"given": given_parts}
    first: dict[int, int] = {}
    for (group, _), part in zip(rows, given_parts, strict=True):
        if part != FREE:
            first.setdefault(group, part)

    for parts in (splits(len(rows), **options), folds(len(rows), n_folds=3, **options)):
        for i, (group, _) in enumerate(rows):
            if given_parts[i] != FREE:
                assert parts[i] == given_parts[i]
            elif group in first:
                assert parts[i] == first[group]
        free = [i for i, (group, _) in enumerate(rows) if group not in first]
        torn = parts_by_group([rows[i][0] for i in free], [parts[i] for i in free])
        assert all(len(found) == 1 for found in torn)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(), st.data())
def test_the_order_of_rows_and_the_numbers_of_groups_do_not_matter(rows, random, seed, data):
    n = len(rows)
    part_of_group = data.draw(st.lists(st.sampled_from([FREE] * 4 + [0, 1, 2]), min_size=13, max_size=13))
    names = [f"{i}.jpg" for i in range(n)]
    given_parts = [part_of_group[group] for group, _ in rows]
    order = random.sample(range(n), n)
    new_number = random.sample(range(13), 13)
    shuffled = {
        "names": [names[i] for i in order],
        "groups": [new_number[rows[i][0]] for i in order],
        "classes": [rows[i][1] for i in order],
        "given": [given_parts[i] for i in order],
    }

    for assign in (splits, lambda n, **options: folds(n, n_folds=3, **options)):
        before = assign(n, names=names, seed=seed, given=given_parts, **columns(rows))
        after = assign(n, seed=seed, **shuffled)

        assert dict(zip(shuffled["names"], after, strict=True)) == dict(zip(names, before, strict=True))


@settings(deadline=None)
@given(PURE, FRACTIONS, st.integers(2, 5))
def test_the_counts_reached_with_groups_of_one_class_are_off_by_less_than_a_group(rows, fractions, n_folds):
    valid, test = fractions
    options = columns(rows)
    told_apart = max(options["classes"], default=-1) > 0

    by_split = splits(len(rows), valid=valid, test=test, **options)
    by_fold = folds(len(rows), n_folds=n_folds, **options)

    for c in set(options["classes"]):
        at = [i for i, other in enumerate(options["classes"]) if other == c]
        largest = max(Counter(options["groups"][i] for i in at).values())
        wanted = wanted_of(len(at), valid, test, leave_one=told_apart)
        reached = counts_of([by_split[i] for i in at])
        assert all(abs(n - asked) <= largest for n, asked in zip(reached, wanted, strict=True))
        sizes = Counter(by_fold[i] for i in at)
        assert all(abs(sizes[k] - len(at) / n_folds) < largest + 1 for k in range(n_folds))


@settings(deadline=None)
@given(ROWS | PURE, FRACTIONS, st.data())
def test_each_class_has_a_row_in_train_if_one_is_free_whatever_its_groups(rows, fractions, data):
    valid, test = fractions
    options = columns(rows)
    assume(max(options["classes"], default=-1) > 0)
    part_of_group = data.draw(st.lists(st.sampled_from([FREE] * 4 + [1, 2]), min_size=13, max_size=13))
    given_parts = [part_of_group[group] for group, _ in rows]

    parts = splits(len(rows), valid=valid, test=test, given=given_parts, **options)

    trained = {c for c, part in zip(options["classes"], parts, strict=True) if part == TRAIN}
    free = {c for c, part in zip(options["classes"], given_parts, strict=True) if part == FREE}
    assert free - {-1} <= trained


def test_a_class_that_whole_groups_would_take_from_train_leaves_its_smallest_there():
    """Class 1 wants four rows in each of valid and test and two in train, and has three groups."""
    options = {"groups": [0] * 5 + [1] * 3 + [2] * 2 + [3] * 10, "classes": [1] * 10 + [0] * 10}

    assert splits(20, valid=0.4, test=0.4, **options)[:10] == [VALID] * 5 + [TEST] * 3 + [TRAIN] * 2


def test_of_groups_of_one_size_that_of_the_last_rank_is_left_to_train():
    options = {"groups": [0] * 5 + [1] * 5 + [2] * 10, "classes": [1] * 10 + [0] * 10}
    lasts = [int(draw(10, seed=seed).ranks.argmax()) // 5 for seed in range(6)]

    for seed, last in enumerate(lasts):
        parts = splits(20, valid=0.4, test=0.4, seed=seed, **options)
        assert parts[last * 5 : last * 5 + 5] == [TRAIN] * 5
        assert parts[:10].count(TRAIN) == 5
        assert parts[10:] == [TRAIN] * 10
    assert set(lasts) == {0, 1}


def test_rows_without_a_class_may_all_be_taken_from_train():
    parts = splits(9, valid=0.5, test=0.0, groups=[0] * 3 + list(range(1, 7)), classes=[-1] * 3 + [0, 1] * 3)

    assert parts[:3] == [VALID] * 3
    assert counts_of(parts[3::2]) == counts_of(parts[4::2]) == [1, 2, 0]


def test_a_rare_class_in_a_group_of_others_is_left_to_train():
    groups = [0] * 14 + [1] * 4 + [2, 2]
    classes = [0] * 17 + [1] + [0, 0]

    parts = splits(20, valid=0.2, test=0.1, groups=groups, classes=classes)

    assert parts[14:18] == [TRAIN] * 4


def test_one_class_alone_is_not_told_apart():
    for c in (-1, 0):
        assert splits(1, classes=[c], valid=0.6, test=0.0) == [VALID]
        assert splits(10, classes=[c] * 10, groups=[0] * 5 + [1] * 5, valid=0.9, test=0.0) == [VALID] * 10


# examples


def test_given_rows_count_as_placed():
    parts = splits(20, valid=0.2, test=0.1, given=[VALID] * 3 + [TEST] + [FREE] * 16)

    assert counts_of(parts) == [14, 4, 2]
    assert counts_of(splits(20, valid=0.2, test=0.1, given=[VALID] * 9 + [FREE] * 11)) == [9, 9, 2]
    assert Counter(folds(20, n_folds=4, given=[2] * 7 + [FREE] * 13)) == {0: 3, 1: 5, 2: 7, 3: 5}


def test_large_groups_are_placed_first_and_single_rows_fill_what_is_left():
    groups = [0] * 9 + [1] * 3 + [2] * 2 + list(range(3, 9))

    parts = splits(20, valid=0.2, test=0.1, groups=groups)

    assert counts_of(parts) == [14, 4, 2]
    assert set(parts[:9]) == {TRAIN}


def test_a_group_larger_than_every_part_but_train_goes_there():
    assert splits(10, groups=[0] * 10, valid=0.3, test=0.2) == [TRAIN] * 10


def test_groups_are_spread_over_the_folds():
    parts = folds(24, n_folds=4, groups=[i // 3 for i in range(24)])

    assert Counter(parts) == {0: 6, 1: 6, 2: 6, 3: 6}


# what published splits depend on


def test_the_split_of_40_fixed_names_never_changes():
    # fmt: off
    assert splits(40, names=FORTY) == [
        0, 2, 0, 2, 1, 2, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0,
        2, 0, 1, 1, 0, 0, 2, 1, 0, 0, 0, 2, 2, 0, 1, 0, 0, 0, 0, 2,
    ]
    # fmt: on


def test_the_stratified_split_of_40_fixed_names_in_groups_never_changes():
    groups = [i // 3 if i < 24 else i for i in range(40)]

    # fmt: off
    assert splits(40, names=FORTY, groups=groups, classes=[i % 4 for i in range(40)]) == [
        0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2,
        2, 0, 0, 0, 0, 1, 2, 1, 0, 2, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    ]
    # fmt: on


def test_the_folds_of_40_fixed_names_never_change():
    # fmt: off
    assert folds(40, names=FORTY, n_folds=5, classes=[i % 4 for i in range(40)]) == [
        3, 2, 0, 3, 1, 2, 1, 4, 2, 1, 4, 0, 1, 1, 1, 1, 0, 4, 3, 4,
        2, 0, 2, 2, 4, 3, 3, 1, 4, 4, 0, 2, 3, 3, 2, 0, 0, 0, 4, 3,
    ]
    # fmt: on
