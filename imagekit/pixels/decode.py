"""Bytes of an image file -> its upright RGB pixels as an array: what a loader needs, by the fastest way that is safe.

A JPEG that holds nothing unusual before its pixels (see `turbo.scan_header`) goes to a decoder at once, simplejpeg
where it is installed, else Pillow's own without its reading of the segments, which saves 50 to 100 us an image. The
pixels are the same. Whatever such a decoder does not like is read again by `open_image`, which says why.

H height, W width.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from imagekit.pixels.limits import MAX_PIXELS
from imagekit.pixels.open import Header, open_image
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.turbo import decode_turbo, load_turbo, scan_header
from imagekit.pixels.upright import upright


def decode_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The first frame, upright, as uint8 [H, W, 3] of its own: contiguous and writable.

    max_pixels and errors: as `open_image`, and ImageError unsupported-mode as `to_rgb`.
    """
    header = scan_header(data)
    if header is None or header.width * header.height > max_pixels:
        return np.array(to_rgb(upright(open_image(data, max_pixels=max_pixels))))
    if load_turbo() is not None:
        pixels_HW3 = decode_turbo(data, header)
        if pixels_HW3 is not None:
            return pixels_HW3
    image = _decode_plain(data, header) or upright(open_image(data, max_pixels=max_pixels))
    return np.array(to_rgb(image))


def _decode_plain(data: bytes, header: Header) -> Image.Image | None:
    """The pixels by Pillow's decoder alone; None where it stumbles."""
    try:
        # the arguments that Pillow's JPEG plugin itself gives: the raw mode, and no other colour space
        return Image.frombytes(header.mode, (header.width, header.height), data, "jpeg", header.mode, "")
    except (ValueError, OSError):
        return None
