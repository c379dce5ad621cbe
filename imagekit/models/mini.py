"""A small network for small budgets: depthwise-separable convolutions in five stages.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.init import init_cnn
from imagekit.models.layers import (
    Act,
    Blur,
    BlurPool,
    Lambda,
    check_blur,
    check_count,
    check_flag,
    conv_norm_act,
    flatten,
    max_pool,
)
from imagekit.models.norm import Norm


def mini_net(
    c_in: int = 3,
    c_out: int = 10,
    *,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    stem: int | None = None,
    expand: int = 1,
    kernel_size: int = 1,
    act: Act = "mish",
    norm: Norm = "batch",
    blur: bool = False,
    blur_stem: Blur = False,
) -> nn.Sequential:
    """[B, C, H, W] of any H and W to [B, K] logits: a stem of stride 2, a stage per width, max pools between, linear.

    A stage is a 3x3 convolution within each channel, which makes `expand` channels of each, and one across them, 1x1 or
    of another odd kernel_size; each with norm and activation. With 1x1 they take about a ninth of the work of a full
    3x3; with 3x3 and expand 4 it is a plain network of few and wide layers. stem: its channels, None for widths[0].
    blur: the pools blur, see `BlurPool`; blur_stem: the stem too, "first" before its convolution. Kaiming weights from
    torch's global generator; `create_model` makes that a function of a seed. Raises ConfigError for an option that
    cannot be. Sources: Howard et al. 2017, arXiv:1704.04861; Page 2020, Imagenette experiments.
    """
    _check(c_in, c_out, widths, stem=stem, expand=expand, blur=blur, blur_stem=blur_stem)
    n_in = widths[0] if stem is None else stem
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if blur_stem == "first":
        parts["stem_blur"] = BlurPool(c_in, stride=1)
    parts["stem"] = conv_norm_act(c_in, n_in, 3, stride=1 if blur_stem is True else 2, norm=norm, act=act)
    if blur_stem is True:
        parts["stem_blur"] = BlurPool(n_in)
    for i, n_out in enumerate(widths):
        if i:
            parts[f"pool{i}"] = max_pool(n_in, blur=blur)
        parts[f"stage{i + 1}"] = nn.Sequential(
            conv_norm_act(n_in, n_in * expand, 3, groups=n_in, norm=norm, act=act),
            conv_norm_act(n_in * expand, n_out, kernel_size, norm=norm, act=act),
        )
        n_in = n_out
    parts |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": Lambda(flatten), "linear": nn.Linear(n_in, c_out)}
    model = nn.Sequential(parts)
    init_cnn(model)
    return model


def _check(
    c_in: int, c_out: int, widths: Sequence[int], *, stem: int | None, expand: int, blur: bool, blur_stem: Blur
) -> None:
    counts = {"c_in": c_in, "c_out": c_out, "expand": expand, **({} if stem is None else {"stem": stem})}
    for name, count in (*counts.items(), *((f"widths[{i}]", n) for i, n in enumerate(widths))):
        check_count(count, name=name, model="mini")
    check_flag(blur, name="blur", model="mini")
    check_blur(blur_stem, name="blur_stem", model="mini")
    if not widths:
        raise ConfigError(
            "widths is empty, must name at least one stage",
            where="mini: widths",
            fix="set widths = [32, 64, 128, 256, 512], or leave it out",
        )
