"""Choosing: by class, by path, by content, by a fraction, by a cap a class."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import UsageError
from imagekit.rules.choosing import (
    CONTENT_RULES,
    ContentRule,
    cap_groups,
    content_verdicts,
    match_classes,
    match_paths,
    missing_classes,
    path_hashes,
    sha256_entries,
    take_fraction,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "choosing-v1.json"
CLASSES = {"n2": "beagle", "n1": "tench", "n3": "church"}
SUM = hashlib.sha256(b"an image").digest()
NAMES = st.lists(st.binary(min_size=1, max_size=6), unique=True, max_size=30).map(sorted)


def column(names):
    return pa.array(names, type=pa.large_binary())


# class lists of recipes


def test_classes_that_no_row_has_are_listed_in_the_order_of_the_recipe():
    assert missing_classes(["n1", None, "n9"], CLASSES) == ["n2", "n3"]


def test_nothing_is_missing_where_every_class_has_a_row():
    assert missing_classes(iter(["n1", "n2", "n3", "n1"]), CLASSES) == []


# class patterns

IDS = ["n01", "n02", "n11", "N01", "n[1]", "crane"]
READABLE = {"n01": "crane", "n02": "crane bird", "n11": "crane bird", "n99": "absent", "N01": "n02"}


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("n01", {"n01"}),
        ("crane bird", {"n02", "n11"}),
        ("crane", {"crane"}),  # an id goes before a readable name
        ("n02", {"n02"}),
        ("n0*", {"n01", "n02"}),
        ("n?1", {"n01", "n11"}),
        ("n[02]*", {"n01", "n02"}),
        ("n[!0]*", {"n11", "n[1]"}),
        ("n[1]", {"n[1]"}),  # spelt so, it is no glob
        ("*", set(IDS)),
        ("absent", set()),
        ("n99", set()),
        ("n", set()),
        ("crane bir?", set()),  # globs are over ids only
        ("", set()),
    ],
)
def test_a_class_pattern_is_an_id_a_readable_name_or_a_glob(pattern, chosen):
    match = match_classes([pattern], ids=IDS, names=READABLE)

    assert match.chosen == chosen
    assert match.unmatched == (() if chosen else (pattern,))


def test_patterns_add_up_and_the_unmatched_keep_their_order():
    match = match_classes(["zz", "n1*", "crane bird", "aa", "zz"], ids=IDS, names=READABLE)

    assert (match.chosen, match.unmatched) == ({"n11", "n02"}, ("zz", "aa"))


def test_no_pattern_chooses_no_class():
    assert match_classes([], ids=IDS, names=READABLE).chosen == frozenset()


# fraction and cap: published subsets depend on them


def golden_names():
    names = [f"train/n{c:04d}/n{c:04d}_{i}.JPEG".encode() for c in range(10) for i in range(29)]
    odd = ["train/n0000/é.jpg".encode(), b"train/n0001/\xff\xfe.jpg", b"train/n0002/a\nb.jpg", b"train/n0003/ .jpg"]
    return sorted([*names, *odd])


def test_what_is_taken_for_seed_42_never_changes():
    golden = json.loads(GOLDEN.read_text(encoding="ascii"))
    names = golden_names()
    groups = np.array([int(name[7:11]) for name in names], dtype=np.int32)

    hashes = path_hashes(column(names), seed=42)

    shown = [name.decode("utf-8", "surrogateescape") for name in names]
    assert {
        "seed": 42,
        "n_names": len(names),
        "first_hashes": [f"{value:016x}" for value in hashes[:4].tolist()],
        "fraction_0.1": [shown[i] for i in np.flatnonzero(take_fraction(hashes, 0.1))],
        "cap_3": [shown[i] for i in np.flatnonzero(cap_groups(hashes, groups, 3))],
    } == golden


def test_the_hash_is_what_its_documentation_says():
    expected = int.from_bytes(hashlib.sha256(b"7\0a/\xff.jpg").digest()[:8], "big")

    hashes = path_hashes(column([b"a/\xff.jpg"]), seed=7)

    assert (hashes.dtype, hashes.tolist()) == (np.dtype(np.uint64), [expected])


def test_a_slice_of_the_names_has_the_hashes_of_its_rows():
    names = column([b"a", b"b", b"c"])

    assert path_hashes(names.slice(1), seed=0).tolist() == path_hashes(names, seed=0)[1:].tolist()


def test_another_seed_takes_others():
    names = column([str(i).encode() for i in range(200)])

    zero, one = (take_fraction(path_hashes(names, seed=seed), 0.5) for seed in (0, 1))

    assert 70 < zero.sum() < 130
    assert (zero != one).any()


@pytest.mark.parametrize(
    ("value", "fraction", "taken"),
    [
        (0, 2.0**-64, True),
        (1, 2.0**-64, False),
        (0, 5e-324, True),
        (2**63 - 1, 0.5, True),
        (2**63, 0.5, False),
        (2**64 - 1, 1.0, True),
        (2**64 - 2049, 1 - 2.0**-53, True),
        (2**64 - 2048, 1 - 2.0**-53, False),
    ],
)
def test_the_limit_of_a_fraction_is_exact(value, fraction, taken):
    assert take_fraction(np.array([value], dtype=np.uint64), fraction).tolist() == [taken]


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_a_fraction_that_cannot_be_is_refused(fraction):
    with pytest.raises(UsageError) as caught:
        take_fraction(np.zeros(1, dtype=np.uint64), fraction)

    assert str(caught.value) == (
        f"the fraction is {fraction:g}, must be above 0 and at most 1\n  where: fraction\n"
        "  fix: write fraction = 0.1 for a tenth, or delete the key to keep every image"
    )


def test_a_cap_below_one_is_refused():
    with pytest.raises(UsageError) as caught:
        cap_groups(np.zeros(1, dtype=np.uint64), np.zeros(1, dtype=np.int32), 0)

    assert str(caught.value) == (
        "the cap a class is 0, must be at least 1\n  where: per_class\n"
        "  fix: set per_class = 1 or more, or delete the key to keep every image"
    )


def test_a_cap_takes_the_lowest_hashes_of_each_group():
    hashes = np.array([5, 1, 9, 3, 2**64 - 1, 4], dtype=np.uint64)
    groups = np.array([0, 0, 0, 0, 1, 7], dtype=np.int32)

    assert cap_groups(hashes, groups, 2).tolist() == [False, True, False, True, True, True]


def test_equal_hashes_rank_by_position():
    zeros = np.zeros(4, dtype=np.uint64)

    assert cap_groups(zeros, np.array([0, 1, 0, 0], dtype=np.int32), 2).tolist() == [True, True, True, False]


def test_rows_of_no_group_are_not_capped():
    zeros = np.zeros(3, dtype=np.uint64)

    assert cap_groups(zeros, np.array([-1, -1, 0], dtype=np.int32), 1).tolist() == [True, True, True]


def test_a_cap_of_nothing_is_nothing():
    assert len(cap_groups(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32), 1)) == 0


def taken_by_fraction(names, seed, fraction):
    mask = take_fraction(path_hashes(column(names), seed=seed), fraction)
    return {name for name, take in zip(names, mask, strict=True) if take}


def taken_by_cap(names, limit):
    groups = np.array([name[0] % 3 for name in names], dtype=np.int32)
    mask = cap_groups(path_hashes(column(names), seed=0), groups, limit)
    return {name for name, take in zip(names, mask, strict=True) if take}


@given(names=NAMES, more=NAMES, fraction=st.floats(0, 1, exclude_min=True), seed=st.integers(0, 9))
def test_added_names_change_no_other_names_fraction(names, more, fraction, seed):
    both = sorted({*names, *more})

    assert taken_by_fraction(both, seed, fraction) & set(names) == taken_by_fraction(names, seed, fraction)


@given(names=NAMES, fractions=st.tuples(*[st.floats(0, 1, exclude_min=True)] * 2).map(sorted))
def test_a_smaller_fraction_is_part_of_a_larger_one(names, fractions):
    small, large = fractions

    assert taken_by_fraction(names, 0, small) <= taken_by_fraction(names, 0, large)


@given(names=NAMES.filter(bool), new=st.binary(min_size=1, max_size=6), limit=st.integers(1, 4))
def test_a_new_name_displaces_at_most_one_under_a_cap(names, new, limit):
    before, after = taken_by_cap(names, limit), taken_by_cap(sorted({*names, new}), limit)

    assert len(before - after) <= 1
    assert after - before <= {new}


@given(names=NAMES, limit=st.integers(1, 4), rng=st.randoms())
def test_the_order_of_the_names_does_not_matter(names, limit, rng):
    shuffled = rng.sample(names, len(names))

    assert taken_by_cap(shuffled, limit) == taken_by_cap(names, limit)
    assert taken_by_fraction(shuffled, 0, 0.5) == taken_by_fraction(names, 0, 0.5)


# paths

PATHS = sorted(
    [
        b"1.jpg",
        b"a/1.jpg",
        b"a/12.jpg",
        b"a/1.JPG",
        b"a/b/1.jpg",
        b"a/b/c/1.png",
        b"a/[1].jpg",
        b"a/\n.jpg",
        b"b/\xff.jpg",
        "b/é.jpg".encode(),
        b"b/-.jpg",
    ]
)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("1.jpg", {b"1.jpg"}),
        ("a/b/1.jpg", {b"a/b/1.jpg"}),
        ("b/\udcff.jpg", {b"b/\xff.jpg"}),
        ("b/é.jpg", {"b/é.jpg".encode()}),
        ("*.jpg", {b"1.jpg"}),
        ("a/*.jpg", {b"a/1.jpg", b"a/12.jpg", b"a/[1].jpg", b"a/\n.jpg"}),
        ("*/1.jpg", {b"a/1.jpg"}),
        ("a/?.jpg", {b"a/1.jpg", b"a/\n.jpg"}),
        ("b/?.jpg", {b"b/\xff.jpg", "b/é.jpg".encode(), b"b/-.jpg"}),  # a sign, not a byte
        ("a?1.jpg", set()),  # no sign stands for "/"
        ("a[/]1.jpg", set()),
        ("a[!b]1.jpg", set()),
        ("a[+-9]1.jpg", set()),
        ("a/[1].jpg", {b"a/[1].jpg"}),  # a file is called so
        ("a/[0-9].jpg", {b"a/1.jpg"}),
        ("a/[!0-9].jpg", {b"a/\n.jpg"}),
        ("b/[a-].jpg", {b"b/-.jpg"}),
        ("a/[]1[]*", {b"a/1.jpg", b"a/12.jpg", b"a/1.JPG", b"a/[1].jpg"}),
        ("a/[*", {b"a/[1].jpg"}),  # a bracket that nothing closes is a bracket
        ("b/[éa].jpg", {"b/é.jpg".encode()}),
        ("**", set(PATHS)),
        ("a/**", {path for path in PATHS if path.startswith(b"a/")}),
        ("**/1.jpg", {b"1.jpg", b"a/1.jpg", b"a/b/1.jpg"}),
        ("a/**/1.*", {b"a/1.jpg", b"a/1.JPG", b"a/b/1.jpg", b"a/b/c/1.png"}),
        ("a**png", {b"a/b/c/1.png"}),
        ("a/b", set()),
        ("a/b/", set()),
        ("A/1.jpg", set()),
        ("a/1.jp", set()),
        ("a.1*", set()),  # a dot is a dot
    ],
)
def test_a_path_entry_names_these_files(entry, named):
    match = match_paths(column(PATHS), [entry])

    assert {path for path, hit in zip(PATHS, match.mask, strict=True) if hit} == named
    assert match.unmatched == (() if named else (entry,))


def test_path_entries_add_up_and_the_unmatched_keep_their_order():
    match = match_paths(column(PATHS), ["z*", "1.jpg", "*.gif", "a/b/**", "x.jpg", "z*"])

    assert match.mask.sum() == 3
    assert match.unmatched == ("z*", "*.gif", "x.jpg")


def test_sums_are_not_paths():
    match = match_paths(column(PATHS), [SUM.hex(), SUM.hex().upper()])

    assert (match.mask.any(), match.unmatched) == (False, ())


def test_no_entries_name_nothing_and_no_names_match_nothing():
    assert not match_paths(column(PATHS), []).mask.any()
    assert match_paths(column([]), ["a", "*"]).unmatched == ("a", "*")


@given(NAMES.filter(bool), st.data())
def test_a_name_names_itself(names, data):
    name = data.draw(st.sampled_from(names))

    match = match_paths(column(names), [name.decode("utf-8", "surrogateescape")])

    assert match.mask.tolist() == [other == name for other in names]


def test_sums_are_told_from_paths_in_any_case():
    entries = [SUM.hex().upper(), "a/1.jpg", SUM.hex(), SUM.hex()[:-1], SUM.hex() + "0", "g" * 64]

    assert sha256_entries(entries) == {SUM}


# content


def verdict(*, size=(300, 200), format="jpeg", sha256=SUM, rule, included=None):
    mask = None if included is None else np.array([included])
    codes = content_verdicts(
        widths=np.array(size[:1], dtype=np.int32),
        heights=np.array(size[1:], dtype=np.int32),
        formats=pa.array([format], type=pa.string()),
        sha256s=pa.array([sha256], type=pa.binary(32)),
        rule=rule,
        included=mask,
    )
    assert codes.dtype == np.int8
    return CONTENT_RULES[codes[0]]


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((300, 200), ContentRule(), "kept"),
        ((300, 200), ContentRule(min_side=200), "kept"),
        ((300, 200), ContentRule(min_side=201), "below-min-side"),
        ((200, 300), ContentRule(min_side=201), "below-min-side"),
        ((300, 200), ContentRule(max_aspect=1.5), "kept"),
        ((200, 300), ContentRule(max_aspect=1.49), "above-max-aspect"),
        ((23, 10), ContentRule(max_aspect=2.3), "kept"),  # 2.3 * 10 is below 23 in floats
        ((7, 7), ContentRule(max_aspect=1), "kept"),
        ((300, 200), ContentRule(formats=("png", "jpeg")), "kept"),
        ((300, 200), ContentRule(formats=("png",)), "format-not-chosen"),
        ((300, 200), ContentRule(deny=frozenset([b"0" * 32])), "kept"),
        ((300, 200), ContentRule(deny=frozenset([SUM])), "denied"),
    ],
)
def test_each_rule_of_content_leaves_out_what_it_says(size, rule, expected):
    assert verdict(size=size, rule=rule) == expected


@pytest.mark.parametrize(
    ("included", "sums", "expected"),
    [
        (None, frozenset(), "kept"),
        (True, frozenset(), "kept"),
        (False, frozenset(), "not-included"),
        (False, frozenset([SUM]), "kept"),
        (False, frozenset([b"0" * 32]), "not-included"),
    ],
)
def test_an_include_list_takes_what_is_named_by_path_or_sum(included, sums, expected):
    assert verdict(rule=ContentRule(include=sums), included=included) == expected


def test_the_first_rule_that_leaves_a_row_out_is_told():
    rule = ContentRule(min_side=999, max_aspect=1.1, formats=("png",), deny=frozenset([SUM]))
    sha256s = [SUM, b"0" * 32, b"0" * 32, b"1" * 32, b"1" * 32, b"1" * 32]

    codes = content_verdicts(
        widths=np.array([300, 300, 300, 300, 2000, 1000], dtype=np.int32),
        heights=np.array([200, 200, 200, 200, 1000, 1000], dtype=np.int32),
        formats=pa.array(["jpeg", "jpeg", "jpeg", "png", "png", "png"]),
        sha256s=pa.array(sha256s, type=pa.binary(32)),
        rule=rule,
        included=np.array([True, False, True, True, True, True]),
    )

    assert [CONTENT_RULES[code] for code in codes] == [
        "denied",
        "not-included",
        "format-not-chosen",
        "below-min-side",
        "above-max-aspect",
        "kept",
    ]
