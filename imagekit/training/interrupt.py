"""Ctrl-C and SIGTERM in a training run: the first ends it after the step under way, saved; the second at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from imagekit.errors import CheckpointError
from imagekit.learner.callback import Callback
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import read_status

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_UNFINISHED = ("running", "interrupted")
_WORDS = b"\nstopping after this step, to save it; once more leaves at once\n"


class StopOnSignal(Callback):
    """Turn the first signal into `learner.stop`, any further one, and one outside the fit, into KeyboardInterrupt.

    `caught` inside a `with` block is what installs the handlers; only the main thread can, elsewhere it does nothing.
    A signal that the process was started to ignore, as one in the background of a script is, stays ignored.
    quiet: say nothing. asked: whether the fit was told to stop.
    """

    _order = -100
    # the last: what ends a fit is written down before a signal may cut it off
    _orders: ClassVar = {"after_fit": 10**6}

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
        taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._take) for number in taken}
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
            # not by print, which could be inside another; who listened may be gone, as tee is by the same Ctrl-C
            with contextlib.suppress(OSError):
                os.write(2, _WORDS)


def resume_command(run: Path) -> str | None:
    """What goes on with a run that this process has left unfinished; None where there is nothing to go on with."""
    layout = RunLayout(run)
    try:
        status = read_status(layout.status)
    except CheckpointError:  # it had not begun
        return None
    is_ours = status.pid == os.getpid() and status.state in _UNFINISHED and layout.last.exists()
    return shlex.join(["imagekit", "train", "--resume", str(run)]) if is_ours else None
