"""JPEG decoding by simplejpeg where it is installed: the same pixels as Pillow's, faster, straight into an array.

Only what both read alike is decoded here: complete RGB and grey JPEGs without a warning. For everything else the answer
is None, and Pillow decodes, or says why it cannot; so reasons and pixels never depend on what is installed.

H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from imagekit.pixels.open import Header

_MODES = {1: "L", 3: "RGB"}  # by the number of components
_unset = object()
_module: Any = _unset

# Segments whose content changes no fact of the header; APP0 and APP14 in their only valid length.
_TABLES = (0xDB, 0xC4, 0xDD, 0xFE)
_JFIF, _ADOBE, _ICC = (0xE0, b"\0\x10JFIF\0"), (0xEE, b"\0\x0eAdobe"), 0xE2
_WHOLE_PROFILE = b"ICC_PROFILE\0\1\1"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; Huffman coded
_SCAN = 0xDA


def load_turbo() -> Any | None:
    """simplejpeg's module, or None where it is not installed; looked for once."""
    global _module
    if _module is _unset:
        try:
            import simplejpeg
        except ImportError:
            simplejpeg = None
        _module = simplejpeg
    return _module


def decode_turbo(data: bytes, header: Header, *, scale: int = 1) -> np.ndarray | None:
    """The pixels of a plain JPEG as uint8 [H, W, 3], reduced by `scale` (1, 2, 4, 8); None where Pillow must decode.

    H, W: the stored sides divided by scale, rounded up.
    """
    turbo = load_turbo()
    if turbo is None or header.format != "JPEG" or header.mode not in _MODES.values():
        return None
    height, width = -(-header.height // scale), -(-header.width // scale)
    least = {} if scale == 1 else {"min_height": height, "min_width": width}
    try:
        pixels_HW3: np.ndarray = turbo.decode_jpeg(data, "RGB", strict=True, **least)
    except ValueError:  # also for a warning of the decoder, since strict
        return None
    return pixels_HW3 if pixels_HW3.shape == (height, width, 3) else None


def scan_header(data: bytes) -> Header | None:
    """The header of a JPEG that holds nothing unusual before its pixels, as `read_header` gives it; else None.

    Usual are tables, comments, JFIF and Adobe segments of their proper length and a colour profile in one piece; EXIF
    and XMP are not, since they may turn the picture. A tenth of the time that Pillow takes. It proves nothing about the
    segments that it passes over: only where decode_turbo then decodes is the file known to be good.
    """
    found, icc, at = None, False, 2
    if data[:2] != b"\xff\xd8":
        return None
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        kind, start = data[at + 1], data[at + 2 : at + 18]
        if kind == _SCAN:
            break
        if kind in _FRAMES and found is None:
            found = start
        elif kind == _ICC and not icc and found is None and start.endswith(_WHOLE_PROFILE):
            icc = start[:2] > b"\0\x10"  # longer than its own head
        elif kind not in _TABLES and (kind, start[:7]) not in (_JFIF, _ADOBE):
            return None
        at += 2 + int.from_bytes(start[:2], "big")
    else:
        return None
    mode = _MODES.get(found[7]) if found and len(found) > 7 and found[2] == 8 else None
    if found is None or mode is None:
        return None
    height, width = int.from_bytes(found[3:5], "big"), int.from_bytes(found[5:7], "big")
    return Header(format="JPEG", mode=mode, width=width, height=height, n_frames=1, orientation=1, icc=icc)
