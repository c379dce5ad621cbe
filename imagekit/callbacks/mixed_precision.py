"""Half the bits where they suffice: autocast, a loss scale for float16, and the memory order that convolutions like."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException

LEAST_SCALE = 2.0**-14  # the least normal float16: gradients that are too large for it are no rounding's fault


class MixedPrecision(Callback):
    """Run the forward pass and the loss under autocast, with a channels_last model.

    Weights, gradients and optimizer state stay float32. Autocast starts last at begin_batch, so transforms run outside
    it. torch.bfloat16 has the range of float32 and needs nothing else.

    torch.float16 has not: gradients are made from the loss times a scale, so that small ones do not vanish, and are
    divided by it before they are clipped and used. `loss` stays what was measured. Where a gradient is not finite the
    step is not made: gradients are dropped, the scale is halved, the batch is cancelled. After `growth_interval` steps
    in a row the scale doubles. Seeing that costs one look at the device a step. The row gets `skipped_steps` of the
    epoch, as `n_skipped` counts them; scale and growth are in the state. torch.amp.GradScaler does the arithmetic.
    A callback that cancels a batch between this one and the step has to drop the gradients, which have lost the scale.

    On a CPU, a convolution with a stride over a picture one pixel wide runs in float32: oneDNN, with AMX, leaves parts
    of its bfloat16 weight gradient unwritten (torch 2.13), and whatever was in that memory goes into the weights.

    Raises ConfigError for other types, for a scale or interval that cannot be, and under float16 for weights that are
    not float32; TrainingError where gradients are not finite at the least scale, 2^-14, either.
    Source: Micikevicius and others 2017, arXiv:1710.03740.
    """

    _order = 99

    def __init__(
        self, *, dtype: torch.dtype = torch.bfloat16, init_scale: float = 2.0**16, growth_interval: int = 2000
    ) -> None:
        if dtype not in (torch.bfloat16, torch.float16):
            raise ConfigError(
                f"dtype is {dtype}, must be torch.bfloat16 or torch.float16",
                where="MixedPrecision: dtype",
                fix="use bfloat16, or leave MixedPrecision out to train in float32",
            )
        self.dtype = dtype
        self.n_skipped = 0
        self.scale = LossScale(init_scale, growth_interval) if dtype == torch.float16 else None
        self._autocast = ExitStack()
        self._in_float32 = ExitStack()
        self._hooks = ExitStack()

    def begin_fit(self) -> None:
        """Model to channels_last; the learner lets optimizer state follow. The scale of an earlier fit stays."""
        self.learner.model.to(memory_format=torch.channels_last)
        others = [model for callback in self.learner.callbacks for model in callback.models()]
        for layer in chain(*(model.modules() for model in (self.learner.model, *others))):
            if isinstance(layer, nn.Conv2d) and layer.stride[1] > 1:
                self._hooks.callback(layer.register_forward_pre_hook(self._enter_float32).remove)
                self._hooks.callback(layer.register_forward_hook(self._leave_float32, always_call=True).remove)
        if self.scale is not None:
            refuse_narrow_weights(self.learner.model, who="MixedPrecision")
            self.scale.begin(self._device())

    def after_fit(self) -> None:
        """The model as it was."""
        self._hooks.close()

    def begin_epoch(self) -> None:
        """Count the skipped steps of this epoch, on from those that were loaded where it had begun."""
        self._count_skipped(self.n_skipped if self.learner.i_batch else 0)

    def begin_batch(self) -> None:
        """Autocast on, on the device where the model is."""
        self._autocast.enter_context(torch.autocast(self._device().type, dtype=self.dtype))

    def after_loss(self) -> None:
        """Autocast off: the backward pass takes the types of the forward pass by itself, and the scale."""
        self._autocast.close()
        if self.scale is not None and self.learner.in_train:
            self.learner.scale_loss(self.scale.factor(self.learner.loss.device))

    def after_backward(self) -> None:
        """float16: divide by the scale, and leave the batch without a step where that gives no finite gradients."""
        if self.scale is None or self.scale.unscale(self.learner.opt):
            return
        self._count_skipped(self.n_skipped + 1)
        self.learner.opt.zero_grad()
        if self.scale.value < LEAST_SCALE:
            raise TrainingError(
                f"gradients are not finite, even with the loss multiplied by {self.scale.value * 2:g}",
                where=f"MixedPrecision: epoch {self.learner.epoch + 1}, step {self.learner.i_batch + 1}",
                fix="train in bfloat16 or float32, or lower the learning rate",
            )
        raise CancelBatchException

    def after_batch(self) -> None:
        """Autocast off, if the batch was left before its loss."""
        self._autocast.close()

    def state_dict(self) -> dict[str, Any]:
        """Scale, growth, and the skipped steps of a begun epoch, under float16; bfloat16 has none."""
        if self.scale is None:
            return {}
        is_begun = getattr(self.learner, "batches_done", 0) > 0
        return self.scale.state_dict() | ({"n_skipped": self.n_skipped} if is_begun else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them; bfloat16 has no use for them."""
        if self.scale is not None:
            self.scale.load_state_dict(state)
            self.n_skipped = int(state.get("n_skipped", 0))

    def _device(self) -> torch.device:
        device: torch.device = next(self.learner.model.parameters()).device
        return device

    def _count_skipped(self, n: int) -> None:
        self.n_skipped = n
        if self.scale is not None:
            self.learner.row["skipped_steps"] = n

    def _enter_float32(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x_BCHW = inputs[0]
        if x_BCHW.device.type != "cpu" or x_BCHW.shape[-1] > 1:
            return None
        self._in_float32.enter_context(torch.autocast("cpu", enabled=False))
        return (x_BCHW.float(), *inputs[1:])

    def _leave_float32(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._in_float32.close()


class LossScale:
    """torch.amp.GradScaler for one optimizer, asked after each backward pass whether the gradients can be used.

    `value` is the scale as last seen. Raises ConfigError for a start or an interval that cannot be.
    """

    def __init__(self, start: float, growth_interval: int) -> None:
        for name, value, least in (("init_scale", start, LEAST_SCALE), ("growth_interval", growth_interval, 1)):
            if not least <= value < float("inf"):
                raise ConfigError(
                    f"{name} is {value}, must be a finite number, at least {least:g}",
                    where=f"MixedPrecision: {name}",
                    fix="leave it out to start as torch.amp.GradScaler does",
                )
        self.value = float(start)
        self._scaler = torch.amp.GradScaler("cpu", init_scale=self.value, growth_interval=int(growth_interval))

    def begin(self, device: torch.device) -> None:
        """Make it anew for a fit, same numbers: the model may have moved, and a failed fit leaves it half used."""
        state = self._scaler.state_dict()
        self._scaler = torch.amp.GradScaler(device.type)
        self.load_state_dict(state)

    def factor(self, device: torch.device) -> Tensor:
        """The scale as a tensor, for the backward pass."""
        scaled: Tensor = self._scaler.scale(torch.ones((), device=device))
        return scaled

    def unscale(self, opt: torch.optim.Optimizer) -> bool:
        """Divide the gradients by the scale, then choose the next one. Returns whether all are finite."""
        self._scaler.unscale_(opt)
        self._scaler.update()
        before, self.value = self.value, self._scaler.get_scale()
        return self.value >= before  # it falls where a gradient was not finite, and only there

    def state_dict(self) -> dict[str, Any]:
        """As torch.amp.GradScaler gives it: plain numbers."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self._scaler.load_state_dict(state)
        self.value = self._scaler.get_scale()


def refuse_narrow_weights(model: nn.Module, *, who: str) -> None:
    """Raise ConfigError for a weight of less than 32 bits, in which small steps round to nothing."""
    for name, param in model.named_parameters():
        if param.is_floating_point() and param.dtype.itemsize < 4:
            raise ConfigError(
                f"the weights {name} are {param.dtype}, must be torch.float32",
                where=f"{who}: model",
                fix="leave out model.half() or model.bfloat16(); MixedPrecision halves what may be",
            )
