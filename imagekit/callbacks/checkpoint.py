"""The checkpoints of a fit: the last step or epoch, the best epoch, and the k best if asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from imagekit.callbacks.best import Mode, check_measurable, check_mode, mode_of, read_value
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.errors import (
    CheckpointError,
    ConfigError,
    DiskFullError,
    ManifestError,
    OutputError,
    SourceError,
    WorkerError,
)
from imagekit.learner.callback import Callback
from imagekit.runs.checkpoint import save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_event, read_events

# what ends a fit where the next batch is asked for: model and optimizer are as the last step left them
_BETWEEN_STEPS = (KeyboardInterrupt, ManifestError, OutputError, SourceError, WorkerError)


class StateFn(Protocol):
    """What a checkpoint holds. best: for a file that is to be used, not gone on from: averaged weights, say."""

    def __call__(self, *, best: bool) -> Mapping[str, object]: ...


class CheckpointCallback(Callback):
    """After each epoch save `state_fn(best=False)` as last.pt, and `state_fn(best=True)` where the row says `is_best`.

    top_k: also keep the k epochs with the best `monitor`, as checkpoints/epoch-0007.pt, from `state_fn(best=True)` too.
    Of equals the later one is kept, NaN never. mode: "max" where more is better, "min" where less is; None takes "min"
    for a column whose name holds `loss` or `error`. `table` says which are there, the best first, and is part of the
    state: [{"epoch": 7, "value": 0.9, "file": "epoch-0007.pt"}].

    last.pt is also written as a fit from the beginning begins, so that whatever kills it, it can go on; where the fit
    is stopped (Learner.stop), or interrupted from the keyboard between two steps; and inside an epoch where it is time:
    every: after so many training steps since it was last written. every_s: after so many seconds, by `clock`. What is
    written inside an epoch is of between two steps, and goes on there. Before it is, NanGuard is asked, or its check
    made where there is none; a fit whose weights are not finite ends there. After an error of the data (a file, a
    worker, its cache) it is written as after an interrupt, after any other nothing is.

    The last is written last: a kill before it repeats the epoch on resume, and writes the others again. A file that
    falls out of the table is removed when the new ones are on the disk. The event log names each file of the table
    before it is written, so what a kill leaves too many is found and removed by the next epoch, and nothing else is.
    Raises ConfigError for settings that cannot be, and where the monitor is no column or was not measured.
    """

    _order = 60
    _orders: ClassVar = {"after_batch": 300}  # the last: all others have counted the batch

    def __init__(
        self,
        layout: RunLayout,
        state_fn: StateFn,
        *,
        top_k: int = 0,
        monitor: str = "valid_accuracy",
        mode: Mode | None = None,
        every: int | None = None,
        every_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_mode(mode, who="CheckpointCallback")
        _check_numbers(top_k, every, every_s)
        self.layout, self.state_fn, self.top_k, self.monitor = layout, state_fn, top_k, monitor
        self.mode: Mode = mode or mode_of(monitor)
        self.table: list[dict[str, Any]] = []
        self._written: set[int] = set()  # epochs whose files are ours
        self.every, self.every_s, self._clock = every, every_s, clock
        self._in_epoch = False
        # places (epochs, batches done): where all had last done their part, and where last.pt was last written
        self._whole: tuple[int, int] | None = None
        self._saved: tuple[int, int] | None = None
        self._saved_n_iter, self._saved_at = 0, 0.0

    def begin_fit(self) -> None:
        """Recall which files are ours. Raises ConfigError where it is known already that nothing will be measured."""
        if self.top_k:
            check_measurable(self.learner, self.monitor, who="CheckpointCallback")
            kept = [event.get("epoch") for event in read_events(self.layout.events) if event.get("event") == "keep"]
            self._written = {epoch for epoch in kept if isinstance(epoch, int)}

    def begin_epoch(self) -> None:
        """A fit from the beginning has kept nothing; what it begins with is its first checkpoint."""
        if not self._in_epoch:  # what the fit goes on from need not be our last.pt
            self._note_saved(None)
        self._in_epoch, self._whole = True, self._place
        if self.learner.epoch == self.learner.i_batch == 0:
            self.table = []
            self._save_inside()

    def after_batch(self) -> None:
        """Between two steps, if it is time."""
        if not (self._in_epoch and self.learner.in_train):
            return
        self._whole = self._place
        if self._is_due() and self.learner.is_between_steps:
            self._guard().check()
            self._save_inside()

    def begin_validate(self) -> None:
        """All training batches count as done, also where their epoch was cancelled."""
        self._whole = self._place

    def after_epoch(self) -> None:
        """Write the checkpoints of this epoch; validation without training is no epoch."""
        if not self._in_epoch:
            return
        epoch, is_best = self.learner.epoch + 1, bool(self.learner.row.get("is_best"))
        is_kept = self.top_k > 0 and self._rank(epoch)
        if is_best or is_kept:
            state = self.state_fn(best=True)
            if is_best:
                save_checkpoint(self.layout.best, state)
            if is_kept:
                self._keep(epoch, state)
        save_checkpoint(self.layout.last, self.state_fn(best=False))
        self._remove_others()
        kept = {"kept": self.table} if self.top_k else {}
        append_event(self.layout.events, "checkpoint", epoch=epoch, best=is_best, **kept)
        self._note_saved(self._place)

    def after_cancel_train(self) -> None:
        """Where it was stopped it can go on."""
        if self.learner.stop and self._is_unsaved():
            self._guard().check()
            self._save_inside()

    def after_fit(self) -> None:
        """After an interrupt or an error of the data between two steps. What comes until the next epoch is none."""
        failure = self.learner.failure
        # the second Ctrl-C asks to leave at once, in the middle of a save too
        is_second = isinstance(failure, KeyboardInterrupt) and self.learner.stop
        is_clean = isinstance(failure, _BETWEEN_STEPS) and not isinstance(failure, DiskFullError)
        is_to_save = is_clean and not is_second and self._is_unsaved()
        self._in_epoch, self._whole = False, None
        if is_to_save and self._guard().is_well():
            self._save_inside()

    def state_dict(self) -> dict[str, Any]:
        """The table of the kept epochs."""
        return {"monitor": self.monitor, "table": [dict(row) for row in self.table]} if self.table else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the table. Raises CheckpointError where its values are of another column."""
        if self.top_k and state["monitor"] != self.monitor:
            raise CheckpointError(
                f"the kept epochs were chosen by {state['monitor']}, not by {self.monitor}",
                where="CheckpointCallback: monitor",
                fix=f'go on with monitor="{state["monitor"]}", or with top_k=0',
            )
        # keys of our own, not those unpickled: pickle writes one string twice where it comes from two places
        self.table = [{"epoch": row["epoch"], "value": row["value"], "file": row["file"]} for row in state["table"]]

    @property
    def _place(self) -> tuple[int, int]:
        return self.learner.epochs_done, self.learner.batches_done

    def _is_due(self) -> bool:
        is_far = self.every is not None and self.learner.n_iter - self._saved_n_iter >= self.every
        return is_far or (self.every_s is not None and self._clock() - self._saved_at >= self.every_s)

    def _is_unsaved(self) -> bool:
        """Whether last.pt is of another place than this one, and this one can be gone on from."""
        is_whole = self._in_epoch and self._whole == self._place and self.learner.is_between_steps
        return is_whole and self._saved != self._place

    def _guard(self) -> NanGuard:
        guard: NanGuard | None = self.learner.find(NanGuard)
        if guard is None:
            guard = NanGuard(self.layout)
            guard.learner = self.learner
        return guard

    def _save_inside(self) -> None:
        save_checkpoint(self.layout.last, self.state_fn(best=False))
        epoch, batch = self._place
        append_event(self.layout.events, "checkpoint", epoch=epoch, batch=batch)
        self._note_saved(self._place)

    def _note_saved(self, place: tuple[int, int] | None) -> None:
        self._saved, self._saved_n_iter, self._saved_at = place, self.learner.n_iter, self._clock()

    def _rank(self, epoch: int) -> bool:
        """Put this epoch into the table if it belongs there; whether it does."""
        value = read_value(self.learner.row, self.monitor, who="CheckpointCallback")
        rows = [row for row in self.table if row["epoch"] != epoch]
        if not math.isnan(value):
            rows.append({"epoch": epoch, "value": value, "file": epoch_path(self.layout, epoch).name})
        sign = 1 if self.mode == "max" else -1
        self.table = sorted(rows, key=lambda row: (sign * row["value"], row["epoch"]), reverse=True)[: self.top_k]
        return any(row["epoch"] == epoch for row in self.table)

    def _keep(self, epoch: int, state: Mapping[str, object]) -> None:
        path = epoch_path(self.layout, epoch)
        append_event(self.layout.events, "keep", epoch=epoch, file=path.name)
        self._written.add(epoch)
        save_checkpoint(path, state)

    def _remove_others(self) -> None:
        for epoch in self._written - {row["epoch"] for row in self.table}:
            epoch_path(self.layout, epoch).unlink(missing_ok=True)
            self._written.discard(epoch)


def epoch_path(layout: RunLayout, epoch: int) -> Path:
    """Where a kept epoch is, counted from 1: checkpoints/epoch-0007.pt."""
    return layout.checkpoints / f"epoch-{epoch:04d}.pt"


def _check_numbers(top_k: int, every: int | None, every_s: float | None) -> None:
    if top_k < 0:
        raise ConfigError(
            f"top_k is {top_k}, must be at least 0",
            where="CheckpointCallback: top_k",
            fix="give the number of epochs to keep; 0 for the last and the best alone",
        )
    if every is not None and (type(every) is not int or every < 1):
        raise ConfigError(
            f"every is {every!r}, must be a whole number, at least 1",
            where="CheckpointCallback: every",
            fix="give the training steps from one checkpoint to the next, 1000 say",
        )
    if every_s is not None and not 0 < every_s < math.inf:
        raise ConfigError(
            f"every_s is {every_s}, must be above 0 and finite",
            where="CheckpointCallback: every_s",
            fix="give the seconds from one checkpoint to the next, 600 say",
        )
