"""Progress on stderr: a bar on a terminal, elsewhere a plain line every half minute."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

from imagekit.cli.screen import Screen, Settings

SECONDS_PER_LINE = 30.0


class Progress:
    """A count that grows; used as a context manager. Safe to hand to a library as `progress.update` or `.report`."""

    def __init__(self, total: int | None, unit: str, *, screen: Screen, clock: Callable[[], float]) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        self._screen = screen
        self._clock = clock
        self._start = self._last_line = clock()
        self._done_before: int | None = None
        self._bytes_before = 0
        self._n_bytes: int | None = None
        self._n_bad = 0
        self._comment = ""
        self._bar: Any = None if screen.settings.quiet or not _is_terminal() else _bar(total, unit)

    def update(self, n: int = 1) -> None:
        """Count `n` more."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        elif not self._screen.settings.quiet:
            now = self._clock()
            if now - self._last_line >= SECONDS_PER_LINE:
                self._last_line = now
                self._screen.note(self._line(now))

    def report(self, done: int, total: int, *, n_bytes: int | None = None, n_bad: int | None = None) -> None:
        """Say where the work stands: `done` of `total`; for a library that counts itself.

        n_bytes: how many bytes these took, n_bad: how many were quarantined; both since the beginning, like `done`.
        The first report only says where the rates begin to count: what an earlier run did was not done in this time.
        """
        if self._done_before is None:
            self._begin(done, n_bytes or 0)
        self.total, self._n_bytes = total, n_bytes if n_bytes is not None else self._n_bytes
        self._n_bad = self._n_bad if n_bad is None else n_bad
        if self._bar is not None:
            self._bar.set_postfix_str(self._words(self._clock()), refresh=False)
            if self._bar.total != total:
                self._bar.total = total
                self._bar.refresh()
        self.update(done - self.done)

    def comment(self, text: str) -> None:
        """Show a few words behind the count, such as what is being done."""
        self._comment = text
        if self._bar is not None:
            self._bar.set_postfix_str(self._words(self._clock()), refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _begin(self, done: int, n_bytes: int) -> None:
        """Let the rates count from here, where `done` items are no work of this run."""
        self._done_before, self._bytes_before, self._start = done, n_bytes, self._clock()
        if self._bar is not None and done > self.done:
            self._bar.initial = self._bar.n = self._bar.last_print_n = self.done = done
            self._bar.start_t = self._bar.last_print_t = time.time()  # tqdm's own clock
            self._bar.refresh()

    def _line(self, now: float) -> str:
        rate = (self.done - (self._done_before or 0)) / max(now - self._start, 1e-9)
        of_total = f" of {self.total:,}" if self.total is not None else ""
        words = self._words(now)
        left = f", {max(0, self.total - self.done) / rate:.0f} s left" if self.total and rate > 0 else ""
        return f"{self.done:,}{of_total} {self.unit}, {rate:,.1f}/s{left}" + f", {words}" * bool(words)

    def _words(self, now: float) -> str:
        """What stands behind count and rate: megabytes (10^6) a second, how many were quarantined, the comment."""
        seconds, parts = now - self._start, []
        if self._n_bytes and seconds > 0:
            parts.append(f"{(self._n_bytes - self._bytes_before) / 1e6 / seconds:,.1f} MB/s")
        if self._n_bad:
            parts.append(f"{self._n_bad:,} quarantined")
        if self._comment:
            parts.append(self._comment)
        return ", ".join(parts)


def progress(
    total: int | None, unit: str, quiet: bool | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Start a progress display for `total` things called `unit` ("images"); None while the total is unknown.

    quiet: None takes what the running command was told.
    """
    context = click.get_current_context(silent=True)
    screen = context.find_object(Screen) if context else None
    screen = screen or Screen(Settings())
    if quiet is not None and quiet != screen.settings.quiet:
        screen = Screen(Settings(quiet=quiet))
    return Progress(total, unit, screen=screen, clock=clock)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _bar(total: int | None, unit: str) -> Any:
    from tqdm import tqdm

    try:
        is_sized = min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError):
        is_sized = False
    # a terminal that says 0 rows (some containers) would get no bar at all
    size: dict[str, Any] = {"dynamic_ncols": True} if is_sized else {"ncols": 80, "nrows": 24}
    return tqdm(total=total, unit=f" {unit}", file=sys.stderr, disable=None, leave=False, **size)
