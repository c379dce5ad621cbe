"""Manifests written by hand, with the images that they list: every split, label and name that a test wants."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from manifest.albums import plant, png

from imagekit.files.names import display_name, is_plain
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.schema import COLUMNS, METADATA_KEY, ChannelStats, Metadata

Listing = Sequence[tuple[str | bytes, str | None, str | None]]

# (file name, split, label): three splits and unlabelled images, one name that a spreadsheet would run
PETS: Listing = (
    ("-a.png", "train", "cat"),
    ("test/cat/1.png", "test", "cat"),
    ("train/cat/1.png", "train", "cat"),
    ("train/dog/1.png", "train", "dog"),
    ("unsup/1.png", "unsup", None),
    ("val/cat/1.png", "valid", "cat"),
    ("val/dog/1.png", "valid", "dog"),
)


def make_manifest(
    folder: Path,
    listing: Listing = PETS,
    *,
    vocab: Sequence[str] = ("cat", "dog"),
    columns: Mapping[str, pa.Array] | None = None,
    label_columns: tuple[str, ...] = (),
    recipe: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """The manifest FOLDER/rows.parquet of images below FOLDER/images, sorted by name.

    columns: more of them, behind the usual ones. names: what the manifest calls the images, if not by their names.
    """
    rows = [_row(number, *entry, vocab=vocab) for number, entry in enumerate(listing)]
    plant(folder / "images", {name: png(number, _size(number)) for number, (name, _, _) in enumerate(listing)})
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    if names:
        table = table.set_column(0, "file_name", pa.array(names, pa.string()))
    for name, values in (columns or {}).items():
        table = table.append_column(name, values)
    table = table.sort_by("file_name").combine_chunks()
    metadata = Metadata(
        root="images",
        vocab=() if label_columns else tuple(vocab),
        class_names=() if label_columns else tuple(vocab),
        processors=(),
        stats=ChannelStats(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), n_images=1, n_pixels=1),
        label_rule="parent",
        split_rule="folders",
        salt="",
        seed=0,
        counts={},
        rows_sha256=rows_sha256(table),
        recipe=recipe,
        label_columns=label_columns,
    )
    path = folder / "rows.parquet"
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata.to_json()}), path)
    return path


def lists(values: Sequence[Sequence[Any] | None]) -> pa.Array:
    """A column of lists in the type that Parquet gives back."""
    inner = pa.array(values).type.value_type
    return pa.array(values, pa.list_(pa.field("element", inner)))


def _row(
    number: int, name: str | bytes, split: str | None, label: str | None, *, vocab: Sequence[str]
) -> dict[str, Any]:
    raw, data = name if isinstance(name, bytes) else os.fsencode(name), png(number, _size(number))
    return {
        "file_name": display_name(raw),
        "file_name_bytes": None if is_plain(raw) else raw,
        "split": split,
        "label": label,
        "target": vocab.index(label) if label in vocab else None,
        "width": _size(number)[0],
        "height": _size(number)[1],
        "format": "PNG",
        "mode": "RGB",
        "n_frames": 1,
        "exif_orientation": 1,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).digest(),
        "dhash": -1 - number,  # all bits set, and a few turned
        "group": None,
    }


def _size(number: int) -> tuple[int, int]:
    return 7 + number, 5
