"""The few calls that change what is on disk; every writer of the package goes through these names.

Tests put a fault into one of them: fail or be killed at the k-th call, for k = 1, 2, 3, ... until none fails.
Call them as `seam.fsync(...)`, so that a patched one is found.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import sys
from pathlib import Path

_AT_FDCWD = -100
_AT_FDCWD_DARWIN = -2
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409  # linux/fs.h; a few processors number it otherwise, and there it is a call that fails
_NO_SUCH_CALL = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write every byte at a place of the file; a short write is continued."""
    while data:
        n_written = os.pwrite(fd, data, offset)
        data, offset = data[n_written:], offset + n_written


def fsync(fd: int) -> None:
    """Force a file or a folder to disk."""
    os.fsync(fd)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; a symbolic link is not followed."""
    os.link(source, target, follow_symlinks=False)


def clone(source_fd: int, target: Path) -> None:
    """Make a new file that shares every block of the one that is open for reading, until either is written to.

    Raises OSError as the system gives it, and leaves no file then: ENOTSUP or the like where nothing can do this.
    """
    if sys.platform == "darwin":
        _clone_by_name(source_fd, target)
        return
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _ficlone(fd, source_fd)
    except OSError:
        target.unlink()
        raise
    finally:
        os.close(fd)


def replace(source: Path, target: Path) -> None:
    """Rename a file over another."""
    source.replace(target)


def rename(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free."""
    source.rename(target)


def unlink(path: Path) -> None:
    """Remove a file."""
    path.unlink()


def remove_tree(folder: Path) -> None:
    """Remove a folder and all that is in it."""
    shutil.rmtree(folder)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or the file system has no such call."""
    if not hasattr(_libc(), "renameat2"):
        return False
    old, new = os.fsencode(one), os.fsencode(other)
    if _libc().renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_SUCH_CALL:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def sync_filesystem(fd: int) -> bool:
    """Force everything on the file system of `fd` to disk in one call; False where there is no such call."""
    if not sys.platform.startswith("linux") or not hasattr(_libc(), "syncfs"):
        return False
    if _libc().syncfs(fd) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_SUCH_CALL:
        return False
    raise OSError(code, os.strerror(code))


def _ficlone(target_fd: int, source_fd: int) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    import fcntl

    fcntl.ioctl(target_fd, _FICLONE, source_fd)


def _clone_by_name(source_fd: int, target: Path) -> None:
    at = os.fsencode(target)
    if _libc().fclonefileat(source_fd, _AT_FDCWD_DARWIN, at, ctypes.c_uint(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
