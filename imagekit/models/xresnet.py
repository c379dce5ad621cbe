"""XResNet: ResNet with the stem, the shortcuts and the initial weights of the bag of tricks, and its relatives.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.blocks import ResBlock
from imagekit.models.init import init_cnn
from imagekit.models.layers import (
    Act,
    Blur,
    BlurPool,
    Lambda,
    check_blur,
    check_count,
    conv_norm_act,
    flatten,
    max_pool,
)
from imagekit.models.norm import Norm

STEM = (32, 64, 64)
_FIRST_HIDDEN = 64


def xresnet(
    c_in: int = 3,
    c_out: int = 10,
    *,
    expansion: int,
    n_blocks: Sequence[int],
    groups: int = 1,
    base_width: int = 64,
    act: Act = "relu",
    norm: Norm = "batch",
    blur: Blur = False,
    blur_stem: Blur = False,
    stem: Sequence[int] = STEM,
    reduction: int = 0,
) -> nn.Sequential:
    """[B, C, H, W] of any H and W to [B, K] logits: stem of 3x3 convolutions, max pool, a stage per entry of n_blocks,
    linear.

    stem: the channels of its convolutions; they and the pool divide the sides by 4, every stage but the first by 2,
    rounding up. expansion: of `ResBlock`; 1 for the networks below 50 layers, 4 from there on. The hidden channels
    double from stage to stage; groups and base_width make them base_width / 64 * groups times as many, as in ResNeXt.
    act, norm: names or functions, see `make_act` and `make_norm`. blur: see `ResBlock`, of the blocks, and of the pool;
    blur_stem: of the stem's stride, likewise. reduction: see `SqueezeExcite`; 0 for none. Kaiming weights and zero
    biases in all convolutions and the linear layer, from torch's global generator; `create_model` makes that a function
    of a seed. Raises ConfigError for an option that cannot be. Sources: He et al. 2018, arXiv:1812.01187; fast.ai
    course v3, lesson 11; Xie et al. 2016, arXiv:1611.05431.
    """
    counts = {"c_in": c_in, "c_out": c_out, "expansion": expansion, "groups": groups, "base_width": base_width}
    _check(counts, {"n_blocks": n_blocks, "stem": stem}, {"blur": blur, "blur_stem": blur_stem}, reduction=reduction)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n_in, n_out) in enumerate(pairwise((c_in, *stem))):
        if not i and blur_stem == "first":
            parts["stem_blur"] = BlurPool(n_in, stride=1)
        stride = 1 if i or blur_stem is True else 2
        parts[f"stem{i + 1}"] = conv_norm_act(n_in, n_out, 3, stride=stride, norm=norm, act=act)
        if not i and blur_stem is True:
            parts["stem_blur"] = BlurPool(n_out)
    parts["pool"] = max_pool(stem[-1], blur=bool(blur))
    block = partial(ResBlock, expansion, groups=groups, act=act, norm=norm, blur=blur, reduction=reduction)
    n_channels = stem[-1]
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


# parameters by default, for 3 channels and 10 classes
xresnet18 = partial(xresnet, expansion=1, n_blocks=(2, 2, 2, 2))  # 11,228,586
xresnet26 = partial(xresnet, expansion=4, n_blocks=(2, 2, 2, 2))  # 14,013,610; the blocks of xresnet50
xresnet34 = partial(xresnet, expansion=1, n_blocks=(3, 4, 6, 3))  # 21,336,746
xresnet50 = partial(xresnet, expansion=4, n_blocks=(3, 4, 6, 3))  # 23,575,466
xresnext50 = partial(xresnet50, groups=32, base_width=4)  # 23,047,338; 32 groups of 4 hidden channels (32x4d)
xse_resnet50 = partial(xresnet50, reduction=16)  # 26,106,458; squeeze and excitation
xse_resnext50 = partial(xresnext50, reduction=16)  # 25,578,330


def _check(
    counts: Mapping[str, int], lists: Mapping[str, Sequence[int]], blurs: Mapping[str, Blur], *, reduction: int
) -> None:
    listed = {f"{name}[{i}]": count for name, told in lists.items() for i, count in enumerate(told)}
    for name, count in {**counts, **listed}.items():
        check_count(count, name=name, model="xresnet")
    check_count(reduction, name="reduction", model="xresnet", least=0)
    for name, blur in blurs.items():
        check_blur(blur, name=name, model="xresnet")
    for name, of, example in (("n_blocks", "stage", "[2, 2, 2, 2]"), ("stem", "convolution", "[32, 64, 64]")):
        if not lists[name]:
            raise ConfigError(
                f"{name} is empty, must name at least one {of}", where=f"xresnet: {name}", fix=f"write {example}, say"
            )
