"""Small images first: the side of the training images as a function of the position in training."""

from __future__ import annotations

from collections.abc import Callable

from imagekit.batch.shrink import shrink
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback

Schedule = Callable[[float], float]


class ProgressiveSize(Callback):
    """Shrink each training batch to the side that `schedule` gives for the position of the fit, 0..1.

    Sides are rounded down to a multiple of `multiple`, but for those that the schedule begins and ends with; a batch
    that is no larger stays as it is, and validation always does. It comes before the batch transforms, so that these
    have less to do. It is for models that take any size. A function of the position alone, so nothing has to be
    restored on resume.
    Raises ConfigError for a multiple below 1. Sources: fast.ai's DAWNBench entry 2018; Tan and Le 2021,
    arXiv:2104.00298.
    """

    _order = 1

    def __init__(self, schedule: Schedule, *, multiple: int = 16) -> None:
        if type(multiple) is not int or multiple < 1:
            raise ConfigError(
                f"multiple is {multiple!r}, must be a whole number, at least 1",
                where="ProgressiveSize: multiple",
                fix="give 16, say",
            )
        self.schedule, self.multiple = schedule, multiple
        self._is_fitting = False

    def side_at(self, position: float) -> int:
        """The side in pixels at a position."""
        least, side, most = (int(self.schedule(each)) for each in (0.0, position, 1.0))
        return side if side == most else max(least, side // self.multiple * self.multiple)

    def begin_fit(self) -> None:
        """The schedule begins."""
        self._is_fitting = True

    def begin_batch(self) -> None:
        """Shrink a training batch; outside a fit, where somebody asks for a batch alone, it stays as it is."""
        if self.learner.in_train and self._is_fitting:
            self.learner.xb = shrink(self.learner.xb, self.side_at(self.learner.position))

    def after_fit(self) -> None:
        """The schedule is over."""
        self._is_fitting = False
