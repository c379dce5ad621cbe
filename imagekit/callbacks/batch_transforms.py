"""Transforms of whole batches, on the device, just before the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback

BatchTransform = Callable[..., Any]


class BatchTransforms(Callback):
    """Apply the transforms of the phase to `xb`, by their `_order`.

    A transform is called `t(xb)`, or `t(xb, keys_B)` if it has `needs_keys = True`: keys_B, the batch's third part, are
    int64 numbers made from seed, epoch and image, from which each image draws.
    """

    _order = 2

    def __init__(
        self, train_transforms: Iterable[BatchTransform] = (), valid_transforms: Iterable[BatchTransform] = ()
    ) -> None:
        self.train_transforms = sorted(train_transforms, key=_order_of)
        self.valid_transforms = sorted(valid_transforms, key=_order_of)

    def begin_batch(self) -> None:
        """Transform `xb`. Raises ConfigError if a transform needs keys that the batch lacks."""
        x = self.learner.xb
        for transform in self.train_transforms if self.learner.in_train else self.valid_transforms:
            x = transform(x, self._keys(transform)) if getattr(transform, "needs_keys", False) else transform(x)
        self.learner.xb = x

    def _keys(self, transform: BatchTransform) -> Any:
        if len(self.learner.batch) < 3:
            n_parts = len(self.learner.batch)
            raise ConfigError(
                f"{type(transform).__name__} draws at random and needs keys; the batch has {n_parts} parts",
                where="BatchTransforms",
                fix="use a loader whose batches are (x, y, keys)",
            )
        return self.learner.batch[2]


def _order_of(transform: BatchTransform) -> int:
    order: int = getattr(transform, "_order", 0)
    return order
