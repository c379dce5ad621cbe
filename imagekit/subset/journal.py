"""The journal of a build under way: a finished image is not made again after a kill, a full disk or Ctrl-C.

`journal.jsonl` lies in the staging folder: one line that says what is being built, then a line an image, appended as
they are finished. Nothing in it is trusted by itself: an image counts as done when its source still has the size, time
and inode it had, and the file that was written still has the sha256 that was noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from imagekit.errors import DiskFullError, ImageError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.hashes import sha256_file
from imagekit.files.names import to_path
from imagekit.files.stamps import number_of
from imagekit.subset.facts import FactTable
from imagekit.subset.layout import FOLDER
from imagekit.subset.plan import Plan

NAME = "journal.jsonl"
BYTES_KEYS = ("sha256", "out_sha256")
LINES_PER_WRITE = 64  # what a kill repeats at most, beside the images at work


class Journal:
    """Appends finished images; a context manager. `identity` says what is being built."""

    def __init__(self, staging: Path, identity: str) -> None:
        self.path = staging / FOLDER / NAME
        self._identity = identity
        self._file: BufferedWriter | None = None
        self._lines: list[str] = []

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        self._file = self.path.open("ab")
        if is_new:
            self._lines.append(json.dumps({"identity": self._identity}))
        return self

    def add(self, row: int, facts: Mapping[str, Any]) -> None:
        """Note the image of one row of the plan; an unusable one is looked at again by the next build and not noted."""
        if "reason" in facts:
            return
        plain = {**facts, **{key: facts[key].hex() for key in BYTES_KEYS if key in facts}}
        self._lines.append(json.dumps([row, plain]))
        if len(self._lines) >= LINES_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._file is not None and self._lines:
            text = "".join(line + "\n" for line in self._lines)
            self._lines.clear()
            with explain_disk_full(self.path):
                seam.write_all(self._file.fileno(), text.encode())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None or not issubclass(kind, OSError | DiskFullError):  # a full disk is told once
                self.flush()
        finally:
            if self._file is not None:
                self._file.close()


def is_of(staging: Path, *, identity: str) -> bool:
    """Whether the staging folder holds the journal of a build of just this."""
    try:
        with (staging / FOLDER / NAME).open("rb") as file:
            return bool(json.loads(file.readline()) == {"identity": identity})
    except (OSError, ValueError):
        return False  # only a help: without it everything is made again


def read_finished(staging: Path, source: Path, plan: Plan, facts: FactTable) -> int:
    """Put what an interrupted build of the same plan had finished into `facts` (row i: the i-th row of plan.rows()).

    Returns how many images. Lines that do not parse are left out, and so is a torn last one.
    """
    rows = plan.rows()
    n_finished = 0
    for row, noted in _lines(staging / FOLDER / NAME):
        i = int(np.searchsorted(rows, row))
        is_planned = i < len(rows) and rows[i] == row
        if is_planned and not facts.is_done[i] and _is_done(staging, source, plan, row, noted):
            facts.put(i, noted)
            n_finished += 1
    return n_finished


def clear_records(staging: Path) -> None:
    """Remove what a build that was killed while it published left beside its journal; it is all written anew."""
    for path in sorted((staging / FOLDER).glob("*")):
        if path.name != NAME:
            seam.unlink(path)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        next(file)
        for line in file:
            try:
                row, facts = json.loads(line)
                yield int(row), facts | {key: bytes.fromhex(facts[key]) for key in BYTES_KEYS if key in facts}
            except (ValueError, TypeError):
                continue


def _is_done(staging: Path, source: Path, plan: Plan, row: int, noted: Mapping[str, Any]) -> bool:
    try:
        job = next(plan.jobs(np.array([row])))
        same = number_of(to_path(source, job.name).lstat()) == noted["stamp"]
        return same and bool(sha256_file(to_path(staging, job.out_name)) == noted["out_sha256"])
    except (OSError, ImageError, KeyError):
        return False
