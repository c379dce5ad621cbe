"""The layers that the models are made of.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class GeneralRelu(nn.Module):
    """A ReLU with a leak below zero, a constant taken off, and a ceiling; the last two bring the mean nearer 0.

    leak: slope below zero. sub: taken off afterwards. max_value: the ceiling, after `sub`; None for none.
    The rectifier works in place: it belongs behind a convolution or a linear layer, whose gradient does not need
    their output. Source: fast.ai course v3, lesson 10.
    """

    def __init__(self, *, leak: float = 0.0, sub: float = 0.0, max_value: float | None = None) -> None:
        super().__init__()
        self.leak, self.sub, self.max_value = leak, sub, max_value

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, self.leak, inplace=True) if self.leak else F.relu(x, inplace=True)
        # not in place: the gradient of the rectifier reads its own output
        if self.sub:
            x = x - self.sub
        return x if self.max_value is None else x.clamp_max(self.max_value)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, sub={self.sub}, max_value={self.max_value}"


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


def conv_layer(
    n_in: int,
    n_out: int,
    kernel_size: int = 3,
    *,
    stride: int = 2,
    norm: bool = True,
    leak: float = 0.0,
    sub: float = 0.0,
    max_value: float | None = None,
) -> nn.Sequential:
    """Convolution, GeneralRelu, BatchNorm: [B, n_in, H, W] to [B, n_out, ceil(H / stride), ceil(W / stride)].

    Padded by half an odd kernel. The convolution has a bias only without the norm, which has its own.
    The parts are named conv, relu and norm. Source: fast.ai course v3, lessons 10 and 11.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=not norm)
    parts["relu"] = GeneralRelu(leak=leak, sub=sub, max_value=max_value)
    if norm:
        parts["norm"] = nn.BatchNorm2d(n_out, eps=1e-5, momentum=0.1)
    return nn.Sequential(parts)
