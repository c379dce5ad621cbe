"""What transforms of images share: the two kinds of image, one crop-and-resize step, checks of options.

An image is a PIL RGB image or a uint8 array [H, W, C]; a transform gives back the kind it was given, so a loader may
keep PIL images or convert once and stay with arrays. Arrays may have any number of channels.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imagekit.errors import ConfigError, ShapeError, did_you_mean
from imagekit.pixels.resize import FILTERS, TORCH_FILTERS, resize, resize_hwc

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[np.uint8])
Box = tuple[int, int, int, int]
Filter = str | tuple[str, ...]


def image_size(image: Image.Image | NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) in pixels of either kind of image. Raises ShapeError for an array without its three axes."""
    if isinstance(image, np.ndarray):
        check_image(image, where="image_size")
        return image.shape[1], image.shape[0]
    return image.size


def check_image(image: Image.Image | NDArray[np.uint8], *, where: str) -> None:
    """Raises ShapeError unless it is an RGB picture or a uint8 array [H, W, C]."""
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3:
            return
        facts = f"{image.dtype} {list(image.shape)}"  # 10 us, so only for an error
    elif image.mode == "RGB":
        return
    else:
        facts = f"PIL mode {image.mode}"
    raise ShapeError(f"the image is {facts}, must be RGB or uint8 [H, W, C]", where=where, fix="put MakeRGB before it")


def resize_box(image: AnyImage, size: tuple[int, int], *, filter: str, box: Box) -> AnyImage:
    """The box (left, top, right, bottom) of the image at `size` (width, height), in one antialiased interpolation.

    Pixels outside the box take no part. A box of that size is only looked at, not copied. Returns the kind of image it
    was given.
    """
    if (box[2] - box[0], box[3] - box[1]) == size and isinstance(image, np.ndarray):
        view: AnyImage = image[box[1] : box[3], box[0] : box[2]]
        return view
    backend = "torch" if filter in TORCH_FILTERS else "pillow"
    if not isinstance(image, np.ndarray):
        crop_image = image if box == (0, 0, image.width, image.height) else image.crop(box)
        return resize(crop_image, size, filter=filter, backend=backend)
    left, top, right, bottom = box
    # contiguous: the kernel's fast path wants dense rows, and torch takes no negative strides
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    if backend == "torch":
        return resize_hwc(crop, size, filter=filter)
    if crop.shape[2] == 3:
        return np.array(resize(Image.fromarray(crop), size, filter=filter))
    # Pillow has no pictures of any number of channels; it treats each channel alike, so one after another is the same
    planes = [Image.fromarray(crop[..., i]).resize(size, FILTERS[filter]) for i in range(crop.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def to_tensor_hwc(image: NDArray[np.uint8]) -> torch.Tensor:
    """The array as a tensor [H, W, C], shared where it is writable and has no negative stride, else a copy.

    torch flips packed pixels in 9 us where numpy's strided copy takes 83 (128 x 128); it must not read memory that it
    may not write, hence the copy of a read-only array.
    """
    is_shareable = image.flags.writeable and min(image.strides, default=0) >= 0
    return torch.from_numpy(image if is_shareable else image.copy())


def from_tensor_hwc(x_HWC: torch.Tensor) -> NDArray[np.uint8]:
    """The tensor as an array whose rows lie one after another, shared where they already do."""
    array_HWC: NDArray[np.uint8] = x_HWC.contiguous().numpy()
    return array_HWC


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


def check_filter(filter: Filter, *, where: str) -> None:
    """Raises ConfigError unless `filter` is a resampling filter that imagekit knows, or several of them."""
    names = (filter,) if isinstance(filter, str) else tuple(filter)
    if not names:
        raise ConfigError("filter is empty", where=where, fix="name at least one: bilinear, say")
    for name in names:
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


def check_probability(p: float, *, where: str, fix: str) -> None:
    """Raises ConfigError unless p is from 0 to 1."""
    if not 0 <= p <= 1:
        raise ConfigError(f"p is {p}, must be a probability from 0 to 1", where=where, fix=fix)
