"""The step from one image to a tensor of bytes; floats are made on the device, from the whole batch.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from imagekit.errors import ShapeError


def to_byte_tensor(image: Image.Image | NDArray[np.uint8]) -> Tensor:
    """The image as uint8 [H, W, 3], the layout that loaders stack and ship.

    An array that is writable and contiguous is shared, not copied; everything else is copied once.
    Raises ShapeError unless the image is RGB (uint8 [H, W, 3] for an array).
    """
    if isinstance(image, np.ndarray):
        facts, is_rgb = f"{image.dtype} {list(image.shape)}", image.dtype == np.uint8 and image.shape[2:] == (3,)
    else:
        facts, is_rgb = f"PIL mode {image.mode}", image.mode == "RGB"
    if not is_rgb:
        raise ShapeError(f"the image is {facts}, must be RGB", where="to_byte_tensor", fix="put MakeRGB before it")
    if isinstance(image, np.ndarray) and image.flags.c_contiguous and image.flags.writeable:
        return torch.from_numpy(image)
    return torch.from_numpy(np.array(image, order="C"))  # np.array: torch warns about arrays it must not write to


to_byte_tensor._order = 20  # type: ignore[attr-defined]  # a plain function takes its place among the transforms
