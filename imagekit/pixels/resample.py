"""Pillow's resampling of a box inside an array, as two matrix products in torch.

torch's antialiased kernel knows whole arrays only. Pillow's box may begin between two pixels and lets the filter reach
beyond the box into the image, which no slice before the kernel can imitate. Horizontal pass, rounded to bytes, then
vertical, as torch's kernel does (and Pillow, where it does not find the other order cheaper).

H, W of the input, h, w of the output, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


def resample_box(
    image_HWC: Tensor, size: tuple[int, int], *, filter: str, box: tuple[float, float, float, float]
) -> Tensor:
    """The box of a uint8 [H, W, C] tensor at size (width, height): uint8 [h, w, C].

    filter: bilinear or bicubic; box: (left, top, right, bottom) inside the image. resize_hwc, which calls it, checks.
    """
    left, top, right, bottom = box
    rows, weight_hH = _weights(image_HWC.shape[0], top, bottom, size[1], filter)
    columns, weight_wW = _weights(image_HWC.shape[1], left, right, size[0], filter)
    seen_CHW = image_HWC[rows, columns].permute(2, 0, 1).float()
    wide_CHw = _round(seen_CHW @ weight_wW.T)
    small_Chw = _round(weight_hH @ wide_CHw)
    return small_Chw.to(torch.uint8).permute(1, 2, 0).contiguous()


def _weights(n_in: int, start: float, stop: float, n_out: int, filter: str) -> tuple[slice, Tensor]:
    """The inputs that any output looks at, and how much of each: float32 [n_out, inputs], rows summing to 1."""
    scale = (stop - start) / n_out
    stretch = max(scale, 1.0)  # a reduction widens the filter: this is the antialiasing
    reach = _SUPPORT[filter] * stretch
    seen = slice(max(int(start - reach), 0), min(int(stop + reach) + 1, n_in))
    centre_n1 = start + (torch.arange(n_out, dtype=torch.float64)[:, None] + 0.5) * scale
    position_1m = torch.arange(seen.start, seen.stop, dtype=torch.float64) + 0.5
    weight_nm = _curve((position_1m - centre_n1) / stretch, filter)
    return seen, (weight_nm / weight_nm.sum(dim=1, keepdim=True)).float()


def _curve(x: Tensor, filter: str) -> Tensor:
    """The filter at distance x from its centre. Bicubic: Keys 1981 with a = -0.5, as in Pillow and torch."""
    x = x.abs()
    if filter == "bilinear":
        return (1.0 - x).clamp(min=0.0)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


def _round(x: Tensor) -> Tensor:
    return x.add(0.5).floor().clamp(0, 255)
