"""Large batches on a small device: one step for several batches."""

from __future__ import annotations

import torch

from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException


class GradientAccumulation(Callback):
    """Step every `n_batches` training batches, by the mean gradient over all their images.

    Equal to one batch of all of them, to the rounding of floats, also where batches differ in size and under any
    schedule, for the position moves from step to step; for a loss that is a mean over images. The last group of an
    epoch steps with the batches that are left. Layers that look at a whole batch, as batch norm does, still see the
    small ones: there it is not equal.

    `n_iter` counts steps, and a StepRecorder keeps the loss of the last batch of each. A batch that was cancelled
    before its backward pass does not count. Gradients of a group that a cancel left open are dropped, at
    begin_validate or begin_epoch; so are those of a group whose last batches do not come, for none of their images can
    be used. There is no state: a fit goes on from between two groups (Learner.is_between_steps).
    Raises ConfigError for a number below 1.
    """

    _order = 95

    def __init__(self, n_batches: int) -> None:
        if type(n_batches) is not int or n_batches < 1:
            raise ConfigError(
                f"n_batches is {n_batches!r}, must be a whole number, at least 1",
                where="GradientAccumulation: n_batches",
                fix="give the number of batches that make one step, 4 say",
            )
        self.n_batches = n_batches
        self._n_done = self._n_images = 0
        self._n_foreseen: int | None = None

    def begin_fit(self) -> None:
        """Tell the learner, whose position moves from step to step."""
        self.learner.n_accumulate = self.n_batches

    def after_fit(self) -> None:
        """A step is a batch again."""
        self.learner.n_accumulate = 1

    def begin_epoch(self) -> None:
        """Begin with no gradients."""
        self._drop()

    def begin_validate(self) -> None:
        """Drop what a cancelled epoch left."""
        if self._n_done:
            self._drop()

    def after_loss(self) -> None:
        """Scale the gradients by this batch's share of the group's images, as far as their number can be foreseen."""
        if not self.learner.in_train:
            return
        n_images = len(self.learner.yb)
        if self._n_foreseen is None:
            n_left = self.learner.n_batches - self.learner.i_batch
            self._n_foreseen = max(1, n_images) * max(1, min(self.n_batches, n_left))
        self.learner.scale_loss(n_images / self._n_foreseen)

    def after_backward(self) -> None:
        """Leave the batch, its gradients stay; or, where it completes a group, let the step follow."""
        self._n_done += 1
        self._n_images += len(self.learner.yb)
        is_last = self.learner.i_batch + 1 >= self.learner.n_batches
        if self._n_done < self.n_batches and not is_last:
            raise CancelBatchException
        self._correct()
        self._open_group()

    def after_cancel_batch(self) -> None:
        """A first batch that did not come to its gradients foresaw nothing: the group begins with the next."""
        if not self._n_done:
            self._n_foreseen = None

    def _correct(self) -> None:
        """Make the shares add up to 1, where the group has another number of images than was foreseen."""
        grads = [param.grad for group in self.learner.opt.param_groups for param in group["params"]]
        grads = [grad for grad in grads if grad is not None]
        if self._n_foreseen is not None and grads and self._n_images not in (0, self._n_foreseen):
            torch._foreach_mul_(grads, self._n_foreseen / self._n_images)

    def _drop(self) -> None:
        self.learner.opt.zero_grad()
        self._open_group()

    def _open_group(self) -> None:
        self._n_done = self._n_images = 0
        self._n_foreseen = None
