"""Crops of one image, each one box and one interpolation: never a crop that is resized a second time.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, cast

from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.images import AnyImage, Box, check_range, check_size, image_size, resize_box
from imagekit.transforms.resize import Resampling

_N_TRIES = 10


class Crop(Resampling):
    """What every crop has: a `box` of the source, which is resized to `size` in one antialiased step."""

    _order: ClassVar[int] = 11

    def box(self, width: int, height: int, draws: Sequence[float]) -> Box:
        """(left, top, right, bottom) in whole pixels, at least one pixel wide and high, inside width x height."""
        raise NotImplementedError(type(self).__name__)

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        box = self.box(*image_size(image), draws)
        return resize_box(image, self.out_size, filter=self.pick_filter(draws), box=box)


@dataclass(frozen=True)
class CenterCrop(Crop):
    """The centred box of W/scale by H/scale, resized to `size`: what validation sees.

    scale 1.14 keeps 87.7 % of either side, 76.9 % of the area. A box that is not square is squeezed into a square size,
    as RandomResizedCrop does in training. Raises ConfigError for a bad size, a scale below 1 or an unknown filter.
    Source: fast.ai course v3, lesson 11.
    """

    _: KW_ONLY
    scale: float = 1.14

    stream: ClassVar[str] = "item.center_crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.scale < math.inf:
            raise ConfigError(
                f"scale is {self.scale}, must be at least 1",
                where="CenterCrop.scale",
                fix="set scale = 1 to keep the whole image, or 1.14 to cut 6 % off each edge",
            )

    def box(self, width: int, height: int, draws: Sequence[float] = ()) -> Box:
        return _centred(width, height, max(1, round(width / self.scale)), max(1, round(height / self.scale)))


@dataclass(frozen=True)
class GeneralCrop(Crop):
    """The centred box of `crop_size`, a side or (width, height) in pixels of the source, resized to `size`.

    crop_size: without it the largest square. Raises ConfigError for a bad size or filter, ShapeError for a crop larger
    than the image. Source: fast.ai course v3, lesson 11.
    """

    _: KW_ONLY
    crop_size: int | tuple[int, int] | None = None

    stream: ClassVar[str] = "item.general_crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_size is not None:
            where = f"{type(self).__name__}.crop_size"
            object.__setattr__(self, "crop_size", check_size(self.crop_size, where=where))

    def crop_sides(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the box for an image of this size."""
        return crop_sides(self.crop_size, width, height, where=type(self).__name__)

    def box(self, width: int, height: int, draws: Sequence[float]) -> Box:
        return _centred(width, height, *self.crop_sides(width, height))


@dataclass(frozen=True)
class RandomCrop(GeneralCrop):
    """A box of `crop_size` anywhere in the image, every place as likely, resized to `size`; else as GeneralCrop.

    Draws: the position across and down.
    """

    stream: ClassVar[str] = "item.random_crop"
    n_draws = 2

    def box(self, width: int, height: int, draws: Sequence[float]) -> Box:
        crop_width, crop_height = self.crop_sides(width, height)
        return _placed(width, height, crop_width, crop_height, draws[0], draws[1])


@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """A random box of the image, resized to `size`.

    Its share of the image's area is uniform in `scale`, its width/height log-uniform in `ratio`. Ten tries, each
    from the whole image's area; if none fits, the largest centred box whose ratio is in `ratio`.
    Draws: (area, ratio) of each try, then the position across and down.
    Raises ConfigError for a bad size, scale, ratio or filter. Source: Szegedy et al. 2014, arXiv:1409.4842.
    """

    _: KW_ONLY
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    stream: ClassVar[str] = "item.random_resized_crop"
    n_draws = 2 * _N_TRIES + 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scale", tuple(self.scale))
        object.__setattr__(self, "ratio", tuple(self.ratio))
        check_range(0, 1, self.scale, what="scale", where="RandomResizedCrop.scale")
        check_range(0, math.inf, self.ratio, what="ratio", where="RandomResizedCrop.ratio")

    def box(self, width: int, height: int, draws: Sequence[float]) -> Box:
        across, down = draws[2 * _N_TRIES], draws[2 * _N_TRIES + 1]
        for i_try in range(_N_TRIES):
            crop_width, crop_height = self._sides(width, height, draws[2 * i_try], draws[2 * i_try + 1])
            if 0 < crop_width <= width and 0 < crop_height <= height:
                return _placed(width, height, crop_width, crop_height, across, down)
        return self._fallback(width, height)

    def _sides(self, width: int, height: int, area_draw: float, ratio_draw: float) -> tuple[int, int]:
        """Width and height of one try; they may not fit."""
        area_px = width * height * (self.scale[0] + area_draw * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = math.exp(low + ratio_draw * (high - low))
        return round(math.sqrt(area_px * ratio)), round(math.sqrt(area_px / ratio))

    def _fallback(self, width: int, height: int) -> Box:
        """The largest box in the middle whose ratio is the image's own, clamped to `ratio`."""
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width = max(1, min(width, round(height * ratio)))
        crop_height = max(1, min(height, round(width / ratio)))
        return _centred(width, height, crop_width, crop_height)


def crop_sides(crop_size: object, width: int, height: int, *, where: str) -> tuple[int, int]:
    """(width, height) of a crop that was told, or for None the largest square's. ShapeError if it does not fit."""
    if crop_size is None:
        return min(width, height), min(width, height)
    crop_width, crop_height = cast(tuple[int, int], crop_size)
    if crop_width > width or crop_height > height:
        raise ShapeError(
            f"the crop is {crop_width} x {crop_height} pixels, the image {width} x {height}",
            where=f"{where}.crop_size",
            fix="make it smaller, or leave it out to crop the largest square",
        )
    return crop_width, crop_height


def _centred(width: int, height: int, crop_width: int, crop_height: int) -> Box:
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def _placed(width: int, height: int, crop_width: int, crop_height: int, across: float, down: float) -> Box:
    left, top = int(across * (width - crop_width + 1)), int(down * (height - crop_height + 1))
    return left, top, left + crop_width, top + crop_height
