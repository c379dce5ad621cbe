"""What a person should hear about a manifest, in lines: what a check could not see, what is odd among the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from imagekit.rules.columns import Coded
from imagekit.rules.splitters import is_valid

if TYPE_CHECKING:
    from imagekit.manifest.finish import Ingredients
    from imagekit.manifest.like import OldRows

_SHOWN = 3
_UNSEEN = {
    "none": "the files were not opened: no duplicate is known, no statistics; see --check",
    "header": "the pixels were not decoded: only equal bytes count as duplicates, no statistics; see --check",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Remarks:
    """n_unlike: images whose hash tells nothing. labels: of the table's rows. by_class: rows by label and split."""

    given: Ingredients
    table: pa.Table
    n_unlike: int
    labels: Sequence[Coded]
    by_class: Mapping[str, Mapping[str, int]]
    old: OldRows | None

    def lines(self) -> tuple[str, ...]:
        """All remarks that there are."""
        check = self.given.options.check
        hidden = self.given.source.discovery.n_hidden
        plain = f"{self.n_unlike:,} pictures are too plain to be told apart: only equal bytes count as duplicates"
        found = [
            *([_UNSEEN[check]] if check in _UNSEEN else []),
            *([plain] if self.n_unlike else []),
            *([f"{hidden:,} hidden files or folders were not looked into"] if hidden else []),
            *self._joined(),
            *self._older(),
            *self._fitted_on_one_fold(),
            *self._not_in_valid(),
            *self._two_labels(),
        ]
        return tuple(found)

    def _joined(self) -> list[str]:
        joined, columns = self.given.joined, self.given.options.columns
        if joined is None or columns is None:
            return []
        lines = []
        if joined.n_without:
            lines.append(f"{columns.name} does not list {joined.n_without:,} images: their columns are null")
        if joined.n_unknown:
            names = ", ".join(joined.unknown) + (", ..." if joined.n_unknown > len(joined.unknown) else "")
            lines.append(f"{columns.name} lists {joined.n_unknown:,} files that are not there: {names}")
        return lines

    def _older(self) -> list[str]:
        """What the older manifest has and this one has not."""
        if self.old is None:
            return []
        lines, options = [], self.given.options
        names = self.old.names_of_gone(_SHOWN)
        if names:
            listed = ", ".join(names) + (", ..." if len(self.old.gone) > len(names) else "")
            again = "" if self.given.likeness() != "itself" else "; should they come back, they are new"
            lines.append(
                f"{len(self.old.gone):,} rows of the older manifest have no usable image today: {listed}{again}"
            )
        asked = self.old.manifest.metadata.options
        for key, now in (("columns", options.columns), ("process", options.process), ("noise", options.noise)):
            if asked.get(key) and not now:
                lines.append(
                    f"the older manifest was built with --{key}, this one is not: give it again to have its columns"
                )
        return lines

    def _fitted_on_one_fold(self) -> list[str]:
        options = self.given.options
        is_so = options.process and options.split_rule.kind == "kfold"
        return ["what --process fits is fitted on the rows outside fold 0 alone"] if is_so else []

    def _not_in_valid(self) -> list[str]:
        without = [label for label, counts in self.by_class.items() if not any(map(is_valid, counts))]
        if not without or len(without) == len(self.by_class):
            return []
        listed = ", ".join(without[:_SHOWN]) + (", ..." if len(without) > _SHOWN else "")
        return [f"valid has no image of {len(without)} of {len(self.by_class)} classes: {listed}"]

    def _two_labels(self) -> list[str]:
        """Groups of equal or nearly equal pictures whose labels differ: somebody is wrong about one of them."""
        if self.given.named.label_columns or self.given.options.group_rule.is_keyed:
            return []
        group, codes = self.table["group"].combine_chunks(), self.labels[0].codes
        rows = np.flatnonzero(np.asarray(group.is_valid()) & (codes >= 0)) if len(codes) else np.zeros(0, np.int64)
        if not len(rows):
            return []
        which = np.asarray(group.take(pa.array(rows)).dictionary_encode().indices)
        low = np.full(which.max() + 1, len(self.labels[0].values), np.int32)
        high = np.full(len(low), -1, np.int32)
        np.minimum.at(low, which, codes[rows])
        np.maximum.at(high, which, codes[rows])
        apart = np.flatnonzero(low != high)
        if not len(apart):
            return []
        shown = [self._members(rows[which == one]) for one in apart[:_SHOWN].tolist()]
        noun = "picture has" if len(apart) == 1 else "pictures have"
        more = [f"  and {len(apart) - _SHOWN:,} more"] if len(apart) > _SHOWN else []
        return [f"{len(apart):,} {noun} more than one label:", *(f"  {line}" for line in shown), *more]

    def _members(self, rows: np.ndarray) -> str:
        some = self.table.select(["file_name", "label"]).take(pa.array(rows[:_SHOWN])).to_pylist()
        return " = ".join(f"{row['file_name']} ({row['label']})" for row in some)
