"""Blocks of residual networks: shortcut and branch, plain, grouped or with attention to channels.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from imagekit.models.layers import Act, Blur, BlurPool, conv_norm_act, make_act
from imagekit.models.norm import Norm


class SqueezeExcite(nn.Module):
    """Scale each channel by a number from 0 to 1 that is computed from the means of all channels of the image.

    reduction: how many times fewer channels the layer between has, at least one.
    Source: Hu et al. 2017, arXiv:1709.01507.
    """

    def __init__(self, n_channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        n_hidden = max(1, n_channels // reduction)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(n_channels, n_hidden, 1)
        self.act = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(n_hidden, n_channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        scale_BC11: Tensor = self.gate(self.excite(self.act(self.squeeze(self.pool(x_BCHW)))))
        return x_BCHW * scale_BC11


class ResBlock(nn.Module):
    """Activation of branch + shortcut: [B, n_in, H, W] to [B, n_out, ceil(H / stride), ceil(W / stride)].

    expansion 1: the branch is 3x3, 3x3. Any other: 1x1, 3x3, 1x1, and the last has expansion times as many channels.
    n_in: the channels that come in; n_hidden: those inside; n_out: n_hidden * expansion if None.
    stride: 1 or 2, of the first 3x3. blur: where that is 2, True gives this 3x3 a stride of 1, and a BlurPool behind it
    takes over; "first" blurs before the 3x3, which keeps its stride and has a quarter of the work.
    groups: of the 3x3 convolutions (ResNeXt). reduction: of a SqueezeExcite at the branch's end; 0 for none.
    The weight of the branch's last norm starts at 0: the block starts as its shortcut, which averages 2x2 pixels
    where the stride is 2 and has a 1x1 convolution where the channels change.
    Raises ConfigError for a norm without a weight. Sources: He et al. 2018, arXiv:1812.01187; fast.ai course v3, lesson
    11, the notebook; Zhang 2019, arXiv:1904.11486.
    """

    def __init__(
        self,
        expansion: int,
        n_in: int,
        n_hidden: int,
        *,
        n_out: int | None = None,
        stride: int = 1,
        groups: int = 1,
        reduction: int = 0,
        blur: Blur = False,
        norm: Norm = "batch",
        act: Act = "relu",
    ) -> None:
        super().__init__()
        n_out = n_hidden * expansion if n_out is None else n_out
        inner = partial(conv_norm_act, norm=norm, act=act)
        last = partial(conv_norm_act, n_hidden, n_out, norm=norm, act=None, zero_norm=True)
        # by names, not numbers: weights with and without blur or SqueezeExcite fit where they have the same part
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            parts["narrow"] = inner(n_in, n_hidden, 1)
        n_middle = n_in if expansion == 1 else n_hidden
        if blur == "first" and stride > 1:
            parts["blur"] = BlurPool(n_middle, stride=1)
        parts["middle"] = inner(n_middle, n_hidden, 3, stride=1 if blur is True else stride, groups=groups)
        if blur is True and stride > 1:
            parts["blur"] = BlurPool(n_hidden, stride=stride)
        parts["last"] = last(3, groups=groups) if expansion == 1 else last(1)
        if reduction:
            parts["excite"] = SqueezeExcite(n_out, reduction=reduction)
        self.convs = nn.Sequential(parts)
        self.shortcut = _shortcut(n_in, n_out, stride=stride, norm=norm)
        self.act = make_act(act)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        result: Tensor = self.act(self.convs(x_BCHW) + self.shortcut(x_BCHW))
        return result


def _shortcut(n_in: int, n_out: int, *, stride: int, norm: Norm) -> nn.Sequential:
    """Nothing, a pool, a 1x1 convolution, or both in this order; an empty Sequential passes its input on."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        # before the convolution, which then has a quarter of the work; ceil_mode: odd sides round up as the branch's do
        parts["pool"] = nn.AvgPool2d(stride, ceil_mode=True)
    if n_in != n_out:
        parts["conv"] = conv_norm_act(n_in, n_out, 1, norm=norm, act=None)
    return nn.Sequential(parts)
