"""Initial weights that keep the signal's size from layer to layer."""

from __future__ import annotations

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def init_cnn(
    model: nn.Module, *, leak: float = 0.0, uniform: bool = False, generator: torch.Generator | None = None
) -> None:
    """Kaiming weights (fan in) and zero biases for every convolution in the model, however deep; in place.

    leak: the slope below zero of the rectifier that follows; the gain is sqrt(2 / (1 + leak**2)).
    uniform: from a uniform instead of a normal distribution of the same deviation. generator: None draws from
    torch's global one, as the constructors of layers do. Source: He et al. 2015, arXiv:1502.01852.
    """
    fill = nn.init.kaiming_uniform_ if uniform else nn.init.kaiming_normal_
    for module in model.modules():
        if isinstance(module, _CONVOLUTIONS):
            fill(module.weight, a=leak, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
