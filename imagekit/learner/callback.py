"""What every callback is: methods named like events, an `_order`, and a view of its learner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.events import EVENTS


class Callback:
    """An object that acts at moments of the loop: a method named like an event runs at that event.

    Callbacks run by `_order`, equals in the order they were added. Orders in use: -20 timing, -10 train or eval mode,
    -5 device, -4 seeds, 1 schedules and the size, 2 batch transforms, 8 the averaged model, 10 metrics, 20 the best
    epoch, 40 the guard against NaN, 50 records, 55 predictions, 60 checkpoints, 90 mixing of images, 95 accumulation of
    gradients, 99 mixed precision, 100 progress, 105 clipping of gradients, 110 the log, 120 telemetry, 200 debugging,
    250 early stopping. `_orders` gives single events another one: a checkpoint between two steps is the last at
    after_batch.

    One whose options can be scheduled lists their names by a method `hypers` and sets one by `set_hyper(name, value)`.
    One that remembers from epoch to epoch, or from batch to batch, gives what a resumed fit needs of it by
    `state_dict`, and takes it up by `load_state_dict`, which is called after begin_fit. A fit that goes on inside an
    epoch comes to begin_epoch with i_batch above 0: what was loaded must then stay. begin_batch also comes outside a
    fit (Learner.get_batch).

    Reading `self.model` reads the learner's `model`; writing must say `self.learner.model = ...`, so that a write is
    never lost in a callback. A method whose name looks like an event and is none is refused when the class is made.
    """

    _order: ClassVar[int] = 0
    _orders: ClassVar[Mapping[str, int]] = {}
    learner: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            if callable(value) and name.startswith(("begin_", "after_")) and name not in EVENTS:
                raise ConfigError(
                    f'{cls.__name__} has a method "{name}", which is no event',
                    where=f"{cls.__module__}.{cls.__qualname__}.{name}",
                    fix=did_you_mean(name, EVENTS),
                )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs of this callback, plain types and tensors; {} for nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    def order_at(self, event: str) -> int:
        """Where it stands among the callbacks of an event: the least acts first."""
        return self._orders.get(event, self._order)

    def models(self) -> Iterable[nn.Module]:
        """Models of its own that this callback runs beside the learner's: what is done to that is done to them."""
        return ()

    @property
    def name(self) -> str:
        """The class name in snake case, without "Callback": TrainEvalCallback is train_eval."""
        stem = re.sub(r"Callback$", "", type(self).__name__) or type(self).__name__
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", stem).lower()

    def __getattr__(self, name: str) -> Any:
        # called only for what the callback itself lacks; private names are never the learner's, which also
        # keeps copy and pickle from asking a learner that is not there yet
        if name.startswith("_") or self.learner is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.learner, name)
