"""Which images belong together, so that they end in one split: the same bytes, nearly the same picture, the same key.

n rows. A component is named by its lowest row; a row that nothing joins is a component by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import SplitError, did_you_mean
from imagekit.rules.patterns import parse_pattern, search_name
from imagekit.rules.similar import Hashes, Ints, Mask, is_flat, near_pairs

Codes = npt.NDArray[np.int32]

_SPECS = ("name:REGEX", "column:NAME", "similar")
# one hash on so many different files is a template, a frame or a placeholder, not one picture: a share of all rows,
# since chance meetings grow with them
_COMMON_LEAST, _COMMON_SHARE = 64, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRule:
    """`--group`: pattern, searched in file names without folders; or a joined column; neither for `similar`."""

    pattern: re.Pattern[str] | None = None
    column: str | None = None

    @property
    def is_keyed(self) -> bool:
        """Whether each row has a key of its own, whatever other rows there are."""
        return self.pattern is not None or self.column is not None


def parse_group_rule(spec: str) -> GroupRule:
    """Read `name:REGEX`, `column:NAME` or `similar`. Raises SplitError for anything else."""
    kind, colon, rest = spec.partition(":")
    if spec == "similar":
        return GroupRule()
    if kind == "name" and colon:
        return GroupRule(pattern=_parse_pattern(spec, rest))
    if kind == "column" and colon and rest:
        return GroupRule(column=rest)
    raise SplitError(f'the group rule "{spec}" is not known', where="--group", fix=did_you_mean(spec, _SPECS))


def _parse_pattern(spec: str, text: str) -> re.Pattern[str]:
    fix = r"write name:^(patient\d+)_ for patient7_2.jpg, or call the group that counts (?P<group>...)"
    what = f'the group rule "{spec}"'
    return parse_pattern(text, group="group", what=what, where="--group", fix=fix, error_class=SplitError)


def find_groups(files: pa.LargeBinaryArray, pattern: re.Pattern[str]) -> list[str | None]:
    """What the pattern's group finds in each file name without folders; None where it finds nothing, or only "".

    Bytes that are not UTF-8 become surrogates.
    """
    return [search_name(pattern, file.decode("utf-8", "surrogateescape"), "group") for file in files.to_pylist()]


class Components:
    """Rows that are joined pair by pair."""

    def __init__(self, n_rows: int) -> None:
        self.labels: Ints = np.arange(n_rows)

    def join(self, ones: Ints, others: Ints) -> None:
        """Join the rows of each pair and all that is joined to them."""
        ones, others = self.labels[ones], self.labels[others]
        while len(apart := np.flatnonzero(ones != others)):
            ones, others = ones[apart], others[apart]
            # roots only: every label is a row that is its own label
            np.minimum.at(self.labels, np.maximum(ones, others), np.minimum(ones, others))
            self._flatten()
            ones, others = self.labels[ones], self.labels[others]

    def join_equal(self, rows: Ints, codes: npt.NDArray[np.integer]) -> None:
        """Join all of `rows` that have the same code."""
        order = np.argsort(codes, kind="stable")
        same = codes[order][1:] == codes[order][:-1]
        self.join(rows[order][1:][same], rows[order][:-1][same])

    def _flatten(self) -> None:
        while True:
            shorter = self.labels[self.labels]
            if np.array_equal(shorter, self.labels):
                return
            self.labels = shorter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Likeness:
    """What is known of n rows: a code for each content (int32, -1 unknown), hashes (uint64), which rows have one."""

    contents: Codes
    hashes: Hashes
    has_hash: Mask

    def evidence(self) -> Mask:
        """Which rows have a hash that tells their picture from others; bool[n].

        Not one that is flat, and not one that very many different files share.
        """
        rows = np.flatnonzero(self.has_hash)
        rows = rows[~is_flat(self.hashes[rows])]
        at = np.lexsort((self.contents[rows], self.hashes[rows]))
        ranked = rows[at]
        is_new_hash = np.concatenate([[True], self.hashes[ranked][1:] != self.hashes[ranked][:-1]])[: len(ranked)]
        is_new_file = (
            is_new_hash
            | np.concatenate([[True], self.contents[ranked][1:] != self.contents[ranked][:-1]])[: len(ranked)]
        )
        which = np.cumsum(is_new_hash) - 1
        n_files = np.bincount(which, weights=is_new_file).astype(np.int64)
        limit = max(_COMMON_LEAST, len(self.hashes) // _COMMON_SHARE)
        told = np.zeros(len(self.hashes), np.bool_)
        told[ranked] = n_files[which] <= limit
        return told


def content_codes(sha256: pa.Array) -> Codes:
    """A code for each different content, -1 where it is null. sha256: fixed binary 32."""
    codes: Codes = np.full(len(sha256), -1, np.int32)
    rows = np.flatnonzero(np.asarray(sha256.is_valid()))
    if not len(rows):
        return codes
    blob = np.frombuffer(sha256.buffers()[1], np.uint64, count=4 * len(sha256), offset=32 * sha256.offset)
    words = blob.reshape(-1, 4)
    first = words[rows, 0]
    order = rows[np.argsort(first, kind="stable")]
    is_new = _differ_from_the_one_before(words[order])
    if (is_new & (words[order, 0] == words[np.roll(order, 1), 0]))[1:].any():
        # two contents that begin alike may stand in turns; by chance it will never happen, by design it may
        order = rows[np.lexsort(words[rows].T)]
        is_new = _differ_from_the_one_before(words[order])
    codes[order] = np.cumsum(is_new) - 1
    return codes


def _differ_from_the_one_before(words: npt.NDArray[np.uint64]) -> Mask:
    differs: Mask = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    return differs


def join_similar(components: Components, like: Likeness) -> int:
    """Join rows of the same content, and of pictures that differ in at most three bits of their hash.

    Returns how many rows have a hash that is no evidence; they are joined by their content only.
    """
    known = np.flatnonzero(like.contents >= 0)
    components.join_equal(known, like.contents[known])
    told = like.evidence()
    rows = np.flatnonzero(told)
    distinct, first, which = np.unique(like.hashes[rows], return_index=True, return_inverse=True)
    components.join_equal(rows, which)
    for ones, others in near_pairs(distinct):
        components.join(rows[first[ones]], rows[first[others]])
    return int(like.has_hash.sum()) - len(rows)


def span_of_like(like: Likeness, values: Codes) -> tuple[Codes, Codes]:
    """The least and the greatest value among the rows that each row is like itself, not by way of others; int32[n].

    values: int32[n], -1 for a row without one. Where a row is like none that has a value: the largest int32, and -1.
    """
    low, high = _no_span(len(values))
    contents = np.where(like.contents >= 0, like.contents, like.contents.max(initial=-1) + 1)
    own_low, own_high = _spans(contents, values, int(contents.max(initial=-1)) + 1)
    known = like.contents >= 0
    low[known], high[known] = own_low[contents[known]], own_high[contents[known]]
    rows = np.flatnonzero(like.evidence())
    distinct, which = np.unique(like.hashes[rows], return_inverse=True)
    own_low, own_high = _spans(which, values[rows], len(distinct))
    near_low, near_high = own_low.copy(), own_high.copy()
    for ones, others in near_pairs(distinct):
        for here, there in ((ones, others), (others, ones)):
            np.minimum.at(near_low, here, own_low[there])
            np.maximum.at(near_high, here, own_high[there])
    low[rows] = np.minimum(low[rows], near_low[which])
    high[rows] = np.maximum(high[rows], near_high[which])
    return low, high


def _no_span(n: int) -> tuple[Codes, Codes]:
    return np.full(n, np.iinfo(np.int32).max, np.int32), np.full(n, -1, np.int32)


def _spans(which: npt.NDArray[np.integer], values: Codes, n: int) -> tuple[Codes, Codes]:
    """The least and the greatest value of each of n groups. which: the group of each row."""
    low, high = _no_span(n)
    has = values >= 0
    np.minimum.at(low, which[has], values[has])
    np.maximum.at(high, which[has], values[has])
    return low, high
