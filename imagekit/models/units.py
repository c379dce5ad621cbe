"""The layers of a model as units: a convolution with its norm and activation, where to measure them, what to turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from imagekit.errors import ConfigError, TrainingError
from imagekit.models.blocks import SqueezeExcite
from imagekit.models.hooks import find_modules, path_of
from imagekit.models.layers import GeneralRelu

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_PASSING_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten)
# measured before: no bias gives them mean 0 and deviation 1 and leaves them alive. On normal numbers that is out of
# reach or, for a leak of 0.1, leaves 18 % of the values above 0; ELU keeps 38 %, SELU 50 %, PReLU 29 %
_MEASURED_BEFORE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,  # ReLU6 is one
    nn.Tanh,
    nn.Softsign,
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.LogSigmoid,
    nn.Softplus,
    nn.Softmax,
)


def find_units(model: nn.Module) -> list[nn.Module]:
    """The layers that `lsuv_init` sets: units, and convolutions and linear layers without a unit around them.

    A unit is a module that has one convolution or linear layer among its children, and beside it a norm (a class with
    Norm in its name), an activation (any other), or both, in either order, and nothing deeper.
    Left out are the last layer where it is a bare linear one, because the head's outputs are no input of another layer,
    and SqueezeExcite, whose numbers are shares of a signal.
    """
    found = find_modules(model, lambda m: isinstance(m, (*WEIGHTED, SqueezeExcite)) or _is_unit(m))
    layers = [module for module in found if not isinstance(module, SqueezeExcite)]
    return layers[:-1] if layers and isinstance(layers[-1], nn.Linear) else layers


def as_units(model: nn.Module, layers: Sequence[nn.Module]) -> list[Unit]:
    """Each layer with its name, its parts still to be found. Raises ConfigError for what is no unit."""
    for layer in layers:
        if not isinstance(layer, WEIGHTED) and not _is_unit(layer):
            raise ConfigError(
                f'"{path_of(model, layer)}" is a {type(layer).__name__}, no layer that LSUV can set',
                where="lsuv_init: find",
                fix="find convolutions, linear layers, or modules of one of them with a norm or an activation",
            )
    return [Unit(path_of(model, layer), layer) for layer in layers]


@dataclass(frozen=True, eq=False, slots=True)
class Unit:
    """A layer and those of its parts that run, in the order in which they do; the first is the convolution."""

    name: str
    layer: nn.Module
    parts: list[nn.Module] = field(default_factory=list)

    @property
    def measured(self) -> nn.Module:
        """The part whose output is measured."""
        act = next((part for part in self.parts if _is_activation(part)), None)
        if act is not None and not isinstance(act, _MEASURED_BEFORE):
            return act
        linear = self.parts[: self.parts.index(act)] if act is not None else self.parts
        return next(part for part in reversed(linear) if _is_norm(part) or part is self.parts[0])

    @property
    def source(self) -> nn.Module:
        """What decides the numbers at the measured point: the norm before it, else the convolution."""
        before = self.parts[: self.parts.index(self.measured) + 1]
        return next((part for part in before if _is_norm(part)), self.parts[0])

    @property
    def is_zeroed(self) -> bool:
        weights = [part._parameters.get("weight") for part in self.parts if _is_norm(part)]
        return any(weight is not None and not weight.any() for weight in weights)

    @property
    def can_shift(self) -> bool:
        """Whether anything can move its mean; a convolution without a bias, its norm behind the activation, cannot."""
        return isinstance(self.measured, GeneralRelu) or self.source._parameters.get("bias") is not None

    def scale(self, std: float) -> None:
        weight = self.source._parameters.get("weight")
        if weight is None:
            raise TrainingError(
                f'layer "{self.name}" has deviation {std:.4g}, and its {type(self.source).__name__} no weight to scale',
                where="lsuv_init",
                fix="give it one (affine=True of a norm), or leave the layer out by find=",
            )
        weight.div_(std)

    def shift(self, mean: float) -> None:
        relu = self.measured
        if not isinstance(relu, GeneralRelu):
            self.source._parameters["bias"].sub_(mean)  # type: ignore[union-attr]  # can_shift says that there is one
            return
        if relu.sub is None:
            weight = next(self.layer.parameters())
            # float32 at least: a bfloat16 has too few digits for a mean below 0.001
            relu.sub = weight.new_zeros((), dtype=torch.promote_types(weight.dtype, torch.float32))
        relu.sub.add_(mean)


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__


def _is_activation(module: nn.Module) -> bool:
    """What a layer has beside all that is known otherwise: people write their own."""
    return not isinstance(module, (*WEIGHTED, *_PASSING_ON)) and not _is_norm(module)


def _is_unit(module: nn.Module) -> bool:
    parts = list(module.children())
    if any(next(part.children(), None) is not None for part in parts):
        return False
    n_weighted = sum(isinstance(part, WEIGHTED) for part in parts)
    n_norms, n_acts = sum(map(_is_norm, parts)), sum(map(_is_activation, parts))
    return n_weighted == 1 and n_norms <= 1 and n_acts <= 1 and n_norms + n_acts > 0
