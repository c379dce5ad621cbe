"""Initial weights that keep the signal's size from layer to layer."""

from __future__ import annotations

import torch
from torch import nn

from imagekit.errors import ConfigError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def init_layer(
    module: nn.Module, *, leak: float = 0.0, uniform: bool = False, generator: torch.Generator | None = None
) -> None:
    """Kaiming weights (fan in) and a zero bias for one convolution or linear layer; in place.

    leak: the slope below zero of the rectifier that follows; the gain is sqrt(2 / (1 + leak**2)), so 1 for none.
    The deviation is gain / sqrt(fan in); the fan in of a grouped convolution is that of one of its groups.
    uniform: from a uniform instead of a normal distribution of the same deviation. generator: None draws from
    torch's global one, as the constructors of layers do. Raises ConfigError for any other layer.
    Source: He et al. 2015, arXiv:1502.01852.
    """
    if not isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        raise ConfigError(
            f"init_layer got {type(module).__name__}, must be a convolution or a linear layer",
            where="init_layer",
            fix="give it one layer; init_cnn goes through a whole model",
        )
    fill = nn.init.kaiming_uniform_ if uniform else nn.init.kaiming_normal_
    fill(module.weight, a=leak, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def init_cnn(
    model: nn.Module,
    *,
    leak: float = 0.0,
    uniform: bool = False,
    linear: bool = False,
    generator: torch.Generator | None = None,
) -> None:
    """`init_layer` for every convolution in the model, however deep; in place.

    linear: also for every linear layer, as the lessons' ResNet has it; their plain CNN leaves it as torch makes it.
    """
    kinds = (*_CONVOLUTIONS, nn.Linear) if linear else _CONVOLUTIONS
    for module in model.modules():
        if isinstance(module, kinds):
            init_layer(module, leak=leak, uniform=uniform, generator=generator)
