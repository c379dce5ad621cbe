"""A stamp as one number: 64 bits made of a file's size, time and inode, which tell one state of it from the next.

One number, because what is kept of a file whose label must stay unknown may not tell its size.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.files.names import to_path
from imagekit.files.read import Stamp

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

# a file that changed within two seconds of the build may have changed again unseen: its time stamp proves nothing
SETTLED_NS = 2_000_000_000
ABSENT = 0
_BATCH = 65_536
_PACKED = struct.Struct("<qqQ")


def number_of(stamp: Stamp | os.stat_result) -> int:
    """The number of a state of a file, 1..2^64-1. The device is left out: it changes when a disk is mounted anew."""
    if isinstance(stamp, Stamp):
        packed = _PACKED.pack(stamp.size_bytes, stamp.mtime_ns, stamp.inode)
    else:
        packed = _PACKED.pack(stamp.st_size, stamp.st_mtime_ns, stamp.st_ino)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") or 1


def proof_of(stamp: Stamp) -> int:
    """The number of the state that was read just now; ABSENT for a file so young that it may change again unseen.

    Asked where a file is read: an hour later, at the end of the build, every time stamp looks old.
    """
    return number_of(stamp) if time.time_ns() - stamp.mtime_ns > SETTLED_NS else ABSENT


def number_at(root: Path, name: bytes) -> tuple[int, int, int]:
    """Number, time (nanoseconds) and size (bytes) of a file, itself and not what it links to; zeros if it is gone."""
    try:
        status = to_path(root, name).lstat()
    except OSError:
        return ABSENT, 0, 0
    return number_of(status), status.st_mtime_ns, status.st_size


def stat_all(
    root: Path, names: pa.LargeBinaryArray
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `number_at` for many names that discovery found below root: numbers, sizes, times; one system call each."""
    import numpy as np

    numbers = np.zeros(len(names), np.uint64)
    sizes, mtimes = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    prefix = os.fsencode(root) + b"/"
    for start in range(0, len(names), _BATCH):
        found = [_status_at(prefix + name) for name in names.slice(start, _BATCH).to_pylist()]
        rows = start + np.flatnonzero([status is not None for status in found])
        there = [status for status in found if status is not None]
        packed = np.empty(len(there), np.dtype([("size", "<i8"), ("mtime", "<i8"), ("inode", "<u8")]))
        packed["size"] = [status.st_size for status in there]
        packed["mtime"] = [status.st_mtime_ns for status in there]
        packed["inode"] = [status.st_ino for status in there]
        numbers[rows], sizes[rows], mtimes[rows] = _numbers_of(packed), packed["size"], packed["mtime"]
    return numbers, sizes, mtimes


def _status_at(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _numbers_of(packed: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """`number_of` for many, a third of the time: packed as _PACKED packs them."""
    import numpy as np

    blob, step = packed.tobytes(), _PACKED.size
    digests = [hashlib.blake2b(blob[at : at + step], digest_size=8).digest() for at in range(0, len(blob), step)]
    numbers = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    return np.where(numbers == ABSENT, np.uint64(1), numbers)
