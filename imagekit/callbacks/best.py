"""Which epoch is the best so far, by one column of the row."""

from __future__ import annotations

import math
from typing import Any, Literal

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner

Mode = Literal["max", "min"]


class BestCallback(Callback):
    """Put `is_best` into the row: whether no epoch before this one had a better value of `monitor`.

    monitor: a column of the row, valid_accuracy say. mode: "max" where more is better, "min" where less is; None takes
    "min" for a column whose name holds `loss` or `error`. An equal later epoch is the new best. NaN never is; while
    nothing was measured (no validation images) every epoch is. `best` is the value, None before the first.
    Raises ConfigError, listing the columns there are, where the row lacks the monitor.
    """

    _order = 20

    def __init__(self, monitor: str = "valid_accuracy", *, mode: Mode | None = None) -> None:
        check_mode(mode, who="BestCallback")
        self.monitor = monitor
        self.mode: Mode = mode or mode_of(monitor)
        self.best: float | None = None

    def after_epoch(self) -> None:
        """Compare."""
        value = read_monitor(self.learner.row, self.monitor, who="BestCallback")
        self.learner.row["is_best"] = is_best = self._is_best(value)
        if is_best and value is not None:
            self.best = value

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"monitor": self.monitor, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it, where it was of the same column."""
        if state["monitor"] == self.monitor:
            self.best = state["best"]

    def _is_best(self, value: float | None) -> bool:
        if value is None:  # not measured in this epoch, or in none
            return self.best is None
        if self.best is None:
            return not math.isnan(value)
        return value >= self.best if self.mode == "max" else value <= self.best


def mode_of(monitor: str) -> Mode:
    """ "min" for a loss or an error, else "max"."""
    return "min" if any(word in monitor for word in ("loss", "error")) else "max"


def read_monitor(row: dict[str, Any], monitor: str, *, who: str) -> float | None:
    """The value of a column; None where nobody measured it. Raises ConfigError where there is no such column."""
    if monitor not in row:
        raise ConfigError(
            f'no column "{monitor}" was measured in this epoch',
            where=f"{who}: monitor",
            fix=did_you_mean(monitor, [key for key in row if key not in ("epoch", "is_best")]),
        )
    value = row[monitor]
    return None if value is None else float(value)


def check_mode(mode: str | None, *, who: str) -> None:
    """Raises ConfigError unless it is "max", "min" or None."""
    if mode not in ("max", "min", None):
        raise ConfigError(
            f'mode is "{mode}", must be "max" or "min"',
            where=f"{who}: mode",
            fix='leave it out: that is "min" for a loss or an error, else "max"',
        )


def check_measurable(learner: Learner, monitor: str, *, who: str) -> None:
    """Raises ConfigError for a column of validation where there is no validation data."""
    if monitor.startswith("valid_") and not len(learner.data.valid_dl):
        raise _no_value(monitor, who)


def read_value(row: dict[str, Any], monitor: str, *, who: str) -> float:
    """The value of a column. Raises ConfigError where there is no such column, and where nobody measured it."""
    value = read_monitor(row, monitor, who=who)
    if value is None:
        raise _no_value(monitor, who)
    return value


def _no_value(monitor: str, who: str) -> ConfigError:
    return ConfigError(
        f'"{monitor}" has no value to go by',
        where=f"{who}: monitor",
        fix="add validation images, or monitor a column of training, train_loss say",
    )
