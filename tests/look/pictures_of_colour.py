"""Manifests of pictures of one colour each, so that a page tells which picture lies where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from manifest.handmade import row, table, write
from PIL import Image

Colour = tuple[int, int, int]


def colour_of(number: int) -> Colour:
    """A colour of its own for each of 4,096 pictures; none is a grey, as text and paper are."""
    return 40 + number % 16 * 8, 200 - number // 16 % 16 * 8, 10 + number // 256 % 16


def make_colours(folder: Path, listing: Sequence[tuple[str, str | None, str]], **changes: object) -> Path:
    """The manifest FOLDER/rows.parquet of (name, label, split) and a PNG of its own colour for each, in that order."""
    ordered = sorted(listing)
    for number, (name, _, _) in enumerate(ordered):
        plant_colour(folder / name, colour_of(number))
    rows: pa.Table = table([row(name, label, split) for name, label, split in ordered])
    return write(folder / "rows.parquet", rows, **changes)


def plant_colour(path: Path, colour: Colour, size: tuple[int, int] = (40, 40)) -> None:
    """One PNG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def places(page: Image.Image, n: int, *, side_px: int) -> dict[int, tuple[int, int]]:
    """(x, y) of each of the first n colours that is on the page as a whole square of `side_px`."""
    pixels_HWC = np.asarray(page)
    found = {}
    for number in range(n):
        ys, xs = np.nonzero((pixels_HWC == colour_of(number)).all(axis=2))
        if len(xs):
            assert (len(xs), np.ptp(xs) + 1, np.ptp(ys) + 1) == (side_px**2, side_px, side_px)
            found[number] = (int(xs.min()), int(ys.min()))
    return found


def has_ink(picture: Image.Image) -> bool:
    """Whether letters are drawn in it: pixels far darker than paper, lines and notes."""
    return bool((np.asarray(picture.convert("L")) < 100).any())
