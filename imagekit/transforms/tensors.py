"""From any picture to RGB, and from RGB to a tensor. Floats are better made on the device, from the whole batch.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from imagekit.errors import ShapeError
from imagekit.pixels.rgb import to_rgb
from imagekit.transforms.images import AnyImage, check_image
from imagekit.transforms.items import ItemTransform


@dataclass(frozen=True)
class MakeRGB(ItemTransform):
    """Any picture as RGB: 16-bit scaled, transparency composited on white. An RGB image, or an array, passes untouched.

    Raises ImageError (unsupported-mode) for modes without a meaning in RGB.
    """

    _order: ClassVar[int] = 0

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        if isinstance(image, np.ndarray):
            return image
        return to_rgb(image)


@dataclass(frozen=True)
class ToByteTensor(ItemTransform):
    """The image as uint8 [C, H, W]; the bytes stay where they are, pixel by pixel, which is torch's channels_last.

    An array that is writable and contiguous is shared, not copied; everything else is copied once. Raises ShapeError
    unless the image is RGB, or a uint8 array [H, W, C].
    """

    _order: ClassVar[int] = 20
    keeps_kind: ClassVar[bool] = False

    def apply(self, image: Image.Image | NDArray[np.uint8], draws: Sequence[float]) -> Tensor:
        check_image(image, where="ToByteTensor")
        if not (isinstance(image, np.ndarray) and image.flags.c_contiguous and image.flags.writeable):
            image = np.array(image, order="C")  # torch warns about arrays it must not write to
        return torch.from_numpy(image).permute(2, 0, 1)


@dataclass(frozen=True)
class ToFloatTensor(ItemTransform):
    """A uint8 tensor as float32 in 0..1: v / 255, exactly. The memory format is kept.

    For one image; a batch of bytes becomes floats faster on the device (`batch.ToFloat`), after a quarter of the way.
    Raises ShapeError for anything but a uint8 tensor.
    """

    _order: ClassVar[int] = 30
    keeps_kind: ClassVar[bool] = False

    def apply(self, image: Any, draws: Sequence[float]) -> Tensor:
        if not isinstance(image, Tensor) or image.dtype != torch.uint8:
            facts = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
            raise ShapeError(
                f"the image is {facts}, must be a uint8 tensor", where="ToFloatTensor", fix="put ToByteTensor before it"
            )
        return image.to(torch.float32).div_(255)


make_rgb, to_byte_tensor, to_float_tensor = MakeRGB(), ToByteTensor(), ToFloatTensor()  # the lesson's names
