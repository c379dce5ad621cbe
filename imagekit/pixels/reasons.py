"""From what the bytes are and what a decoder said to one documented reason code."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from imagekit.errors import ImageError

_ALLOWED = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+", re.DOTALL)),
    ("BMP", re.compile(rb"BM")),
)

# Formats that people do have in image folders; named, so that the cure is plain.
_FOREIGN = (
    ("AVIF", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    ("HEIF", re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)),
    ("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("icon", re.compile(rb"\0\0[\1\2]\0")),
    ("PNM", re.compile(rb"P[1-7]\s")),
    ("PostScript", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("PDF", re.compile(rb"%PDF")),
    ("SVG", re.compile(rb"\s*(?:<\?xml[^\0]{0,900})?<svg", re.DOTALL)),
    ("DDS", re.compile(rb"DDS ")),
    ("QOI", re.compile(rb"qoif")),
    ("OpenEXR", re.compile(rb"v/1\x01")),
    ("Radiance", re.compile(rb"#\?RADIANCE")),
    ("FITS", re.compile(rb"SIMPLE  =")),
    ("SGI", re.compile(rb"\x01\xda")),
    ("Sun raster", re.compile(rb"\x59\xa6\x6a\x95")),
    ("XCF", re.compile(rb"gimp xcf")),
)

_BOMB = re.compile(r"MAX_TEXT_CHUNK|text chunks|decompression bomb", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|allocate memory", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"unsupported|unknown pixel mode|unknown photometric|cannot handle|unknown data org", re.I)
_TRUNCATED = re.compile(r"truncated|unexpected end|not enough data|EOF", re.IGNORECASE)
_NO_PIXELS = "not identified by this driver"  # what Pillow says of a header without width, height or mode
_NO_MEMORY = "decoding needs more memory than this process may have"
_DETAIL_LENGTH = 200


def sniff_format(data: bytes) -> str | None:
    """The allowed format whose magic bytes `data` starts with, in Pillow's spelling; None if it is none of them."""
    return next((name for name, magic in _ALLOWED if magic.match(data)), None)


def sniff_foreign(data: bytes) -> str | None:
    """A known image format that is not on the allow-list, or None."""
    return next((name for name, magic in _FOREIGN if magic.match(data)), None)


def ends_early(data: bytes, format: str | None) -> bool:
    """True when `data` lacks the end that its format promises: an end marker, or as many bytes as its header says."""
    if format in ("JPEG", "MPO"):
        return not data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
    if format == "GIF":
        return not data.rstrip(b"\0\r\n").endswith(b";")
    if format == "PNG":
        return b"IEND" not in data[-4096:]
    if format == "WEBP":
        return len(data) < 8 + _u32(data, 4)
    if format == "BMP":
        return len(data) < _u32(data, 2)
    # A TIFF has no end; its directory may lie anywhere, so a directory beyond the end is all that can be told.
    return format == "TIFF" and len(data) < _u32(data, 4, order=">" if data[:1] == b"M" else "<") + 2


@contextmanager
def bomb_if_no_memory() -> Iterator[None]:
    """Running out of memory inside becomes an ImageError with reason bomb, in whichever words a library says it."""
    try:
        yield
    except MemoryError as error:
        raise ImageError("bomb", _NO_MEMORY) from error
    except (RuntimeError, OSError) as error:  # torch's allocator; Pillow's encoders
        if not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise ImageError("bomb", _NO_MEMORY) from error


def to_image_error(error: Exception, data: bytes, format: str | None) -> ImageError:
    """The ImageError for what a decoder raised on `data`; the reason codes are those of the design."""
    return ImageError(_reason(error, data, format), _detail(error))


def _reason(error: Exception, data: bytes, format: str | None) -> str:
    said = str(error)
    if (
        isinstance(error, Image.DecompressionBombError | MemoryError)
        or _BOMB.search(said)
        or _OUT_OF_MEMORY.search(said)
    ):
        return "bomb"
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(said):
        return "unsupported-mode"
    if isinstance(error, EOFError) or _TRUNCATED.search(said) or ends_early(data, format):
        return "truncated"
    return "too-small" if said == _NO_PIXELS else "corrupt"


def _detail(error: Exception) -> str:
    """One line of the decoder's own words; without the memory addresses that would differ from run to run."""
    words = " ".join(re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(error)).split())
    if isinstance(error, MemoryError):
        words = _NO_MEMORY
    if words == _NO_PIXELS:
        words = "the header promises no pixels"
    if isinstance(error, LookupError):
        words = f"{type(error).__name__}: {words}"  # a bare key or index says nothing on its own
    return (words or type(error).__name__)[:_DETAIL_LENGTH]


def _u32(data: bytes, at: int, *, order: str = "<") -> int:
    return int(struct.unpack_from(f"{order}I", data.ljust(at + 4, b"\0"), at)[0])
