"""Pairs of 64-bit difference hashes that differ in at most three bits, without comparing all with all.

Cut into five blocks of bits, two hashes that differ in at most three bits agree in at least two blocks; so the hashes
are sorted ten times, by each pair of blocks, and only neighbours that agree there are compared. Where very many agree,
the bits that are left are cut in the same way. Every such pair is found: this is no approximation.
Source: Manku, Jain and Das Sarma 2007, "Detecting near-duplicates for web crawling".

A difference hash can say next to nothing: of a flat picture every bit is 0, of a shaded one all eight rows are alike,
and thousands of pictures that have nothing in common share them. Such hashes are no evidence. n hashes, m pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]  # half the memory, for up to 2^31 hashes
Mask = npt.NDArray[np.bool_]

MAX_DISTANCE = 3  # bits
# Bits in which the eight rows of a hash differ from the row that is most common, column by column. Unrelated
# photographs have 20 +- 4. Of Imagenette's 13,394 pictures 2.7 % have 8 or less, and of the 15 pairs of pictures
# within three bits, every one a golf ball or parachute before a plain ground and none the same picture, all held one
FLAT_BITS = 8
_BLOCKS = 5
_CROWD = 2_048  # hashes that agree in two blocks: beyond, cutting again is cheaper than comparing
_FEWEST_BITS = 15  # too few to cut again
_BATCH_PAIRS = 4_000_000
_SIDE = 8


def is_flat(hashes: Hashes) -> Mask:
    """Which hashes hold too little to be evidence: at most FLAT_BITS bits set their rows apart. bool[n]."""
    ones = np.zeros((len(hashes), _SIDE), np.uint8)
    for bit in range(_SIDE * _SIDE):
        ones[:, bit % _SIDE] += ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.uint8)
    flat: Mask = np.minimum(ones, _SIDE - ones).sum(axis=1) <= FLAT_BITS
    return flat


def near_pairs(hashes: Hashes) -> Iterator[tuple[Ints, Ints]]:
    """Every pair of hashes, by their indices, that differ in 1 to MAX_DISTANCE bits, in batches; some pairs twice.

    hashes: distinct.
    """
    yield from _near(hashes, np.arange(len(hashes), dtype=np.int32), range(64))


def _near(hashes: Hashes, rows: Rows, bits: Sequence[int]) -> Iterator[tuple[Ints, Ints]]:
    """The pairs among `rows`, whose hashes agree in all but `bits`."""
    blocks = [bits[i * len(bits) // _BLOCKS : (i + 1) * len(bits) // _BLOCKS] for i in range(_BLOCKS)]
    for pair in combinations(blocks, 2):
        agreed = {bit for block in pair for bit in block}
        mask = np.uint64(sum(1 << bit for bit in agreed))
        keys = hashes[rows] & mask
        order = np.argsort(keys, kind="stable")
        ranked, keys = rows[order], keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, int)
        sizes = np.diff(starts, append=len(keys)).astype(np.int32)
        rest = [bit for bit in bits if bit not in agreed]
        crowded = (sizes > _CROWD) & (len(rest) >= _FEWEST_BITS)
        for start, size in zip(starts[crowded].tolist(), sizes[crowded].tolist(), strict=True):
            yield from _near(hashes, ranked[start : start + size], rest)
        width = np.repeat(np.where(crowded, np.int32(1), sizes), sizes)
        place = np.arange(len(ranked), dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes)
        yield from _compare(hashes, ranked, width, place)


def _compare(hashes: Hashes, ranked: Rows, width: Rows, place: Rows) -> Iterator[tuple[Ints, Ints]]:
    """Compare each with those behind it in its run. width: how long its run is, 1 where it is not to be compared.

    place: where in its run each stands.
    """
    values = hashes[ranked]
    left = np.flatnonzero(place < width - 1)
    found: list[tuple[Rows, Rows]] = []
    n_found, shift = 0, 1
    while len(left):
        close = np.bitwise_count(values[left] ^ values[left + shift]) <= MAX_DISTANCE
        here = left[close]
        if len(here):
            found.append((ranked[here], ranked[here + shift]))
            n_found += len(here)
        if n_found > _BATCH_PAIRS:
            yield _joined(found)
            found, n_found = [], 0
        shift += 1
        left = left[place[left] + shift < width[left]]
    if found:
        yield _joined(found)


def _joined(found: list[tuple[Rows, Rows]]) -> tuple[Ints, Ints]:
    ones, others = (np.concatenate([pair[i] for pair in found]).astype(np.int64) for i in (0, 1))
    return ones, others
