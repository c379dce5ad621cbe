"""The journal of a build under way: a finished image is not made again after a kill, a full disk or Ctrl-C.

`journal.jsonl` lies in the staging folder: one line that says what is being built, then a line an image, appended as
they are finished. Nothing in it is trusted by itself: an image counts as done when its source still has the size, time
and inode it had, and the file that was written still has the sha256 that was noted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

from imagekit.errors import DiskFullError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.hashes import sha256_file
from imagekit.files.names import to_path
from imagekit.subset.plan import Selected
from imagekit.subset.receipt import FOLDER

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

    def add(self, name: bytes, facts: Mapping[str, Any]) -> None:
        """Note one image; an unusable one is looked at again by the next build and not noted."""
        if "reason" in facts:
            return
        plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in facts.items()}
        self._lines.append(json.dumps([name.hex(), plain]))
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


def read_finished(
    staging: Path, source: Path, selected: Sequence[Selected], *, identity: str
) -> dict[bytes, dict[str, Any]] | None:
    """What an interrupted build of the same thing had finished, by raw source name; None where there is none."""
    try:
        lines = (staging / FOLDER / NAME).read_bytes().split(b"\n")[:-1]  # a torn last line is left out
        if not lines or json.loads(lines[0]) != {"identity": identity}:
            return None
        noted = dict(_parse(line) for line in lines[1:])
    except (OSError, ValueError, TypeError, KeyError):
        return None  # only a help: without it everything is made again
    wanted = {chosen.name: chosen for chosen in selected}
    return {
        name: facts
        for name, facts in noted.items()
        if name in wanted and _is_done(staging, source, wanted[name], facts)
    }


def clear_records(staging: Path) -> None:
    """Remove what a build that was killed while it published left beside its journal; it is all written anew."""
    for path in sorted((staging / FOLDER).glob("*")):
        if path.name != NAME:
            seam.unlink(path)


def _parse(line: bytes) -> tuple[bytes, dict[str, Any]]:
    name, facts = json.loads(line)
    return bytes.fromhex(name), facts | {key: bytes.fromhex(facts[key]) for key in BYTES_KEYS}


def _is_done(staging: Path, source: Path, chosen: Selected, facts: Mapping[str, Any]) -> bool:
    try:
        now = to_path(source, chosen.name).lstat()
        same = (now.st_size, now.st_mtime_ns, now.st_ino) == (facts["size_bytes"], facts["mtime_ns"], facts["inode"])
        return same and sha256_file(to_path(staging, chosen.out_name)) == facts["out_sha256"]
    except (OSError, KeyError):
        return False
