"""Half the bits where they suffice: bfloat16 autocast, and the memory order that convolutions like."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


class MixedPrecision(Callback):
    """Run the forward pass and the loss under autocast, with a channels_last model.

    Weights, gradients and optimizer state stay float32. bfloat16 has the range of float32, so no loss is scaled;
    float16 would need that and is refused. Autocast starts last at begin_batch, so transforms run outside it.
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

    def begin_fit(self) -> None:
        """Model to channels_last; the learner lets optimizer state follow."""
        self.learner.model.to(memory_format=torch.channels_last)

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
