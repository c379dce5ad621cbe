"""The layers that the models are made of, and the names of their activations.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imagekit.errors import ConfigError, did_you_mean
from imagekit.models.norm import Norm, make_norm

Act = str | Callable[[], nn.Module]
Blur = bool | Literal["first"]


class GeneralRelu(nn.Module):
    """A ReLU with a leak below zero, a constant taken off, and a ceiling; the last two bring the mean nearer 0.

    leak: slope below zero. sub: taken off afterwards; a buffer, so that what LSUV finds travels in the state_dict,
    or None, which costs nothing, where it is 0. max_value: the ceiling, after `sub`; None for none.
    The rectifier works in place: it belongs behind a convolution or a linear layer, whose gradient does not need
    their output. Source: fast.ai course v3, lesson 10.
    """

    sub: Tensor | None

    def __init__(self, *, leak: float = 0.0, sub: float = 0.0, max_value: float | None = None) -> None:
        super().__init__()
        self.leak, self.max_value = leak, max_value
        self.register_buffer("sub", torch.tensor(float(sub)) if sub else None)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, self.leak, inplace=True) if self.leak else F.relu(x, inplace=True)
        # not in place: the gradient of the rectifier reads its own output
        if self.sub is not None:
            x = x - self.sub
        return x if self.max_value is None else x.clamp_max(self.max_value)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """A state says whether there is a `sub`: older ones have none, LSUV adds it to a layer made without."""
        saved = state_dict.get(f"{prefix}sub")
        if saved is None:
            self.sub = None
        elif self.sub is None:
            self.sub = torch.zeros_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, sub={self._sub_text()}, max_value={self.max_value}"

    def _sub_text(self) -> str:
        if self.sub is None:
            return "0.0"
        # on torch's meta device a tensor has no value to show
        return "?" if self.sub.is_meta else str(round(self.sub.item(), 6))


class SameConv2d(nn.Conv2d):
    """nn.Conv2d padded by half its odd kernel, which leaves out the weights that see padding only.

    They are those further from the middle than the image is wide or high: of a 3x3, all but one at an image of one
    pixel. The numbers are the same and cost less, and the gradients of those weights are 0. With nn.Conv2d they are
    whatever was in memory, in bfloat16 on processors with avx512_bf16 (torch 2.13, oneDNN).
    """

    def __init__(
        self, n_in: int, n_out: int, kernel_size: int, *, stride: int = 1, bias: bool = True, groups: int = 1
    ) -> None:
        _check_odd(kernel_size, "kernel_size")
        super().__init__(n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=bias, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.kernel_size[0] // 2
        sides = x.shape[-2:]
        if min(sides) > max(middle, 1):
            return super().forward(x)
        rows, columns = (min(middle, side - 1) for side in sides)
        weight = self.weight[..., middle - rows : middle + rows + 1, middle - columns : middle + columns + 1]
        # one pixel gives one, whatever the stride, and a stride of 2 there leaves gradients unset too
        stride = [1 if side == 1 else step for side, step in zip(sides, self.stride, strict=True)]
        return F.conv2d(x, weight, self.bias, stride, (rows, columns), groups=self.groups)


class Lambda(nn.Module):
    """A function as a layer. Give it a named function: a `lambda` cannot be pickled, nor read in a summary."""

    def __init__(self, func: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.func = func

    def forward(self, x: Tensor) -> Tensor:
        return self.func(x)

    def extra_repr(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))


def flatten(x: Tensor) -> Tensor:
    """Everything behind the batch in one axis: [B, ...] to [B, N]."""
    return x.flatten(1)


ACTS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"relu": GeneralRelu, "mish": nn.Mish, "silu": nn.SiLU},
)


def make_act(act: Act) -> nn.Module:
    """The activation: by its name in ACTS, or by a function without arguments that makes it.

    Raises ConfigError for an unknown name and for anything else.
    """
    if isinstance(act, str):
        if act not in ACTS:
            raise ConfigError(f'act is "{act}", which is not known', where="act", fix=did_you_mean(act, ACTS))
        return ACTS[act]()
    if isinstance(act, nn.Module) or not callable(act):
        raise ConfigError(
            f"act is {act!r}, must be a name, or a function that makes a module",
            where="act",
            fix=f'write act="relu" or act=nn.GELU, say; known: {", ".join(sorted(ACTS))}',
        )
    return act()


def conv_layer(
    n_in: int,
    n_out: int,
    kernel_size: int = 3,
    *,
    stride: int = 2,
    norm: Norm = "batch",
    act: Act = "relu",
    leak: float = 0.0,
    sub: float = 0.0,
    max_value: float | None = None,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, activation, norm: [B, n_in, H, W] to [B, n_out, ceil(H / stride), ceil(W / stride)].

    Padded by half an odd kernel. The convolution has a bias only without the norm, which has its own.
    norm: see `make_norm`. act: see `make_act`; leak, sub and max_value are those of GeneralRelu, of "relu" alone.
    The parts are named conv, relu and norm. Raises ConfigError for a norm or an activation that cannot be, and for an
    even kernel. Source: fast.ai course v3, lessons 10 and 11.
    """
    made = make_norm(norm, n_out)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = SameConv2d(n_in, n_out, kernel_size, stride=stride, bias=made is None, groups=groups)
    parts["relu"] = _rectifier(act, leak=leak, sub=sub, max_value=max_value)
    if made is not None:
        parts["norm"] = made
    return nn.Sequential(parts)


def conv_norm_act(
    n_in: int,
    n_out: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    norm: Norm = "batch",
    act: Act | None = "relu",
    groups: int = 1,
    zero_norm: bool = False,
) -> nn.Sequential:
    """Convolution, norm, activation, as in ResNets: the same shapes as `conv_layer`.

    act: None for none. zero_norm: the norm's weight starts at 0, so that a residual block starts as its shortcut.
    The parts are named conv, norm and act. Raises ConfigError as `conv_layer` does, and for zero_norm with a norm
    that has no weight. Source: He et al. 2015, arXiv:1512.03385.
    """
    made = make_norm(norm, n_out)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = SameConv2d(n_in, n_out, kernel_size, stride=stride, bias=made is None, groups=groups)
    if zero_norm:
        _zero_weight(made)
    if made is not None:
        parts["norm"] = made
    if act is not None:
        parts["act"] = make_act(act)
    return nn.Sequential(parts)


class BlurPool(nn.Module):
    """Blur with a binomial filter, then keep every stride-th pixel: [B, C, H, W] to [B, C, ceil(H / s), ceil(W / s)].

    Without the blur, detail finer than the stride folds into false patterns, and a shift of one pixel changes the
    result. The border is reflected; where a side is too short for that, its outermost pixels are repeated.
    The filter is no part of the state, because it is known: weights with and without blur load into one another.
    Raises ConfigError for an even kernel. Source: Zhang 2019, arXiv:1904.11486.
    """

    kernel: Tensor

    def __init__(self, n_channels: int, *, stride: int = 2, kernel_size: int = 3) -> None:
        super().__init__()
        _check_odd(kernel_size, "BlurPool: kernel_size")
        self.n_channels, self.stride, self.padding = n_channels, stride, kernel_size // 2
        row = torch.tensor([math.comb(kernel_size - 1, i) for i in range(kernel_size)]) / 2 ** (kernel_size - 1)
        self.register_buffer("kernel", torch.outer(row, row).repeat(n_channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mode = "reflect" if min(x.shape[-2:]) > self.padding else "replicate"
        padded = F.pad(x, (self.padding,) * 4, mode=mode)
        return F.conv2d(padded, self.kernel, stride=self.stride, groups=self.n_channels)

    def extra_repr(self) -> str:
        return f"{self.n_channels}, stride={self.stride}, kernel_size={2 * self.padding + 1}"


class MaxBlurPool(nn.Sequential):
    """3x3 maximum at every pixel, then BlurPool: a max pool of stride 2 that does not alias."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(nn.MaxPool2d(3, stride=1, padding=1), BlurPool(n_channels))


def max_pool(n_channels: int, *, blur: bool) -> nn.Module:
    """3x3 maximum of stride 2: [B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)], without or with blur."""
    return MaxBlurPool(n_channels) if blur else nn.MaxPool2d(3, stride=2, padding=1)


def check_count(count: object, *, name: str, model: str, least: int = 1) -> None:
    """Raise ConfigError unless count is a whole number of at least `least`; `name` and `model` say whose it is."""
    if type(count) is not int or count < least:
        raise ConfigError(
            f"{name} is {count!r}, must be a whole number of at least {least}",
            where=f"{model}: {name}",
            fix=f"set {name} to {least} or more",
        )


def check_blur(blur: object, *, name: str, model: str) -> None:
    """Raise ConfigError unless blur is True, False or "first"."""
    if type(blur) is not bool and blur != "first":
        raise ConfigError(
            f'{name} is {blur!r}, must be true, false or "first"',
            where=f"{model}: {name}",
            fix=f'set {name} to true to blur behind the convolution, or to "first" to blur before it, which costs less',
        )


def check_flag(flag: object, *, name: str, model: str) -> None:
    """Raise ConfigError unless flag is True or False: "no" would count as true."""
    if type(flag) is not bool:
        raise ConfigError(
            f"{name} is {flag!r}, must be true or false", where=f"{model}: {name}", fix=f"set {name} to true or false"
        )


def _rectifier(act: Act, *, leak: float, sub: float, max_value: float | None) -> nn.Module:
    if act == "relu":
        return GeneralRelu(leak=leak, sub=sub, max_value=max_value)
    if leak or sub or max_value is not None:
        raise ConfigError(
            f"leak={leak}, sub={sub}, max_value={max_value} with act={act!r}: only relu has them",
            where="act",
            fix='leave them out, or write act="relu"',
        )
    return make_act(act)


def _zero_weight(norm: nn.Module | None) -> None:
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        raise ConfigError(
            f"norm is {norm!r}, must have a weight, which a residual block starts at 0",
            where="norm",
            fix='write norm="batch", say',
        )
    nn.init.zeros_(weight)


def _check_odd(kernel_size: int, where: str) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ConfigError(
            f"kernel_size is {kernel_size}, must be odd: it has a middle",
            where=where,
            fix=f"use {max(kernel_size - 1, 1)} or {max(kernel_size + 1, 3)}",
        )
