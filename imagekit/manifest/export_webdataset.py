"""The images in tar files that the library webdataset streams: <split>-000000.tar, <split>-000001.tar, ...

    000000007.jpg    the image as it is
    000000007.cls    its target, where it has one
    000000007.json   every column, canonical JSON

The key is the row number in the manifest. A shard ends before SHARD_IMAGES images or SHARD_BYTES bytes are exceeded.
Plain USTAR, no times, no owners: same manifest and images, same bytes. Source: webdataset.github.io.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import OutputError
from imagekit.files.atomic import explain_disk_full
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.export_source import ExportSource, read_images

SHARD_IMAGES = 10_000
SHARD_BYTES = 2**30
_OTHERS = ("cls", "json")
_BLOCK = 512  # tar pads everything to this
_ROWS = 1_024


def write_webdataset(source: ExportSource, folder: Path) -> tuple[str, ...]:
    """Fill the folder with shards, the splits one after another; tells how many there are.

    Raises OutputError for an image whose name has no extension to go by, ImageError or ManifestError for a file that is
    not as the manifest says.
    """
    n_shards = n_done = 0
    for split, name in source.folder_names().items():
        with _Shards(folder, name) as shards:
            for members in _samples(source, source.rows_of(split)):
                shards.add(members)
                n_done += 1
                source.told(n_done)
        n_shards += shards.n_shards
    return (f"{n_shards:,} {'shard' if n_shards == 1 else 'shards'}",)


def _samples(source: ExportSource, rows: npt.NDArray[np.int64]) -> Iterator[dict[str, bytes]]:
    """Member name -> bytes of each sample."""
    with_cls = not source.manifest.metadata.label_columns
    for (row, data), content in zip(read_images(source, rows), _contents(source, rows), strict=True):
        key, members = f"{row:09d}", {}
        members[f"{key}.{_extension(content['file_name'])}"] = data
        if with_cls and content["target"] is not None:
            members[f"{key}.cls"] = str(content["target"]).encode()
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        yield members | {f"{key}.json": text.encode()}


def _contents(source: ExportSource, rows: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _ROWS):
        some = plain_table(source.table.take(pa.array(rows[start : start + _ROWS]))).to_pylist()
        yield from ({name: _sayable(value) for name, value in content.items()} for content in some)


def _sayable(value: Any) -> Any:
    """The value, null for a number that JSON has no word for (NaN, infinity)."""
    if isinstance(value, list):
        return [_sayable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _extension(name: str) -> str:
    """What stands behind the last dot, in small letters: webdataset tells by it how to decode."""
    _, dot, extension = name.rpartition("/")[2].rpartition(".")
    extension = extension.lower()
    if not (dot and extension.isascii() and extension.isalnum()) or extension in _OTHERS:
        raise OutputError(
            f"the image {name} has no extension that tells how to decode it",
            where=name,
            fix="give it one, such as .jpg, and build the manifest again",
        )
    return extension


class _Shards:
    """The tar files of one split; a sample is never torn over two."""

    def __init__(self, folder: Path, split: str) -> None:
        self.n_shards = 0
        self._folder, self._split = folder, split
        self._tar: tarfile.TarFile | None = None
        self._n_images = self._n_bytes = 0

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close()

    def add(self, members: dict[str, bytes]) -> None:
        """Write the members of one sample side by side."""
        size = sum(2 * _BLOCK + len(data) for data in members.values())
        if self._tar is None or self._n_images == SHARD_IMAGES or self._n_bytes + size > SHARD_BYTES:
            self._tar = self._next()
        self._n_images += 1
        self._n_bytes += size
        with explain_disk_full(self._folder):
            for name, data in members.items():
                info = tarfile.TarInfo(name)  # made by hand: no time, no owner
                info.size, info.mode = len(data), 0o644
                self._tar.addfile(info, io.BytesIO(data))

    def _next(self) -> tarfile.TarFile:
        self._close()
        path = self._folder / f"{self._split}-{self.n_shards:06d}.tar"
        self.n_shards += 1
        self._n_images = self._n_bytes = 0
        return tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)

    def _close(self) -> None:
        if self._tar is not None:
            with explain_disk_full(self._folder):
                self._tar.close()
            self._tar = None
