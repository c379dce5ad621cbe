"""The records that grow with a run: metrics.csv, a row an epoch, and events.jsonl, a line an event.

Each row or line is on the disk before the call returns. A kill can tear the last line only; a torn last line is cut
off by the next write and passed over by the readers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from imagekit.errors import CheckpointError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full, write_text
from imagekit.files.jsonl import write_json
from imagekit.runs.status import utc_now


def append_event(path: Path, event: str, **fields: object) -> None:
    """Add one line to events.jsonl: the time, the event, and `fields` (plain values; NaN and infinity as text)."""
    known = {name: str(value) if _is_not_finite(value) else value for name, value in fields.items()}
    line = json.dumps({"time": utc_now(), "event": event, **known}, ensure_ascii=False, allow_nan=False)
    _append(path, line + "\n")


def write_failure(path: Path, facts: Mapping[str, object]) -> None:
    """Write failure.json: what was seen when the loss stopped being a number."""
    write_json(path, facts)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every whole line of events.jsonl, in order; [] without such a file. Raises CheckpointError for a damaged line."""
    events: list[dict[str, Any]] = []
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            events.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise _damaged(path, number) from error
    return events


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add one row to metrics.csv, and the header line before the first; None becomes an empty field, a bool 0 or 1.

    Raises CheckpointError if the columns are not those of the file.
    """
    header = _header(path)
    if header is not None and header != list(row):
        raise CheckpointError(
            f"a row has the columns {', '.join(row)}; the file has {', '.join(header)}",
            where=str(path),
            fix="resume with the metrics that the run was started with, or start a new run",
        )
    lines = [] if header is not None else [list(row)]
    _append(path, _csv([*lines, [int(value) if isinstance(value, bool) else value for value in row.values()]]))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv as text by column; [] without such a file. Raises CheckpointError for a damaged row."""
    parsed = list(csv.reader(_whole_lines(path)))
    for number, fields in enumerate(parsed, start=1):
        if len(fields) != len(parsed[0]):
            raise _damaged(path, number)
    return [dict(zip(parsed[0], fields, strict=True)) for fields in parsed[1:]]


def keep_rows(path: Path, *, n_epochs: int) -> None:
    """Cut metrics.csv back to its first `n_epochs` rows, for a run that goes on from there; 0 empties it."""
    lines = _whole_lines(path)
    if lines:
        write_text(path, "".join(line + "\n" for line in lines[: n_epochs + 1 if n_epochs else 0]))


def give_column(path: Path, name: str, value: object) -> None:
    """Let metrics.csv have a column, with this value in all rows where it is new; or with None for value, not have it.

    A file that is not there, or has no row, stays as it is.
    """
    lines = _whole_lines(path)
    if not lines:
        return
    rows = list(csv.reader(lines))
    if name in rows[0] and value is None:
        place = rows[0].index(name)
        write_text(path, _csv([[*row[:place], *row[place + 1 :]] for row in rows]))
    elif name not in rows[0] and value is not None:
        write_text(path, _csv([[*rows[0], name], *([*row, value] for row in rows[1:])]))


def _append(path: Path, text: str) -> None:
    with explain_disk_full(path), path.open("a+b") as file:
        _cut_torn_line(file)
        seam.write_all(file.fileno(), text.encode())
        seam.fsync(file.fileno())


def _cut_torn_line(file: BinaryIO) -> None:
    if not (size := file.seek(0, os.SEEK_END)):
        return
    file.seek(size - 1)
    if file.read() != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _whole_lines(path: Path) -> list[str]:
    """The lines that end in a newline; a torn last one is left out."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def _header(path: Path) -> list[str] | None:
    lines = _whole_lines(path)
    return next(csv.reader(lines[:1])) if lines else None


def _csv(rows: list[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _damaged(path: Path, number: int) -> CheckpointError:
    return CheckpointError(
        f"line {number} of {path.name} is damaged",
        where=str(path),
        fix=f"delete the line, or move {path.name} aside",
    )
