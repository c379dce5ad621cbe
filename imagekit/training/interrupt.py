"""Ctrl-C and SIGTERM in a training run: the first ends it after this step, saved; the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from imagekit.learner.callback import Callback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WORDS = b"\nstopping after this step, to save it; once more leaves at once\n"


class StopOnSignal(Callback):
    """Turn the first signal into `learner.stop`, any further one, and one outside the fit, into KeyboardInterrupt.

    `caught` inside a `with` block is what installs the handlers; only the main thread can, elsewhere it does nothing.
    quiet: say nothing. asked: whether the fit was told to stop.
    """

    _order = -100

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.asked = False
        self._is_fitting = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take both signals inside the block, and put back what was there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None is a handler that was not set from Python, and cannot be set again
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def begin_fit(self) -> None:
        """From here on the fit can end in order."""
        self._is_fitting = True

    def after_fit(self) -> None:
        """From here on it cannot."""
        self._is_fitting = False

    def _take(self, number: int, frame: FrameType | None) -> Any:
        if not self._is_fitting or self.asked:
            raise KeyboardInterrupt
        self.asked = self.learner.stop = True
        if not self.quiet:
            os.write(2, _WORDS)  # a print could be inside another
