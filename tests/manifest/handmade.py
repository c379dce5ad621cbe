"""Manifests made by hand, row by row, for what no small album gives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.schema import COLUMNS, METADATA_KEY, Metadata


def row(name: str, label: str | None = "ant", split: str | None = "train", **more: Any) -> dict[str, Any]:
    """One row, with a sha256 made of its name."""
    return {"file_name": name, "label": label, "split": split, "size_bytes": 9, "sha256": content(name)} | more


def content(seed: str) -> bytes:
    """32 bytes that stand for a sha256."""
    return seed.encode()[:32].ljust(32, b".")


def list_of(kind: pa.DataType) -> pa.DataType:
    """The type that a list column has after it was written: Parquet names what is in a list `element`."""
    return pa.list_(pa.field("element", kind))


def table(rows: Sequence[Mapping[str, Any]], *, more: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """The rows as Arrow columns, further columns behind those of every manifest."""
    schema = pa.schema([*COLUMNS, *(more or {}).items()])
    columns = []
    for field in schema:
        values = [one.get(field.name) for one in rows]
        if pa.types.is_dictionary(field.type):
            columns.append(pa.array(values, pa.string()).dictionary_encode().cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=schema)


def with_targets(rows: pa.Table, vocab: Sequence[str]) -> pa.Table:
    """With the ids that the vocab gives to the labels."""
    ids = [vocab.index(label) if label in vocab else None for label in rows["label"].to_pylist()]
    return rows.set_column(rows.column_names.index("target"), COLUMNS.field("target"), pa.array(ids, pa.int32()))


def metadata(rows: pa.Table, **changes: Any) -> Metadata:
    """Metadata that fits the rows, but for the changes."""
    labels = sorted({label for label in rows["label"].to_pylist() if label is not None})
    counts = {"found": len(rows), "selected": len(rows), "excluded": {}, "quarantined": {}, "not_image": 0}
    made = Metadata(
        root=".", vocab=tuple(labels), class_names=tuple(labels), processors=(), stats=None, label_rule="parent",
        split_rule="folders", salt="", seed=0, counts=counts, rows_sha256=rows_sha256(rows),
    )  # fmt: skip
    return replace(made, **changes)


def write(path: Path, rows: pa.Table, **changes: Any) -> Path:
    """A manifest of these rows, whose targets are those of the vocab."""
    vocab = changes.get("vocab", metadata(rows).vocab)
    changes.setdefault("class_names", vocab)
    encoded = with_targets(rows, vocab)
    text = metadata(encoded, **changes).to_json()
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(encoded.replace_schema_metadata({METADATA_KEY: text}), path)
    return path
