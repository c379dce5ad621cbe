"""A batch made smaller in one antialiased step.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shrink(x_BCHW: Tensor, side: int) -> Tensor:
    """The batch with `side` pixels along the shorter side, bilinear and antialiased; as it is where that is no fewer.

    Bytes stay bytes. Elsewhere than on the CPU these go through floats and are rounded: off by one at most.
    """
    height, width = x_BCHW.shape[-2:]
    shorter = min(height, width)
    if side >= shorter:
        return x_BCHW
    size = [max(1, round(each * side / shorter)) for each in (height, width)]
    if x_BCHW.dtype != torch.uint8 or x_BCHW.device.type == "cpu":
        return F.interpolate(x_BCHW, size=size, mode="bilinear", antialias=True)
    made_BCHW = F.interpolate(x_BCHW.float(), size=size, mode="bilinear", antialias=True)
    return made_BCHW.round_().clamp_(0, 255).to(torch.uint8)
