"""Hyper-parameters that change while training: the optimizer's, and those of other callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback

Schedule = Callable[[float], float]


class Dropout:
    """The dropout layers of a model, as one hyper: the probability with which each of them blanks."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = [layer for layer in model.modules() if isinstance(layer, _DROPOUTS)]

    def hypers(self) -> Iterable[str]:
        """`dropout`, where the model has such a layer."""
        return ["dropout"] if self._layers else []

    def set_hyper(self, name: str, value: float) -> None:
        """Set it for the batches to come. Raises ConfigError outside 0..1."""
        if not 0 <= value <= 1:
            raise ConfigError(
                f"dropout is {value}, must be from 0 to 1",
                where="ParamScheduler: dropout",
                fix="let the schedule give probabilities",
            )
        for layer in self._layers:
            layer.p = value


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class ParamScheduler(Callback):
    """Set one hyper before each training batch, by the position of the fit in 0..1.

    hyper: any key of the optimizer's parameter groups ("lr", "momentum", "weight_decay"); what another callback offers
    by its method `hypers`: the strength of a batch transform ("rotate.max_degrees"), of mixup ("mix_up.alpha"); or
    "dropout", the probability of every dropout layer of the model.
    schedule: a function of the position, or for the optimizer a list with one for each group. The value is a function
    of the position alone, so nothing has to be restored on resume.
    """

    _order = 1

    def __init__(self, hyper: str, schedule: Schedule | Sequence[Schedule]) -> None:
        self.hyper = hyper
        self.schedule = schedule
        self._owner: Any = None  # what has the hyper and can set it, None where the optimizer has it
        self._is_fitting = False

    def begin_fit(self) -> None:
        """Raises ConfigError if nobody has the hyper, or the list of schedules has another length than the groups."""
        self._owner, self._is_fitting = self._find_owner(), True
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
        """Set the value everywhere; outside a fit, where somebody asks for a batch alone, nothing is moved."""
        if not (self.learner.in_train and self._is_fitting):
            return
        position = self.learner.position
        if self._owner is not None and callable(self.schedule):
            self._owner.set_hyper(self.hyper, self.schedule(position))
            return
        groups = self.learner.opt.param_groups  # asked anew: loading a state makes others
        schedules = [self.schedule] * len(groups) if callable(self.schedule) else self.schedule
        for group, schedule in zip(groups, schedules, strict=True):
            group[self.hyper] = schedule(position)

    def after_fit(self) -> None:
        """The schedule is over."""
        self._is_fitting = False

    def _find_owner(self) -> Any:
        """What offers the hyper, a callback or the model's dropout; None where every parameter group has it."""
        groups = self.learner.opt.param_groups
        if self.hyper != "params" and all(self.hyper in group for group in groups):
            return None
        owners: list[Any] = [callback for callback in self.learner.callbacks if hasattr(type(callback), "hypers")]
        owners.append(Dropout(self.learner.model))
        for owner in owners:
            if self.hyper in owner.hypers():
                return owner
        known = [key for key in groups[0] if key != "params"] + [name for owner in owners for name in owner.hypers()]
        raise ConfigError(
            f'nothing has a hyper "{self.hyper}"', where="ParamScheduler", fix=did_you_mean(self.hyper, known)
        )
