"""XResNet: ResNet with the stem, the shortcuts and the initial weights of the bag of tricks, and its relatives.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.blocks import ResBlock
from imagekit.models.init import init_cnn
from imagekit.models.layers import Act, BlurPool, Lambda, check_count, check_flag, conv_norm_act, flatten, max_pool
from imagekit.models.norm import Norm

_STEM = (32, 64, 64)
_FIRST_HIDDEN = 64


def xresnet(
    c_in: int,
    c_out: int,
    *,
    expansion: int,
    n_blocks: Sequence[int],
    groups: int = 1,
    base_width: int = 64,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """[B, C, H, W] of any H and W to [B, K] logits: stem of three 3x3, max pool, a stage per entry of n_blocks, linear.

    The stem and the pool divide the sides by 4, every stage but the first by 2, rounding up. expansion: of `ResBlock`;
    1 for the networks below 50 layers, 4 from there on. The hidden channels double from stage to stage; groups and
    base_width make them base_width / 64 * groups times as many, as in ResNeXt.
    act, norm: names or functions, see `make_act` and `make_norm`. blur: see `BlurPool`, of the pool and the blocks;
    blur_stem: of the stem's stride too. reduction: see `SqueezeExcite`; 0 for none. Kaiming weights and zero biases in
    all convolutions and the linear layer, from torch's global generator; `create_model` makes that a function of a
    seed. Raises ConfigError for an option that cannot be. Sources: He et al. 2018, arXiv:1812.01187; fast.ai course v3,
    lesson 11; Xie et al. 2016, arXiv:1611.05431.
    """
    _check(c_in, c_out, n_blocks, blur=blur, blur_stem=blur_stem, reduction=reduction)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n_in, n_out) in enumerate(pairwise((c_in, *_STEM))):
        stride = 1 if i or blur_stem else 2
        parts[f"stem{i + 1}"] = conv_norm_act(n_in, n_out, 3, stride=stride, norm=norm, act=act)
        if not i and blur_stem:
            parts["stem_blur"] = BlurPool(n_out)
    parts["pool"] = max_pool(_STEM[-1], blur=blur)
    block = partial(ResBlock, expansion, groups=groups, act=act, norm=norm, blur=blur, reduction=reduction)
    n_channels = _STEM[-1]
    for i, n in enumerate(n_blocks):
        hidden = _FIRST_HIDDEN << i
        make = partial(block, n_hidden=hidden * base_width // 64 * groups, n_out=hidden * expansion)
        first = make(n_in=n_channels, stride=2 if i else 1)
        n_channels = hidden * expansion
        parts[f"stage{i + 1}"] = nn.Sequential(first, *(make(n_in=n_channels) for _ in range(n - 1)))
    parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = Lambda(flatten)
    parts["linear"] = nn.Linear(n_channels, c_out)
    model = nn.Sequential(parts)
    init_cnn(model, linear=True)
    return model


def xresnet18(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """XResNet of 18 layers: 11,228,586 parameters by default."""
    return xresnet(
        c_in,
        c_out,
        expansion=1,
        n_blocks=(2, 2, 2, 2),
        act=act,
        norm=norm,
        blur=blur,
        blur_stem=blur_stem,
        reduction=reduction,
    )


def xresnet26(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """XResNet of 26 layers, the blocks of `xresnet50` at the depth of `xresnet18`: 14,013,610 parameters by default."""
    return xresnet(
        c_in,
        c_out,
        expansion=4,
        n_blocks=(2, 2, 2, 2),
        act=act,
        norm=norm,
        blur=blur,
        blur_stem=blur_stem,
        reduction=reduction,
    )


def xresnet34(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """XResNet of 34 layers: 21,336,746 parameters by default."""
    return xresnet(
        c_in,
        c_out,
        expansion=1,
        n_blocks=(3, 4, 6, 3),
        act=act,
        norm=norm,
        blur=blur,
        blur_stem=blur_stem,
        reduction=reduction,
    )


def xresnet50(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """XResNet of 50 layers: 23,575,466 parameters by default."""
    return xresnet(
        c_in,
        c_out,
        expansion=4,
        n_blocks=(3, 4, 6, 3),
        act=act,
        norm=norm,
        blur=blur,
        blur_stem=blur_stem,
        reduction=reduction,
    )


def xresnext50(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 0,
) -> nn.Sequential:
    """XResNeXt of 50 layers, 32 groups of 4 hidden channels (32x4d): 23,047,338 parameters by default."""
    return xresnet(
        c_in,
        c_out,
        expansion=4,
        n_blocks=(3, 4, 6, 3),
        groups=32,
        base_width=4,
        act=act,
        norm=norm,
        blur=blur,
        blur_stem=blur_stem,
        reduction=reduction,
    )


def xse_resnet50(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 16,
) -> nn.Sequential:
    """`xresnet50` with squeeze and excitation: 26,106,458 parameters by default."""
    return xresnet50(c_in, c_out, act=act, norm=norm, blur=blur, blur_stem=blur_stem, reduction=reduction)


def xse_resnext50(
    c_in: int = 3,
    c_out: int = 10,
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: bool = False,
    reduction: int = 16,
) -> nn.Sequential:
    """`xresnext50` with squeeze and excitation: 25,578,330 parameters by default."""
    return xresnext50(c_in, c_out, act=act, norm=norm, blur=blur, blur_stem=blur_stem, reduction=reduction)


def _check(c_in: int, c_out: int, n_blocks: Sequence[int], *, blur: bool, blur_stem: bool, reduction: int) -> None:
    for name, count in (("c_in", c_in), ("c_out", c_out), *((f"n_blocks[{i}]", n) for i, n in enumerate(n_blocks))):
        check_count(count, name=name, model="xresnet")
    check_count(reduction, name="reduction", model="xresnet", least=0)
    for name, flag in (("blur", blur), ("blur_stem", blur_stem)):
        check_flag(flag, name=name, model="xresnet")
    if not n_blocks:
        raise ConfigError(
            "n_blocks is empty, must name at least one stage", where="xresnet: n_blocks", fix="write [2, 2, 2, 2], say"
        )
