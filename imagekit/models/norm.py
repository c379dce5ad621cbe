"""Normalising layers, each written out, and the names by which configurations choose one.

All of them take images [B, C, H, W] and scale and shift every channel with `weight` and `bias`, so that they can stand
for one another. Their statistics are fp32 or wider whatever the input is, and the output has the input's type and
memory order. Shapes: B batch, C channels, H height, W width, G groups of channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError, ShapeError, did_you_mean

Norm = str | Callable[[int], nn.Module] | None

_FEW_SAMPLES = 20
_LEAST_VARIANCE = 0.01
_MOST_GROUPS = 32
_LEAST_CHANNELS = 8


class _Affine(nn.Module):
    """What every norm here has: a weight and a bias a channel, and a check of its input."""

    def __init__(self, n_channels: int, *, eps: float) -> None:
        super().__init__()
        self.n_channels, self.eps = n_channels, eps
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def check_input(self, x_BCHW: Tensor) -> None:
        if x_BCHW.dim() != 4 or x_BCHW.shape[1] != self.n_channels:
            raise ShapeError(
                f"{type(self).__name__} got {list(x_BCHW.shape)}, must be [B, {self.n_channels}, H, W]",
                where=type(self).__name__,
                fix=f"give it images of {self.n_channels} channels",
            )

    def normalise(self, x_BCHW: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """(x - mean) / sqrt(var + eps) * weight + bias, in one pass over x. mean, var: [C] or [B, C]."""
        factor = self.weight * torch.rsqrt(var + self.eps)
        offset = self.bias - mean * factor
        return (x_BCHW * factor[..., None, None] + offset[..., None, None]).to(x_BCHW.dtype)

    def extra_repr(self) -> str:
        return f"{self.n_channels}, eps={self.eps}"


class BatchNorm(_Affine):
    """Zero mean and unit variance over the batch and all pixels of a channel; running statistics in evaluation.

    The batch is divided by its biased variance, the running one is unbiased, and momentum is the weight of the new
    value: all as nn.BatchNorm2d, whose states it loads and which loads its own.
    Raises ShapeError for another shape, and in training where a channel has one value only.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167; fast.ai course v3, lesson 10.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, n_channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(n_channels, eps=eps)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(n_channels))
        self.register_buffer("running_var", torch.ones(n_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.check_input(x_BCHW)
        if not self.training:
            return self.normalise(x_BCHW, self.running_mean, self.running_var)
        n_values = x_BCHW.numel() // self.n_channels
        if n_values < 2:
            raise ShapeError(
                f"BatchNorm got {list(x_BCHW.shape)} in training, must have at least 2 values a channel",
                where="BatchNorm",
                fix='use a larger batch or larger images, or norm = "running"',
            )
        var, mean = torch.var_mean(_wide(x_BCHW), dim=(0, 2, 3), correction=0)
        self._update(mean.detach(), var.detach() * (n_values / (n_values - 1)))
        return self.normalise(x_BCHW, mean, var)

    def _update(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class RunningBatchNorm(_Affine):
    """Normalise with running statistics in training too, so that batches of one or two images can be trained on.

    Sums, sums of squares and counts are averaged apart, which needs no correction for the first steps. The weight of
    the new batch is 1 - (1 - momentum) / sqrt(max(B - 1, 1)). Until 20 images were seen the variance is at least 0.01.
    Gradients flow through the part of the statistics that this batch brought, and no further back. Before the
    first training step it passes its input on, as nn.BatchNorm2d in evaluation does.
    Raises ShapeError for another shape. Source: fast.ai course v3, lesson 10, the simplified form of exp/nb_07.py.
    """

    sums: Tensor
    sqrs: Tensor
    count: Tensor
    n_seen: Tensor

    def __init__(self, n_channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(n_channels, eps=eps)
        self.momentum = momentum
        self.register_buffer("sums", torch.zeros(n_channels))
        self.register_buffer("sqrs", torch.zeros(n_channels))
        self.register_buffer("count", torch.tensor(0.0))
        self.register_buffer("n_seen", torch.tensor(0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.check_input(x_BCHW)
        sums, sqrs, count = self._update(x_BCHW) if self.training else (self.sums, self.sqrs, self.count)
        return self.normalise(x_BCHW, *self._mean_and_var(sums, sqrs, count))

    def _update(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The averaged sums with this batch in them, still part of its graph; the buffers keep a copy that is not."""
        n_images = x_BCHW.shape[0]
        new = 1 - (1 - self.momentum) / math.sqrt(max(n_images - 1, 1))
        wide = _wide(x_BCHW)
        sums = torch.lerp(self.sums, wide.sum((0, 2, 3)).to(self.sums.dtype), new)
        sqrs = torch.lerp(self.sqrs, wide.square().sum((0, 2, 3)).to(self.sqrs.dtype), new)
        count = self.count * (1 - new) + x_BCHW.numel() // self.n_channels * new
        self.sums.copy_(sums.detach())
        self.sqrs.copy_(sqrs.detach())
        self.count.copy_(count)
        self.n_seen.add_(n_images)
        return sums, sqrs, count

    def _mean_and_var(self, sums: Tensor, sqrs: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        # by torch.where, not by `if`: asking the counters would make the device wait at every layer
        some = torch.where(count > 0, count, 1)
        mean = sums / some
        # never below 0: the difference of two nearly equal squares may be, in fp32
        least = torch.where(self.n_seen < _FEW_SAMPLES, _LEAST_VARIANCE, 0.0).to(mean.dtype)
        var = torch.maximum(sqrs / some - mean.square(), least)
        return mean, torch.where(count > 0, var, 1)


class GroupNorm(_Affine):
    """Zero mean and unit variance over each group of channels of each image; the same in training and evaluation.

    n_groups: divides n_channels. Equal to nn.GroupNorm, and its states are interchangeable.
    Raises ConfigError if the groups do not come out even, ShapeError for another shape and where a group has one
    value only, which would always become 0. Source: Wu and He 2018, arXiv:1803.08494.
    """

    def __init__(self, n_groups: int, n_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(n_channels, eps=eps)
        if n_groups < 1 or n_channels % n_groups:
            raise ConfigError(
                f"n_groups is {n_groups}, must divide the {n_channels} channels",
                where=f"{type(self).__name__}: n_groups",
                fix=f"choose a divisor of {n_channels}",
            )
        self.n_groups = n_groups

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.check_input(x_BCHW)
        name, n_each = type(self).__name__, self.n_channels // self.n_groups
        if n_each * x_BCHW.shape[2] * x_BCHW.shape[3] < 2:
            raise ShapeError(
                f"{name} got {list(x_BCHW.shape)}, where a group has one value only: it would always become 0",
                where=name,
                fix="use larger images, or another norm",
            )
        # a view, also of channels_last: joining the channels and pixels of a group would copy it
        x_BGCHW = torch.unflatten(_wide(x_BCHW), 1, (self.n_groups, n_each))
        var_BG, mean_BG = torch.var_mean(x_BGCHW, dim=(2, 3, 4), correction=0)
        return self.normalise(x_BCHW, mean_BG.repeat_interleave(n_each, 1), var_BG.repeat_interleave(n_each, 1))

    def extra_repr(self) -> str:
        return f"{self.n_groups}, {super().extra_repr()}"


class LayerNorm(GroupNorm):
    """Zero mean and unit variance over the whole of each image: nn.GroupNorm with one group.

    Source: Ba et al. 2016, arXiv:1607.06450.
    """

    def __init__(self, n_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(1, n_channels, eps=eps)


class InstanceNorm(GroupNorm):
    """Zero mean and unit variance over each channel of each image: nn.InstanceNorm2d with affine=True.

    Source: Ulyanov et al. 2016, arXiv:1607.08022.
    """

    def __init__(self, n_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(n_channels, n_channels, eps=eps)


def group_norm(n_channels: int) -> nn.GroupNorm:
    """nn.GroupNorm with the most groups, up to 32, that divide the channels and leave 8 or more in each; else with one.

    32 channels make 4 groups, 64 make 8, 256 and more make 32, 13 make 1.
    """
    n_most = max(1, min(_MOST_GROUPS, n_channels // _LEAST_CHANNELS))
    return nn.GroupNorm(max(n for n in range(1, n_most + 1) if n_channels % n == 0), n_channels)


# torch's own where they keep the memory order: a step through its GroupNorm takes a tenth of the time of the one above
NORMS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "batch": partial(nn.BatchNorm2d, eps=1e-5, momentum=0.1),
        "batch-scratch": BatchNorm,
        "running": RunningBatchNorm,
        "layer": partial(nn.GroupNorm, 1),
        "instance": InstanceNorm,
        "group": group_norm,
    }
)


def make_norm(norm: Norm, n_channels: int) -> nn.Module | None:
    """The norm for n_channels: by its name in NORMS, by a function of the number of channels, or None for none.

    Raises ConfigError for an unknown name and for anything else.
    """
    if norm is None:
        return None
    if isinstance(norm, str):
        if norm not in NORMS:
            raise ConfigError(f'norm is "{norm}", which is not known', where="norm", fix=did_you_mean(norm, NORMS))
        return NORMS[norm](n_channels)
    if isinstance(norm, nn.Module) or not callable(norm):
        raise ConfigError(
            f"norm is {norm!r}, must be a name, a function of the number of channels, or None",
            where="norm",
            fix=f'write norm="batch", norm=nn.BatchNorm2d, or norm=None; known: {", ".join(sorted(NORMS))}',
        )
    return norm(n_channels)


def _wide(x: Tensor) -> Tensor:
    """At least fp32: sums over many pixels in half precision lose their last bits, and squares overflow."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
