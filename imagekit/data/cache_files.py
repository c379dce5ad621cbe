"""Stores on disk: one file for what a set of images becomes by some transforms, found again by its name.

The name is a digest of all that decides the pixels: the sha256 and sides of every image, the transforms with their
size and filter, the decoder, its version and the resizer's. The file begins with it. So a file that is there is right
or damaged, never out of date. Who uses one holds a shared lock on it, which dies with its process; only a file that
nobody holds is removed, the one that was used longest ago first. Who opens or removes one holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.data.store import HEADER_BYTES, Layout, PixelStore
from imagekit.errors import OutputError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.sizes import display_bytes

MAGIC = "imagekit pixels 1"
_PAUSES_S = (0.001, 0.01)
LOCK_NAME = ".lock"
_SUFFIX = ".pixels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Where stores lie, and how many bytes all of them may take together."""

    folder: Path
    limit_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a cache folder. used_at: when it was last opened or written to, as mtime_ns.

    n_bytes: what it takes on the disk; size_bytes: what it takes when every image is there.
    """

    path: Path
    n_bytes: int
    size_bytes: int
    used_at: int


def default_folder() -> Path:
    """`imagekit` in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "imagekit"  # noqa: PTH117 - "" is not


def store_path(folder: Path, what: Mapping[str, object], layout: Layout) -> Path:
    """The file for these images and what is done to them. what: plain types. The layout must have digests."""
    digest = hashlib.sha256(_words(what))
    for array in (layout.digests_N, layout.heights_N, layout.widths_N):
        digest.update(b"" if array is None else array.tobytes())
    return folder / f"{digest.hexdigest()[:32]}{_SUFFIX}"


def entries(folder: Path) -> list[Entry]:
    """The stores in a folder, the one that was used longest ago first; none where there is no folder."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                n_bytes, size_bytes = status.st_blocks * 512, status.st_size
                found.append(Entry(path=path, n_bytes=n_bytes, size_bytes=size_bytes, used_at=status.st_mtime_ns))
    return sorted(found, key=lambda entry: (entry.used_at, entry.path.name))


def open_store(room: Room, what: Mapping[str, object], layout: Layout, *, n_bytes: int | None = None) -> PixelStore:
    """The store for these images, made if it is not there; others go first where the room asks for it.

    n_bytes: what it will come to take, where not all of its images are wanted. Raises OutputError where that is more
    than the room, where the folder cannot be written, and for a damaged store that another run uses; DiskFullError.
    """
    path = store_path(room.folder, what, layout)
    try:
        room.folder.mkdir(parents=True, exist_ok=True)
        with explain_disk_full(path), _locked(room.folder):
            make_room(room, path, layout.n_bytes if n_bytes is None else n_bytes)
            fd = _open(path, what, layout)
            return _store(fd, layout, path)
    except OSError as error:
        raise OutputError(
            f"the cache cannot be written: {error.strerror}",
            where=os.fsdecode(error.filename or room.folder),
            fix="set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none",
        ) from error


def make_room(room: Room, path: Path, n_bytes: int) -> list[Path]:
    """Remove stores that nobody uses until `path` may grow to n_bytes; returns what was removed.

    A store in use counts as if every image were there. Raises OutputError where what may go is not enough.
    """
    others = [entry for entry in entries(room.folder) if entry.path != path]
    unused = [entry for entry in others if not _is_used(entry.path)]
    used_bytes = sum(entry.size_bytes for entry in others if entry not in unused)
    if used_bytes + n_bytes > room.limit_bytes:
        in_use = f", and {display_bytes(used_bytes)} are in use by other runs" if used_bytes else ""
        raise OutputError(
            f"the cache would take {display_bytes(n_bytes)}, the limit is {display_bytes(room.limit_bytes)}{in_use}",
            where=str(room.folder),
            fix="give a greater --cache-limit, or use --cache none",
        )
    taken, removed = used_bytes + sum(entry.n_bytes for entry in unused), []
    for entry in unused:
        if taken + n_bytes <= room.limit_bytes:
            break
        with contextlib.suppress(FileNotFoundError):
            seam.unlink(entry.path)
        taken -= entry.n_bytes
        removed.append(entry.path)
    return removed


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # a file and not the folder itself: NFS gives such locks only to those who may write
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        _let_go(fd)


def _is_used(path: Path) -> bool:
    """Whether somebody holds a store; one of another user, which cannot be removed, is as good as held."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        return not _lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        _let_go(fd)


@contextlib.contextmanager
def look_into(folder: Path, what: Mapping[str, object], layout: Layout) -> Iterator[PixelStore | None]:
    """A store as it is now, only to be read, and held inside the block; None where there is none that is whole.

    One that somebody is beginning anew is none. Raises OSError where it may not be read.
    """
    path = store_path(folder, what, layout)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    try:
        is_held = _lock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not (is_held and _is_whole(fd, _header(path, what), layout)):
            yield None
            return
        with contextlib.closing(PixelStore(os.dup(fd), layout)) as store:
            yield store
    finally:
        _let_go(fd)


def _header(path: Path, what: Mapping[str, object]) -> bytes:
    """How a store begins; the words are for people, the name holds all of them."""
    return (f"{MAGIC}\n{path.name}\n".encode() + _words(what) + b"\n")[:HEADER_BYTES]


def _open(path: Path, what: Mapping[str, object], layout: Layout) -> int:
    """A descriptor of the store, held by a shared lock; a damaged or foreign one is begun anew."""
    header = _header(path, what)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        is_alone = _lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_whole(fd, header, layout):
            if not is_alone:
                raise OutputError(
                    "the cache file is damaged, and another run uses it",
                    where=str(path),
                    fix="wait until that run has ended, or use --cache ram or none",
                )
            _begin(fd, header, layout)
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.utime(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _store(fd: int, layout: Layout, path: Path) -> PixelStore:
    try:
        return PixelStore(fd, layout, where=str(path))
    except BaseException:
        os.close(fd)
        raise


def _begin(fd: int, header: bytes, layout: Layout) -> None:
    """An empty store; a damaged one loses everything. The header comes last: without it a file is no store."""
    os.ftruncate(fd, 0)
    os.ftruncate(fd, layout.n_bytes)
    seam.write_at(fd, memoryview(header), 0)


def _is_whole(fd: int, header: bytes, layout: Layout) -> bool:
    return os.fstat(fd).st_size == layout.n_bytes and os.pread(fd, len(header), 0) == header


def _lock(fd: int, how: int) -> bool:
    """Whether the lock was to be had; who only looks into a store holds it for a moment."""
    for pause_s in (*_PAUSES_S, None):
        try:
            fcntl.flock(fd, how)
        except BlockingIOError:
            if pause_s is not None:
                time.sleep(pause_s)
        else:
            return True
    return False


def _let_go(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing alone: a worker forked meanwhile would hold on to it
    os.close(fd)


def _words(what: Mapping[str, object]) -> bytes:
    return json.dumps(what, sort_keys=True, ensure_ascii=True).encode()
