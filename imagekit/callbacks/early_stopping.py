"""End a fit that no longer gets better."""

from __future__ import annotations

import math
from typing import Any

from imagekit.callbacks.best import Mode, check_measurable, check_mode, mode_of, read_value
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelTrainException


class EarlyStopping(Callback):
    """Cancel the training once `patience` epochs in a row did not better the best `monitor` by more than min_delta.

    monitor: a column of the row, valid_accuracy say. mode: "max" where more is better, "min" where less is; None takes
    "min" for a column whose name holds `loss` or `error`. NaN betters nothing. It acts last at after_epoch, when the
    epoch has been validated, recorded, saved and shown. A fit from epoch 0 starts counting anew; one that goes on from
    a state in which it had stopped stops again at once.

    best: the value to better, None before the first. n_waited: epochs since it was reached. stopped_epoch: the whole
    epochs done when it stopped the fit, else None; `reason` says why in words.
    Raises ConfigError for settings that cannot be, and where the monitor is no column or was not measured.
    """

    _order = 250  # a cancel keeps later callbacks from the event: all that show or keep an epoch come before

    def __init__(
        self,
        monitor: str = "valid_accuracy",
        *,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: Mode | None = None,
    ) -> None:
        check_mode(mode, who="EarlyStopping")
        _check_limits(patience, min_delta)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode: Mode = mode or mode_of(monitor)
        self.best: float | None = None
        self.n_waited = 0
        self.stopped_epoch: int | None = None
        self._in_epoch = self._is_counted = False

    def begin_fit(self) -> None:
        """Raises ConfigError where it is known already that nothing will be measured."""
        check_measurable(self.learner, self.monitor, who="EarlyStopping")

    def begin_epoch(self) -> None:
        """Ready to count; or stop again."""
        self._in_epoch, self._is_counted, self.stopped_epoch = True, False, None
        if self.learner.epoch == 0:
            self.best, self.n_waited = None, 0
        self._stop_if_due()

    def after_epoch(self) -> None:
        """Count this epoch, and stop if there were enough; validation without training is no epoch."""
        if self._in_epoch:
            read_value(self.learner.row, self.monitor, who="EarlyStopping")
            self._count()
            self._stop_if_due()

    def after_fit(self) -> None:
        """What comes until the next epoch does not count."""
        self._in_epoch = False

    @property
    def reason(self) -> str | None:
        """Why the fit was stopped."""
        if self.stopped_epoch is None:
            return None
        best = "was never a number" if self.best is None else f"has not bettered {self.best:.6g}"
        count = f"{self.n_waited} epoch{'s' * (self.n_waited > 1)}"
        return f"stopped after epoch {self.stopped_epoch}: {self.monitor} {best} for {count}"

    def state_dict(self) -> dict[str, Any]:
        """The best value and the epochs since. A checkpoint of a whole epoch asks before its turn: count it now."""
        self._count()
        return {"monitor": self.monitor, "best": self.best, "n_waited": self.n_waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting, where it was of the same column."""
        if state["monitor"] == self.monitor:
            self.best, self.n_waited = state["best"], state["n_waited"]

    def _count(self) -> None:
        is_whole = self._in_epoch and self.learner.epochs_done > self.learner.epoch
        value = self.learner.row.get(self.monitor) if is_whole else None
        if value is None or self._is_counted:
            return
        self._is_counted = True
        if self._is_better(float(value)):
            self.best, self.n_waited = float(value), 0
        else:
            self.n_waited += 1

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        return value > self.best + self.min_delta if self.mode == "max" else value < self.best - self.min_delta

    def _stop_if_due(self) -> None:
        if self.n_waited >= self.patience and self.learner.epochs_done < self.learner.n_epochs:
            self.stopped_epoch = self.learner.epochs_done
            self.learner.stop_reason = self.reason
            raise CancelTrainException


def _check_limits(patience: int, min_delta: float) -> None:
    if patience < 1:
        raise ConfigError(
            f"patience is {patience}, must be at least 1",
            where="EarlyStopping: patience",
            fix="give the number of epochs to wait for something better",
        )
    if not 0 <= min_delta < math.inf:
        raise ConfigError(
            f"min_delta is {min_delta}, must be at least 0 and finite",
            where="EarlyStopping: min_delta",
            fix="give the least change that counts, in units of the monitor",
        )
