"""The runs in a folder: what became of each, how far it came, and how to go on with it."""

from __future__ import annotations

import csv
import math
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagekit.errors import CheckpointError, SourceError
from imagekit.files.plain import plain
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_rows
from imagekit.runs.status import Status, is_alive, read_status

MAX_DEPTH = 4
DEAD, DAMAGED = "dead", "damaged"
HEADINGS = ("RUN", "STATE", "EPOCH", "BEST", "LAST SIGN OF LIFE (UTC)")
_TO_GO_ON = ("interrupted", "failed", DEAD)
_MARKS = {"status.json", "config.toml"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRun:
    """One run as it stands now.

    state: one of `status.STATES`, "dead" for a run that calls itself running while its process is gone, or "damaged"
    for one whose status cannot be read. status: None where it is damaged. best: the best valid_accuracy so far, None
    where there is none. is_saved: whether checkpoints/last.pt is there. has_diverged: whether its loss or a weight was
    no number; the same steps would come to that again. reason: what could not be read, one line.
    """

    path: Path
    state: str
    status: Status | None = None
    best: float | None = None
    is_saved: bool = False
    has_diverged: bool = False
    reason: str | None = None

    @property
    def resume_command(self) -> str | None:
        """What goes on with a run that stopped before its end; None where that cannot be, or need not."""
        can_go_on = self._has_stopped and self.is_saved and not self.has_diverged
        return f"imagekit train --resume {shlex.quote(str(self.path))}" if can_go_on else None

    @property
    def remark(self) -> str | None:
        """What to know or to do about the run, on one line; None where all is well."""
        name = _whole(str(self.path))
        if self.reason is not None:
            return f"{name}: {plain(self.reason)}"
        if self.resume_command is not None:
            return f"to go on: {_whole(self.resume_command)}"
        if self.has_diverged and self._has_stopped:
            return f"{name}: its loss was no number: train it again with a lower learning rate and --overwrite"
        return f"{name}: nothing was saved: train it again with --overwrite" if self._has_stopped else None

    @property
    def _has_stopped(self) -> bool:
        return self.state in _TO_GO_ON

    def row(self) -> tuple[str, ...]:
        """The run as cells below HEADINGS."""
        epochs = "-" if self.status is None else f"{self.status.epoch}/{self.status.n_epochs}"
        best = "-" if self.best is None else f"{self.best:.4f}"
        return _whole(str(self.path)), self.state, epochs, best, "-" if self.status is None else _second(self.status)

    def to_dict(self) -> dict[str, object]:
        """The same as plain types; the heartbeat in ISO 8601."""
        status = self.status
        return {
            "run": str(self.path),
            "state": self.state,
            "epoch": None if status is None else status.epoch,
            "n_epochs": None if status is None else status.n_epochs,
            "best_valid_accuracy": self.best,
            "heartbeat": None if status is None else f"{_second(status).replace(' ', 'T')}+00:00",
            "reason": self.reason,
            "resume_command": self.resume_command,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTable:
    """The runs in a folder by name, and the folders that could not be looked into, with the reason: an Outcome."""

    folder: Path
    runs: Sequence[ListedRun]
    unreadable: Sequence[tuple[Path, str]] = ()

    @property
    def exit_code(self) -> int:
        """3 where something could not be read, else 0."""
        return 3 if self.unreadable or any(run.reason is not None for run in self.runs) else 0

    @property
    def next_command(self) -> str | None:
        """The page of the best run that is done; None where there is none."""
        done = [run for run in self.runs if run.state == "done" and run.best is not None]
        best = max(done, key=lambda run: run.best or 0.0, default=None)
        return None if best is None else f"imagekit report {_whole(shlex.quote(str(best.path)))}"

    def summary(self) -> str:
        """A table with a row a run, how many are in which state, then a line for each that wants something."""
        counts = Counter(run.state for run in self.runs)
        counted = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        lines = _lined_up([HEADINGS, *(run.row() for run in self.runs)])
        lines += ["", f"{_count(self.runs, 'run')}: {counted}"]
        lines += [run.remark for run in self.runs if run.remark is not None]
        return "\n".join([*lines, *(f"{_whole(str(path))}: {reason}" for path, reason in self.unreadable)])

    def to_dict(self) -> dict[str, object]:
        """The same as plain types."""
        unreadable = [{"folder": str(path), "reason": reason} for path, reason in self.unreadable]
        return {"folder": str(self.folder), "runs": [run.to_dict() for run in self.runs], "unreadable": unreadable}


def list_runs(folder: Path | str) -> RunTable:
    """Every run of `folder`: itself, and the folders up to MAX_DEPTH levels below it, sorted by name.

    A run is a folder with a status.json and a config.toml. Hidden folders and links to folders are passed over. Nothing
    is written, and no run that is under way is disturbed. Raises SourceError for a folder that cannot be read or holds
    no run.
    """
    folder = Path(folder)
    found, unreadable = _find(folder)
    if not found:
        also = f", and {_count(unreadable, 'folder')} could not be looked into" if unreadable else ""
        raise SourceError(
            f"no run of imagekit train was found{also}",
            where=str(folder),
            fix=f"name a folder with runs at most {MAX_DEPTH} levels below it; imagekit train FILE -o RUN makes one",
        )
    return RunTable(folder=folder, runs=[_look_at(path) for path in sorted(found)], unreadable=sorted(unreadable))


def _find(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The runs, and the folders that could not be looked into with the reason, in no order."""
    found: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    waiting = [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            is_run, folders = _look_into(path)
        except OSError as error:
            reason = error.strerror or str(error)
            if path == folder:
                fix = "name a folder that is there and that you may read"
                raise SourceError(f"the folder cannot be read: {reason}", where=str(folder), fix=fix) from error
            # one that is gone was renamed or removed meanwhile, and is none of those that are there
            unreadable += [] if isinstance(error, FileNotFoundError) else [(path, reason)]
            continue
        found += [path] if is_run else []
        waiting += [(path / name, depth + 1) for name in folders if depth < MAX_DEPTH]
    return found, unreadable


def _look_into(path: Path) -> tuple[bool, list[str]]:
    """Whether the folder is a run, and the names of the folders in it."""
    marks, folders = set(), []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders += [entry.name] if not entry.name.startswith(".") else []
            elif entry.name in _MARKS and entry.is_file():  # no pipe: reading one would wait for ever
                marks.add(entry.name)
    return marks == _MARKS, folders


def _look_at(path: Path) -> ListedRun:
    layout = RunLayout(path)
    best, reason = _read_best(layout.metrics)
    try:
        state, status = _read_state(layout)
    except CheckpointError as error:
        return ListedRun(path=path, state=DAMAGED, best=best, reason=f"{error.what}; {error.fix}")
    is_saved = state in _TO_GO_ON and layout.last.is_file()
    return ListedRun(
        path=path,
        state=state,
        status=status,
        best=best,
        is_saved=is_saved,
        has_diverged=layout.failure.is_file(),
        reason=reason,
    )


def _read_state(layout: RunLayout) -> tuple[str, Status]:
    status = read_status(layout.status)
    if status.state != "running" or is_alive(layout.root, status):
        return status.state, status
    # once more: a run says how it ended before it lets go of the lock, so it may have ended between the two looks
    status = read_status(layout.status)
    return DEAD if status.state == "running" else status.state, status


def _read_best(metrics: Path) -> tuple[float | None, str | None]:
    """The best valid_accuracy, and why it cannot be told."""
    try:
        values = [float(text) for row in read_rows(metrics) if (text := row.get("valid_accuracy"))]
    except CheckpointError as error:
        return None, f"{error.what}; {error.fix}"
    except OSError as error:
        return None, f"{metrics.name} cannot be read: {error.strerror}"
    except (csv.Error, ValueError) as error:
        return None, f"{metrics.name} is damaged: {error}"
    return max(filter(math.isfinite, values), default=None), None


def _second(status: Status) -> str:
    return datetime.fromisoformat(status.heartbeat).strftime("%Y-%m-%d %H:%M:%S")


def _whole(text: str) -> str:
    """Text of strangers on one line, however long: a path that is cut leads nowhere."""
    return plain(text, max_signs=len(text))


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _lined_up(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
