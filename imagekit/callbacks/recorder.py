"""What a fit leaves behind: lists in memory, and the growing files of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_event, append_row, keep_rows
from imagekit.runs.status import write_status

SECONDS_PER_HEARTBEAT = 30.0


def append_beginning(events: Path, learner: Learner) -> None:
    """Add the line that says where a fit begins: `start`, or `resume` with the epochs and batches done before."""
    place: dict[str, int] = {"epoch": learner.epochs_done}
    is_resumed = bool(learner.epochs_done or learner.batches_done)
    if is_resumed:
        place["batch"] = learner.batches_done
    append_event(events, "resume" if is_resumed else "start", **place, n_epochs=learner.n_epochs)


def append_ending(events: Path, learner: Learner, *, n_done: int) -> str:
    """Add the line that says how a fit ended: `end`, `interrupt` or `failure`. Returns the state of its run.

    Inside an epoch it has the training batches of that as `batch`.
    """
    failure = learner.failure
    is_stopped = was_stopped(learner, n_done=n_done)
    state, event = ("done", "end") if failure is None else ("failed", "failure")
    if is_stopped or isinstance(failure, KeyboardInterrupt):
        state, event = "interrupted", "interrupt"
    why = {} if failure is None else {"error": type(failure).__name__, "what": str(failure).partition("\n")[0]}
    stopped = {} if learner.stop_reason is None else {"why": learner.stop_reason}
    inside = {"batch": learner.batches_done} if learner.batches_done else {}
    append_event(events, event, epoch=n_done, **inside, **why, **stopped)
    return state


def was_stopped(learner: Learner, *, n_done: int) -> bool:
    """Whether somebody's `stop` ended the fit: not its end, an error, or a callback with a reason of its own."""
    is_failed = learner.failure is not None and not isinstance(learner.failure, KeyboardInterrupt)
    return learner.stop and learner.stop_reason is None and not is_failed and n_done < learner.n_epochs


class StepRecorder(Callback):
    """`losses` and `lrs` (of the last parameter group), one of each for every training batch that reached its step.

    Losses stay on the device until the phase ends.
    """

    _order = 50

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self._waiting: list[Tensor] = []

    def after_step(self) -> None:
        """Keep this step's."""
        self._waiting.append(self.learner.loss.detach())
        self.lrs.append(float(self.learner.opt.param_groups[-1]["lr"]))

    def begin_validate(self) -> None:
        """Fetch the losses of the epoch."""
        self._fetch()

    def after_fit(self) -> None:
        """Fetch what a cancelled epoch left."""
        self._fetch()

    def _fetch(self) -> None:
        if self._waiting:
            self.losses += torch.stack(self._waiting).tolist()
            self._waiting = []


class RecorderCallback(Callback):
    """Write metrics.csv (the learner's `row`, an epoch each), events.jsonl and status.json of the run.

    The row is written before the checkpoint of its epoch, and a fit that goes on from an earlier one first cuts
    metrics.csv back to the whole epochs of that: an interrupted and resumed run has the rows of an uninterrupted one.
    Its first event is `resume` in place of `start`. The heartbeat in status.json is renewed every 30 s.
    """

    _order = 50

    def __init__(self, layout: RunLayout, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.layout = layout
        self._clock = clock
        self._last_beat = 0.0
        self._n_done: int | None = None

    def begin_fit(self) -> None:
        """Say that the run is running."""
        self._n_done = self.learner.epochs_done
        keep_rows(self.layout.metrics, n_epochs=self._n_done)
        append_beginning(self.layout.events, self.learner)
        self._beat()

    def after_batch(self) -> None:
        """A sign of life, if it is time for one."""
        if self._clock() - self._last_beat >= SECONDS_PER_HEARTBEAT:
            self._beat()

    def after_epoch(self) -> None:
        """One row and one event."""
        self._n_done = self.learner.epochs_done
        append_row(self.layout.metrics, self.learner.row)
        append_event(self.layout.events, "epoch", **self.learner.row)
        self._beat()

    def after_fit(self) -> None:
        """Say how it ended."""
        if self._n_done is None:  # another callback failed at begin_fit before this one was asked
            self._n_done = self.learner.epochs_done
        self._beat(append_ending(self.layout.events, self.learner, n_done=self._n_done))

    def _beat(self, state: str = "running") -> None:
        self._last_beat = self._clock()
        write_status(self.layout.status, state=state, epoch=self._n_done or 0, n_epochs=self.learner.n_epochs)
