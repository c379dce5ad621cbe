"""Half the bits where they suffice: bfloat16 autocast, and the memory order that convolutions like."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


class MixedPrecision(Callback):
    """Run the forward pass and the loss under autocast, with a channels_last model.

    Weights, gradients and optimizer state stay float32. bfloat16 has the range of float32, so no loss is scaled;
    float16 would need that and is refused. Autocast starts last at begin_batch, so transforms run outside it.

    On a CPU, a convolution with a stride over a picture one pixel wide runs in float32: oneDNN, with AMX, leaves parts
    of its bfloat16 weight gradient unwritten (torch 2.13), and whatever was in that memory goes into the weights.
    """

    _order = 99

    def __init__(self, *, dtype: torch.dtype = torch.bfloat16) -> None:
        if dtype != torch.bfloat16:
            raise ConfigError(
                f"dtype is {dtype}, must be torch.bfloat16",
                where="MixedPrecision: dtype",
                fix="use bfloat16, or leave MixedPrecision out to train in float32",
            )
        self.dtype = dtype
        self._autocast = ExitStack()
        self._in_float32 = ExitStack()
        self._hooks = ExitStack()

    def begin_fit(self) -> None:
        """Model to channels_last; the learner lets optimizer state follow."""
        self.learner.model.to(memory_format=torch.channels_last)
        for layer in self.learner.model.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride[1] > 1:
                self._hooks.callback(layer.register_forward_pre_hook(self._enter_float32).remove)
                self._hooks.callback(layer.register_forward_hook(self._leave_float32, always_call=True).remove)

    def after_fit(self) -> None:
        """The model as it was."""
        self._hooks.close()

    def begin_batch(self) -> None:
        """Autocast on, on the device where the model is."""
        device = next(self.learner.model.parameters()).device
        self._autocast.enter_context(torch.autocast(device.type, dtype=self.dtype))

    def after_loss(self) -> None:
        """Autocast off: the backward pass takes the types of the forward pass by itself."""
        self._autocast.close()

    def after_batch(self) -> None:
        """Autocast off, if the batch was left before its loss."""
        self._autocast.close()

    def _enter_float32(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x_BCHW = inputs[0]
        if x_BCHW.device.type != "cpu" or x_BCHW.shape[-1] > 1:
            return None
        self._in_float32.enter_context(torch.autocast("cpu", enabled=False))
        return (x_BCHW.float(), *inputs[1:])

    def _leave_float32(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._in_float32.close()
