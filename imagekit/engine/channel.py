"""What parent and worker share: messages over one descriptor, and a page that says what a worker is doing.

A message is its length in 8 bytes and as many bytes of pickle. The page holds two numbers: the index of the item at
work (NOBODY before the first) and the monotonic clock when it was begun, in ns, 0 while the worker waits for work. The
clock of Linux and macOS is one for all processes, so a parent that was busy itself blames nobody for it.
Every worker imports this module, so it imports next to nothing: multiprocessing would cost each of them 10 ms.
"""

from __future__ import annotations

import os
import struct
from mmap import mmap

NOBODY = -1
WAITING = 0
PAGE = struct.Struct("<qq")
_LENGTH = struct.Struct("<Q")


def send(fd: int, payload: bytes) -> None:
    """Write one message. Raises BrokenPipeError or ConnectionResetError when the other side is gone."""
    left = memoryview(_LENGTH.pack(len(payload)) + payload)
    while left:
        left = left[os.write(fd, left) :]


def receive(fd: int) -> bytes:
    """Read one message. Raises EOFError when the other side is gone, also in the middle of a message."""
    (length,) = _LENGTH.unpack(_read(fd, _LENGTH.size))
    return _read(fd, length)


def mark(page: mmap, index: int, begun_ns: int) -> None:
    """Say which item is at work and since when."""
    PAGE.pack_into(page, 0, index, begun_ns)


def marked(page: mmap) -> tuple[int, int]:
    """What `mark` said last."""
    index, begun_ns = PAGE.unpack_from(page, 0)
    return index, begun_ns


def _read(fd: int, size: int) -> bytes:
    pieces = []
    while size:
        try:
            piece = os.read(fd, size)
        except ConnectionResetError as error:  # how a socket says that its other end died with messages unread
            raise EOFError from error
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
