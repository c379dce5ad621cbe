"""What a manifest learns from its rows: duplicate groups, the vocab, channel statistics. Fitted on train alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from imagekit.errors import SplitError
from imagekit.manifest.image import SUMS
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.schema import ChannelStats

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """One picture that stands in more than one split: the rows that hold it, as (split, file_name)."""

    members: tuple[tuple[str, str], ...]

    def line(self) -> str:
        """The leak as text."""
        return " = ".join(f"{name} ({split})" for split, name in self.members)


def group_duplicates(rows: Sequence[Row], *, source_decides: bool) -> list[Leak]:
    """Give rows of identical bytes one `group` (the first 16 hex digits of their sha256) and keep a group in one split.

    rows: sorted by file_name; changed in place. source_decides: the split came from the source's folders and stays;
    groups that span splits are returned as leaks. Otherwise every row takes the split of its group's first row.
    """
    members: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        members[row["sha256"]].append(row)
    leaks = []
    for sha256, group in members.items():
        if len(group) == 1:
            continue
        for row in group:
            row["group"] = sha256.hex()[:16]
            if not source_decides:
                row["split"] = group[0]["split"]
        if len({row["split"] for row in group}) > 1:
            leaks.append(Leak(members=tuple((row["split"], row["file_name"]) for row in group)))
    return leaks


def encode_labels(rows: Sequence[Row], *, where: str) -> CategoryProcessor:
    """Fit the vocab on train and write `target` into every labelled row, in place.

    Raises SplitError when no train or no valid row is left, LabelError when a label is not in train.
    """
    for split in ("train", "valid"):
        if not any(row["split"] == split for row in rows):
            raise SplitError(
                f"no usable image is left in {split}",
                where=where,
                fix="see the quarantine list for why; mend the files or choose another --split",
            )
    processor = CategoryProcessor()
    processor.fit([row["label"] for row in rows if row["split"] == "train"])
    labelled = [row for row in rows if row["label"] is not None]
    for row, target in zip(labelled, processor.process([row["label"] for row in labelled], where=where), strict=True):
        row["target"] = target
    return processor


def train_stats(rows: Sequence[Row]) -> ChannelStats:
    """Mean and population standard deviation of each channel over all pixels of the train rows, in 0..1.

    rows: SUMS are exact integers, so the order of adding is nothing.
    """
    train = [row for row in rows if row["split"] == "train"]
    n_pixels = sum(row["width"] * row["height"] for row in train)
    totals = [sum(row[name] for row in train) for name in SUMS]
    mean = [total / n_pixels for total in totals[:3]]
    variance = [(totals[3 + channel] * n_pixels - totals[channel] ** 2) / n_pixels**2 for channel in range(3)]
    return ChannelStats(
        mean=(mean[0] / 255, mean[1] / 255, mean[2] / 255),
        std=(sqrt(variance[0]) / 255, sqrt(variance[1]) / 255, sqrt(variance[2]) / 255),
        n_images=len(train),
        n_pixels=n_pixels,
    )
