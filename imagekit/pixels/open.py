"""Bytes -> Picture: the first frame of an image of an allowed format, as stored, or ImageError with a reason.

Content decides, never a file name. The header is read and checked before a pixel is decoded; the whole first frame is
decoded, because a header says nothing about what follows it. Orientation, transparency and mode are left as they are:
`upright` and `rgb` deal with them.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, MpoImagePlugin, UnidentifiedImageError, WebPImagePlugin
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from imagekit.errors import ImageError
from imagekit.pixels.limits import FORMATS, MAX_PIXELS
from imagekit.pixels.quiet import quiet_pillow
from imagekit.pixels.reasons import sniff_foreign, sniff_format, to_image_error
from imagekit.pixels.upright import UNDO

# Imported, they are registered; else the first WebP, TIFF or MPO would make Pillow import all of its forty plugins.
_PLUGINS = (MpoImagePlugin, TiffImageFile, WebPImagePlugin)

_log = logging.getLogger(__name__)

_ORIENTATION = 0x0112
_COUNTED_BY_SEEKING = ("GIF", "TIFF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the file says about its first frame, before pixels: width and height as stored, in pixels."""

    format: str
    mode: str
    width: int
    height: int
    n_frames: int
    orientation: int
    icc: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture(Header):
    """A header and the first frame, fully decoded, as stored: not turned, not converted."""

    image: Image.Image


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """The facts of an image without decoding its pixels; equal to those of its Picture.

    Errors: ImageError as open_image, for what a header can tell.
    """
    with _reasons(data):
        return _header(_open(data, max_pixels), data)


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode the first frame of `data` completely.

    max_pixels: width x height that a header may promise; Pillow's own hard limit, twice the default, stays in force.
    Errors: ImageError with reason bomb, truncated, corrupt, unidentified, unsupported-format, unsupported-mode or
    too-small, and no other exception, whatever the bytes. Broken metadata is no error: the orientation is 1 then.
    """
    with reading(data, max_pixels=max_pixels) as reader:
        image, header = reader.decode(), reader.header
        return Picture(
            image=image,
            format=header.format,
            mode=image.mode,
            width=image.width,
            height=image.height,
            n_frames=header.n_frames,
            orientation=header.orientation,
            icc=header.icc,
        )


@dataclass(slots=True)
class Reader:
    """An opened file: its header is known, its first frame not decoded yet. Made by `reading`."""

    header: Header
    _opened: ImageFile.ImageFile
    _max_pixels: int

    def decode(self, *, scale: int = 1) -> Image.Image:
        """The first frame as stored; once. A JPEG can be reduced by scale 2, 4 or 8 while it is decoded, its sides
        divided and rounded up; other formats, and a side shorter than scale, are decoded in full.
        """
        opened, header = self._opened, self.header
        if scale > 1 and header.format == "JPEG" and min(header.width, header.height) >= scale:
            # asks for the largest size that brings Pillow to this very scale
            opened.draft(None, (header.width // scale, header.height // scale))
        image = _decode(opened, header)
        _check_size(image.width, image.height, self._max_pixels)  # a frame may be larger than the header said
        return image


@contextmanager
def reading(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[Reader]:
    """Open `data`, to look at the header before deciding how to decode.

    Errors: as open_image, also for what happens inside the with block: it is taken for the fault of these bytes.
    """
    with _reasons(data):
        opened = _open(data, max_pixels)
        yield Reader(_header(opened, data), opened, max_pixels)


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Whatever the decoder raises on these bytes is this one file's fault, and becomes an ImageError."""
    try:
        with quiet_pillow():
            yield
    except ImageError:
        raise
    except Exception as error:
        raise to_image_error(error, data, sniff_format(data)) from error


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    format = _allowed_format(data)
    try:
        opened = Image.open(io.BytesIO(data), formats=(format,))
    except UnidentifiedImageError:
        # Image.open swallows what the plugin said; the plugin itself tells.
        opened = Image.OPEN[format][0](io.BytesIO(data), "")
    _check_size(*opened.size, max_pixels)
    return opened


def _allowed_format(data: bytes) -> str:
    if not data:
        raise ImageError("truncated", "the file is empty (0 bytes)")
    format = sniff_format(data)
    if format in FORMATS:
        return format
    foreign = sniff_foreign(data)
    if foreign:
        raise ImageError("unsupported-format", f"the content is {foreign}; formats read: {', '.join(FORMATS)}")
    raise ImageError("unidentified", f"the content is no known image; it begins with {data[:8]!r}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError("bomb", f"{width} x {height} = {width * height} pixels, the limit is {max_pixels}")


def _header(opened: ImageFile.ImageFile, data: bytes) -> Header:
    width, height = opened.size
    if isinstance(opened, TiffImageFile) and opened.tag_v2.get(_ORIENTATION) in (5, 6, 7, 8):
        width, height = height, width  # Pillow gives a TIFF's size as turned, and turns its pixels when it loads
    return Header(
        format=opened.format or "",
        mode=opened.mode,
        width=width,
        height=height,
        n_frames=_count_frames(opened, data),
        orientation=_read_orientation(opened, data),
        icc=bool(opened.info.get("icc_profile")),
    )


def _decode(opened: ImageFile.ImageFile, header: Header) -> Image.Image:
    _scale_colour_key(opened)
    opened.load()
    if isinstance(opened, TiffImageFile) and header.orientation != 1:
        return opened.transpose(UNDO[header.orientation])  # as stored, like every other format; upright turns it, once
    # A copy lets go of the file's bytes, which Pillow keeps for the frames to come.
    return opened.copy() if header.n_frames != 1 else opened


def _count_frames(opened: ImageFile.ImageFile, data: bytes) -> int:
    """Frames that can be found; a broken later frame ends the count and harms nothing, since only the first is used."""
    if opened.format not in _COUNTED_BY_SEEKING:
        return int(getattr(opened, "n_frames", 1))
    # Counting moves the reader to the last frame, so it gets a reader of its own.
    counter = Image.open(io.BytesIO(data), formats=(opened.format,))
    try:
        return int(getattr(counter, "n_frames", 1))
    except Exception as error:  # noqa: BLE001 - hostile bytes after the first frame may raise anything
        _log.debug("counting frames ended early: %s", error)
        return int(counter.tell()) + 1


def _read_orientation(opened: ImageFile.ImageFile, data: bytes) -> int:
    """EXIF orientation 1..8, from EXIF or else XMP; 1 when absent, broken or out of range."""
    try:
        if opened.format == "PNG" and "exif" not in opened.info and (exif := _late_exif(data)):
            opened.info["exif"] = exif
        # Image's own method: PNG's override would decode the pixels first.
        orientation = Image.Image.getexif(opened).get(_ORIENTATION, 1)
    except Exception as error:  # noqa: BLE001 - broken metadata may raise anything and never costs the image
        _log.debug("EXIF cannot be read: %s", error)
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _late_exif(data: bytes) -> bytes | None:
    """The eXIf chunk of a PNG wherever it stands; Pillow sees one behind the pixels only after decoding them."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def _scale_colour_key(opened: ImageFile.ImageFile) -> None:
    """Bring a 16-bit RGB PNG's transparent colour down to the 8 bits that Pillow keeps of its pixels."""
    key = opened.info.get("transparency")
    if isinstance(opened, PngImageFile) and isinstance(key, tuple) and opened.tile and opened.tile[0].args == "RGB;16B":
        opened.info["transparency"] = tuple(value >> 8 for value in key)
