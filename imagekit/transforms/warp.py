"""Perspective warps of one image: a quadrilateral of the source becomes the whole output.

Tilting is physically likelier than squeezing: what is nearer to the camera is larger. The corners are those of the
source, so moving the two upper ones towards each other magnifies what is at the top: it looks closer.

Shapes: h, w of the output, k samples a side of an output pixel, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imagekit.errors import ConfigError
from imagekit.transforms.crops import crop_sides
from imagekit.transforms.homography import Point, find_coeffs
from imagekit.transforms.images import AnyImage, check_image, check_size, from_tensor_hwc, image_size, to_tensor_hwc
from imagekit.transforms.items import ItemTransform

WARP_FILTERS = ("bilinear", "nearest")
_MOST_SAMPLES = 4  # a side of an output pixel; a reduction by more than 4 should happen before

Corners = Sequence[Point]  # top left, bottom left, bottom right, top right


def warp(image: AnyImage, size: tuple[int, int], corners: Corners, *, filter: str = "bilinear") -> AnyImage:
    """What lies between four corners of the image, as (width, height) pixels, in one interpolation.

    corners: (x, y) in pixels of the source, top left, bottom left, bottom right, top right; those outside see the
    edge's pixels continued. filter: bilinear, averaged over as many samples as an output pixel covers source pixels (at
    most 4 x 4), so that texture neither aliases nor flickers; or nearest. Returns the kind of image it was given.
    Raises ShapeError where three corners lie on a line, or for an image that is neither RGB nor uint8 [H, W, C];
    ConfigError for another filter.
    """
    _check_filter(filter, where="warp.filter")
    check_image(image, where="warp")
    width, height = size
    coeffs = find_coeffs(corners, [(0, 0), (0, height), (width, height), (width, 0)])
    n = _samples(corners, size, filter)
    if isinstance(image, np.ndarray):
        return _sample(to_tensor_hwc(image), size, coeffs, n=n, filter=filter)
    return Image.fromarray(_sample(to_tensor_hwc(np.array(image)), size, coeffs, n=n, filter=filter))


def _check_filter(filter: str, *, where: str) -> None:
    if filter not in WARP_FILTERS:
        raise ConfigError(
            f'filter is "{filter}", which a warp does not know',
            where=where,
            fix="set bilinear, or nearest to keep single pixels",
        )


def _samples(corners: Corners, size: tuple[int, int], filter: str) -> int:
    """Samples a side of an output pixel: how many source pixels it covers where it covers most."""
    if filter == "nearest":
        return 1
    (tl_x, tl_y), (bl_x, bl_y), (br_x, br_y), (tr_x, tr_y) = corners
    across = max(_distance(tr_x - tl_x, tr_y - tl_y), _distance(br_x - bl_x, br_y - bl_y)) / size[0]
    down = max(_distance(bl_x - tl_x, bl_y - tl_y), _distance(br_x - tr_x, br_y - tr_y)) / size[1]
    return min(_MOST_SAMPLES, max(1, round(max(across, down))))


def _distance(x: float, y: float) -> float:
    return float((x * x + y * y) ** 0.5)


def _sample(x_HWC: Tensor, size: tuple[int, int], coeffs: list[float], *, n: int, filter: str) -> NDArray[np.uint8]:
    grid_1hw2 = _grid(coeffs, size, n, x_HWC.shape[1], x_HWC.shape[0])
    x_1CHW = x_HWC.permute(2, 0, 1)[None].float()
    seen_1Chw = F.grid_sample(x_1CHW, grid_1hw2, mode=filter, padding_mode="border", align_corners=False)
    averaged_1Chw = F.avg_pool2d(seen_1Chw, n) if n > 1 else seen_1Chw
    return from_tensor_hwc(averaged_1Chw[0].permute(1, 2, 0).add(0.5).clamp_(0, 255).to(torch.uint8))


def _grid(coeffs: list[float], size: tuple[int, int], n: int, width: int, height: int) -> Tensor:
    """Where each sample lies, in the -1..1 of grid_sample; with align_corners=False its pixel centres are Pillow's.

    Numerators and denominator are each a part along x plus a part along y, so all that is done pixel by pixel is three
    sums and two products. The parts are float64; a float32 sum is good to 1e-4 of a pixel at 1,000 pixels.
    """
    a, b, c, d, e, f, g, h = coeffs
    x_w = (torch.arange(size[0] * n, dtype=torch.float64) + 0.5) / n
    y_h = (torch.arange(size[1] * n, dtype=torch.float64) + 0.5) / n
    to_x, to_y = 2 / width, 2 / height
    # u / w - 1 with u scaled to 0..2 is (u - w) / w
    along_x_3w = torch.stack([(a * to_x - g) * x_w, (d * to_y - g) * x_w, g * x_w]).float()
    along_y_3h = torch.stack([(b * to_x - h) * y_h + c * to_x - 1, (e * to_y - h) * y_h + f * to_y - 1, h * y_h + 1])
    plane_3hw = along_y_3h.float()[:, :, None] + along_x_3w[:, None, :]
    return (plane_3hw[:2] / plane_3hw[2]).permute(1, 2, 0)[None]


@dataclass(frozen=True)
class _Warp(ItemTransform):
    """What both warps have: size, magnitude, filter. `most`: up to where every quadrilateral is convex; beyond it the
    horizon could pass through the picture.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    magnitude: float = 0.2
    filter: str = "bilinear"

    _order: ClassVar[int] = 11
    most: ClassVar[float]

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "size", check_size(self.size, where=f"{name}.size"))
        if not 0 <= self.magnitude <= self.most:
            raise ConfigError(
                f"magnitude is {self.magnitude}, must be from 0 to {self.most:g}",
                where=f"{name}.magnitude",
                fix="set magnitude = 0.2, or 0 for no warp",
            )
        _check_filter(self.filter, where=f"{name}.filter")

    def corners(self, width: int, height: int, draws: Sequence[float]) -> list[Point]:
        """Top left, bottom left, bottom right, top right in pixels of the source, for these draws."""
        raise NotImplementedError(type(self).__name__)

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        corners = self.corners(*image_size(image), draws)
        size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        return warp(image, size, corners, filter=self.filter)


@dataclass(frozen=True)
class PerspectiveWarp(_Warp):
    """The image as seen from elsewhere: each corner of what is shown moves inwards on its own, then fills `size`.

    magnitude: a corner moves by up to this share of half a side, across and down, so no corner leaves the image.
    Draws: across and down of the top left, bottom left, bottom right and top right corner.
    Raises ConfigError for a bad size or filter, or a magnitude above 2/3.
    """

    stream: ClassVar[str] = "item.perspective_warp"
    most: ClassVar[float] = 2 / 3
    n_draws = 8

    def corners(self, width: int, height: int, draws: Sequence[float]) -> list[Point]:
        across = [draw * self.magnitude * width / 2 for draw in draws[0::2]]
        down = [draw * self.magnitude * height / 2 for draw in draws[1::2]]
        return [
            (across[0], down[0]),
            (across[1], height - down[1]),
            (width - across[2], height - down[2]),
            (width - across[3], down[3]),
        ]


@dataclass(frozen=True)
class TiltRandomCrop(_Warp):
    """A random crop seen tilted about both axes, never with a corner outside the image.

    crop_size: a side or (width, height) in pixels of the source, without it the largest square. magnitude: the most
    that a corner moves, as a share of the crop's side; where the image has less room beside the crop, the tilt is that
    much smaller, so a crop that spans an axis is not tilted along it. magnitude 0 is a plain crop.
    Draws: position across and down, tilt left-right and up-down. Raises ConfigError for a bad size or filter, or a
    magnitude above 0.25; ShapeError for a crop larger than the image.
    Source: fast.ai course v3, lesson 11 (PilTiltRandomCrop).
    """

    _: KW_ONLY
    crop_size: int | tuple[int, int] | None = None

    stream: ClassVar[str] = "item.tilt_random_crop"
    most: ClassVar[float] = 0.25
    n_draws = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_size is not None:
            object.__setattr__(self, "crop_size", check_size(self.crop_size, where="TiltRandomCrop.crop_size"))

    def corners(self, width: int, height: int, draws: Sequence[float]) -> list[Point]:
        side_x, side_y = crop_sides(self.crop_size, width, height, where="TiltRandomCrop")
        left, top = int(draws[0] * (width - side_x + 1)), int(draws[1] * (height - side_y + 1))
        most_x = min(self.magnitude, left / side_x, (width - left) / side_x - 1)
        most_y = min(self.magnitude, top / side_y, (height - top) / side_y - 1)
        tilt_x, tilt_y = (2 * draws[2] - 1) * most_x, (2 * draws[3] - 1) * most_y
        unit = [(-tilt_x, -tilt_y), (tilt_x, 1 + tilt_y), (1 - tilt_x, 1 - tilt_y), (1 + tilt_x, tilt_y)]
        return [(left + x * side_x, top + y * side_y) for x, y in unit]
