"""run.log: what a person would have seen, kept with the run, whether anybody looked or not."""

from __future__ import annotations

from collections.abc import Sequence

from imagekit.callbacks.progress import COLUMNS, Column, plain_line
from imagekit.callbacks.recorder import was_stopped
from imagekit.learner.callback import Callback
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import utc_now


class RunLog(Callback):
    """Append to run.log: the head lines at the start, a line an epoch, how it ended; each with the time in UTC."""

    _order = 110

    def __init__(self, layout: RunLayout, *, head: Sequence[str] = (), columns: Sequence[Column] = COLUMNS) -> None:
        self.layout = layout
        self.head = head
        self.columns = columns

    def begin_fit(self) -> None:
        """The head lines."""
        n_batches = self.learner.batches_done
        inside = f", behind batch {n_batches} of {self.learner.n_batches}" if n_batches else ""
        self._write(*self.head, f"start at epoch {self.learner.epochs_done + 1} of {self.learner.n_epochs}{inside}")

    def after_epoch(self) -> None:
        """The line of the epoch."""
        self._write(plain_line(self.learner.row, n_epochs=self.learner.n_epochs, columns=self.columns))

    def after_fit(self) -> None:
        """Done, stopped, or what ended it."""
        failure = self.learner.failure
        done = "done" if self.learner.stop_reason is None else f"done: {self.learner.stop_reason}"
        if was_stopped(self.learner, n_done=self.learner.epochs_done):
            done = f"stopped in epoch {self.learner.epoch + 1}, behind training batch {self.learner.batches_done}"
        text = done if failure is None else f"ended by {type(failure).__name__}: {failure}".rstrip(": ")
        self._write(*text.splitlines())

    def _write(self, *lines: str) -> None:
        with self.layout.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{utc_now()} {line}\n" for line in lines)
