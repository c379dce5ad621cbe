"""Batch transforms that blank a part of each image, so that a model learns to look at more than one thing.

Shapes: B batch, N draws, T tries, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from imagekit.batch.transform import Pixels
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.images import check_range
from imagekit.transforms.sending import send

_N_TRIES = 10


def erase_boxes(x_BCHW: Tensor, box_B4: Tensor, *, fill: float) -> Tensor:
    """A new batch with one box an image filled: left, top, right, bottom in whole pixels; a box may be empty.

    x_BCHW: floats or uint8; box_B4: any integer dtype, best on the CPU: which rows and columns are meant is found out
    there, and the device runs three kernels. Raises ShapeError for a fill that bytes cannot hold.
    """
    if x_BCHW.is_floating_point():
        return torch.where(box_mask(box_B4, x_BCHW), fill, x_BCHW)
    if fill not in range(256):
        raise ShapeError(
            f"fill is {fill}, and the batch is {x_BCHW.dtype}",
            where="erase_boxes",
            fix="fill with 0 to 255, or erase floats",
        )
    # a whole number: with another one torch would widen the result
    return torch.where(box_mask(box_B4, x_BCHW), int(fill), x_BCHW)


def box_mask(box_B4: Tensor, x_BCHW: Tensor) -> Tensor:
    """Which pixels lie in the box of their image: bool [B, 1, H, W] on the device of the batch."""
    height, width = x_BCHW.shape[2:]
    left_B1, top_B1, right_B1, bottom_B1 = box_B4[:, :, None].unbind(dim=1)
    x_W, y_H = torch.arange(width, device=box_B4.device), torch.arange(height, device=box_B4.device)
    across_BW, down_BH = (x_W >= left_B1) & (x_W < right_B1), (y_H >= top_B1) & (y_H < bottom_B1)
    lines = send(torch.cat([across_BW, down_BH], dim=1), x_BCHW.device)
    return lines[:, None, width:, None] & lines[:, None, None, :width]


@dataclass(kw_only=True, eq=False)
class RandomErasing(Pixels):
    """With chance `p`, a box of min_area..max_area of the image, uniform, its width/height log-uniform in `ratio`.

    It is filled with `fill` after Normalize, so 0 is the train mean. Ten tries to fit the box in, as RandomResizedCrop
    has; an image that none fits stays whole. Draws: whether, the position across and down, (area, ratio) of each try.
    Raises ConfigError for an area or ratio out of range, and where min_area is above max_area when a batch comes.
    Source: Zhong and others 2017, arXiv:1708.04896.
    """

    p: float = 0.5
    min_area: float = 0.02
    max_area: float = 1 / 3
    ratio: tuple[float, float] = (0.3, 10 / 3)
    fill: float = 0.0

    stream: ClassVar[str] = "batch.random_erasing"
    n_draws: ClassVar[int] = 3 + 2 * _N_TRIES
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {
        "p": (0.0, 1.0),
        "min_area": (0.0, 1.0),
        "max_area": (0.0, 1.0),
    }

    def __post_init__(self) -> None:
        check_range(0, math.inf, self.ratio, what="ratio", where="RandomErasing.ratio")

    def boxes(self, u_BN: Tensor, *, size: tuple[int, int]) -> Tensor:
        """int64 [B, 4]: left, top, right, bottom; empty where nothing is erased. size: (height, width)."""
        height, width = size
        if self.min_area > self.max_area:
            raise ConfigError(
                f"min_area is {self.min_area}, above max_area, {self.max_area}",
                where="RandomErasing.min_area",
                fix="set both to 0 to do without",
            )
        area_BT = (self.min_area + u_BN[:, 3::2] * (self.max_area - self.min_area)) * height * width
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio_BT = (low + u_BN[:, 4::2] * (high - low)).exp()
        width_BT = (area_BT * ratio_BT).sqrt().round().long()
        height_BT = (area_BT / ratio_BT).sqrt().round().long()
        fits_BT = (width_BT <= width) & (height_BT <= height) & (width_BT > 0) & (height_BT > 0)
        first_B1 = fits_BT.long().argmax(dim=1, keepdim=True)
        acts_B = (u_BN[:, 0] < self.p) & fits_BT.any(dim=1)
        box_width_B = width_BT.gather(1, first_B1)[:, 0] * acts_B
        box_height_B = height_BT.gather(1, first_B1)[:, 0] * acts_B
        left_B = (u_BN[:, 1] * (width - box_width_B + 1)).long()
        top_B = (u_BN[:, 2] * (height - box_height_B + 1)).long()
        return torch.stack([left_B, top_B, left_B + box_width_B, top_B + box_height_B], dim=1)

    def apply(self, x: Tensor, u_BN: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return erase_boxes(x, self.boxes(u_BN, size=(height, width)), fill=self.fill)


@dataclass(kw_only=True, eq=False)
class Cutout(Pixels):
    """With chance `p`, a square of `side_px` (rounded), filled with `fill`; centred on any pixel, so edges may cut it.

    It comes after Normalize, so fill 0 is the train mean. Draws: whether, the centre across and down.
    Raises ConfigError for a side below 1 (a schedule may give fractions), ShapeError for one larger than the image.
    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """

    side_px: float
    p: float = 1.0
    fill: float = 0.0

    stream: ClassVar[str] = "batch.cutout"
    n_draws: ClassVar[int] = 3
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"p": (0.0, 1.0), "side_px": (1.0, 100_000.0)}

    def boxes(self, u_BN: Tensor, *, size: tuple[int, int]) -> Tensor:
        """int64 [B, 4]: left, top, right, bottom inside the image; empty where nothing is erased."""
        height, width = size
        side_px = round(self.side_px)
        left_B = (u_BN[:, 1] * width).long() - side_px // 2
        top_B = (u_BN[:, 2] * height).long() - side_px // 2
        side_B = side_px * (u_BN[:, 0] < self.p)
        box_B4 = torch.stack([left_B, top_B, left_B + side_B, top_B + side_B], dim=1)
        return box_B4.clamp(min=0).minimum(torch.tensor([width, height, width, height], device=u_BN.device))

    def apply(self, x: Tensor, u_BN: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if round(self.side_px) > min(height, width):
            raise ShapeError(
                f"the square is {round(self.side_px)} pixels wide, the images are {width} x {height}",
                where="Cutout.side_px",
                fix="make it smaller",
            )
        return erase_boxes(x, self.boxes(u_BN, size=(height, width)), fill=self.fill)
