"""The rows of a manifest as one Arrow table, and the metadata that travels with them. n rows, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.engine.facts import FactTable
from imagekit.errors import SplitError
from imagekit.manifest.naming import Named
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.schema import COLUMNS
from imagekit.manifest.splitting import Splitting
from imagekit.rules.columns import Coded, recode

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FACTS = ("width", "height", "format", "mode", "n_frames", "exif_orientation", "size_bytes", "sha256", "dhash")
MAX_SPLITS = 127  # the column's codes are int8


def take_coded(coded: Coded, rows: Ints) -> Coded:
    """The labels or splits of some rows, values that they do not use left out."""
    return recode(coded.codes[rows], coded.values)


def unlabel(coded: Coded, mask: Mask) -> Coded:
    """Without the labels of the marked rows."""
    return recode(np.where(mask, np.int32(-1), coded.codes), coded.values) if mask.any() else coded


def take_rows(column: pa.Array, rows: Ints) -> pa.Array:
    """Some rows of a column, in order; the column itself where that is every one."""
    return column if len(rows) == len(column) else column.take(pa.array(rows))


def as_dictionary(coded: Coded) -> pa.DictionaryArray:
    """The texts as a dictionary array of strings, null for code -1."""
    indices = pa.array(coded.codes, pa.int32(), mask=coded.codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(coded.values, pa.string()))


def base_table(
    named: Named, rows: Ints, facts: FactTable, splitting: Splitting, labels: Sequence[Coded], kept: Mask
) -> pa.Table:
    """Every column that each manifest has, but `target`; with `labels` where there are several label columns.

    rows: int64[n], of `named`. labels: of the n rows. kept: which rows of `splitting` they are.
    """
    columns: dict[str, pa.Array] = {
        "file_name": take_rows(named.names.shown, rows),
        "file_name_bytes": take_rows(named.hidden, rows),
        "split": _splits(splitting, kept),
        "fold": pa.nulls(len(rows), pa.int8()) if splitting.folds is None else pa.array(splitting.folds[kept]),
        "label": pa.nulls(len(rows), pa.string())
        if named.label_columns
        else as_dictionary(labels[0]).cast(pa.string()),
        "target": pa.nulls(len(rows), pa.int32()),
        **{name: _fact(facts, name, rows) for name in _FACTS},
        "group": splitting.groups.filter(pa.array(kept)),
    }
    table = pa.Table.from_arrays([columns[name] for name in COLUMNS.names], schema=COLUMNS)
    if named.label_columns:
        texts = [as_dictionary(coded).cast(pa.string()) for coded in labels]
        table = table.append_column("labels", lists_of(texts))
    return table


def with_targets(
    table: pa.Table, labels: Sequence[Coded], processors: Sequence[CategoryProcessor], *, where: str
) -> pa.Table:
    """The table with `target`, or with `targets` beside `labels`. Raises LabelError for labels that train lacks."""
    encoded = [
        processor.encode(as_dictionary(coded), where=where) for coded, processor in zip(labels, processors, strict=True)
    ]
    if "labels" in table.column_names:
        return table.append_column("targets", lists_of(encoded))
    return table.set_column(table.schema.get_field_index("target"), COLUMNS.field("target"), encoded[0])


def lists_of(columns: Sequence[pa.Array]) -> pa.ListArray:
    """Arrays of n values each as one array of n lists, one value from each array; null for a row without any."""
    n, k = len(columns[0]), len(columns)
    values = pa.concat_arrays(columns).take(pa.array(np.arange(n * k).reshape(k, n).T.ravel()))
    is_empty = np.all([np.asarray(column.is_null()) for column in columns], axis=0)
    kept = values.filter(pa.array(np.repeat(~is_empty, k)))
    offsets = np.concatenate([[0], np.cumsum(np.where(is_empty, 0, k))])
    kind = pa.list_(pa.field("element", kept.type))  # as Parquet names it: the digest covers the type
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), kept, type=kind, mask=pa.array(is_empty))


def _splits(splitting: Splitting, kept: Mask) -> pa.DictionaryArray:
    coded = recode(splitting.codes[kept], tuple(splitting.words))
    if len(coded.values) > MAX_SPLITS:
        raise SplitError(
            f"there are {len(coded.values)} splits, at most {MAX_SPLITS} can be told apart",
            where="--split",
            fix="join some of the validation sets",
        )
    return pa.DictionaryArray.from_arrays(pa.array(coded.codes, pa.int8()), pa.array(coded.values, pa.string()))


def _fact(facts: FactTable, name: str, rows: Ints) -> pa.Array:
    column, kind = facts.to_arrow(name, rows), COLUMNS.field(name).type
    if column.type == pa.uint64() and kind == pa.int64():
        return column.view(kind)  # the same bits
    return column if column.type == kind else column.cast(kind)


def count_by_class(table: pa.Table, labels: Coded) -> dict[str, dict[str, int]]:
    """Rows by label and split; unlabelled rows are in none."""
    split = table["split"].combine_chunks()
    if isinstance(split, pa.ChunkedArray):
        split = split.chunk(0)
    words = split.dictionary.to_pylist()
    codes = np.asarray(split.indices)
    has = labels.codes >= 0
    flat = np.bincount(
        labels.codes[has].astype(np.int64) * len(words) + codes[has], minlength=len(words) * len(labels.values)
    )
    counts = flat.reshape(len(labels.values), len(words)).tolist()
    return {
        label: {word: n for word, n in zip(words, row, strict=True) if n}
        for label, row in zip(labels.values, counts, strict=True)
    }


def count_splits(table: pa.Table) -> dict[str, int]:
    """Rows by split, names sorted."""
    counted = pc.value_counts(table["split"].cast(pa.string())).to_pylist()
    return dict(sorted((entry["values"], entry["counts"]) for entry in counted))


def recipe_facts(recipe: Any) -> dict[str, str] | None:
    """What a manifest says of the recipe."""
    return None if recipe is None else {"name": recipe.name, "version": recipe.version, "sha256": recipe.sha256()}
