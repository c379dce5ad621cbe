"""RGB image -> file bytes: the same pixels and options give the same bytes, and no metadata goes along."""

from __future__ import annotations

import io

from PIL import Image

from imagekit.errors import ShapeError, UsageError, did_you_mean
from imagekit.pixels.rgb import require_rgb

# Largest side in pixels that a format (or its encoder) can hold: libjpeg's JPEG_MAX_DIMENSION, WebP's 14 bits.
_LONGEST_SIDE_PX = {"jpeg": 65_500, "png": 2**31 - 1, "webp": 16_383}
_EXTENSIONS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}

ENCODE_FORMATS = tuple(_EXTENSIONS)
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")


def extension_for(format: str) -> str:
    """The file extension, with its dot, for a format of ENCODE_FORMATS. Errors: UsageError."""
    return _EXTENSIONS[_check_format(format)]


def encode(image: Image.Image, *, format: str = "jpeg", quality: int = 90, subsampling: str = "4:2:0") -> bytes:
    """The bytes of a baseline JPEG, a lossless PNG or a lossy WebP file.

    image: mode RGB. quality: 1..100, which PNG ignores. subsampling: of a JPEG's colour, one of SUBSAMPLINGS. No EXIF,
    XMP, ICC profile, comment or resolution is written.
    Errors: UsageError for an unknown format, quality or subsampling; ShapeError for another mode or a side
    too long for the format.
    """
    _check_format(format)
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is {quality}, must be 1 to 100", where="encode: quality", fix="90 is a good start")
    if subsampling not in SUBSAMPLINGS:
        raise UsageError(
            f'subsampling is "{subsampling}"',
            where="encode: subsampling",
            fix=did_you_mean(subsampling, SUBSAMPLINGS),
        )
    _check_image(image, format)
    bare = image
    if image.info:  # Pillow's writers take comments, profiles and transparent colours from here
        bare = image.copy()
        bare.info = {}
    buffer = io.BytesIO()
    if format == "jpeg":
        bare.save(buffer, "JPEG", quality=quality, subsampling=subsampling, optimize=False, progressive=False)
    elif format == "png":
        bare.save(buffer, "PNG", compress_level=6, optimize=False)
    else:
        bare.save(buffer, "WEBP", quality=quality, method=4, lossless=False)
    return buffer.getvalue()


def _check_format(format: str) -> str:
    if format not in _EXTENSIONS:
        raise UsageError(
            f'format is "{format}", which cannot be written',
            where="encode: format",
            fix=did_you_mean(format, _EXTENSIONS),
        )
    return format


def _check_image(image: Image.Image, format: str) -> None:
    require_rgb(image, where="encode: image")
    longest_px = _LONGEST_SIDE_PX[format]
    if max(image.size) > longest_px:
        raise ShapeError(
            f"the image is {image.width} x {image.height} pixels; {format} takes at most {longest_px} a side",
            where="encode: image",
            fix="resize it first, or choose png",
        )
