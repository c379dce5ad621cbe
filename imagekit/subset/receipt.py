"""The receipt of a subset, and the columns of its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagekit.errors import OutputError
from imagekit.files.jsonl import write_json
from imagekit.subset.layout import FOLDER, RECEIPT

RECEIPT_VERSION = 1

# what is known of an image itself: of files.parquet, and for anonymous ones of unlabelled.parquet
IMAGE_FIELDS = [
    ("format_in", pa.dictionary(pa.int32(), pa.string())),
    ("mode_in", pa.dictionary(pa.int32(), pa.string())),
    ("width_in", pa.int32()),
    ("height_in", pa.int32()),
    ("exif_orientation", pa.int8()),
    ("n_frames", pa.int32()),
    ("icc", pa.bool_()),
    ("size_bytes", pa.int64()),
    ("sha256", pa.binary(32)),
    ("decode_path", pa.dictionary(pa.int32(), pa.string())),
    ("resized", pa.bool_()),
    ("kept", pa.bool_()),
    ("out_width", pa.int32()),
    ("out_height", pa.int32()),
    ("out_size_bytes", pa.int64()),
    ("out_sha256", pa.binary(32)),
    ("decoder_said", pa.string()),
]
FILES_SCHEMA = pa.schema(
    [
        ("file_name", pa.string()),
        ("file_name_bytes", pa.binary()),  # only where file_name is escaped
        ("outcome", pa.dictionary(pa.int32(), pa.string())),
        ("reason", pa.dictionary(pa.int32(), pa.string())),
        ("out_name", pa.string()),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        *IMAGE_FIELDS,
    ]
)
UNLABELLED_SCHEMA = pa.schema([("out_name", pa.string()), *IMAGE_FIELDS])
# a row a row of files.parquet, in the same order
STATE_SCHEMA = pa.schema(
    [
        ("name", pa.large_binary()),
        ("stamp", pa.uint64()),
        ("out_name", pa.large_binary()),
        ("out_stamp", pa.uint64()),
        ("link", pa.dictionary(pa.int32(), pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The content of receipt.json. Digests are hex; None for a table that there is not, or in an early receipt.

    read_as: what the recipe's open rules came to, and the tables that were used."""

    recipe: Mapping[str, Any]
    recipe_sha256: str
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Mapping[str, Any]
    files_sha256: str
    unlabelled_sha256: str | None = None
    quarantine_sha256: str | None = None
    read_as: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = RECEIPT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain types; `kind` tells the file from other JSON."""
        return {"kind": "imagekit-subset", **{name: getattr(self, name) for name in self.__slots__}}


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
    # keys that came later have defaults: an early receipt does not hold them
    needed = {one.name for one in fields(Receipt) if one.default is MISSING and one.default_factory is MISSING}
    missing = sorted(needed - set(content))
    if missing:
        raise OutputError(f"the receipt lacks '{missing[0]}'", where=str(path), fix=fix)
    for key, is_right, must in _must_be(content):
        if not is_right:
            raise OutputError(f"the receipt's '{key}' must be {must}", where=str(path), fix=fix)
    return Receipt(**{name: content[name] for name in Receipt.__slots__ if name in content})


def _must_be(content: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Each key that others rely on, whether its value is of its kind, and that kind in words."""
    for key in ("recipe", "options", "counts", "read_as"):
        yield key, isinstance(content.get(key, {}), dict), "an object"
    for key in ("recipe_sha256", "files_sha256"):
        yield key, isinstance(content[key], str), "text"
    for key in ("unlabelled_sha256", "quarantine_sha256"):
        yield key, isinstance(content.get(key), str | None), "text or null"
    for key, value in content["counts"].items():
        yield f"counts.{key}", _is_count(value), "a whole number, or an object of them"


def _is_count(value: object) -> bool:
    numbers = value.values() if isinstance(value, dict) else [value]
    return all(type(number) is int for number in numbers)
