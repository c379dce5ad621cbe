"""Resizing: Pillow's filters, and torch's uint8 antialiased kernel beside them.

Both are antialiased: a filter grows with the reduction, so texture is averaged, not skipped. For bilinear and bicubic
they agree within 1 of 255 (white noise: 2 in a few pixels), except where a bicubic overshoot beyond black or white is
cut off between the horizontal and the vertical pass: Pillow 13 chooses their order, torch begins with the horizontal.
Without a box, or with one that leaves out a sliver at the right and the bottom, the torch kernel works on channels-last
bytes as they lie, the fastest way; with any other, see `resample`.

H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from imagekit.errors import ShapeError, UsageError, did_you_mean
from imagekit.pixels.rgb import require_rgb

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

FILTERS: Mapping[str, Image.Resampling] = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "box": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "hamming": Image.Resampling.HAMMING,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
)
TORCH_FILTERS = ("bilinear", "bicubic")
BACKENDS = ("pillow", "torch")

Box = tuple[float, float, float, float]


def resize(
    image: Image.Image,
    size: tuple[int, int],
    *,
    filter: str = "bicubic",
    box: Box | None = None,
    backend: str = "pillow",
) -> Image.Image:
    """The RGB image, or the box of it, at `size`; crop and resize are one step, with one interpolation.

    size: (width, height) in pixels. box: (left, top, right, bottom) in pixels of the image, fractions allowed; pixels
    just outside it take part where the filter reaches them, as in Pillow. The result carries no metadata.
    Errors: ShapeError for a mode other than RGB, an empty size, a box that is empty or outside; UsageError for an
    unknown filter or backend.
    """
    require_rgb(image, where="resize: image")
    _check_choice("backend", backend, BACKENDS)
    _check_choice("filter", filter, FILTERS if backend == "pillow" else TORCH_FILTERS)
    _check_size(size)
    _check_box(box, image.size)
    if backend == "torch":
        return Image.fromarray(resize_hwc(np.array(image), size, filter=filter, box=box))
    resized = image.resize(size, FILTERS[filter], box=box)
    resized.info = {}
    return resized


def resize_hwc(image_HWC: Array, size: tuple[int, int], *, filter: str = "bicubic", box: Box | None = None) -> Array:
    """As `resize` with the torch backend, from uint8 array to uint8 array of the same kind: numpy or a CPU tensor.

    image_HWC: uint8, any C; size: (width, height); filter: bilinear or bicubic. Returns [height, width, C], contiguous.
    Where the crop has whole-pixel edges and its surroundings may be ignored, slice first: the kernel without a box is
    faster. Errors: as resize; ShapeError for another dtype or rank.
    """
    _check_array(image_HWC)
    _check_choice("filter", filter, TORCH_FILTERS)
    _check_size(size)
    height, width = image_HWC.shape[:2]
    _check_box(box, (width, height))
    seen = (0, 0, width, height) if box is None else box
    resized_HWC = _resize_tensor(_as_tensor(image_HWC), size, filter, seen)
    result: Array = _like(image_HWC, resized_HWC)
    return result


def _resize_tensor(x_HWC: torch.Tensor, size: tuple[int, int], filter: str, box: Box) -> torch.Tensor:
    from torch.nn.functional import interpolate

    from imagekit.pixels.resample import resample_box

    # The 1 in front first: only then do the strides say "channels last", to the kernel and of its result, and nothing
    # is copied: 250 us for 500 x 375 -> 213 x 160 px, with the 1 put in front afterwards 350.
    x_1CHW = x_HWC[None].permute(0, 3, 1, 2)
    left, top, right, bottom = box
    sides = x_HWC.shape[:2]
    scales = (size[1] / bottom, size[0] / right)
    if (left, top, bottom, right) == (0, 0, *sides):
        y_1CHW = interpolate(x_1CHW, size=size[::-1], mode=filter, antialias=True)
    elif left == top == 0 and tuple(int(side * scale) for side, scale in zip(sides, scales, strict=True)) == size[::-1]:
        # A box from the corner that ends less than an output pixel before the edge: the kernel knows such scales.
        y_1CHW = interpolate(x_1CHW, scale_factor=scales, mode=filter, antialias=True, recompute_scale_factor=False)
    else:
        return resample_box(x_HWC, size, filter=filter, box=box)
    return y_1CHW[0].permute(1, 2, 0).contiguous()


def _like(image_HWC: np.ndarray | torch.Tensor, resized_HWC: torch.Tensor) -> Any:
    return resized_HWC.numpy() if isinstance(image_HWC, np.ndarray) else resized_HWC


def _as_tensor(image_HWC: np.ndarray | torch.Tensor) -> torch.Tensor:
    import torch

    if isinstance(image_HWC, np.ndarray):
        # A tensor cannot stand for memory that must not be written, such as Pillow's.
        return torch.from_numpy(image_HWC if image_HWC.flags.writeable else image_HWC.copy())
    return image_HWC


def _check_choice(key: str, value: str, known: Mapping[str, object] | tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f'{key} is "{value}"', where=f"resize: {key}", fix=did_you_mean(value, known))


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise ShapeError(
            f"the size is {size[0]} x {size[1]}, both sides must be at least 1 pixel", where="resize: size"
        )


def _check_box(box: Box | None, size: tuple[int, int]) -> None:
    if box is None:
        return
    left, top, right, bottom = box
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise ShapeError(
            f"the box is {tuple(box)}, the image {size[0]} x {size[1]} pixels",
            where="resize: box",
            fix="left < right and top < bottom, all inside the image",
        )


def _check_array(image_HWC: np.ndarray | torch.Tensor) -> None:
    is_bytes = (
        image_HWC.dtype == np.uint8 if isinstance(image_HWC, np.ndarray) else str(image_HWC.dtype) == "torch.uint8"
    )
    if image_HWC.ndim != 3 or not is_bytes:
        shape = tuple(image_HWC.shape)
        raise ShapeError(
            f"the array is {image_HWC.dtype} of shape {shape}, must be uint8 [H, W, C]", where="resize_hwc: image_HWC"
        )
