"""What a person sees while training: a table with a row an epoch, and bars on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imagekit.learner.callback import Callback

# (heading, key of the row, width, how it is shown)
Column = tuple[str, str, int, str]
COLUMNS: tuple[Column, ...] = (
    ("train_loss", "train_loss", 10, "{:.6f}"),
    ("train_accuracy", "train_accuracy", 14, "{:.6f}"),
    ("valid_loss", "valid_loss", 10, "{:.6f}"),
    ("valid_accuracy", "valid_accuracy", 14, "{:.6f}"),
    ("lr", "lr", 9, "{:.3g}"),
    ("img/s", "images_per_s", 7, "{:.0f}"),
    ("wait", "data_wait", 5, "{:.0%}"),
)


def choose_columns(measured: Sequence[str]) -> tuple[Column, ...]:
    """The usual columns, and behind valid_accuracy a share for each further key of the row that is `measured`."""
    further = [(key, key, max(10, len(key)), "{:.6f}") for key in measured]
    return (*COLUMNS[:4], *further, *COLUMNS[4:])


class ProgressCallback(Callback):
    """Write to stderr one row an epoch, from the learner's `row`; on a terminal a header and bars as well.

    A `*` behind the epoch marks a new best, a `-` a value that nobody measured. Without a terminal each line names its
    values, so that a log can be read from anywhere. A quiet command leaves this callback out.

    write: takes one line of text; None writes to stderr, above the bars. bars: None shows them on a terminal only.
    """

    _order = 100

    def __init__(
        self,
        *,
        write: Callable[[str], None] | None = None,
        bars: bool | None = None,
        columns: Sequence[Column] = COLUMNS,
    ) -> None:
        self.columns = columns
        self._given_write = write
        self._given_bars = bars
        self._write: Callable[[str], None] = write or write_line
        self._show_bars = False
        self._epochs: Any = None
        self._batches: Any = None

    def begin_fit(self) -> None:
        """The header and the bar of the epochs."""
        self._show_bars = _is_terminal() if self._given_bars is None else self._given_bars
        if self._show_bars:
            self._epochs = _bar(self.learner.n_epochs, "epochs", "epoch", initial=self.learner.epoch)
            self._write = self._given_write or _write_above_bars
            self._write(header(self.columns))

    def begin_epoch(self) -> None:
        """A bar for the training batches."""
        self._start_bar("train")

    def begin_validate(self) -> None:
        """A bar for the validation batches."""
        self._start_bar("valid")

    def after_batch(self) -> None:
        """One batch on."""
        if self._batches is not None:
            self._batches.update()

    def after_epoch(self) -> None:
        """The row of the epoch."""
        self._close_batches()
        if self._epochs is not None:
            self._epochs.update()
        row, n_epochs = self.learner.row, self.learner.n_epochs
        columns = self.columns
        self._write(table_row(row, columns) if self._show_bars else plain_line(row, n_epochs=n_epochs, columns=columns))

    def after_fit(self) -> None:
        """Take the bars away."""
        self._close_batches()
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None

    def _start_bar(self, phase: str) -> None:
        self._close_batches()
        if self._show_bars:
            words = f"epoch {self.learner.epoch + 1}/{self.learner.n_epochs} {phase}"
            self._batches = _bar(len(self.learner.dl), words, "batch", initial=self.learner.i_batch)

    def _close_batches(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None


def header(columns: Sequence[Column] = COLUMNS) -> str:
    """The heading of the table."""
    return "  ".join([f"{'epoch':>6}", *(f"{title:>{width}}" for title, _, width, _ in columns), f"{'time':>6}"])


def table_row(row: Mapping[str, Any], columns: Sequence[Column] = COLUMNS) -> str:
    """One epoch, under the heading."""
    cells = [f"{show(row.get(key), form):>{width}}" for _, key, width, form in columns]
    return "  ".join([f"{_epoch(row):>6}", *cells, f"{minutes(row.get('seconds')):>6}"])


def plain_line(row: Mapping[str, Any], *, n_epochs: int, columns: Sequence[Column] = COLUMNS) -> str:
    """One epoch in one line that needs no heading; `left` is how long the other epochs will take at this pace."""
    cells = [f"{title} {show(row.get(key), form)}" for title, key, _, form in columns]
    seconds = row.get("seconds")
    left = None if seconds is None else seconds * (n_epochs - row["epoch"])
    times = f"time {minutes(seconds)}  left {minutes(left)}"
    return "  ".join([f"epoch {_epoch(row)}/{n_epochs}", *cells, times])


def show(value: float | None, form: str) -> str:
    """The value in this form, or `-`."""
    return "-" if value is None else form.format(value)


def minutes(seconds: float | None) -> str:
    """Seconds as mm:ss, the minutes growing as they must, or `-`."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    return f"{whole // 60:02d}:{whole % 60:02d}"


def choose_voice(*, quiet: bool) -> Callable[[str], None]:
    """What a command says its lines with: write_line, or for a quiet one nothing."""
    return _say_nothing if quiet else write_line


def _say_nothing(line: str) -> None:
    """For a quiet command."""


def write_line(line: str) -> None:
    """One line on stderr; none where there is no stderr, or nobody who reads it: Ctrl-C ends tee as well."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _epoch(row: Mapping[str, Any]) -> str:
    return f"{row.get('epoch', '-')}{'*' * bool(row.get('is_best'))}"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _bar(total: int, words: str, unit: str, *, initial: int = 0) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=words, unit=unit, initial=initial, leave=False, file=sys.stderr, dynamic_ncols=True)


def _write_above_bars(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
