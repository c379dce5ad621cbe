"""The worker's side of the engine: a fresh interpreter that takes chunks from a pipe until it closes."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from imagekit.engine.pool import Done

_INDEX = struct.Struct("<q")
_NOISE_LIMIT = 2000  # characters kept of what a decoder wrote to stderr about one image


def main() -> None:
    """Serve the pipe and the shared page whose descriptors stand in argv, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and decides
    pipe, page = Connection(int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), _INDEX.size)
    try:
        task = pickle.loads(pipe.recv_bytes())
        while True:
            pipe.send_bytes(pickle.dumps(_answer(task, pickle.loads(pipe.recv_bytes()), page)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done with us, or gone


def _answer(task: Callable[[Any], Any], chunk: list[tuple[int, Any]], page: mmap.mmap) -> tuple[str, Any]:
    results = []
    for index, item in chunk:
        _INDEX.pack_into(page, 0, index)
        try:
            value = task(item)
        except Exception as error:  # noqa: BLE001 - carried to the parent and raised there
            error.add_note(f"while working on {item!r}")
            return ("error", error)
        results.append(Done(index, value, _take_noise()))
    return ("chunk", results)


def _take_noise() -> str:
    """What libraries wrote straight to file descriptor 2 since the last call; libtiff does."""
    size = os.fstat(2).st_size
    if size == 0:
        return ""
    text = os.pread(2, _NOISE_LIMIT, 0).decode(errors="backslashreplace").strip()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return text
