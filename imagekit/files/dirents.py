"""A fast way through folders that hold only regular files, where Linux hands out directory entries in one block.

`os.scandir` makes an object of every entry and takes the interpreter's lock for each; here a folder is one system call
without the lock, so another thread can read ahead, and numpy takes the block apart. Anything out of the ordinary, such
as a subfolder, a link or an entry of unknown type, makes `plain_files` answer None: the caller then asks scandir.

A record is struct linux_dirent64: inode (8 bytes), offset (8), length of the record (2), type (1), name, zero byte,
padding to a multiple of 8 that holds anything.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

_BUFFER_BYTES = 2**17
_NAME_AT = 19
_REGULAR = 8
_DOT = ord(".")
_ONES, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_MAX_TABLE_BYTES = 2**26  # names stand in a table as wide as the longest; one long name must not cost gigabytes


class PlainFiles(NamedTuple):
    """The names of a folder's regular files, sorted bytewise, zero-padded to one width; hidden ones apart."""

    names: npt.NDArray[np.bytes_]
    n_hidden: int


@functools.cache
def is_available() -> bool:
    """Whether this system hands out blocks of directory entries that can be read here."""
    return sys.platform.startswith("linux") and sys.byteorder == "little" and hasattr(ctypes.CDLL(None), "getdents64")


def read_block(fd: int) -> bytes:
    """All directory entries of an open folder as the system lays them out. Raises OSError."""
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    blocks = []
    while n_bytes := _getdents()(fd, buffer, _BUFFER_BYTES):
        if n_bytes > 0:
            blocks.append(ctypes.string_at(buffer, n_bytes))
        elif ctypes.get_errno() != errno.EINTR:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return b"".join(blocks)


def plain_files(block: bytes) -> PlainFiles | None:
    """The files of a folder, or None if a visible entry is not known to be a regular file."""
    words = np.frombuffer(block, "<u8")
    records = _records(words)
    if records is None:
        return None
    at, ends = records
    starts = at * 8 + _NAME_AT
    sizes = _name_ends(words, at, ends) - starts
    octets = np.frombuffer(block + b"\0", np.uint8)
    is_hidden = octets[starts] == _DOT
    is_self_or_parent = is_hidden & ((sizes == 1) | ((sizes == 2) & (octets[starts + 1] == _DOT)))
    if not (is_hidden | (octets[starts - 1] == _REGULAR)).all():
        return None
    starts, sizes = starts[~is_hidden], sizes[~is_hidden]
    width = int(sizes.max(initial=1))
    if len(sizes) * width > _MAX_TABLE_BYTES:
        return None
    return PlainFiles(_sorted_table(block, starts, sizes, width), int(is_hidden.sum() - is_self_or_parent.sum()))


def _records(words: Words) -> tuple[Ints, Ints] | None:
    """Where each record begins and ends, in words; None if the block is not a chain of records.

    A chain would have to be followed step by step. Instead every word that could begin a record is taken, then those
    that no other one leads to are dropped until none is: what leads on from the first record stays, and only that.
    """
    if not len(words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    head = words[2:]  # length, type, and the first bytes of the name, if the word two before begins a record
    length = head & np.uint64(0xFFFF)
    could_be = (length >= 24) & (length <= 280) & (length & np.uint64(7) == 0)
    could_be &= (head & np.uint64(0xFF0000) <= 0x0E0000) & (head & np.uint64(0xFF000000) != 0)
    at = np.flatnonzero(could_be)
    while True:
        ends = at + (length[at] >> np.uint64(3)).astype(np.int64)
        is_led_to = np.zeros(len(words) + 64, np.bool_)
        is_led_to[ends] = True
        is_led_to[0] = True
        kept = is_led_to[at]
        if kept.all():
            break
        at = at[kept]
    is_chain = len(at) > 0 and at[0] == 0 and ends[-1] == len(words) and np.array_equal(at[1:], ends[:-1])
    return (at, ends) if is_chain else None


def _name_ends(words: Words, at: Ints, ends: Ints) -> Ints:
    """The offset of the zero byte behind each name: the first one in the record's last word."""
    last = words[ends - 1]
    # in the shortest records that word is the head: its length and type are no name
    last = np.where(ends - at == 3, last | np.uint64(0x010101), last)
    zeros = (last - _ONES) & ~last & _HIGH_BITS  # the lowest bit set marks the first zero byte
    below = (zeros & (~zeros + np.uint64(1))) - np.uint64(1)
    return ends * 8 - 8 + (np.bitwise_count(below) >> 3)


def _sorted_table(block: bytes, starts: Ints, sizes: Ints, width: int) -> npt.NDArray[np.bytes_]:
    octets = np.frombuffer(block + bytes(width), np.uint8)
    table = np.lib.stride_tricks.as_strided(octets, (len(octets) - width + 1, width), (1, 1))[starts]
    table *= np.arange(width) < sizes[:, None]  # behind its end each row ran on into the next record
    names: npt.NDArray[np.bytes_] = table.reshape(-1).view(f"S{width}")
    names.sort()
    return names


@functools.cache
def _getdents() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).getdents64
    function.restype = ctypes.c_ssize_t
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    return function
