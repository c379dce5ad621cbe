"""The manifest's columns and the JSON in its schema metadata, version 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from imagekit.errors import ManifestError

FORMAT_VERSION = 1
METADATA_KEY = b"imagekit"
ROW_GROUP_ROWS = 65_536
SPLITS = ("train", "valid", "test", "unsup")

COLUMNS = pa.schema(
    [
        ("file_name", pa.string()),
        ("file_name_bytes", pa.binary()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("fold", pa.int8()),
        ("label", pa.string()),
        ("target", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("n_frames", pa.int32()),
        ("exif_orientation", pa.int8()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.binary(32)),
        ("dhash", pa.int64()),  # 64 bits; signed, for programs that make Python or C numbers of it
        ("group", pa.string()),
    ]
)
# types that columns had in early manifests, which are read all the same
EARLY_TYPES = {"dhash": pa.uint64()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelStats:
    """Mean and standard deviation per channel (R, G, B) over all pixels of the train images, in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    n_images: int
    n_pixels: int

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ChannelStats:
        """Read it back from JSON. Raises KeyError or TypeError for anything else."""
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What the manifest says of itself. `root` is relative to the manifest's own folder.

    processors: {"name", "column", "outputs", "state"} of each, in the order in which they ran. salt: of a hash split.
    check: how far each file was looked into, none, header or decode. options: what else was asked for, by the name of
    the option; what was not is left out. label_columns: the names of several label columns, whose values lie in the
    list column `labels`; then vocab is empty. fold_stats: of a k-fold split, statistics of the rows outside each fold.
    sizes: {"width" | "height" | "aspect": [least, median, greatest]} of the upright images, or None.
    """

    root: str
    vocab: tuple[str, ...]
    class_names: tuple[str, ...]
    processors: tuple[Mapping[str, Any], ...]
    stats: ChannelStats | None
    label_rule: str
    split_rule: str
    salt: str
    seed: int
    counts: Mapping[str, Any]
    rows_sha256: str
    recipe: Mapping[str, Any] | None = None
    check: str = "decode"
    group_rule: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    label_columns: tuple[str, ...] = ()
    fold_stats: tuple[ChannelStats, ...] = ()
    sizes: Mapping[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes, *, where: str) -> Metadata:
        """Read it back. Raises ManifestError for a newer version, missing keys or broken JSON."""
        try:
            content = json.loads(text)
            version = content["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManifestError(
                f"the manifest's metadata cannot be read: {error!r}", where=where, fix=REBUILD
            ) from error
        if not isinstance(version, int) or version > FORMAT_VERSION or version < 1:
            raise ManifestError(
                f"the manifest has format_version {version!r}, this imagekit reads up to {FORMAT_VERSION}",
                where=where,
                fix="update imagekit, or build the manifest again with this version",
            )
        try:
            lists = {key: _strings(content, key) for key in ("vocab", "class_names")}
            if len(lists["vocab"]) != len(lists["class_names"]):
                raise TypeError(f"{len(lists['vocab'])} classes in vocab, {len(lists['class_names'])} in class_names")
            if "label_columns" in content:
                lists["label_columns"] = _strings(content, "label_columns")
            stats = {
                "stats": None if content["stats"] is None else ChannelStats.from_dict(content["stats"]),
                "fold_stats": tuple(map(ChannelStats.from_dict, content.get("fold_stats", ()))),
            }
            return cls(**{**content, **lists, **stats, "processors": tuple(content["processors"])})
        except (KeyError, TypeError) as error:
            raise ManifestError(f"the manifest's metadata is incomplete: {error}", where=where, fix=REBUILD) from error


def _strings(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = content[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{key} is not a list of strings")
    return tuple(values)


REBUILD = "build it again with imagekit manifest, or restore it from a copy"
