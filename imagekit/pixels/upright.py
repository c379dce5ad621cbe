"""EXIF orientation, applied once.

A camera held sideways stores its sensor's rows and a note how to turn them. Orientation 6 says: turn the stored image
90 degrees clockwise to see it upright. Source: EXIF 2.32, tag 0x0112.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from imagekit.pixels.open import Header, Picture

# From stored to upright. Pillow counts its rotations anti-clockwise.
TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# From upright to stored: all but the quarter turns are their own inverse.
UNDO = TURN | {6: TURN[8], 8: TURN[6]}

# Where Pillow keeps a note that could make a later reader turn the image again.
_NOTES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def upright(picture: Picture) -> Image.Image:
    """The picture's image as a person should see it, of the mode it is stored in, without EXIF or XMP.

    The picture keeps its own image; when nothing has to be turned or dropped, the result is that very image.
    """
    if picture.orientation in TURN:
        image = picture.image.transpose(TURN[picture.orientation])
    elif any(note in picture.image.info for note in _NOTES):
        image = picture.image.copy()
    else:
        return picture.image
    for note in _NOTES:
        image.info.pop(note, None)
    return image


def upright_size(picture: Header) -> tuple[int, int]:
    """(width, height) of the upright image, in pixels, from a Picture or a Header."""
    if picture.orientation >= 5:
        return picture.height, picture.width
    return picture.width, picture.height
