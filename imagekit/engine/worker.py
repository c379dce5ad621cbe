"""The worker's side of the engine: a fresh interpreter that takes chunks from a socket until it closes.

It imports what the task needs and no more: its start is paid once a worker, before the first image.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from mmap import mmap
from typing import Any

from imagekit.engine.channel import NOBODY, PAGE, WAITING, mark, receive, send
from imagekit.errors import ImagekitError

_NOISE_LIMIT = 2000  # characters kept of what a decoder wrote to stderr about one image


def main() -> None:
    """Serve the socket and the page whose descriptors stand in argv, until the parent closes the socket or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    gc.disable()  # until all is imported: looking for garbage there is 7 % of importing torch
    fd, parent, page = int(sys.argv[1]), int(sys.argv[3]), mmap(int(sys.argv[2]), PAGE.size)
    try:
        orphan_s, memory_limit_bytes, task = _begin(fd)
        if task is None:
            return
        if memory_limit_bytes is not None:
            _limit_memory(memory_limit_bytes)
        mark(page, NOBODY, WAITING)
        while True:
            chunk = pickle.loads(receive(fd))
            answer = _answer(task, chunk, page, parent=parent, orphan_s=orphan_s)
            mark(page, chunk[-1][0], WAITING)  # before sending: a parent that is busy must not count against the item
            send(fd, answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done with us, or gone


def _begin(fd: int) -> tuple[float, int | None, Callable[[Any], Any] | None]:
    """Settings and the task, warmed up; no task where warming up failed, which the parent has been told."""
    start_s, orphan_s, memory_limit_bytes = pickle.loads(receive(fd))
    _end_orphan_after(start_s)
    task = pickle.loads(receive(fd))
    try:
        if hasattr(task, "warm_up"):
            task.warm_up()
    except Exception as error:  # noqa: BLE001 - carried to the parent and raised there
        send(fd, _pack_error(error, "while a worker warmed up"))
        return orphan_s, memory_limit_bytes, None
    _end_orphan_after(0)
    _take_noise()  # what importing said belongs to no item
    gc.freeze()  # nothing loaded so far is garbage: collections need not look at it again
    gc.enable()
    return orphan_s, memory_limit_bytes, task


def _answer(
    task: Callable[[Any], Any], chunk: list[tuple[int, Any]], page: mmap, *, parent: int, orphan_s: float
) -> bytes:
    """The pickled answer to one chunk: how long it took, and (index, value, noise, why it failed) of each item."""
    results, begun = [], time.monotonic()
    for index, item in chunk:
        if os.getppid() != parent:
            raise EOFError  # killed: nobody waits for the rest of the chunk
        mark(page, index, time.monotonic_ns())
        _end_orphan_after(orphan_s)
        try:
            value, failure = task(item), None
        except MemoryError:
            value, failure = None, "it needs more memory than a worker may have"
        except Exception as error:  # noqa: BLE001 - carried to the parent and raised there
            return _pack_error(error, f"while working on {item!r}")
        results.append((index, value, _take_noise(), failure))
    _end_orphan_after(0)
    try:
        return pickle.dumps(("chunk", (time.monotonic() - begun, results)))
    except Exception as error:  # noqa: BLE001 - a result that cannot be sent is the task's fault
        return _pack_error(error, f"while sending the results of {chunk[0][1]!r} and {len(chunk) - 1:,} more")


def _pack_error(error: Exception, note: str) -> bytes:
    """The error as the parent can raise it; in words, where it does not survive the journey."""
    error.add_note(note)
    try:
        packed = pickle.dumps(("error", error))
        pickle.loads(packed)
    except Exception:  # noqa: BLE001 - whatever its class does when it is rebuilt
        told = ImagekitError(f"the task of a worker failed: {type(error).__name__}: {error}")
        told.add_note(note)
        packed = pickle.dumps(("error", told))
    return packed


def _end_orphan_after(seconds: float) -> None:
    """Let the system end this process in a while, 0 for never: nobody else ends a hanging one whose parent is gone."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(more_bytes: int) -> None:
    """Let this process map so much more than it has now; only Linux counts what a process maps."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - pathlib would be imported for it
        n_pages = int(statm.read().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    wanted = n_pages * resource.getpagesize() + more_bytes
    allowed = min([wanted, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (allowed, limits[1]))


def _take_noise() -> str:
    """What libraries wrote straight to file descriptor 2 since the last call; libtiff does."""
    sys.stderr.flush()  # half a line would wait there and turn up with the next item
    if os.fstat(2).st_size == 0:
        return ""
    text = os.pread(2, _NOISE_LIMIT, 0).decode(errors="backslashreplace").strip()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return text
