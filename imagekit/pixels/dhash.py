"""A 64-bit difference hash: near-identical images differ in few bits, others in about half of them.

The image becomes grey (ITU-R 601, Pillow's "L") and is averaged down to 9 x 8 cells; each bit says whether a cell is
darker than its right neighbour. Box averaging, because a cell's mean hardly changes when the image was resized before.
Source: Krawetz 2013, "Kind of Like That".
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from imagekit.pixels.rgb import require_rgb

DHASH_BITS = 64


def dhash(image: Image.Image) -> int:
    """The hash of an upright RGB image, 0..2^64-1: rows from the top, each from the left, first comparison highest.

    A hash of what is seen: it changes when the image is turned. Errors: ShapeError for another mode.
    """
    require_rgb(image, where="dhash: image")
    cells_8x9 = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits_8x8 = cells_8x9[:, 1:] > cells_8x9[:, :-1]
    return int.from_bytes(np.packbits(bits_8x8).tobytes(), "big")
