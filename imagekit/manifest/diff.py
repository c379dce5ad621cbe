"""What changed between two manifests: rows joined by name, classes, statistics, rules; enough to make NEW from OLD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import ManifestError
from imagekit.files.plain import plain
from imagekit.manifest.compare import Ints, Mask, differing, join_by_name, pair_by_content
from imagekit.manifest.compare_metadata import MetadataDiff, diff_metadata
from imagekit.manifest.read import Manifest, read_manifest

SHOWN = 5
# told each in words of their own
_TOLD = ("file_name", "label", "split", "fold")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowDiff:
    """What changed among the rows.

    removed: names of old that new has not. added: full rows of new that old has not. changed: full rows of new that
    differ in any column. renamed (old, new): rows removed and added with the same bytes; they stand in `removed` and
    `added` too. altered: names whose bytes differ. relabelled, resplit (old, new, was, now): renamed rows as well.
    column_counts: how many common rows differ in each other column. n_old: rows of old. is_same: by digest, which
    columns and their order are part of.
    """

    removed: pa.ChunkedArray
    added: pa.Table
    changed: pa.Table
    renamed: pa.Table
    altered: pa.ChunkedArray
    relabelled: pa.Table
    resplit: pa.Table
    column_counts: Mapping[str, int]
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    n_old: int
    n_new: int
    is_same: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ManifestDiff:
    """The differences between two manifests. code: what to exit with where there are any."""

    old: Path
    new: Path
    rows: RowDiff
    metadata: MetadataDiff
    code: int = 0

    @property
    def differs(self) -> bool:
        """Whether anything differs but the place of the images."""
        return not self.rows.is_same or self.metadata.differs

    @property
    def exit_code(self) -> int:
        """A difference is no fault: 0, unless another code was asked for."""
        return self.code if self.differs else 0

    @property
    def next_command(self) -> str | None:
        """Nothing: what to do about a difference is for the reader to say."""
        return None

    def summary(self) -> str:
        """The differences as text: classes first, then rows, then the rest."""
        head = f"{self.old}: {self.rows.n_old:,} rows; {self.new}: {self.rows.n_new:,} rows"
        if not self.differs:
            return f"{head}; they say the same"
        return "\n".join([head, *self.metadata.class_lines(), *_row_lines(self.rows), *self.metadata.lines()])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types, every name in full."""
        rows = self.rows
        is_renamed = pc.is_in(rows.removed, value_set=rows.renamed["old"])
        is_new_name = pc.is_in(rows.added["file_name"], value_set=rows.renamed["new"])
        return {
            "old": str(self.old),
            "new": str(self.new),
            "n_rows": {"old": rows.n_old, "new": rows.n_new},
            "differs": self.differs,
            "added": rows.added["file_name"].filter(pc.invert(is_new_name)).to_pylist(),
            "removed": rows.removed.filter(pc.invert(is_renamed)).to_pylist(),
            "renamed": [{"from": was, "to": now} for was, now in _tuples(rows.renamed)],
            "changed": rows.altered.to_pylist(),
            "relabelled": [_change_dict(*row) for row in _tuples(rows.relabelled)],
            "resplit": [_change_dict(*row) for row in _tuples(rows.resplit)],
            "other_columns": dict(rows.column_counts),
            "columns": {"added": list(rows.columns_added), "removed": list(rows.columns_removed)},
            **self.metadata.to_dict(),
        }


def diff_manifests(old: Path | str, new: Path | str, *, code: int = 0) -> ManifestDiff:
    """Compare two manifests; a row is the same row where it has the same file_name.

    code: the exit code of the result where anything differs. Where the images lie (root) is not compared.
    Raises ManifestError for a file that is no manifest, is damaged, or has two rows of one name.
    """
    one, other = read_manifest(old), read_manifest(new)
    return ManifestDiff(
        old=one.path,
        new=other.path,
        rows=_diff_rows(one, other),
        metadata=diff_metadata(one.metadata, other.metadata),
        code=code,
    )


def apply_diff(diff: ManifestDiff, old: pa.Table) -> pa.Table:
    """The rows of new, made of the rows of old and the differences; columns as new has them, rows by name.

    Raises ManifestError where `old` is not what the differences were made against.
    """
    rows = diff.rows
    is_there = pc.all(pc.is_in(rows.removed, value_set=old["file_name"]), min_count=0).as_py()
    if old.num_rows != rows.n_old or not is_there:
        raise ManifestError(
            f"the differences were made against other rows: {rows.n_old:,} of {diff.old}, these are {old.num_rows:,}",
            where=str(diff.new),
            fix="compare the two manifests again",
        )
    gone = pa.chunked_array([*rows.removed.chunks, *rows.changed["file_name"].chunks], pa.string())
    kept = old.filter(pc.invert(pc.is_in(old["file_name"], value_set=gone)))
    schema = rows.added.schema
    parts = [_without_dictionaries(_conform(kept, schema))]
    parts += [_without_dictionaries(part) for part in (rows.changed, rows.added)]
    table = pa.concat_tables(parts)
    table = table.take(pc.sort_indices(table["file_name"]))
    columns = [_as_kind(table[field.name], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _diff_rows(one: Manifest, other: Manifest) -> RowDiff:
    old, new = one.table, other.table
    joined = join_by_name(old, new)
    shared = [name for name in new.column_names if name in old.column_names and _is_kept(old, new, name)]
    removed, added = old.take(pa.array(joined.only_old)), new.take(pa.array(joined.only_new))
    old_rows, new_rows = old.take(pa.array(joined.common_old)), new.take(pa.array(joined.common_new))
    masks = {name: differing(old_rows[name], new_rows[name], column=name) for name in shared}
    fresh = {name: np.asarray(new_rows[name].is_valid()) for name in new.column_names if name not in shared}
    is_changed = np.logical_or.reduce([np.zeros(new_rows.num_rows, np.bool_), *masks.values(), *fresh.values()])
    is_altered = _is_altered(old_rows, new_rows, masks)
    masks["sha256"] = masks["sha256"] & ~is_altered  # one that came or went: the bytes may be the same
    paired_old, paired_new = pair_by_content(removed, added)
    pairs = (
        _stack(joined.common_old, joined.only_old[paired_old]),
        _stack(joined.common_new, joined.only_new[paired_new]),
    )
    return RowDiff(
        removed=removed["file_name"],
        added=added,
        changed=new_rows.filter(pa.array(is_changed)),
        renamed=_names(removed.take(pa.array(paired_old)), added.take(pa.array(paired_new))),
        altered=new_rows["file_name"].filter(pa.array(is_altered)),
        relabelled=_changes(old, new, pairs, _labels(one), _labels(other), column="label"),
        resplit=_changes(old, new, pairs, _splits(old), _splits(new), column="split"),
        column_counts={name: int(mask.sum()) for name, mask in masks.items() if name not in _TOLD and mask.any()},
        columns_added=tuple(name for name in new.column_names if name not in shared),
        columns_removed=tuple(name for name in old.column_names if name not in shared),
        n_old=old.num_rows,
        n_new=new.num_rows,
        is_same=one.metadata.rows_sha256 == other.metadata.rows_sha256,
    )


def _is_kept(old: pa.Table, new: pa.Table, name: str) -> bool:
    """Whether both have the column with the same type; one with another type was removed and added."""
    return bool(old.schema.field(name).type == new.schema.field(name).type)


def _stack(one: Ints, other: Ints) -> pa.Array:
    return pa.array(np.concatenate([one, other]))


def _names(old: pa.Table, new: pa.Table) -> pa.Table:
    return pa.table({"old": old["file_name"], "new": new["file_name"]})


def _is_altered(old: pa.Table, new: pa.Table, masks: Mapping[str, Mask]) -> Mask:
    """Where the bytes differ: by sha256, or by size where either has none."""
    both = np.asarray(pc.and_(old["sha256"].is_valid(), new["sha256"].is_valid()))
    altered: Mask = np.where(both, masks["sha256"], masks["size_bytes"])
    return altered


def _changes(
    old: pa.Table,
    new: pa.Table,
    pairs: tuple[pa.Array, pa.Array],
    was: pa.ChunkedArray,
    now: pa.ChunkedArray,
    *,
    column: str,
) -> pa.Table:
    """(old, new, was, now) of the pairs of rows whose values differ."""
    was, now = was.take(pairs[0]), now.take(pairs[1])
    at = pa.array(np.flatnonzero(differing(was, now, column=column)))
    names = _names(old.take(pairs[0].take(at)), new.take(pairs[1].take(at)))
    return names.append_column("was", was.take(at)).append_column("now", now.take(at))


def _labels(manifest: Manifest) -> pa.ChunkedArray:
    """The label of each row, or its list of labels."""
    name = "labels" if manifest.metadata.label_columns and "labels" in manifest.table.column_names else "label"
    return manifest.table[name]


def _splits(table: pa.Table) -> pa.ChunkedArray:
    """The split of each row as text, with its fold if it has one."""
    folds = pc.binary_join_element_wise(" fold ", table["fold"].cast(pa.string()), "")
    folds = pc.if_else(table["fold"].is_valid(), folds, "")
    return pc.binary_join_element_wise(table["split"].cast(pa.string()), folds, "")


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of schema; null where the table has none of that name and type."""
    columns = []
    for field in schema:
        at = table.schema.get_field_index(field.name)
        has = at >= 0 and table.schema.field(at).type == field.type
        columns.append(table.column(at) if has else pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Plain values: two dictionaries cannot always be made one whose indices still have room."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _as_kind(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column.combine_chunks().dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column


def _tuples(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _change_dict(old: str, new: str, was: Any, now: Any) -> dict[str, Any]:
    facts = {"file_name": new, "from": was, "to": now}
    return facts if old == new else facts | {"old_file_name": old}


def _row_lines(rows: RowDiff) -> list[str]:
    """Counts and the first few of each kind as text."""
    n_renamed = rows.renamed.num_rows
    fresh = rows.added["file_name"].filter(pc.invert(pc.is_in(rows.added["file_name"], value_set=rows.renamed["new"])))
    gone = rows.removed.filter(pc.invert(pc.is_in(rows.removed, value_set=rows.renamed["old"])))
    kinds = (
        ("added", len(fresh), [plain(name) for name in fresh[:SHOWN].to_pylist()]),
        ("removed", len(gone), [plain(name) for name in gone[:SHOWN].to_pylist()]),
        ("renamed", n_renamed, [_arrow(*pair) for pair in _tuples(rows.renamed[:SHOWN])]),
        ("changed", len(rows.altered), [plain(name) for name in rows.altered[:SHOWN].to_pylist()]),
        ("relabelled", rows.relabelled.num_rows, [_told(*row) for row in _tuples(rows.relabelled[:SHOWN])]),
        ("resplit", rows.resplit.num_rows, [_told(*row) for row in _tuples(rows.resplit[:SHOWN])]),
    )
    lines = [
        f"{n:,} {'row' if n == 1 else 'rows'} {kind}: {'; '.join(shown)}{'; ...' * (n > SHOWN)}"
        for kind, n, shown in kinds
        if n
    ]
    if rows.column_counts:
        counts = ", ".join(f"{plain(name)} {n:,}" for name, n in rows.column_counts.items())
        lines.append(f"rows that differ in other columns: {counts}")
    for word, names in (("added", rows.columns_added), ("removed", rows.columns_removed)):
        if names:
            lines.append(f"columns {word}: {', '.join(map(plain, names))}")
    return lines or ([] if rows.is_same else ["columns stand in another order"])


def _arrow(old: str, new: str) -> str:
    return plain(old) if old == new else f"{plain(old)} -> {plain(new)}"


def _told(old: str, new: str, was: Any, now: Any) -> str:
    return f"{_arrow(old, new)} was {plain(was)}, is {plain(now)}"
