"""Keep the memory that a step frees for the next one."""

from __future__ import annotations

import ctypes
import sys

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library of this process hold on to memory that was freed; whether it does.

    glibc maps every block of more than 32 MB anew and gives it back when it is freed. The activations of a batch are
    such blocks, so a step on a CPU touches each of their pages for the first time, again and again: 58,000 page faults
    a step of the lesson's network, a third of its time, half of the time of validation (scripts/LOG.md). What is
    computed does not change. The process then keeps the most memory that it ever had. Elsewhere than with glibc nothing
    is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*each) for each in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)))
