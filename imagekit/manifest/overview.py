"""The facts of a manifest's rows, counted: splits by classes, folds, groups, why a column is empty. Arrow alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.manifest.read import Manifest
from imagekit.manifest.row_checks import torn_groups
from imagekit.manifest.schema import Metadata

NONE = "(none)"
# the columns that a level of checking leaves null
_HEADER = ("width", "height", "format", "mode", "n_frames", "exif_orientation")
UNFILLED = {"none": (*_HEADER, "sha256", "dhash"), "header": ("dhash",)}
_REASONS = {
    "file_name_bytes": "every name is plain text",
    "fold": "the split makes no folds",
    "group": "no images belong together",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """n_groups, and how many rows belong to one; the largest; how many groups stand in more than one split."""

    n_groups: int
    n_rows: int
    n_largest: int
    n_torn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """What was counted. splits: split -> label -> rows (for lists of labels: -> how often); `(none)` for null.

    rows_per_split, folds: rows. noise: of each column of labels made wrong on purpose, the rows that differ from label.
    columns: type and, where it is empty, why.
    """

    splits: Mapping[str, Mapping[str, int]]
    rows_per_split: Mapping[str, int]
    folds: Mapping[int, int]
    groups: Groups
    noise: Mapping[str, int]
    columns: Mapping[str, str]

    def label_counts(self) -> dict[str, int]:
        """How often each label occurs, over all splits."""
        totals: dict[str, int] = {}
        for counts in self.splits.values():
            for label, count in counts.items():
                totals[label] = totals.get(label, 0) + count
        return totals


def overview(manifest: Manifest) -> Overview:
    """Count what the rows hold."""
    table, metadata = manifest.table, manifest.metadata
    splits = table["split"].cast(pa.string()).fill_null(NONE)
    return Overview(
        splits=_count_labels(table, splits, metadata),
        rows_per_split=_count(splits),
        folds=_count(table["fold"].drop_null()),
        groups=_groups(table),
        noise=_noise(table, metadata),
        columns={name: _column(table, name, metadata) for name in table.column_names},
    )


def has_label_lists(table: pa.Table, metadata: Metadata) -> bool:
    """Whether the labels of an image are a list, in the column `labels`."""
    if not metadata.label_columns or "labels" not in table.column_names:
        return False
    kind = table.schema.field("labels").type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _count(values: pa.ChunkedArray) -> dict[Any, int]:
    pairs = pc.value_counts(values).to_pylist()
    return {pair["values"]: pair["counts"] for pair in sorted(pairs, key=lambda pair: pair["values"])}


def _count_labels(table: pa.Table, splits: pa.ChunkedArray, metadata: Metadata) -> dict[str, dict[str, int]]:
    labels = table["label"]
    if has_label_lists(table, metadata):
        parents = pc.list_parent_indices(table["labels"])
        labels = pc.list_flatten(table["labels"]).cast(pa.string())
        is_empty = pc.fill_null(pc.equal(pc.list_value_length(table["labels"]), 0), True)
        without = splits.filter(is_empty)
        nulls = pa.nulls(len(without), pa.string())
        labels = pa.chunked_array([*labels.chunks, nulls], pa.string())
        splits = pa.chunked_array([*splits.take(parents).chunks, *without.chunks], pa.string())
    pairs = pa.table({"split": splits, "label": labels.fill_null(NONE)})
    counts: dict[str, dict[str, int]] = {}
    for row in sorted(pairs.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist(), key=_pair):
        counts.setdefault(row["split"], {})[row["label"]] = row["count_all"]
    return counts


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["split"], row["label"]


def _groups(table: pa.Table) -> Groups:
    counts = pc.value_counts(table["group"].drop_null()).field("counts")
    return Groups(
        n_groups=len(counts),
        n_rows=pc.sum(counts).as_py() or 0,
        n_largest=pc.max(counts).as_py() or 0,
        n_torn=torn_groups(table).n_groups,
    )


def _noise(table: pa.Table, metadata: Metadata) -> dict[str, int]:
    """The columns that --noise adds."""
    if "noise" not in metadata.options:
        return {}
    names = [
        name
        for name in table.column_names
        if name.startswith("noisy_") and pa.types.is_string(table.schema.field(name).type)
    ]
    unequal = {name: pc.sum(pc.not_equal(table[name], table["label"])).as_py() for name in names}
    return {name: count or 0 for name, count in unequal.items()}


def _column(table: pa.Table, name: str, metadata: Metadata) -> str:
    kind = str(table.schema.field(name).type)
    if table[name].null_count < table.num_rows or not table.num_rows:
        return kind
    return f"{kind} ({_reason(name, metadata)})"


def _reason(name: str, metadata: Metadata) -> str:
    if name in UNFILLED.get(metadata.check, ()):
        return f"null, the manifest was built with --check {metadata.check}"
    if name == "group" and metadata.check == "none" and metadata.group_rule is None:
        return "null, the manifest was built with --check none, which tells no two files alike"
    if name in ("label", "target"):
        has_lists = bool(metadata.label_columns)
        return "null, the labels stand in labels" if has_lists else "null, no image has a label"
    return f"null, {_REASONS[name]}" if name in _REASONS else "all null"
