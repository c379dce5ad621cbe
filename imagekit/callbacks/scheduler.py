"""Hyper-parameters that change while training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback

Schedule = Callable[[float], float]


class ParamScheduler(Callback):
    """Set one hyper of the optimizer before each training batch, by the position of the fit in 0..1.

    hyper: any key of the parameter groups ("lr", "momentum", "weight_decay"); schedule: a function of the position for
    all groups, or a list with one for each group. The value is a function of the position alone, so nothing has to be
    restored on resume.
    """

    _order = 1

    def __init__(self, hyper: str, schedule: Schedule | Sequence[Schedule]) -> None:
        self.hyper = hyper
        self.schedule = schedule

    def begin_fit(self) -> None:
        """Raises ConfigError if a group lacks the hyper, or the list has another length than the groups."""
        groups = self.learner.opt.param_groups
        known = [key for key in groups[0] if key != "params"]
        if not all(self.hyper in group for group in groups):
            raise ConfigError(
                f'the optimizer has no hyper "{self.hyper}"',
                where="ParamScheduler",
                fix=did_you_mean(self.hyper, known),
            )
        if not callable(self.schedule) and len(self.schedule) != len(groups):
            raise ConfigError(
                f"{len(self.schedule)} schedules for {len(groups)} parameter groups",
                where=f"ParamScheduler: {self.hyper}",
                fix="give one schedule for all groups, or one for each",
            )

    def begin_batch(self) -> None:
        """Set the value of every group."""
        if self.learner.in_train:
            groups, position = self.learner.opt.param_groups, self.learner.position
            schedules = [self.schedule] * len(groups) if callable(self.schedule) else self.schedule
            for group, schedule in zip(groups, schedules, strict=True):
                group[self.hyper] = schedule(position)
