"""What a check of files comes to: each file read again and compared with its record, and the faults that were found."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imagekit.errors import ImageError, SourceError
from imagekit.files.names import path_in
from imagekit.files.plain import plain
from imagekit.files.read import open_regular

SHOWN_PER_KIND = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as the records say. kind: missing, altered, unreadable, extra, leak or records."""

    kind: str
    name: str
    detail: str


class Checked(NamedTuple):
    """One file compared with its record: how many bytes were read, and what is wrong; kind is "" where nothing is."""

    n_bytes: int
    kind: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckFile:
    """Read one file below `root` again: (raw name, size, sha256) -> Checked. Fit for a thread or a worker process.

    size: bytes; sha256: 32 bytes. None for what was not recorded; without a sha256 the bytes are not read.
    verb: what was done with the record, for the words of a fault.
    """

    root: str
    verb: str = "written"

    def __call__(self, item: tuple[bytes, int | None, bytes | None]) -> Checked:
        """Compare; a file that cannot be read is a fault, not an error."""
        name, size_bytes, sha256 = item
        try:
            found, digest = _measure(path_in(self.root, name), with_digest=sha256 is not None)
        except SourceError:
            return Checked(0, "records", "it does not name a file below the root")
        except ImageError as error:
            is_gone = error.reason == "vanished"
            return Checked(0, *(("missing", "it is not there") if is_gone else ("unreadable", error.detail)))
        except OSError as error:
            return Checked(0, "unreadable", error.strerror or str(error))
        n_bytes = found if sha256 is not None else 0
        if size_bytes is not None and found != size_bytes:
            return Checked(n_bytes, "altered", f"it has {found:,} bytes, {size_bytes:,} were {self.verb}")
        if digest != sha256:
            return Checked(n_bytes, "altered", f"its sha256 is not the one that was {self.verb}")
        return Checked(n_bytes)


def _measure(path: str, *, with_digest: bool) -> tuple[int, bytes | None]:
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return size, hashlib.file_digest(file, "sha256").digest() if with_digest else None


def fault_lines(faults: Iterable[Fault]) -> list[str]:
    """One line a kind of fault: how many, and the first three by name."""
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    return [_line(kind, of_kind) for kind, of_kind in sorted(by_kind.items())]


def _line(kind: str, faults: list[Fault]) -> str:
    shown = "; ".join(f"{plain(fault.name)}: {plain(fault.detail)}" for fault in faults[:SHOWN_PER_KIND])
    return f"  {len(faults):,} {kind}: {shown}{'; ...' * (len(faults) > SHOWN_PER_KIND)}"


def outcome_counts(counts: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
    """How many files were found, and how many had each outcome. Raises ValueError for counts of another shape."""
    try:
        told = {
            "selected": int(counts["selected"]),
            "excluded": sum(counts["excluded"].values()),
            "quarantined": sum(counts["quarantined"].values()),
            "not-image": int(counts["not_image"]),
        }
        return int(counts["found"]), told
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        # a number where there should be several, or the other way round
        raise ValueError("its counts are not those of a build") from error


def read_quarantine(path: Path) -> list[dict[str, str]]:
    """file_name and reason of each line of a quarantine list; reason is "" in a line without one.

    Raises ValueError for anything but a JSON object with a file_name in each line, OSError as the system does.
    """
    rows = []
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                row = json.loads(line)
                rows.append({"file_name": row["file_name"], "reason": row.get("reason", "")})
        if not all(isinstance(value, str) for row in rows for value in row.values()):
            raise TypeError("not text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it does not hold a JSON object with a file_name in each line") from error
    return rows


def count_reasons(rows: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """How many lines of a quarantine list have each reason, keys sorted."""
    return dict(sorted(Counter(row["reason"] for row in rows).items()))
