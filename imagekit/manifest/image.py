"""One image of a manifest: hash, size, orientation, difference hash, channel sums. Runs in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imagekit.engine.facts import FactLayout
from imagekit.errors import ImageError
from imagekit.files.hashes import sha256_bytes
from imagekit.files.names import path_in
from imagekit.files.read import read_stamped
from imagekit.files.stamps import proof_of

if TYPE_CHECKING:
    from PIL import Image

    from imagekit.pixels.open import Header

CHECKS = ("none", "header", "decode")
# sums of the byte values of R, G and B, and of their squares
SUMS = ("sum_r", "sum_g", "sum_b", "squares_r", "squares_g", "squares_b")
LAYOUT = FactLayout(
    numbers={
        "width": np.int32,
        "height": np.int32,
        "n_frames": np.int32,
        "exif_orientation": np.int8,
        "size_bytes": np.int64,
        "dhash": np.uint64,
        **dict.fromkeys(SUMS, np.int64),
        "stamp": np.uint64,
    },
    words=("reason", "format", "mode"),
    digests=("sha256",),
    rare=("detail", "decoder_said"),
)
_LEVELS = np.arange(256, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeImage:
    """The task of a worker: raw file name -> what only the file itself can tell, as columns of LAYOUT.

    check: `header` reads the bytes and the header, `decode` every pixel. with_sums: measure the channels.
    """

    root: str
    check: str = "decode"
    with_sums: bool = True

    def warm_up(self) -> None:
        """Import what looks into a file: now, for the limit on memory comes after."""
        from imagekit.pixels.dhash import dhash  # noqa: F401 - to have it loaded
        from imagekit.pixels.turbo import load_turbo

        load_turbo()

    def __call__(self, name: bytes) -> dict[str, Any]:
        """The facts of one image; an unusable one comes back with `reason` and `detail`."""
        facts: dict[str, Any] = {}
        try:
            return facts | self._look(self._read(name, facts))
        except ImageError as error:
            return facts | {"reason": error.reason, "detail": error.detail}

    def scan(self, name: bytes) -> dict[str, Any] | None:
        """As a call under `header`, without any decoder and so safe in every process; None where one is needed.

        A plain JPEG tells its header in a few bytes that are looked at here.
        """
        facts: dict[str, Any] = {}
        try:
            header = _plain_header(self._read(name, facts))
        except ImageError as error:
            return facts | {"reason": error.reason, "detail": error.detail}
        return facts | header_facts(header) if header else None

    def _read(self, name: bytes, facts: dict[str, Any]) -> bytes:
        """The file's bytes; what they alone tell goes into `facts`."""
        reading = read_stamped(path_in(self.root, name))
        facts["stamp"] = proof_of(reading.stamp)
        facts |= {"size_bytes": len(reading.data), "sha256": sha256_bytes(reading.data)}
        return reading.data

    def _look(self, data: bytes) -> dict[str, Any]:
        from imagekit.pixels.dhash import dhash
        from imagekit.pixels.open import read_header
        from imagekit.pixels.reasons import bomb_if_no_memory

        with bomb_if_no_memory():
            header = _plain_header(data)
            if self.check == "header":
                return header_facts(header or read_header(data))
            header, rgb = _decode(data, header)
            seen = header_facts(header) | {"dhash": dhash(rgb)}
            if self.with_sums:
                seen |= dict(zip(SUMS, channel_sums(rgb.histogram()), strict=True))
            return seen


def _plain_header(data: bytes) -> Header | None:
    """The header of a plain JPEG of no more pixels than may be decoded; of any other image Pillow's reader tells it."""
    from imagekit.pixels.limits import MAX_PIXELS
    from imagekit.pixels.turbo import scan_header

    header = scan_header(data)
    return header if header and header.width * header.height <= MAX_PIXELS else None


def _decode(data: bytes, header: Header | None) -> tuple[Header, Image.Image]:
    """The header and the upright RGB image. header: of a plain JPEG, or None."""
    from imagekit.pixels.memory import image_of
    from imagekit.pixels.open import open_image
    from imagekit.pixels.rgb import to_rgb
    from imagekit.pixels.turbo import decode_turbo
    from imagekit.pixels.upright import upright

    pixels_HW3 = decode_turbo(data, header) if header else None
    if header and pixels_HW3 is not None:
        return header, image_of(pixels_HW3)
    picture = open_image(data)
    return picture, to_rgb(upright(picture))


def header_facts(header: Header) -> dict[str, Any]:
    """What an image is, as columns of LAYOUT: width and height as stored, in pixels."""
    return {
        "width": header.width,
        "height": header.height,
        "format": header.format,
        "mode": header.mode,
        "n_frames": header.n_frames,
        "exif_orientation": header.orientation,
    }


def channel_sums(histogram: list[int]) -> tuple[int, ...]:
    """Sum and sum of squares of the byte values of R, G and B: six integers, exact whatever the order of adding.

    histogram: 768 counts, 256 for each channel, as Pillow gives them for an RGB image.
    """
    counts = np.asarray(histogram, dtype=np.int64).reshape(3, 256)
    return (*(counts @ _LEVELS).tolist(), *(counts @ _LEVELS**2).tolist())
