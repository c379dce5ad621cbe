"""A stamp as one number: 64 bits made of a file's size, time and inode, which tell one state of it from the next.

One number, because what is kept of a file whose label must stay unknown may not tell its size.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from pathlib import Path

from imagekit.files.names import to_path
from imagekit.files.read import Stamp

# a file that changed within two seconds of the build may have changed again unseen: its time stamp proves nothing
SETTLED_NS = 2_000_000_000
ABSENT = 0
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
