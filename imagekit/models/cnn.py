"""The lessons' plain CNN: a stem that widens with the channels of the input, then stride-2 layers.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.init import init_cnn
from imagekit.models.layers import Act, Lambda, check_count, conv_layer, flatten
from imagekit.models.norm import Norm


def prev_pow_2(x: int) -> int:
    """The largest power of two that is at most x. Raises ConfigError for x below 1."""
    if x < 1:
        raise ConfigError(f"x is {x}, must be at least 1", where="prev_pow_2", fix="pass a whole number of at least 1")
    return 1 << (x.bit_length() - 1)


def get_cnn_layers(
    *, c_in: int, c_out: int, nfs: Sequence[int], layer: Callable[..., nn.Module] = conv_layer, **options: object
) -> list[nn.Module]:
    """The layers of the CNN in order: three stem layers, one per entry of nfs, average pool, flatten, linear.

    The first layer sees 9 * c_in numbers per pixel and makes the largest power of two of them at most, so that it
    cannot do without computing. layer: called as layer(n_in, n_out, 3, stride=..., **options).
    Raises ConfigError for a count below 1 or an empty nfs. Source: fast.ai course v3, lesson 11.
    """
    _check_widths(c_in=c_in, c_out=c_out, nfs=nfs)
    n_stem = prev_pow_2(c_in * 3 * 3)
    widths = [c_in, n_stem, n_stem * 2, n_stem * 4, *nfs]
    layers = [
        layer(n_in, n_out, 3, stride=1 if i_layer == 0 else 2, **options)
        for i_layer, (n_in, n_out) in enumerate(pairwise(widths))
    ]
    return [*layers, nn.AdaptiveAvgPool2d(1), Lambda(flatten), nn.Linear(widths[-1], c_out)]


def lesson_cnn(
    c_in: int = 3,
    c_out: int = 10,
    nfs: Sequence[int] = (64, 64, 128, 256),
    *,
    act: Act = "relu",
    norm: Norm = "batch",
    leak: float = 0.0,
    sub: float = 0.0,
    max_value: float | None = None,
) -> nn.Module:
    """The CNN of lesson 11: [B, C, H, W] floats of any H and W to [B, K] logits; 469,658 parameters by default.

    nfs: the widths behind the stem. The other options are those of `conv_layer`. Initialised with `init_cnn` from
    torch's global generator; `create_model` makes that a function of a seed.
    Raises ConfigError for a count below 1, an empty nfs, and what `conv_layer` refuses.
    """
    options: dict[str, Any] = {"act": act, "norm": norm, "leak": leak, "sub": sub, "max_value": max_value}
    model = nn.Sequential(*get_cnn_layers(c_in=c_in, c_out=c_out, nfs=nfs, **options))
    init_cnn(model, leak=leak)
    return model


def _check_widths(*, c_in: int, c_out: int, nfs: Sequence[int]) -> None:
    if not isinstance(nfs, list | tuple):
        raise ConfigError(
            f"nfs is {nfs!r}, must be a list of whole numbers",
            where="lesson-cnn: nfs",
            fix="set nfs = [64, 64, 128, 256], or leave it out",
        )
    for name, count in (("c_in", c_in), ("c_out", c_out), *((f"nfs[{i}]", n) for i, n in enumerate(nfs))):
        check_count(count, name=name, model="lesson-cnn")
    if not nfs:
        raise ConfigError(
            "nfs is empty, must name at least one width",
            where="lesson-cnn: nfs",
            fix="set nfs = [64, 64, 128, 256], or leave it out",
        )
