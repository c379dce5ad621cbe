"""Where the model and the batches are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imagekit.learner.callback import Callback


class DeviceCallback(Callback):
    """Move the model once and every batch as it comes, to the device that the caller chose.

    Batches move without waiting where their memory is pinned; what they carry besides x and y stays on the CPU.
    Optimizer state that exists already moves along, so a state loaded on the CPU can go on elsewhere.
    """

    _order = -5

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    def begin_fit(self) -> None:
        """Move model, loss (if it is a module) and optimizer state."""
        self.learner.model.to(self.device)
        if isinstance(self.learner.loss_func, nn.Module):
            self.learner.loss_func.to(self.device)
        if self.learner.opt is not None and self.learner.opt.state:
            self.learner.opt.load_state_dict(self.learner.opt.state_dict())  # casts to each parameter's device

    def begin_batch(self) -> None:
        """Move x and y."""
        self.learner.xb, self.learner.yb = self._move(self.learner.xb), self._move(self.learner.yb)

    def _move(self, part: Any) -> Any:
        # elsewhere than on CUDA a copy that nobody waits for may be read too early
        return part.to(self.device, non_blocking=self.device.type == "cuda") if isinstance(part, Tensor) else part
