"""Crops of one image, each one box and one interpolation.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, cast

from imagekit.errors import ConfigError
from imagekit.transforms.items import (
    AnyImage,
    Box,
    ItemTransform,
    check_filter,
    check_range,
    check_size,
    image_size,
    resize_box,
)

_N_TRIES = 10


@dataclass(frozen=True)
class CenterCrop(ItemTransform):
    """The centred box of W/scale by H/scale, resized to `size`: what validation sees.

    scale 1.14 keeps 87.7 % of either side. A box that is not square is squeezed into a square size, as
    RandomResizedCrop does in training. Raises ConfigError for a bad size, a scale below 1 or an unknown filter.
    Source: fast.ai course v3, lesson 11.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    scale: float = 1.14
    filter: str = "bilinear"

    _order: ClassVar[int] = 11

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size(self.size, where="CenterCrop.size"))
        check_filter(self.filter, where="CenterCrop.filter")
        if not 1 <= self.scale < math.inf:
            raise ConfigError(
                f"scale is {self.scale}, must be at least 1",
                where="CenterCrop.scale",
                fix="set scale = 1 to keep the whole image, or 1.14 to cut 6 % off each edge",
            )

    def box(self, width: int, height: int) -> Box:
        """(left, top, right, bottom) in whole pixels, at least one pixel wide and high."""
        crop_width = max(1, round(width / self.scale))
        crop_height = max(1, round(height / self.scale))
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
        return left, top, left + crop_width, top + crop_height

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        box = self.box(*image_size(image))
        return resize_box(image, cast(tuple[int, int], self.size), filter=self.filter, box=box)


@dataclass(frozen=True)
class RandomResizedCrop(ItemTransform):
    """A random box of the image, resized to `size`.

    Its share of the image's area is uniform in `scale`, its width/height log-uniform in `ratio`. Ten tries, each
    from the whole image's area; if none fits, the largest centred box whose ratio is in `ratio`.
    Draws: (area, ratio) of each try, then the position across and down.
    Raises ConfigError for a bad size, scale, ratio or filter. Source: Szegedy et al. 2014, arXiv:1409.4842.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    filter: str = "bilinear"

    _order: ClassVar[int] = 11
    stream: ClassVar[str] = "item.random_resized_crop"
    n_draws: ClassVar[int] = 2 * _N_TRIES + 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size(self.size, where="RandomResizedCrop.size"))
        object.__setattr__(self, "scale", tuple(self.scale))
        object.__setattr__(self, "ratio", tuple(self.ratio))
        check_range(0, 1, self.scale, what="scale", where="RandomResizedCrop.scale")
        check_range(0, math.inf, self.ratio, what="ratio", where="RandomResizedCrop.ratio")
        check_filter(self.filter, where="RandomResizedCrop.filter")

    def box(self, width: int, height: int, draws: Sequence[float]) -> Box:
        """(left, top, right, bottom) in whole pixels for an image of this size and these draws."""
        for i_try in range(_N_TRIES):
            crop_width, crop_height = self._sides(width, height, draws[2 * i_try], draws[2 * i_try + 1])
            if 0 < crop_width <= width and 0 < crop_height <= height:
                left = int(draws[-2] * (width - crop_width + 1))
                top = int(draws[-1] * (height - crop_height + 1))
                return left, top, left + crop_width, top + crop_height
        return self._centred_box(width, height)

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        box = self.box(*image_size(image), draws)
        return resize_box(image, cast(tuple[int, int], self.size), filter=self.filter, box=box)

    def _sides(self, width: int, height: int, area_draw: float, ratio_draw: float) -> tuple[int, int]:
        """Width and height of one try; they may not fit."""
        area_px = width * height * (self.scale[0] + area_draw * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = math.exp(low + ratio_draw * (high - low))
        return round(math.sqrt(area_px * ratio)), round(math.sqrt(area_px / ratio))

    def _centred_box(self, width: int, height: int) -> Box:
        """The largest box in the middle whose ratio is the image's own, clamped to `ratio`."""
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width = max(1, min(width, round(height * ratio)))
        crop_height = max(1, min(height, round(width / ratio)))
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
        return left, top, left + crop_width, top + crop_height
