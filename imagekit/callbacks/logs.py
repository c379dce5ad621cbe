"""Logs for a fit without a run directory: a table with a row an epoch, and what happened, a line an event."""

from __future__ import annotations

from pathlib import Path

from imagekit.callbacks.recorder import append_beginning, append_ending
from imagekit.errors import OutputError
from imagekit.learner.callback import Callback
from imagekit.runs.recorder import append_event, append_row, keep_rows, read_rows


class CsvLog(Callback):
    """Add the learner's `row` to a CSV file after each epoch: a header line, then a row an epoch, on the disk at once.

    Further fits with the same object add their rows below. A fit that goes on from an earlier one, first_epoch or
    first_batch above 0, goes on in its file: rows of later epochs are cut off first. None becomes an empty field,
    True 1.
    Raises OutputError where a fit from epoch 0 finds a file that this object did not write, CheckpointError where the
    columns are not those of the file. `imagekit train` has the same table in RUN/metrics.csv.
    """

    _order = 50

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._is_mine = self._is_fit = False

    def begin_fit(self) -> None:
        """Look at what is there."""
        self._is_fit = self.learner.in_train  # else it is validation alone
        if not self._is_fit:
            return
        if self.learner.epochs_done or self.learner.batches_done:
            self._cut_back(self.learner.epochs_done)
        elif not self._is_mine and self.path.exists() and self.path.stat().st_size:
            raise OutputError(
                "the log exists already",
                where=str(self.path),
                fix="give another path, or move it away yourself",
            )
        self._is_mine = True

    def after_epoch(self) -> None:
        """One row."""
        if self._is_fit:
            append_row(self.path, {"epoch": self.learner.epochs_done} | self.learner.row)

    def _cut_back(self, n_done: int) -> None:
        rows = read_rows(self.path)
        n_kept = len(rows)
        while n_kept and int(rows[n_kept - 1]["epoch"]) > n_done:
            n_kept -= 1
        if n_kept < len(rows):
            keep_rows(self.path, n_epochs=n_kept)


class JsonLines(Callback):
    """Add one JSON object a line: `start`, an `epoch` with the learner's `row`, then `end`, `interrupt` or `failure`.

    A fit that goes on from an earlier one has `resume` in place of `start`. Each line has the time in UTC and is on the
    disk at once. The file is only ever added to; validation alone adds nothing.
    A failure has its `error` and `what`. `imagekit train` has the same in RUN/events.jsonl.
    """

    _order = 50

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._is_fit = False

    def begin_fit(self) -> None:
        """`start` or `resume`, with the epochs done and asked for."""
        self._is_fit = self.learner.in_train  # else it is validation alone
        if self._is_fit:
            append_beginning(self.path, self.learner)

    def after_epoch(self) -> None:
        """`epoch`, with the row."""
        if self._is_fit:
            append_event(self.path, "epoch", **{"epoch": self.learner.epochs_done} | self.learner.row)

    def after_fit(self) -> None:
        """How it ended."""
        if self._is_fit or self.learner.failure is not None:
            append_ending(self.path, self.learner, n_done=self.learner.epochs_done)
        self._is_fit = False
