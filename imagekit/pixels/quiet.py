"""Pillow's warnings, kept quiet while an image is open.

Broken metadata makes Pillow warn; it costs no pixel, and one line for each of a million files would bury what
matters. `warnings.catch_warnings` swaps the filters of the whole process and is unsafe with threads that overlap.
Here one filter that matches only Pillow's own modules is put in front while any thread is inside, and taken out by
the last one to leave: other modules' warnings, and other threads, notice nothing.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_lists: list[list[Any]] = []  # where the filter was put: somebody else's catch_warnings may swap the list meanwhile
_depth = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore warnings that come from Pillow's modules, in every thread, until the last thread has left."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _depth
    with _lock:
        _depth += 1
        current = _current()
        # Looked for every time: another thread's catch_warnings may have put an older list back.
        if _FILTER not in current[:1]:
            current.insert(0, _FILTER)
            _lists.append(current)


def _leave() -> None:
    global _depth
    with _lock:
        _depth -= 1
        if _depth:
            return
        for filters in [*_lists, _current()]:
            while _FILTER in filters:
                filters.remove(_FILTER)
        _lists.clear()


def _current() -> list[Any]:
    filters: list[Any] = warnings.filters  # type: ignore[assignment]  # typeshed says Sequence; it is a list
    return filters
