"""Read one source file whole, or say why not: regular files only, and the same file from first to last byte."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from imagekit.errors import ImageError
from imagekit.files.names import display_name

MAX_BYTES = 2**29  # an uncompressed 16-bit RGB picture of the largest allowed size has as many

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


class Stamp(NamedTuple):
    """What tells one state of a file from the next: it changes when somebody writes to the file or replaces it."""

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int


class Reading(NamedTuple):
    """The bytes of one file, and the state of the file that they are the bytes of."""

    data: bytes
    stamp: Stamp


def read_file(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, follow_symlinks: bool = False) -> bytes:
    """The bytes of one regular file; a file that changes meanwhile is read once more.

    Raises ImageError with reason vanished, changed-during-read, special-file (a symlink too, unless followed),
    unreadable, or bomb (more than `max_bytes`).
    """
    return read_stamped(path, max_bytes=max_bytes, follow_symlinks=follow_symlinks).data


def read_stamped(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, follow_symlinks: bool = False) -> Reading:
    """As `read_file`, with the stamp of the file: `place` gives the very same bytes a second name by it."""
    for _ in range(2):
        reading = _read_once(path, max_bytes=max_bytes, follow_symlinks=follow_symlinks)
        if reading is not None:
            return reading
    raise ImageError("changed-during-read", "the file changed twice while it was read", where=_shown(path))


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in what the system says about a file."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def open_regular(path: str | os.PathLike[str], *, follow_symlinks: bool = False) -> int:
    """A descriptor for reading one regular file; anything else is refused unopened.

    Raises ImageError with reason vanished, special-file or unreadable.
    """
    return _open(path, follow_symlinks=follow_symlinks)[0]


def _open(path: str | os.PathLike[str], *, follow_symlinks: bool) -> tuple[int, os.stat_result]:
    """The descriptor and the state of what it is open on."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        _refuse_special(os.stat(path, follow_symlinks=follow_symlinks).st_mode, path)  # noqa: PTH116  (bytes paths too)
        fd = os.open(path, flags)
    except OSError as error:
        raise read_error(error, path) from error
    try:
        status = os.fstat(fd)
        _refuse_special(status.st_mode, path)  # it may have been swapped between the two calls
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _read_once(path: str | os.PathLike[str], *, max_bytes: int, follow_symlinks: bool) -> Reading | None:
    """The bytes, or None if the file changed while it was read."""
    fd, status = _open(path, follow_symlinks=follow_symlinks)
    before = stamp_of(status)
    try:
        if before.size_bytes > max_bytes:
            detail = f"the file has {before.size_bytes:,} bytes, the limit is {max_bytes:,}"
            raise ImageError("bomb", detail, where=_shown(path))
        data = _read_all(fd, before.size_bytes)
        after = stamp_of(os.fstat(fd))
    except OSError as error:
        raise read_error(error, path) from error
    finally:
        os.close(fd)
    return Reading(data, before) if len(data) == before.size_bytes and before == after else None


def _read_all(fd: int, size: int) -> bytes:
    """Up to size + 1 bytes: the one too many shows that the file grew."""
    data = os.read(fd, size + 1)
    pieces = [data]
    n_read = len(data)
    while data and n_read < size:  # exactly `size` is the end; growth from here on shows in the second look
        data = os.read(fd, size + 1 - n_read)
        pieces.append(data)
        n_read += len(data)
    return b"".join(pieces)


def _refuse_special(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISLNK, "a symbolic link, which is not followed"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    word = next((word for is_kind, word in kinds if is_kind(mode)), "a device")
    raise ImageError("special-file", f"not a regular file but {word}", where=_shown(path))


def read_error(error: OSError, path: str | os.PathLike[str]) -> ImageError:
    """The ImageError for what the system said about a source file: vanished, or unreadable."""
    reason = "vanished" if error.errno in _GONE else "unreadable"
    return ImageError(reason, error.strerror or str(error), where=_shown(path))


def _shown(path: str | os.PathLike[str]) -> str:
    return display_name(os.fsencode(path))
