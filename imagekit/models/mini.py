"""A small network for small budgets: depthwise-separable convolutions in five stages.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.init import init_cnn
from imagekit.models.layers import Act, Lambda, check_count, check_flag, conv_norm_act, flatten, max_pool
from imagekit.models.norm import Norm


def mini_net(
    c_in: int = 3,
    c_out: int = 10,
    *,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    act: Act = "mish",
    norm: Norm = "batch",
    blur: bool = False,
) -> nn.Sequential:
    """[B, C, H, W] of any H and W to [B, K] logits: a stem of stride 2, a stage per width, max pools between, linear.

    A stage is a 3x3 convolution within each channel and a 1x1 one across them, each with norm and activation; together
    they take about a ninth of the work of a full 3x3. blur: see `BlurPool`. Kaiming weights from torch's global
    generator; `create_model` makes that a function of a seed. Raises ConfigError for an option that cannot be.
    Source: Howard et al. 2017, arXiv:1704.04861.
    """
    _check(c_in, c_out, widths, blur=blur)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = conv_norm_act(c_in, widths[0], 3, stride=2, norm=norm, act=act)
    n_in = widths[0]
    for i, n_out in enumerate(widths):
        if i:
            parts[f"pool{i}"] = max_pool(n_in, blur=blur)
        parts[f"stage{i + 1}"] = nn.Sequential(
            conv_norm_act(n_in, n_in, 3, groups=n_in, norm=norm, act=act),
            conv_norm_act(n_in, n_out, 1, norm=norm, act=act),
        )
        n_in = n_out
    parts |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": Lambda(flatten), "linear": nn.Linear(n_in, c_out)}
    model = nn.Sequential(parts)
    init_cnn(model)
    return model


def _check(c_in: int, c_out: int, widths: Sequence[int], *, blur: bool) -> None:
    for name, count in (("c_in", c_in), ("c_out", c_out), *((f"widths[{i}]", n) for i, n in enumerate(widths))):
        check_count(count, name=name, model="mini")
    check_flag(blur, name="blur", model="mini")
    if not widths:
        raise ConfigError(
            "widths is empty, must name at least one stage",
            where="mini: widths",
            fix="set widths = [32, 64, 128, 256, 512], or leave it out",
        )
