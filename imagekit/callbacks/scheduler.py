"""Hyper-parameters that change while training: the optimizer's, and those of other callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback

Schedule = Callable[[float], float]
Setter = Callable[[float], object]


class ParamScheduler(Callback):
    """Set one hyper before each training batch, by the position of the fit in 0..1.

    hyper: any key of the optimizer's parameter groups ("lr", "momentum", "weight_decay"), or what another callback
    offers by its method `hypers`: the strength of a batch transform ("rotate.max_degrees"), of mixup ("mix_up.alpha").
    schedule: a function of the position, or for the optimizer a list with one for each group. The value is a function
    of the position alone, so nothing has to be restored on resume.
    """

    _order = 1

    def __init__(self, hyper: str, schedule: Schedule | Sequence[Schedule]) -> None:
        self.hyper = hyper
        self.schedule = schedule
        self._setters: list[Setter] = []

    def begin_fit(self) -> None:
        """Raises ConfigError if nobody has the hyper, or the list of schedules has another length than the groups."""
        self._setters = self._find_setters()
        if not callable(self.schedule) and len(self.schedule) != len(self._setters):
            raise ConfigError(
                f"{len(self.schedule)} schedules for {len(self._setters)} parameter groups",
                where=f"ParamScheduler: {self.hyper}",
                fix="give one schedule for all groups, or one for each",
            )

    def begin_batch(self) -> None:
        """Set the value everywhere."""
        if self.learner.in_train:
            position = self.learner.position
            schedules = [self.schedule] * len(self._setters) if callable(self.schedule) else self.schedule
            for set_value, schedule in zip(self._setters, schedules, strict=True):
                set_value(schedule(position))

    def _find_setters(self) -> list[Setter]:
        """One for each parameter group, or the one of the callback that offers the hyper."""
        groups = self.learner.opt.param_groups
        if all(self.hyper in group for group in groups):
            return [partial(group.__setitem__, self.hyper) for group in groups]
        owners: list[Any] = [callback for callback in self.learner.callbacks if hasattr(type(callback), "hypers")]
        for owner in owners:
            if self.hyper in owner.hypers():
                return [partial(owner.set_hyper, self.hyper)]
        known = [key for key in groups[0] if key != "params"] + [name for owner in owners for name in owner.hypers()]
        raise ConfigError(
            f'nothing has a hyper "{self.hyper}"', where="ParamScheduler", fix=did_you_mean(self.hyper, known)
        )
