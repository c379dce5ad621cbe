"""Exact splits and folds of classes, whole groups at a time: who goes where is drawn by rank, how many by counting.

N rows, C classes, P parts (splits or folds). Groups of several rows are placed first, the large ones before the small,
each where it fits best; single rows then fill what is left exactly. So without groups the counts are exact, and with
them they are off by what whole groups leave no choice about. Rows whose part is given stay there, and are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.uint64]
Parts = npt.NDArray[np.int8]

TRAIN, VALID, TEST = 0, 1, 2
FREE = -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draw:
    """What is to be placed. groups: int64[N], rows of one number stay together. classes: int32[N], from 0, -1 for a row
    without one. ranks: uint64[N], the lower the earlier. given: int8[N], the part of a row that has one, else FREE.
    """

    groups: Ints
    classes: Codes
    ranks: Ranks
    given: Parts

    @property
    def n_classes(self) -> int:
        """C, one more for rows without a class."""
        return int(self.classes.max(initial=-1)) + 2

    def class_rows(self) -> Ints:
        """The class of each row, those without one in a class of their own."""
        return np.where(self.classes < 0, self.n_classes - 1, self.classes).astype(np.int64)


def rank_names(names: Iterable[bytes], *, seed: int) -> Ranks:
    """A rank for each name: the first 64 bits of sha256 of seed, NUL and name, as `random_splits` ranks them."""
    prefix = f"{seed}\0".encode()
    return np.frombuffer(b"".join([hashlib.sha256(prefix + name).digest()[:8] for name in names]), ">u8").astype("<u8")


def assign_splits(draw: Draw, *, valid: float, test: float) -> Parts:
    """TRAIN, VALID or TEST for each row: round(valid * n) and round(test * n) of the n rows of each class.

    A half is rounded to the even neighbour. At least one row of each class is left to train where classes are told
    apart, if one can be: not where each is given or belongs to a given one. A free row whose group has a given row
    takes that row's part.
    """
    classes = draw.class_rows()
    totals = np.bincount(classes, minlength=draw.n_classes)
    wanted = np.zeros((3, draw.n_classes), np.int64)
    wanted[VALID], wanted[TEST] = np.rint(valid * totals), np.rint(test * totals)
    if draw.n_classes > 2:
        for part in (TEST, VALID):
            over = np.maximum(wanted[VALID] + wanted[TEST] - np.maximum(totals - 1, 0), 0)
            wanted[part] -= np.minimum(over, wanted[part])
    wanted[TRAIN] = totals - wanted[VALID] - wanted[TEST]
    parts = _place(draw, classes, wanted, last=TRAIN)
    if draw.n_classes > 2:
        _leave_one_to_train(draw, classes, parts)
    return parts


def assign_folds(draw: Draw, *, n_folds: int) -> Parts:
    """A fold, 0 to n_folds - 1, for each row; the rows of each class are spread evenly, and so is what is left over."""
    classes = draw.class_rows()
    totals = np.bincount(classes, minlength=draw.n_classes)
    wanted = np.tile(totals // n_folds, (n_folds, 1))
    at = 0
    for c, left in enumerate((totals % n_folds).tolist()):  # the remainders go round, or fold 0 would get them all
        wanted[(at + np.arange(left)) % n_folds, c] += 1
        at += left
    return _place(draw, classes, wanted, last=0)


def _place(draw: Draw, classes: Ints, wanted: npt.NDArray[np.int64], *, last: int) -> Parts:
    parts = _follow_given(draw)
    _place_groups(draw, classes, wanted, parts)
    have = np.zeros_like(wanted)
    placed = parts != FREE
    np.add.at(have, (parts[placed], classes[placed]), 1)
    need = np.maximum(wanted - have, 0)
    free = np.flatnonzero(parts == FREE)
    order = free[np.lexsort((draw.ranks[free], classes[free]))]
    counts = np.bincount(classes[order], minlength=draw.n_classes)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    filled = np.zeros(draw.n_classes, np.int64)
    parts[order] = last
    for part in (*(part for part in range(len(wanted)) if part != last), last):
        at = filled[classes[order]]
        here = (place >= at) & (place < at + need[part][classes[order]])
        parts[order[here]] = part
        filled += need[part]
    return parts


def _follow_given(draw: Draw) -> Parts:
    parts = draw.given.copy()
    given = np.flatnonzero(parts != FREE)
    part_of: Parts = np.full(int(draw.groups.max(initial=-1)) + 1, FREE, np.int8)
    part_of[draw.groups[given][::-1]] = parts[given][::-1]  # of several, the first row's
    free = parts == FREE
    parts[free] = part_of[draw.groups[free]]
    return parts


def _place_groups(draw: Draw, classes: Ints, wanted: npt.NDArray[np.int64], parts: Parts) -> None:
    """Place every free group of two rows or more, changing `parts`."""
    free = np.flatnonzero(parts == FREE)
    _, which, sizes = np.unique(draw.groups[free], return_inverse=True, return_counts=True)
    free, which = free[sizes[which] > 1], which[sizes[which] > 1]
    if not len(free):
        return
    have = np.zeros_like(wanted)
    placed = parts != FREE
    np.add.at(have, (parts[placed], classes[placed]), 1)
    need = (wanted - have).tolist()
    rows = free[np.lexsort((draw.ranks[free], which))]
    which = np.sort(which)
    starts = np.flatnonzero(np.concatenate([[True], which[1:] != which[:-1]]))
    groups = np.split(rows, starts[1:])
    # the large first, while there is room for them anywhere; then by the lowest rank in the group
    for group in sorted(groups, key=lambda rows: (-len(rows), int(draw.ranks[rows[0]]))):
        counts = Counter(classes[group].tolist())
        part = min(range(len(need)), key=lambda part: _misfit(counts, need[part], wanted[part]))
        parts[group] = part
        for c, n in counts.items():
            need[part][c] -= n


def _leave_one_to_train(draw: Draw, classes: Ints, parts: Parts) -> None:
    """Where whole groups or given rows took all that a class has to valid and test, move its smallest free group."""
    sizes = np.bincount(draw.groups)
    has_given = np.zeros(len(sizes), np.bool_)
    has_given[draw.groups[draw.given != FREE]] = True
    free = np.flatnonzero(~has_given[draw.groups])
    n_train = np.bincount(classes[parts == TRAIN], minlength=draw.n_classes)
    n_free = np.bincount(classes[free], minlength=draw.n_classes)
    for c in np.flatnonzero((n_train == 0) & (n_free > 0)).tolist():
        rows = free[classes[free] == c]
        if c == draw.n_classes - 1 or (parts[rows] == TRAIN).any():  # no class, or moved with a class before
            continue
        # of those of one size the last by rank, which is the nearest to train
        smallest = rows[np.lexsort((~draw.ranks[rows], sizes[draw.groups[rows]]))[0]]
        parts[draw.groups == draw.groups[smallest]] = TRAIN


def _misfit(counts: Counter[int], need: list[int], wanted: npt.NDArray[np.int64]) -> tuple[int, float]:
    """How many rows too many a part would get; then how full it is already."""
    over = sum(max(n - max(need[c], 0), 0) for c, n in counts.items())
    empty = sum(n * need[c] / max(int(wanted[c]), 1) for c, n in counts.items())
    return over, -empty
