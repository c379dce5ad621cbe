"""What every transform of one image is, and the two plain ones: to RGB, to one size.

An image is a PIL RGB image or a uint8 array [H, W, 3]; a transform gives back the kind it was given, so a loader
may keep PIL images or convert once and stay with arrays. A transform's options are its dataclass fields; its draws
are handed in, so the same image with the same draws gives the same bytes, and a draw can be stored and replayed.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagekit.errors import ConfigError, ShapeError, did_you_mean
from imagekit.pixels.resize import FILTERS, TORCH_FILTERS, resize, resize_hwc
from imagekit.pixels.rgb import to_rgb

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[np.uint8])
Box = tuple[int, int, int, int]


class ItemTransform:
    """One image in, one image out; `n_draws` uniform numbers in [0, 1) decide what is random in it.

    `_order` says when it runs (lower first), `stream` names its draws. A subclass is a frozen dataclass with `apply`.
    """

    _order: ClassVar[int] = 0
    stream: ClassVar[str] = ""
    n_draws: ClassVar[int] = 0

    def __call__(self, image: AnyImage, draws: Sequence[float] | None = None) -> AnyImage:
        """The transformed image, of the same kind. Raises ShapeError if the number of draws is not `n_draws`."""
        n_given = len(draws) if draws is not None else 0
        if n_given != self.n_draws:
            raise ShapeError(
                f"{type(self).__name__} got {n_given} draws, needs {self.n_draws}",
                where=f"item transform {type(self).__name__}",
                fix=f'draw them with uniform(keys_B, stream="{self.stream}", n={self.n_draws})'
                if self.n_draws
                else "call it with the image alone",
            )
        return self.apply(image, draws or ())

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        """What the transform does with draws whose number is right."""
        raise NotImplementedError(type(self).__name__)

    def to_dict(self) -> dict[str, object]:
        """Name and options in plain types, for the record of a run."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
        return {"name": type(self).__name__, **plain}


@dataclass(frozen=True)
class MakeRGB(ItemTransform):
    """Any picture as RGB: 16-bit scaled, transparency composited on white. An RGB image passes untouched.

    Raises ImageError (unsupported-mode) for modes without a meaning in RGB.
    """

    _order: ClassVar[int] = 0

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        if isinstance(image, np.ndarray):
            return image
        return to_rgb(image)


@dataclass(frozen=True)
class ResizeFixed(ItemTransform):
    """Every image to one size, (width, height) or one side for both, the aspect not kept.

    Raises ConfigError for a size below 1 or an unknown filter.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    filter: str = "bilinear"

    _order: ClassVar[int] = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size(self.size, where="ResizeFixed.size"))
        check_filter(self.filter, where="ResizeFixed.filter")

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        width, height = image_size(image)
        return resize_box(image, cast(tuple[int, int], self.size), filter=self.filter, box=(0, 0, width, height))


def image_size(image: Image.Image | NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) in pixels of either kind of image."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    return image.size


def resize_box(image: AnyImage, size: tuple[int, int], *, filter: str, box: Box) -> AnyImage:
    """The box (left, top, right, bottom) of the image at `size` (width, height), in one antialiased interpolation.

    Pixels outside the box take no part. Returns the kind of image it was given.
    """
    backend = "torch" if filter in TORCH_FILTERS else "pillow"
    if not isinstance(image, np.ndarray):
        crop_image = image if box == (0, 0, image.width, image.height) else image.crop(box)
        return resize(crop_image, size, filter=filter, backend=backend)
    left, top, right, bottom = box
    # contiguous: the kernel's fast path wants dense rows, and torch takes no negative strides
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    if backend == "torch":
        return resize_hwc(crop, size, filter=filter)
    return np.array(resize(Image.fromarray(crop), size, filter=filter))


def check_size(size: object, *, where: str) -> tuple[int, int]:
    """(width, height) from a side or a pair. Raises ConfigError for anything but whole numbers of at least 1."""
    sides: list[Any] = list(size) if isinstance(size, (tuple, list)) else [size, size]
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ConfigError(
            f"size is {size!r}, must be a side or (width, height) in whole pixels, at least 1",
            where=where,
            fix="set a size such as 128 or (160, 120)",
        )
    return sides[0], sides[1]


def check_filter(name: str, *, where: str) -> None:
    """Raises ConfigError unless `name` is a resampling filter that imagekit knows."""
    if name not in FILTERS:
        raise ConfigError(f'filter is "{name}", which is not known', where=where, fix=did_you_mean(name, FILTERS))


def check_range(low: float, high: float, pair: Sequence[float], *, what: str, where: str) -> None:
    """Raises ConfigError unless low < pair[0] <= pair[1] <= high, both finite."""
    if len(pair) != 2 or not (low < pair[0] <= pair[1] <= high and math.isfinite(pair[1])):
        upper = f" and at most {high:g}" if math.isfinite(high) else ""
        raise ConfigError(
            f"{what} is {tuple(pair)}, must be (lowest, highest) above {low:g}{upper}, the lowest first",
            where=where,
            fix="leave it out to get the default",
        )
