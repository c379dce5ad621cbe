"""What a subset folder says of itself: `.imagekit/` with receipt, file table, quarantine and the rerun cache.

receipt.json       written last: recipe, options, versions, counts, digest of the file table
files.parquet      a row a source file: its outcome and what was written
quarantine.jsonl   a line a file that could not be used
state.parquet      size, mtime and inode of the sources; a cache, outside every same-bytes promise
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.errors import OutputError
from imagekit.files.atomic import atomic_file
from imagekit.files.hashes import sha256_file
from imagekit.files.jsonl import write_json, write_json_lines

RECEIPT_VERSION = 1
FOLDER = ".imagekit"
RECEIPT, FILES, QUARANTINE, STATE = "receipt.json", "files.parquet", "quarantine.jsonl", "state.parquet"

FILES_SCHEMA = pa.schema(
    [
        ("file_name", pa.string()),
        ("file_name_bytes", pa.binary()),  # only where file_name is escaped
        ("outcome", pa.dictionary(pa.int8(), pa.string())),
        ("reason", pa.dictionary(pa.int8(), pa.string())),
        ("out_name", pa.string()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("format_in", pa.dictionary(pa.int8(), pa.string())),
        ("mode_in", pa.dictionary(pa.int8(), pa.string())),
        ("width_in", pa.int32()),
        ("height_in", pa.int32()),
        ("exif_orientation", pa.int8()),
        ("n_frames", pa.int32()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.binary(32)),
        ("decode_path", pa.dictionary(pa.int8(), pa.string())),
        ("resized", pa.bool_()),
        ("out_width", pa.int32()),
        ("out_height", pa.int32()),
        ("out_size_bytes", pa.int64()),
        ("out_sha256", pa.binary(32)),
    ]
)
STATE_SCHEMA = pa.schema(
    [
        ("name", pa.binary()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("out_name", pa.binary()),
        ("out_size_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The content of receipt.json."""

    recipe: Mapping[str, Any]
    recipe_sha256: str
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Mapping[str, Any]
    files_sha256: str
    format_version: int = RECEIPT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain types; `kind` tells the file from other JSON."""
        return {"kind": "imagekit-subset", **{name: getattr(self, name) for name in self.__slots__}}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, **metadata: str) -> None:
    """Write rows as one zstd Parquet file, atomically."""
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata or None))
    with atomic_file(path) as aside:
        pq.write_table(table, aside, compression="zstd", row_group_size=65_536)


def write_records(staging: Path, *, files: Sequence[Mapping[str, Any]], quarantine: Sequence[Mapping[str, Any]]) -> str:
    """Write files.parquet and quarantine.jsonl; return the sha256 of files.parquet in hex."""
    folder = staging / FOLDER
    folder.mkdir(exist_ok=True)
    write_table(folder / FILES, files, FILES_SCHEMA)
    write_json_lines(folder / QUARANTINE, quarantine)
    return sha256_file(folder / FILES).hex()


def write_receipt(staging: Path, receipt: Receipt) -> None:
    """Write receipt.json; call it last."""
    write_json(staging / FOLDER / RECEIPT, receipt.to_dict())


def read_receipt(subset: Path) -> Receipt:
    """Read a subset's receipt. Raises OutputError when the folder has none, or one that is damaged or newer."""
    path = subset / FOLDER / RECEIPT
    fix = "give another -o, or move that folder away yourself"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError("this folder was not made by make-subset", where=str(subset), fix=fix) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"the receipt cannot be read: {error}", where=str(path), fix=fix) from error
    if not isinstance(content, dict) or content.get("kind") != "imagekit-subset":
        raise OutputError("the receipt is not one of make-subset", where=str(path), fix=fix)
    version = content.get("format_version")
    if version != RECEIPT_VERSION:
        raise OutputError(
            f"the receipt has format_version {version!r}, this imagekit reads {RECEIPT_VERSION}",
            where=str(path),
            fix="update imagekit, or give another -o",
        )
    try:
        return Receipt(**{name: content[name] for name in Receipt.__slots__})
    except KeyError as error:
        raise OutputError(f"the receipt lacks {error}", where=str(path), fix=fix) from error
