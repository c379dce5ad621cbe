"""A loss or a weight that is no number ends the training before anything good is overwritten."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from imagekit.errors import TrainingError
from imagekit.learner.callback import Callback
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import write_failure


class NanGuard(Callback):
    """Raise TrainingError when a loss or a weight is NaN or infinite, and say where in failure.json.

    On a CPU every batch is looked at before its backward pass. Elsewhere looking would make the host wait at each
    step, so the first bad batch is remembered on the device and asked for after each phase, before a checkpoint is
    written. A gradient that is no number shows in the next loss; where the last step of an epoch has it, validation
    may not tell (no images, a sigmoid of an infinite number), so the weights themselves are looked at once an epoch,
    and before a checkpoint inside one (`check`). Either way checkpoints are those of finite losses and weights. In a
    group of accumulated or mixed batches it is the loss of each batch that counts, before it is scaled.
    """

    _order = 40

    def __init__(self, layout: RunLayout) -> None:
        self.layout = layout
        self._first_bad: Tensor | None = None

    def begin_epoch(self) -> None:
        """Nothing bad yet."""
        self._first_bad = None

    def after_loss(self) -> None:
        """Look at the loss here, or on the device."""
        loss = self.learner.loss.detach()
        if loss.device.type == "cpu":
            if not math.isfinite(value := loss.item()):
                self._stop(self.learner.i_batch, value)
            return
        # arithmetic with Python numbers only: torch.where would copy its two numbers to the device, and wait for that
        is_bad = torch.isfinite(loss).logical_not().to(torch.int64)
        step = _NEVER - is_bad * (_NEVER - self.learner.i_batch)
        self._first_bad = step if self._first_bad is None else torch.minimum(self._first_bad, step)

    def begin_validate(self) -> None:
        """The training phase is over: ask the device."""
        self._ask(in_train=True)

    def after_epoch(self) -> None:
        """The validation phase is over: ask the device, and look at the weights."""
        self._ask(in_train=False)
        last = len(self.learner.data.train_dl) - 1
        self._look_at_weights(last, f"after epoch {self.learner.epoch + 1}")

    def check(self) -> None:
        """Ask the device, and look at the weights, inside an epoch. It waits for the device. Raises TrainingError."""
        self._ask(in_train=self.learner.in_train)
        n_done = self.learner.batches_done
        self._look_at_weights(n_done - 1, f"in epoch {self.learner.epoch + 1}, after step {n_done}")

    def is_well(self) -> bool:
        """What `check` would find, without an error and without a word in failure.json."""
        is_bad = self._first_bad is not None and int(self._first_bad) < _NEVER
        return not is_bad and first_bad_tensor(self.learner.model) is None

    def _look_at_weights(self, i_batch: int, when: str) -> None:
        if name := first_bad_tensor(self.learner.model):
            facts = self._facts(i_batch, None, "training") | {"tensor": name}
            self._fail(f"{name} is no longer finite {when}", facts)

    def _ask(self, *, in_train: bool) -> None:
        if self._first_bad is not None and (i_batch := int(self._first_bad)) < _NEVER:
            self._stop(i_batch, None, in_train=in_train)
        self._first_bad = None

    def _stop(self, i_batch: int, value: float | None, *, in_train: bool | None = None) -> None:
        in_train = self.learner.in_train if in_train is None else in_train
        facts = self._facts(i_batch, value, "training" if in_train else "validation")
        shown = "not a finite number" if value is None else str(value)
        self._fail(f"the {facts['phase']} loss is {shown} in epoch {facts['epoch']}, step {facts['step']}", facts)

    def _fail(self, what: str, facts: dict[str, Any]) -> NoReturn:
        write_failure(self.layout.failure, facts)
        is_kept = self.layout.last.exists()
        kept = "the checkpoints are of an earlier step, and finite" if is_kept else "there is no checkpoint yet"
        raise TrainingError(
            what,
            where=str(self.layout.failure),
            fix=f"lower the learning rate (it was {facts['lr']:g}); {kept}",
        )

    def _facts(self, i_batch: int, value: float | None, phase: str) -> dict[str, Any]:
        """epoch and step count from 1; keys are those of the batch, where it is still at hand."""
        batch = self.learner.batch
        keys_B = getattr(batch, "keys", None)
        keys = keys_B.tolist() if value is not None and isinstance(keys_B, Tensor) else None
        return {
            "phase": phase,
            "epoch": self.learner.epoch + 1,
            "step": i_batch + 1,
            "loss": None if value is None else str(value),
            "lr": float(self.learner.opt.param_groups[-1]["lr"]),
            "keys": keys,
        }


def first_bad_tensor(model: nn.Module) -> str | None:
    """The name of the first weight in training that is NaN or infinite, or buffer that is NaN; None where all are well.

    What is not learnt may be infinite by design, as the mask of an attention is. It waits for the device, once.
    """
    learnt = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    bad = {name: torch.isfinite(weight).all().logical_not() for name, weight in learnt.items()}
    bad |= {name: torch.isnan(buffer).any() for name, buffer in model.named_buffers()}
    if not bad:
        return None
    flags = torch.stack([flag.to(next(iter(bad.values())).device) for flag in bad.values()]).tolist()
    return next((name for name, is_bad in zip(bad, flags, strict=True) if is_bad), None)


_NEVER = 2**31 - 1
