"""Read one source file whole, or say why not: regular files only, and the same file from first to last byte."""

from __future__ import annotations

import errno
import os
import stat

from imagekit.errors import ImageError
from imagekit.files.names import display_name

MAX_BYTES = 2**29  # an uncompressed 16-bit RGB picture of the largest allowed size has as many

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


def read_file(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, follow_symlinks: bool = False) -> bytes:
    """The bytes of one regular file; a file that changes meanwhile is read once more.

    Raises ImageError with reason vanished, changed-during-read, special-file (a symlink too, unless followed),
    unreadable, or bomb (more than `max_bytes`).
    """
    for _ in range(2):
        data = _read_once(path, max_bytes=max_bytes, follow_symlinks=follow_symlinks)
        if data is not None:
            return data
    raise ImageError("changed-during-read", "the file changed twice while it was read", where=_shown(path))


def open_regular(path: str | os.PathLike[str], *, follow_symlinks: bool = False) -> int:
    """A descriptor for reading one regular file; anything else is refused unopened.

    Raises ImageError with reason vanished, special-file or unreadable.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        _refuse_special(os.stat(path, follow_symlinks=follow_symlinks).st_mode, path)  # noqa: PTH116  (bytes paths too)
        fd = os.open(path, flags)
    except OSError as error:
        raise _read_error(error, path) from error
    try:
        _refuse_special(os.fstat(fd).st_mode, path)  # it may have been swapped between the two calls
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read_once(path: str | os.PathLike[str], *, max_bytes: int, follow_symlinks: bool) -> bytes | None:
    """The bytes, or None if the file changed while it was read."""
    fd = open_regular(path, follow_symlinks=follow_symlinks)
    try:
        before = os.fstat(fd)
        if before.st_size > max_bytes:
            detail = f"the file has {before.st_size:,} bytes, the limit is {max_bytes:,}"
            raise ImageError("bomb", detail, where=_shown(path))
        data = _read_all(fd, before.st_size)
        after = os.fstat(fd)
    except OSError as error:
        raise _read_error(error, path) from error
    finally:
        os.close(fd)
    return data if len(data) == before.st_size and _stamp(before) == _stamp(after) else None


def _read_all(fd: int, size: int) -> bytes:
    """Up to size + 1 bytes: the one too many shows that the file grew."""
    data = os.read(fd, size + 1)
    pieces = [data]
    n_read = len(data)
    while data and n_read <= size:
        data = os.read(fd, size + 1 - n_read)
        pieces.append(data)
        n_read += len(data)
    return b"".join(pieces)


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


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


def _read_error(error: OSError, path: str | os.PathLike[str]) -> ImageError:
    reason = "vanished" if error.errno in _GONE else "unreadable"
    return ImageError(reason, error.strerror or str(error), where=_shown(path))


def _shown(path: str | os.PathLike[str]) -> str:
    return display_name(os.fsencode(path))
