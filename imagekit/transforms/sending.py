"""The way of small tensors to the device of a batch, without making anybody wait."""

from __future__ import annotations

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to a CUDA device by way of memory that it fetches by itself, while the host goes on.

    Everywhere else the copy is waited for: Apple's devices may read the source after it is gone, and a CPU may read the
    result before it is there.
    """
    if tensor.device.type == "cpu" and device.type == "cuda":
        # whole first: what was expanded lies on itself, and cannot be copied into
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
