"""One writer an output: an advisory lock in a hidden file beside it, held by the process and gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from imagekit.errors import LockedError, OutputError
from imagekit.files.atomic import sibling

_SUFFIX = ".imagekit-lock"
_PAUSES_S = (0.001, 0.01)
_held: set[int] = set()


@contextlib.contextmanager
def output_lock(output: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of `output` inside the block; the folder that `output` lies in is made if it is missing.

    Raises LockedError, naming the process that holds it, or OutputError where the lock file cannot be written.
    """
    output = Path(output).absolute()
    path = sibling(output, _SUFFIX)
    fd = _acquire(path, output)
    owner = os.getpid()
    _drop_in_children()
    _held.add(fd)
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked child that unwinds this block does not own the lock
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # while it is still locked: whoever waits finds another inode, and tries again
            _held.discard(fd)
            os.close(fd)


def is_locked(output: str | os.PathLike[str]) -> bool:
    """Whether a process holds the lock of `output`. Creates nothing, waits for nothing, holds nothing afterwards.

    Raises OSError where it cannot be told: the lock file may not be read, or its file system knows no such locks.
    """
    path = sibling(Path(output), _SUFFIX)
    try:
        # not blocking: a pipe of that name would be waited for
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing alone: a child forked meanwhile would hold on to it
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _acquire(path: Path, output: Path) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise _cannot_lock(output, error) from error
        try:
            if _lock(fd, output) and _is_still_at(fd, path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                return fd
        except OSError as error:
            os.close(fd)
            raise _cannot_lock(output, error) from error
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was removed between opening and locking it


def _lock(fd: int, output: Path) -> bool:
    try:
        _lock_at_once(fd)
    except BlockingIOError as error:
        pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        who = f"another process (pid {pid})" if pid.isdecimal() else "another process"
        raise LockedError(
            f"{who} is writing {output.name}",
            where=str(output),
            fix="wait until it has ended, or choose another output",
        ) from error
    return True


def _lock_at_once(fd: int) -> None:
    """Raises BlockingIOError where another holds it; one who only looks (`is_locked`) does so for a moment."""
    for pause_s in _PAUSES_S:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause_s)
        else:
            return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still_at(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _cannot_lock(output: Path, error: OSError) -> OutputError:
    # mkdir of a folder whose name a file has says "File exists", which would puzzle
    words = "its folder is a file" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
    return OutputError(
        f"cannot write beside {output.name}: {words}",
        where=str(output),
        fix="choose an output in a folder that you may write to",
    )


@functools.cache
def _drop_in_children() -> None:
    """Let forked workers close their copy, or the lock would outlive a killed parent as long as they do."""

    def close_all() -> None:
        for fd in _held:
            with contextlib.suppress(OSError):
                os.close(fd)
        _held.clear()

    os.register_at_fork(after_in_child=close_all)
