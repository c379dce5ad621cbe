"""A manifest seen another way: another column as the target, another fold as the validation set.

A view has the rows and the digest of its manifest; nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import ManifestError, did_you_mean
from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import COLUMNS


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """A column that can be learnt: its classes, and how to get label and target of each row."""

    vocab: tuple[str, ...]
    class_names: tuple[str, ...]
    read: Callable[[pa.Table], tuple[pa.Array, pa.Array]]


def view(manifest: Manifest, *, target_column: str | None = None, fold: int | None = None) -> Manifest:
    """The manifest with this column as its target and this fold as its validation set; None leaves either as it is.

    Raises ManifestError as `with_target` and `with_fold` do.
    """
    seen = manifest if target_column is None else with_target(manifest, target_column)
    return seen if fold is None else with_fold(seen, fold)


def with_target(manifest: Manifest, column: str) -> Manifest:
    """The manifest with another column as `label` and `target`, and its classes as the vocab.

    column: one of several label columns, a column that was processed as `category` (X or X_target), or a noisy one
    (noisy_P). Rows of train, valid and test that have no value there go to `unsup`, as images without a label do.
    Raises ManifestError, listing those that can be, for any other column.
    """
    known = _targets(manifest)
    if column not in known:
        raise ManifestError(
            f'no column "{column}" can be learnt',
            where=str(manifest.path),
            fix=did_you_mean(column, known),
        )
    target = known[column]
    label, number = target.read(manifest.table)
    split = pc.if_else(pc.is_null(number), "unsup", manifest.table["split"].cast(pa.string()))
    table = _replaced(manifest.table, {"label": label, "target": number, "split": split})
    metadata = replace(manifest.metadata, vocab=target.vocab, class_names=target.class_names, label_columns=())
    return replace(manifest, table=table, metadata=metadata)


def n_without_target(manifest: Manifest, seen: Manifest) -> int:
    """How many rows of a manifest lost their split in a view of it, for want of a value."""
    before, after = (pc.equal(each.table["split"].cast(pa.string()), "unsup") for each in (manifest, seen))
    return int(pc.sum(after).as_py() or 0) - int(pc.sum(before).as_py() or 0)


def with_fold(manifest: Manifest, fold: int) -> Manifest:
    """The manifest of a k-fold split with `fold` as `valid` and the other folds as `train`, and their statistics.

    Raises ManifestError where the manifest has no folds, or not this one.
    """
    folds = manifest.table["fold"]
    known = sorted(number for number in pc.unique(folds).to_pylist() if number is not None)
    if fold not in known:
        n = f"has folds {known[0]} to {known[-1]}" if known else "has no folds"
        raise ManifestError(
            f"the manifest {n}, not fold {fold}",
            where=str(manifest.path),
            fix="choose one of them" if known else "build it with --split kfold:5, say",
        )
    drawn = pc.if_else(pc.equal(folds, fold), "valid", "train")
    was = manifest.table["split"].cast(pa.string())
    # a row that lost its split for want of a target has a fold still
    split = pc.if_else(pc.or_(pc.is_null(folds), pc.equal(was, "unsup")), was, drawn)
    stats = manifest.metadata.fold_stats
    metadata = replace(manifest.metadata, stats=stats[fold] if fold < len(stats) else None)
    return replace(manifest, table=_replaced(manifest.table, {"split": split}), metadata=metadata)


def _targets(manifest: Manifest) -> Mapping[str, _Target]:
    """Every column that can be learnt, by name."""
    metadata, found = manifest.metadata, dict[str, _Target]()
    if metadata.vocab:
        own = _Target(vocab=metadata.vocab, class_names=metadata.class_names, read=_plain("label", "target"))
        found["label"] = own
        for name in manifest.table.schema.names:
            if name.startswith("noisy_"):
                found[name] = replace(own, read=_noisy(name, metadata.vocab))
    for processor in metadata.processors:
        column, outputs = str(processor["column"]), list(processor["outputs"])
        if processor["name"] != "CategoryProcessor" or column in found:
            continue
        vocab = tuple(map(str, processor["state"]["vocab"]))
        if column in metadata.label_columns:
            number = metadata.label_columns.index(column)
            found[column] = _Target(vocab=vocab, class_names=vocab, read=_listed(number))
        elif column in manifest.table.schema.names:
            for name in (column, *outputs):
                found[name] = _Target(vocab=vocab, class_names=vocab, read=_plain(column, outputs[0]))
    return found


def _plain(label: str, target: str) -> Callable[[pa.Table], tuple[pa.Array, pa.Array]]:
    return lambda table: (table[label], table[target])


def _listed(number: int) -> Callable[[pa.Table], tuple[pa.Array, pa.Array]]:
    return lambda table: (pc.list_element(table["labels"], number), pc.list_element(table["targets"], number))


def _noisy(column: str, vocab: tuple[str, ...]) -> Callable[[pa.Table], tuple[pa.Array, pa.Array]]:
    """A label that the vocab lacks is one of `other`, as it is in the column that was made noisy."""

    def read(table: pa.Table) -> tuple[pa.Array, pa.Array]:
        labels = table[column].cast(pa.string())
        found = pc.index_in(labels, pa.array(vocab))
        rest = pa.scalar(vocab.index("other") if "other" in vocab else None, pa.int32())
        return labels, pc.if_else(pc.and_(pc.is_null(found), pc.is_valid(labels)), rest, found)

    return read


def _replaced(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """The table with these columns in the types of the format."""
    for name, values in columns.items():
        kind, index = COLUMNS.field(name).type, table.schema.get_field_index(name)
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if pa.types.is_dictionary(kind):
            whole = whole.cast(pa.string()).dictionary_encode()
            whole = pa.DictionaryArray.from_arrays(whole.indices.cast(kind.index_type), whole.dictionary)
        table = table.set_column(index, COLUMNS.field(name), pa.chunked_array([whole.cast(kind)], kind))
    return table
