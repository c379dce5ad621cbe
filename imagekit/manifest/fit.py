"""What a manifest learns from its rows: channel statistics of train, sizes. n rows."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from imagekit.manifest.image import SUMS
from imagekit.manifest.schema import ChannelStats

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_TURNED = 5  # EXIF orientations from here on swap width and height
_HALF_BITS = 32


def channel_stats(sums: Mapping[str, Ints], n_pixels: Ints, mask: Mask) -> ChannelStats | None:
    """Mean and population standard deviation of each channel over all pixels of the marked rows, in 0..1.

    sums: int64[n] for each of SUMS. n_pixels: int64[n]. None where no row is marked. The sums are exact integers, so
    the order of adding is nothing.
    """
    n_all = exact_sum(n_pixels[mask])
    if not n_all:
        return None
    totals = [exact_sum(sums[name][mask]) for name in SUMS]
    mean = [total / n_all for total in totals[:3]]
    variance = [(totals[3 + channel] * n_all - totals[channel] ** 2) / n_all**2 for channel in range(3)]
    return ChannelStats(
        mean=(mean[0] / 255, mean[1] / 255, mean[2] / 255),
        std=(sqrt(variance[0]) / 255, sqrt(variance[1]) / 255, sqrt(variance[2]) / 255),
        n_images=int(mask.sum()),
        n_pixels=n_all,
    )


def exact_sum(values: Ints) -> int:
    """The sum of integers of at least 0, which may not fit into 64 bits."""
    low = values & ((1 << _HALF_BITS) - 1)
    return (int((values >> _HALF_BITS).sum()) << _HALF_BITS) + int(low.sum())


def image_sizes(width: Ints, height: Ints, orientation: Ints) -> dict[str, Any] | None:
    """Least, median and greatest width, height and aspect (width / height) of images as they are seen; None for n = 0.

    width, height: as stored, in pixels. orientation: EXIF, 0 where there is none.
    """
    if not len(width):
        return None
    is_turned = orientation >= _TURNED
    across, down = np.where(is_turned, height, width), np.where(is_turned, width, height)
    columns = {"width": across, "height": down, "aspect": across / down}
    return {
        name: [_plain(values.min()), _plain(np.median(values)), _plain(values.max())]
        for name, values in columns.items()
    }


def _plain(value: Any) -> int | float:
    """A whole number as int, any other to six digits: what JSON shows."""
    number = round(float(value), 6)
    return int(number) if number.is_integer() else number
