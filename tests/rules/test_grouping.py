"""Group rules, components against a plain union-find, and which hashes are evidence."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SplitError
from imagekit.rules.grouping import (
    Components,
    GroupRule,
    Likeness,
    content_codes,
    find_groups,
    join_similar,
    parse_group_rule,
)
from imagekit.rules.similar import is_flat

FIX_REGEX = r"write name:^(patient\d+)_ for patient7_2.jpg, or call the group that counts (?P<group>...)"
PHOTO = 0x5AC3_91E7_3C0F_A665  # rows that differ in many bits
OTHER = 0xC33C_5AA5_0FF0_6996
assert not is_flat(np.array([PHOTO, OTHER], np.uint64)).any()


def error_text(spec: str) -> str:
    with pytest.raises(SplitError) as caught:
        parse_group_rule(spec)
    assert caught.value.exit_code == 2
    return str(caught.value)


def turned(hash_: int, *bits: int) -> int:
    for bit in bits:
        hash_ ^= 1 << bit
    return hash_


# the rule


@pytest.mark.parametrize(
    ("spec", "rule", "is_keyed"),
    [
        ("similar", GroupRule(), False),
        ("column:patient", GroupRule(column="patient"), True),
        ("column:a:b c", GroupRule(column="a:b c"), True),
        (r"name:^(\d+)_", GroupRule(pattern=re.compile(r"^(\d+)_")), True),
        ("name:(a):(?P<group>b)(c)", GroupRule(pattern=re.compile("(a):(?P<group>b)(c)")), True),
    ],
)
def test_each_spelling_is_its_rule(spec, rule, is_keyed):
    assert parse_group_rule(spec) == rule
    assert parse_group_rule(spec).is_keyed is is_keyed


@pytest.mark.parametrize(
    ("spec", "guess"),
    [
        ("", ""),
        ("similr", 'did you mean "similar"? '),
        ("Similar", 'did you mean "similar"? '),
        ("similar:3", 'did you mean "similar"? '),
        ("name", ""),
        ("column", 'did you mean "column:NAME"? '),
        ("column:", 'did you mean "column:NAME"? '),
        ("parent", ""),
    ],
)
def test_an_unknown_group_rule_is_refused_with_all_that_are_known(spec, guess):
    assert error_text(spec) == (
        f'the group rule "{spec}" is not known\n  where: --group\n  fix: {guess}known: column:NAME, name:REGEX, similar'
    )


@pytest.mark.parametrize(
    ("regex", "fault"),
    [
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("*", "nothing to repeat at position 0"),
        ("(a){99999999999999999999}", "the repetition number is too large"),
    ],
)
def test_an_expression_that_is_none_is_refused_with_its_fault(regex, fault):
    assert error_text(f"name:{regex}") == (
        f'the group rule "name:{regex}" holds no regular expression: {fault}\n  where: --group\n  fix: {FIX_REGEX}'
    )


@pytest.mark.parametrize(("regex", "n_groups"), [("", 0), ("abc", 0), ("(a)(b)", 2), ("(?P<label>a)(b)", 2)])
def test_an_expression_must_say_which_group_counts(regex, n_groups):
    assert error_text(f"name:{regex}") == (
        f'the group rule "name:{regex}" has {n_groups} groups and none is called group\n'
        f"  where: --group\n  fix: {FIX_REGEX}"
    )


@pytest.mark.parametrize(
    ("regex", "groups"),
    [
        (r"^(patient\d+)_", ["patient7", "patient12", None]),
        (r"(?P<x>patient)(?P<group>\d)", ["7", "1", None]),
        (r"(?P<label>patient)", ["patient", "patient", None]),
        (r"_(x)?", [None, None, None]),
        (r"(\d*)", [None, None, None]),
    ],
)
def test_the_group_of_a_file_is_what_the_expression_finds_in_its_name(regex, groups):
    files = pa.array([b"patient7_2.jpg", b"patient12_1.jpg", b"xray.jpg"], pa.large_binary())

    assert find_groups(files, parse_group_rule(f"name:{regex}").pattern) == groups


def test_a_group_that_is_not_utf8_gives_its_bytes_back():
    files = pa.array([b"\xff\xe9_1.jpg", "é_1.jpg".encode()], pa.large_binary())

    found = find_groups(files, re.compile("^(.+)_"))

    assert [group.encode("utf-8", "surrogateescape") for group in found if group] == [b"\xff\xe9", "é".encode()]
    assert find_groups(files.slice(0, 0), re.compile("(.)")) == []


# components


class UnionFind:
    """The plain way: follow parents, one pair at a time."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            i = self.parent[i]
        return i

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self.parent[high] = low

    def labels(self) -> list[int]:
        return [self.root(i) for i in range(len(self.parent))]


def ints(values) -> np.ndarray:
    return np.array(list(values), np.int64)


def components_of(n: int, *batches: list[tuple[int, int]]) -> list[int]:
    components = Components(n)
    for pairs in batches:
        components.join(ints(one for one, _ in pairs), ints(other for _, other in pairs))
    return components.labels.tolist()


N_ROWS = 30
PAIRS = st.lists(st.tuples(st.integers(0, N_ROWS - 1), st.integers(0, N_ROWS - 1)), max_size=40)


@settings(deadline=None)
@given(st.lists(PAIRS, max_size=4))
def test_components_are_those_of_a_plain_union_find_named_by_their_lowest_row(batches):
    plain = UnionFind(N_ROWS)
    for one, other in (pair for pairs in batches for pair in pairs):
        plain.join(one, other)

    assert components_of(N_ROWS, *batches) == plain.labels()


@settings(deadline=None)
@given(PAIRS, st.randoms(use_true_random=False), st.integers(0, 40))
def test_the_order_and_the_batches_of_joins_do_not_matter(pairs, random, cut):
    shuffled = [random.choice([(a, b), (b, a)]) for a, b in random.sample(pairs, len(pairs))]

    assert components_of(N_ROWS, shuffled[:cut], shuffled[cut:]) == components_of(N_ROWS, pairs)


def test_nothing_joined_leaves_every_row_by_itself():
    assert components_of(3, []) == components_of(3, [(1, 1)]) == [0, 1, 2]
    assert components_of(0, []) == []


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_long_chain_is_one_component_in_any_order(seed):
    n = 100_000
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    components = Components(n)

    components.join(order[1:], order[:-1])

    assert not components.labels.any()


def test_rows_of_one_code_are_joined_and_others_left_alone():
    components = Components(8)

    components.join_equal(ints([1, 3, 4, 6, 7]), np.array([5, 2, 5, 2, 9], np.int32))

    assert components.labels.tolist() == [0, 1, 2, 3, 1, 5, 3, 7]


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=30), st.lists(st.integers(0, 6), max_size=30))
def test_two_codes_join_like_a_plain_union_find(ones, others):
    n = max(len(ones), len(others))
    plain, components = UnionFind(n), Components(n)

    for codes in (ones, others):
        components.join_equal(np.arange(len(codes)), np.array(codes, np.int32))
        for i, code in enumerate(codes):
            plain.join(codes.index(code), i)

    assert components.labels.tolist() == plain.labels()


# contents


def digests(*texts: str | None) -> pa.Array:
    return pa.array([None if text is None else hashlib.sha256(text.encode()).digest() for text in texts], pa.binary(32))


def test_each_content_has_a_code_and_an_unknown_one_has_none():
    codes = content_codes(digests("b", None, "a", "b", None, "c"))

    assert codes.dtype == np.int32
    assert codes.tolist() == [0, -1, 1, 0, -1, 2]


@pytest.mark.parametrize("sha256", [digests(), pa.nulls(3, pa.binary(32))])
def test_no_known_content_has_no_code(sha256):
    assert content_codes(sha256).tolist() == [-1] * len(sha256)


def test_a_part_of_a_column_has_codes_of_its_own():
    codes = content_codes(digests("x", "y", "x", None, "y").slice(1))

    assert [codes[0] == codes[3], codes[0] == codes[1], codes[2]] == [True, False, -1]


# evidence


def likeness(hashes: list[int | None], contents: list[int] | None = None) -> Likeness:
    return Likeness(
        contents=np.array(range(len(hashes)) if contents is None else contents, np.int32),
        hashes=np.array([hash_ or 0 for hash_ in hashes], np.uint64),
        has_hash=np.array([hash_ is not None for hash_ in hashes], np.bool_),
    )


def test_a_hash_that_is_there_and_not_flat_is_evidence():
    assert likeness([PHOTO, None, 0, 2**64 - 1, 0x0F0F0F0F0F0F0F0F, OTHER]).evidence().tolist() == [
        *(True, False, False, False, False, True)
    ]


def test_no_rows_and_rows_without_a_hash_hold_no_evidence():
    assert likeness([]).evidence().tolist() == []
    assert likeness([None, None]).evidence().tolist() == [False, False]


@pytest.mark.parametrize(
    ("n_rows", "n_files", "told"),
    [
        (100, 64, True),
        (100, 65, False),
        (64_999, 64, True),
        (64_999, 65, False),
        (66_000, 66, True),
        (66_000, 67, False),
    ],
)
def test_a_hash_that_more_files_share_than_64_or_a_thousandth_of_all_is_no_evidence(n_rows, n_files, told):
    photos = np.random.default_rng(0).integers(0, 2**63, n_rows - n_files)
    hashes = np.concatenate([np.full(n_files, PHOTO, np.uint64), photos.astype(np.uint64)])
    is_told = likeness(hashes.tolist()).evidence()

    assert is_told[:n_files].tolist() == [told] * n_files
    assert np.array_equal(is_told[n_files:], ~is_flat(hashes[n_files:]))


def test_many_rows_of_one_content_stay_evidence():
    copies = [PHOTO] * 500

    assert likeness(copies, [7] * 500).evidence().all()
    assert likeness(copies, [i % 64 for i in range(500)]).evidence().all()
    assert not likeness(copies, [i % 65 for i in range(500)]).evidence().any()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([PHOTO, OTHER, 0, None]), st.integers(0, 4)), max_size=40))
def test_evidence_is_told_by_counting_the_contents_of_each_hash(rows):
    hashes, contents = [hash_ for hash_, _ in rows], [content for _, content in rows]
    files_of = {hash_: {content for other, content in rows if other == hash_} for hash_ in hashes}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imagekit.rules.grouping._COMMON_LEAST", 2)
        told = likeness(hashes, contents).evidence()

    assert told.tolist() == [hash_ in (PHOTO, OTHER) and len(files_of[hash_]) <= 2 for hash_ in hashes]


# joining what is alike


def joined(like: Likeness) -> tuple[list[int], int]:
    components = Components(len(like.hashes))
    n_unlike = join_similar(components, like)
    return components.labels.tolist(), n_unlike


@pytest.mark.parametrize("hash_", [PHOTO, 0, 2**64 - 1, None])
def test_the_same_bytes_are_joined_whatever_their_hash(hash_):
    labels, n_unlike = joined(likeness([hash_, OTHER, hash_, hash_], [3, 1, 3, 3]))

    assert labels == [0, 1, 0, 0]
    assert n_unlike == (3 if hash_ in (0, 2**64 - 1) else 0)


def test_the_same_hash_and_one_within_three_bits_are_joined():
    near, far = turned(PHOTO, 0, 31, 63), turned(PHOTO, 1, 20, 40, 60)

    assert joined(likeness([OTHER, PHOTO, near, PHOTO, far])) == ([0, 1, 1, 1, 4], 0)


def test_near_pictures_are_joined_by_way_of_others():
    steps = [turned(PHOTO, *range(2 * n)) for n in range(6)]

    assert np.bitwise_count(np.uint64(steps[0] ^ steps[5])) == 10
    assert joined(likeness([steps[i] for i in (5, 0, 3, 1, 4, 2)])) == ([0] * 6, 0)
    assert joined(likeness([steps[i] for i in (5, 0, 1, 4, 2)])) == ([0, 1, 1, 0, 1], 0)


def test_a_copy_of_the_bytes_and_a_near_picture_make_one_component():
    like = likeness([PHOTO, OTHER, None, turned(PHOTO, 5), None], [0, 1, 2, 2, 1])

    assert joined(like) == ([0, 1, 0, 0, 1], 0)


def test_flat_pictures_are_never_joined_by_their_hash_and_are_counted():
    flat = [0, 0, 1, 2**64 - 1, 0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0F]

    assert joined(likeness([*flat, PHOTO, None])) == (list(range(8)), 6)


def test_a_hash_that_very_many_files_share_joins_none_of_them():
    near = [turned(PHOTO, 1), turned(PHOTO, 2)]

    # 65 rows of 64 files, and two pictures near to them
    assert joined(likeness([*[PHOTO] * 65, *near], [0, 0, *range(2, 67)])) == ([0] * 67, 0)
    # one file more: only the two copies are joined by their bytes, and the two near pictures by their hashes
    labels, n_unlike = joined(likeness([*[PHOTO] * 66, *near], [0, 0, *range(2, 68)]))
    assert labels == [0, 0, *range(2, 67), 66]
    assert n_unlike == 66


def test_rows_of_unknown_content_are_not_joined_by_it():
    assert joined(likeness([None] * 4, [-1, -1, 2, 2])) == ([0, 1, 2, 2], 0)
    assert joined(likeness([])) == ([], 0)


HASH_FAMILY = st.sampled_from([PHOTO, OTHER]).flatmap(
    lambda base: st.sets(st.integers(0, 9), max_size=4).map(lambda bits: turned(base, *bits))
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(HASH_FAMILY | st.sampled_from([None, 0, 3]), st.integers(-1, 20)), max_size=25))
def test_likeness_joins_as_a_comparison_of_all_with_all(rows):
    rows = [(hash_, content) for hash_, content in rows if hash_ is None or content >= 0]
    plain = UnionFind(len(rows))
    for i, (one, content) in enumerate(rows):
        for j, (other, other_content) in enumerate(rows[:i]):
            is_alike = one and other and min(one, other) > 3 and (one ^ other).bit_count() <= 3
            if is_alike or (content == other_content != -1):
                plain.join(i, j)

    labels, n_unlike = joined(likeness([hash_ for hash_, _ in rows], [content for _, content in rows]))

    assert labels == plain.labels()
    assert n_unlike == sum(hash_ in (0, 3) for hash_, _ in rows)
