"""Transforms of whole batches, on the device, just before the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from imagekit.batch.pipeline import AnyBatchTransform, BatchPipeline
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


class BatchTransforms(Callback):
    """Apply the transforms of the phase to `xb`, as one BatchPipeline each.

    Plain functions are transforms too: f(xb), or f(xb, keys_B) with `needs_keys = True`. What draws takes its draws
    from the batch's `keys`, int64 numbers made from seed, epoch and image. A pipeline that was made with options of its
    own can be handed in as it is. What `hypers` of the training pipeline names can be scheduled (ParamScheduler).
    """

    _order = 2

    def __init__(
        self,
        train_transforms: BatchPipeline | Iterable[AnyBatchTransform] = (),
        valid_transforms: BatchPipeline | Iterable[AnyBatchTransform] = (),
    ) -> None:
        self.train_pipeline = _pipeline(train_transforms)
        self.valid_pipeline = _pipeline(valid_transforms)

    def begin_batch(self) -> None:
        """Transform `xb`. Raises ConfigError if a transform needs keys that the batch lacks."""
        pipeline = self.train_pipeline if self.learner.in_train else self.valid_pipeline
        keys_B = batch_keys(self.learner.batch, who=pipeline.who_draws()) if pipeline.needs_keys else None
        self.learner.xb = pipeline(self.learner.xb, keys_B)

    def hypers(self) -> Iterable[str]:
        """What can be scheduled: rotate.max_degrees and the like."""
        return self.train_pipeline.hypers()

    def set_hyper(self, name: str, value: float) -> None:
        """Set one of `hypers` for the batches to come. Raises ConfigError for a value out of its bounds."""
        self.train_pipeline.set_hyper(name, value)


def batch_keys(batch: Any, *, who: str) -> Tensor:
    """The keys of a batch. Raises ConfigError where it has none; `who` says what needs them."""
    keys_B = getattr(batch, "keys", None)
    if not isinstance(keys_B, Tensor):
        raise ConfigError(
            f"{who} draws at random and needs keys, and the batch has none",
            where="Learner: data",
            fix="use a DataBunch, or batches with an attribute `keys`, one int64 number an image",
        )
    return keys_B


def _pipeline(transforms: BatchPipeline | Iterable[AnyBatchTransform]) -> BatchPipeline:
    return transforms if isinstance(transforms, BatchPipeline) else BatchPipeline(transforms)
