"""Any stored mode -> 8-bit RGB, with nothing clipped and no hidden colour shown.

mode                            becomes
RGB, RGBX                       the same values
1, L                            the same grey three times
I;16 (any byte order), I        v / 257 rounded, so that 65,535 is 255; Pillow's convert would clip at 255
P, PA, LA, La, RGBA, RGBa,      composited on the background, as is any image with a transparent colour:
and any transparent colour      what a transparent pixel hides is not shown
CMYK, YCbCr                     Pillow's conversion (Adobe's inverted CMYK is set right when it is opened)
F, LAB, HSV, I beyond 16 bits   ImageError unsupported-mode: their range cannot be known, a guess could clip
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from imagekit.errors import ImageError, ShapeError

_PLAIN = ("RGB", "RGBX", "L", "1", "P", "CMYK", "YCbCr")
_WITH_ALPHA = ("PA", "LA", "La", "RGBA", "RGBa")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def to_rgb(image: Image.Image, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """An 8-bit RGB image of the same size; an image that is plain RGB already is returned as it is.

    background: 0..255 for red, green, blue, seen through transparent pixels. Errors: ImageError unsupported-mode.
    """
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bit(image, background)
    if image.mode in _WITH_ALPHA or (image.mode in _PLAIN and image.has_transparency_data):
        return _composite(image, background)
    if image.mode not in _PLAIN:
        raise ImageError("unsupported-mode", f"mode {image.mode} has no fixed range of values that fits 8-bit RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def require_rgb(image: Image.Image, *, where: str) -> None:
    """Refuse an image that has not been through to_rgb: ShapeError naming its mode."""
    if image.mode != "RGB":
        raise ShapeError(f"the image has mode {image.mode}, must be RGB", where=where, fix="to_rgb(image) first")


def _composite(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image
    rgba = straight.convert("RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(rgba, mask=rgba)
    return canvas


def _from_sixteen_bit(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    values_HW = np.asarray(image)
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high > 65_535:
        raise ImageError("unsupported-mode", f"mode {image.mode} with values {low}..{high}, more than 16 bits hold")
    table = ((np.arange(65_536) + 128) // 257).astype(np.uint8)  # v / 257 rounded; a tie cannot be, 257 is odd
    rgb = Image.fromarray(table[values_HW]).convert("RGB")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        rgb.paste(background, mask=Image.fromarray(values_HW == transparent))
    return rgb
