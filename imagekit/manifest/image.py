"""One image of a manifest: hash, size, orientation, difference hash, channel sums. Runs in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagekit.errors import ImageError
from imagekit.files.hashes import sha256_bytes
from imagekit.files.names import to_path
from imagekit.files.read import read_file
from imagekit.pixels.dhash import dhash
from imagekit.pixels.open import open_image
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.upright import upright

_LEVELS = np.arange(256, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeImage:
    """The task of a worker: raw file name -> the columns that only the file itself can tell."""

    root: str

    def __call__(self, name: bytes) -> dict[str, Any]:
        """Columns of the row, plus exact channel sums; an unusable image comes back with `reason` and `detail`."""
        row: dict[str, Any] = {}
        try:
            data = read_file(to_path(Path(self.root), name))
            row |= {"size_bytes": len(data), "sha256": sha256_bytes(data)}
            picture = open_image(data)
            row |= {"width": picture.width, "height": picture.height, "format": picture.format, "mode": picture.mode}
            row |= {"n_frames": picture.n_frames, "exif_orientation": picture.orientation}
            rgb = to_rgb(upright(picture))
        except ImageError as error:
            return row | {"reason": error.reason, "detail": error.detail}
        return row | {"dhash": dhash(rgb), "sums": channel_sums(rgb.histogram())}


def channel_sums(histogram: list[int]) -> tuple[int, ...]:
    """Sum and sum of squares of the byte values of R, G and B: six integers, exact whatever the order of adding.

    histogram: 768 counts, 256 for each channel, as Pillow gives them for an RGB image.
    """
    counts = np.asarray(histogram, dtype=np.int64).reshape(3, 256)
    return (*(counts @ _LEVELS).tolist(), *(counts @ _LEVELS**2).tolist())
