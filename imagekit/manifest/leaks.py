"""Groups that stand in more than one split: found, told by name, and mended where that is asked for. n images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.rules.split_rules import split_rank

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_SHOWN_MEMBERS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """One picture, or one group, that stands in more than one split: its rows as (split, file_name)."""

    members: tuple[tuple[str, str], ...]

    def line(self) -> str:
        """The leak as text."""
        shown = " = ".join(f"{name} ({split})" for split, name in self.members[:_SHOWN_MEMBERS])
        n_more = len(self.members) - _SHOWN_MEMBERS
        return f"{shown} and {n_more:,} more" if n_more > 0 else shown


def new_in_torn_groups(codes: Codes, labels: Ints, is_old: Mask) -> Ints:
    """New images in the groups whose old rows alone stand in several splits.

    codes: int32[n], the split of each; labels: int64[n], the group of each; is_old: bool[n].
    """
    low = np.full(int(labels.max(initial=0)) + 1, np.iinfo(np.int32).max, np.int32)
    high = np.full(len(low), -1, np.int32)
    np.minimum.at(low, labels[is_old], codes[is_old])
    np.maximum.at(high, labels[is_old], codes[is_old])
    is_torn = (high >= 0) & (low != high)
    return np.flatnonzero(is_torn[labels] & ~is_old)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TornGroups:
    """What it takes to find them. names: as shown. words: what codes stand for. labels: int64[n], the group of each.
    is_old: bool[n], rows of an older manifest, whose splits come first; None without one.
    """

    names: pa.StringArray
    words: list[str]
    labels: Ints
    is_old: Mask | None

    def resolve(
        self, codes: Codes, kept: Mask, left_out: dict[int, str], *, rule: str
    ) -> tuple[Codes, tuple[Leak, ...]]:
        """Keep, drop or move what is not in the first split of its group; the codes after that, and all torn groups.

        The first split is test, then valid, then train: what must not be seen in training is spared. codes: int32[n].
        kept: bool[n], images that count. What is dropped goes to `left_out`, unlabelled images instead of being moved.
        """
        codes, leaks = codes.copy(), []
        for group in self._groups(codes, np.flatnonzero(kept)):
            names = self.names.take(pa.array(group)).to_pylist()
            splits = [self.words[int(codes[row])] for row in group]
            leaks.append(Leak(members=tuple(zip(splits, names, strict=True))))
            first = min(range(len(group)), key=lambda i: self._order(group[i], splits[i], names[i]))
            for row, split in zip(group, splits, strict=True):
                if rule == "keep" or split == splits[first]:
                    continue
                if rule == "move" and split != "unsup":
                    codes[row] = codes[group[first]]
                else:
                    left_out[row] = f"is like {names[first]} in {splits[first]}, and was to be in {split}"
        return codes, tuple(sorted(leaks, key=lambda leak: leak.members[0][1]))

    def _groups(self, codes: Codes, rows: Ints) -> list[list[int]]:
        """The rows of each group that stands in several splits."""
        order = rows[np.argsort(self.labels[rows], kind="stable")]
        if not len(order):
            return []
        labels, ranked = self.labels[order], codes[order]
        starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
        torn = np.minimum.reduceat(ranked, starts) != np.maximum.reduceat(ranked, starts)
        ends = np.append(starts[1:], len(order))
        return [order[starts[at] : ends[at]].tolist() for at in np.flatnonzero(torn).tolist()]

    def _order(self, row: int, split: str, name: str) -> tuple[bool, int, str, str]:
        is_new = self.is_old is not None and not self.is_old[row]
        rank = 0 if split.startswith("fold ") else split_rank(split)
        return is_new, -rank, split, name
