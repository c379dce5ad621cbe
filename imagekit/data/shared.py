"""Memory that a process shares with its workers. It has no name and needs no room in /dev/shm."""

from __future__ import annotations

import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any


class SharedBytes:
    """`size` bytes, zero at first, that a forked worker or one that is handed this object sees too.

    On Linux they are a memfd, which no mount limits: a container's 64 MB of /dev/shm do not matter. Elsewhere they are
    a temporary file without a name. They are gone with the last process that has them.
    """

    fd = -1  # until there is one

    def __init__(self, size: int, *, fd: int | None = None) -> None:
        self.size = max(1, size)
        self.fd = _new_fd(self.size) if fd is None else fd  # the map has a descriptor of its own
        self.view = mmap.mmap(self.fd, self.size)

    def close(self) -> None:
        """Give the descriptor back; arrays over `view` keep the memory as long as they live."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()  # of a loader or store that nobody closed

    def __reduce__(self) -> tuple[Any, ...]:
        # only while a worker is being started: multiprocessing hands it a duplicate of the descriptor
        return _attach, (reduction.DupFd(self.fd), self.size)


def _new_fd(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("imagekit", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _attach(handle: Any, size: int) -> SharedBytes:
    return SharedBytes(size, fd=handle.detach())
