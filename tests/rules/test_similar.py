"""near_pairs against a comparison of all with all, and is_flat against its definition."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.pixels.dhash import dhash
from imagekit.rules import similar
from imagekit.rules.similar import FLAT_BITS, MAX_DISTANCE, is_flat, near_pairs

HASHES = st.integers(0, 2**64 - 1)
# few bits vary, so that near pairs are common
CLOSE = st.lists(st.sampled_from([0, 1, 31, 32, 33, 62, 63]), unique=True).map(lambda bits: sum(1 << b for b in bits))


def u64(*hashes: int) -> np.ndarray:
    return np.array(hashes, np.uint64)


def found(hashes: np.ndarray) -> set[tuple[int, int]]:
    keys = [np.zeros(0, np.int64)]
    for ones, others in near_pairs(hashes):
        assert ones.dtype == others.dtype == np.int64
        assert len(ones) == len(others) > 0
        keys.append(np.minimum(ones, others) * len(hashes) + np.maximum(ones, others))
    return {divmod(key, len(hashes)) for key in np.unique(np.concatenate(keys)).tolist()}  # some come twice


def all_with_all(hashes: np.ndarray) -> set[tuple[int, int]]:
    pairs = set()
    for i, one in enumerate(hashes[:-1]):
        distances = np.bitwise_count(hashes[i + 1 :] ^ one)
        pairs |= {(i, i + 1 + j) for j in np.flatnonzero((distances >= 1) & (distances <= 3)).tolist()}
    return pairs


def crowd(n: int, n_bits: int, *, first: int | None) -> np.ndarray:
    """Different hashes that agree in all but `n_bits` bits: those from `first` on, or any."""
    generator = np.random.default_rng(n_bits)
    where = generator.permutation(64)[:n_bits] if first is None else np.arange(first, first + n_bits)
    values = generator.choice(2**n_bits, n, replace=False)
    bits = (values[:, None] >> np.arange(n_bits)) & 1
    return (bits.astype(np.uint64) << where.astype(np.uint64)).sum(axis=1, dtype=np.uint64) ^ np.uint64(
        0x5DEECE66D1234567
    )


# pairs


def test_a_pair_is_near_within_three_bits():
    assert MAX_DISTANCE == 3
    assert found(u64(0, 0b111)) == {(0, 1)}
    assert found(u64(0, 0b1111)) == set()


@pytest.mark.parametrize("n", [0, 1])
def test_no_hash_or_one_has_no_pair(n):
    assert list(near_pairs(u64(*range(n)))) == []


def test_every_place_of_three_bits_is_found():
    """All 41,664 ways to turn three of 64 bits, each against the same hash."""
    base = 0x0123456789ABCDEF
    turned = [base ^ (1 << a) ^ (1 << b) ^ (1 << c) for a, b, c in combinations(range(64), 3)]

    pairs = found(u64(base, *turned[::16]))

    assert {pair for pair in pairs if pair[0] == 0} == {(0, i + 1) for i in range(len(turned[::16]))}
    one_by_one = [found(u64(base, hash_)) for hash_ in turned[::97]]
    assert one_by_one == [{(0, 1)}] * len(one_by_one)


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4, 5])
def test_planted_pairs_are_found_up_to_three_bits_and_none_beyond(distance):
    generator = np.random.default_rng(distance)
    hashes = generator.integers(0, 2**64, 2_000, np.uint64, endpoint=False)
    bits = np.array([generator.permutation(64)[:distance] for _ in hashes], np.uint64).reshape(len(hashes), distance)
    planted = hashes ^ (np.uint64(1) << bits).sum(axis=1, dtype=np.uint64)
    both = np.unique(np.concatenate([hashes, planted]))

    pairs = found(both)

    assert len(both) == (2_000 if distance == 0 else 4_000)
    assert len(pairs) == (2_000 if 1 <= distance <= 3 else 0)
    if pairs:
        ones, others = np.array(sorted(pairs)).T
        assert set(np.bitwise_count(both[ones] ^ both[others]).tolist()) == {distance}


def test_random_hashes_have_the_pairs_of_a_comparison_of_all_with_all():
    generator = np.random.default_rng(7)
    seeds = generator.integers(0, 2**64, 300, np.uint64, endpoint=False)
    turned = [seeds]
    for _ in range(6):
        turned.append(turned[-1] ^ (np.uint64(1) << generator.integers(0, 64, len(seeds), np.uint64)))
    hashes = generator.permutation(np.unique(np.concatenate(turned)))

    pairs = found(hashes)

    assert len(pairs) > 1_000
    assert pairs == all_with_all(hashes)


@pytest.fixture
def cuts(monkeypatch) -> list[int]:
    """How many bits were left each time that bits were cut into blocks."""
    lengths = []
    near = similar._near

    def spy(hashes, rows, bits):
        lengths.append(len(bits))
        return near(hashes, rows, bits)

    monkeypatch.setattr(similar, "_near", spy)
    return lengths


@pytest.mark.parametrize(
    ("n", "n_bits", "first", "is_cut_again"),
    [
        (2_048, 20, 0, False),
        (2_049, 20, 0, True),
        (2_100, 13, 51, True),
        (3_000, 18, 30, True),
        (4_000, 24, 40, True),
        (6_000, 38, 26, True),
        (4_000, 14, None, False),
        (4_000, 20, None, False),
        (3_000, 51, None, False),
    ],
)
def test_a_crowd_that_agrees_in_two_blocks_has_the_pairs_of_a_comparison_of_all_with_all(
    cuts, n, n_bits, first, is_cut_again
):
    """More hashes than are compared at once agree in two blocks: the bits that are left are cut again, down to 15."""
    hashes = crowd(n, n_bits, first=first)

    assert len(set(hashes.tolist())) == n
    assert found(hashes) == all_with_all(hashes)
    assert (len(cuts) > 1) is is_cut_again
    assert cuts[0] == 64
    assert min(cuts) >= 15


@settings(deadline=None, max_examples=60)
@given(st.lists(HASHES | CLOSE | CLOSE.map(lambda bits: bits ^ 0xF0F0F0F0F0F0F0F0), unique=True, max_size=50))
def test_any_hashes_have_the_pairs_of_a_comparison_of_all_with_all(hashes):
    assert found(u64(*hashes)) == all_with_all(u64(*hashes))


# every limit lowered, so that a few hashes run through the cutting, which else needs thousands
@settings(deadline=None, max_examples=60)
@given(st.sets(HASHES | CLOSE, max_size=40), st.integers(1, 6), st.integers(1, 5))
def test_where_the_cutting_starts_and_how_large_a_batch_is_makes_no_difference(hashes, n_crowd, n_pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar, "_CROWD", n_crowd)
        patch.setattr(similar, "_BATCH_PAIRS", n_pairs)

        assert found(u64(*sorted(hashes))) == all_with_all(u64(*sorted(hashes)))


def test_many_pairs_come_in_batches(monkeypatch):
    hashes = u64(*range(64))  # six bits: each has 6 + 15 + 20 others within three
    whole = list(near_pairs(hashes))

    monkeypatch.setattr(similar, "_BATCH_PAIRS", 100)

    assert len(list(near_pairs(hashes))) > len(whole)
    assert found(hashes) == all_with_all(hashes)
    assert len(found(hashes)) == 64 * 41 // 2


# flat hashes


def rows_of(hash_: int) -> list[list[int]]:
    """The 8 x 8 bits as dhash writes them: rows from the top, each from the left, the first the highest."""
    return [[hash_ >> (63 - 8 * row - column) & 1 for column in range(8)] for row in range(8)]


def bits_apart(hash_: int) -> int:
    """In how many bits the rows differ from the row that is most common, column by column."""
    columns = [list(column) for column in zip(*rows_of(hash_), strict=True)]
    return sum(min(column.count(0), column.count(1)) for column in columns)


def to_hash(rows: list[list[int]]) -> int:
    return int("".join(str(bit) for row in rows for bit in row), 2)


def test_the_bits_of_a_hash_are_the_rows_of_its_picture():
    cells = np.tile(np.array([90, 80, 85, 80, 75, 70, 75, 80, 85], np.uint8), (8, 1))
    cells[2] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    picture = Image.fromarray(np.repeat(cells[:, :, None], 3, axis=2))

    rows = rows_of(dhash(picture))

    assert rows == [[int(b > a) for a, b in pairwise(line)] for line in cells.tolist()]
    assert rows[2] == [1] * 8
    assert bits_apart(dhash(picture)) == 8 - sum(rows[0])


@pytest.mark.parametrize("row", [[0] * 8, [1] * 8, [0, 0, 0, 0, 1, 1, 1, 1], [0, 1] * 4, [1, 0, 0, 0, 0, 0, 0, 0]])
def test_a_hash_whose_rows_are_all_alike_is_flat(row):
    assert is_flat(u64(to_hash([row] * 8))).tolist() == [True]


def test_a_hash_whose_columns_are_all_alike_is_not_flat():
    """Stripes across: a real picture can have rows that differ, and half of them differ from the other half."""
    assert is_flat(u64(to_hash([[row % 2] * 8 for row in range(8)]))).tolist() == [False]


@pytest.mark.parametrize(("n_apart", "flat"), [(0, True), (8, True), (9, False), (20, False), (32, False)])
def test_a_hash_is_flat_up_to_eight_bits_apart(n_apart, flat):
    rows = [[0, 1, 1, 0, 1, 0, 0, 1] for _ in range(8)]
    for i in range(n_apart):
        rows[i // 8][i % 8] ^= 1

    assert FLAT_BITS == 8
    assert bits_apart(to_hash(rows)) == n_apart
    assert is_flat(u64(to_hash(rows))).tolist() == [flat]


def test_a_plain_picture_and_a_shaded_one_are_flat_and_noise_is_not():
    plain = np.full((40, 60), 128)
    shaded = np.tile(np.linspace(0, 255, 60), (40, 1))
    noise = np.random.default_rng(0).integers(0, 256, (8, 9)).repeat(5, axis=0).repeat(5, axis=1)
    pictures = [
        Image.fromarray(grey.astype(np.uint8)).convert("RGB") for grey in (plain, shaded, shaded[:, ::-1], noise)
    ]

    hashes = [dhash(picture) for picture in pictures]

    assert hashes[:3] == [0, 2**64 - 1, 0]
    assert is_flat(u64(*hashes)).tolist() == [True, True, True, False]


def test_random_hashes_are_flat_by_the_definition():
    generator = np.random.default_rng(3)
    # rows of one kind with a few bits turned: about half of them flat
    rows = generator.integers(0, 2, (500, 1, 8)) ^ (generator.random((500, 8, 8)) < 0.15)
    hashes = u64(*(to_hash(one.tolist()) for one in rows), *generator.integers(0, 2**63, 100).tolist())

    flat = is_flat(hashes)

    assert flat.dtype == np.bool_
    assert flat.tolist() == [bits_apart(hash_) <= 8 for hash_ in hashes.tolist()]
    assert 100 < flat.sum() < 400


def test_no_hashes_are_no_flat_hashes():
    assert is_flat(u64()).tolist() == []


@given(HASHES, st.permutations(range(8)), st.integers(0, 255))
def test_flatness_is_that_of_the_rows_in_any_order_and_of_the_turned_columns(hash_, order, turned):
    rows = rows_of(hash_)
    shuffled = to_hash([rows[i] for i in order])
    mask = int.from_bytes(bytes([turned]) * 8, "big")

    assert len(set(is_flat(u64(hash_, shuffled, hash_ ^ mask)).tolist())) == 1
