"""Hyper-parameters that change while training: the optimizer's, and those of other callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback

Schedule = Callable[[float], float]


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
        self._owner: Any = None  # the callback that has the hyper, None where the optimizer has it

    def begin_fit(self) -> None:
        """Raises ConfigError if nobody has the hyper, or the list of schedules has another length than the groups."""
        self._owner = self._find_owner()
        n_places = len(self.learner.opt.param_groups) if self._owner is None else 1
        if not callable(self.schedule) and (len(self.schedule) != n_places or self._owner is not None):
            places = f"{n_places} parameter groups" if self._owner is None else "one value for all images"
            raise ConfigError(
                f"{len(self.schedule)} schedules for {places}",
                where=f"ParamScheduler: {self.hyper}",
                fix="give one schedule for all groups, or one for each"
                if self._owner is None
                else "give the schedule itself, no list",
            )

    def begin_batch(self) -> None:
        """Set the value everywhere."""
        if not self.learner.in_train:
            return
        position = self.learner.position
        if self._owner is not None and callable(self.schedule):
            self._owner.set_hyper(self.hyper, self.schedule(position))
            return
        groups = self.learner.opt.param_groups  # asked anew: loading a state makes others
        schedules = [self.schedule] * len(groups) if callable(self.schedule) else self.schedule
        for group, schedule in zip(groups, schedules, strict=True):
            group[self.hyper] = schedule(position)

    def _find_owner(self) -> Any:
        """The callback that offers the hyper; None where every parameter group has it."""
        groups = self.learner.opt.param_groups
        if self.hyper != "params" and all(self.hyper in group for group in groups):
            return None
        owners: list[Any] = [callback for callback in self.learner.callbacks if hasattr(type(callback), "hypers")]
        for owner in owners:
            if self.hyper in owner.hypers():
                return owner
        known = [key for key in groups[0] if key != "params"] + [name for owner in owners for name in owner.hypers()]
        raise ConfigError(
            f'nothing has a hyper "{self.hyper}"', where="ParamScheduler", fix=did_you_mean(self.hyper, known)
        )
