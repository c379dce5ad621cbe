"""The confusion matrix of a run, drawn by Pillow alone.

Shapes: K classes. Colours are those of the curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.lettering import draw_slanted, fit_text, load_font
from imagekit.look.plots import BLUE, GRID, INK, QUIET, VERMILION, WHITE, Array

MAX_COUNTED_CLASSES = 20  # above it a count no longer fits into its cell
MAX_NAMED_CLASSES = 60
MAX_CLASSES = 1000
WRONG_POWER = 0.5  # 1 % of a row gives a tenth of the colour: rare mistakes are to be seen
KEY_WIDTH = 340


@dataclass(frozen=True, slots=True)
class _Grid:
    """The measures of one confusion matrix, in pixels. `scale`: 2 where there is text, to be sharp on every screen."""

    n_classes: int
    cell: int
    scale: int
    left: int
    top: int
    right: int

    @property
    def side(self) -> int:
        return self.n_classes * self.cell

    @property
    def height(self) -> int:
        return self.top + self.side + 70 * self.scale


def draw_confusion(counts_KK: Sequence[Sequence[int]], names: Sequence[str]) -> Image.Image:
    """Which class was taken for which: rows are the truth, columns the prediction.

    Blue on the diagonal, as strong as its share of the row; vermilion beside it, as strong as the square root of its.
    The counts are written for up to 20 classes, the names for up to 60. RGB; at most about 1,200 px a side, twice that
    with names.
    Raises ShapeError where the counts are not square, the names do not fit them, or there are over 1,000 classes.
    """
    counts = _check_counts(counts_KK, names)
    grid = _measure(names)
    canvas = Image.new("RGB", (grid.left + max(grid.side + grid.right, KEY_WIDTH * grid.scale), grid.height), WHITE)
    cells = Image.fromarray(_shades(counts))
    canvas.paste(cells.resize((grid.side, grid.side), Image.Resampling.NEAREST), (grid.left, grid.top))
    pen = ImageDraw.Draw(canvas)
    if len(names) <= MAX_NAMED_CLASSES:
        _draw_lines(pen, grid)
        _draw_names(canvas, pen, grid, names)
    pen.rectangle((grid.left - 1, grid.top - 1, grid.left + grid.side, grid.top + grid.side), outline=QUIET)
    if len(names) <= MAX_COUNTED_CLASSES:
        _draw_counts(pen, grid, counts)
    _draw_titles(canvas, pen, grid)
    _draw_key(pen, grid)
    return canvas


def _check_counts(counts_KK: Sequence[Sequence[int]], names: Sequence[str]) -> Array:
    n = len(names)
    lengths = {len(row) for row in counts_KK}
    if not n or len(counts_KK) != n or lengths != {n}:
        columns = "/".join(str(length) for length in sorted(lengths)) or "0"
        raise ShapeError(
            f"the counts have {len(counts_KK)} rows of {columns}, there are {n} names",
            where="draw_confusion: counts_KK",
            fix="give as many rows and columns as names, at least one",
        )
    if n > MAX_CLASSES:
        raise ShapeError(
            f"there are {n:,} classes, a confusion matrix is drawn for at most {MAX_CLASSES:,}",
            where="draw_confusion: names",
            fix="draw the classes of interest alone",
        )
    return np.asarray(counts_KK, dtype=np.int64)


def _measure(names: Sequence[str]) -> _Grid:
    n = len(names)
    scale = 2 if n <= MAX_NAMED_CLASSES else 1
    if n <= MAX_COUNTED_CLASSES:
        cell = min(64, max(36, 560 // n)) * scale
    elif n <= MAX_NAMED_CLASSES:
        cell = max(13, 800 // n) * scale
    else:
        return _Grid(n_classes=n, cell=max(1, 900 // n), scale=scale, left=50, top=50, right=30)
    font = load_font(_name_px(cell, scale))
    longest = max(font.getlength(fit_text(name, font, max_px=140 * scale)) for name in names)
    is_slanted = _slant(cell, scale) == 45
    return _Grid(
        n_classes=n,
        cell=cell,
        scale=scale,
        left=round(longest) + 52 * scale,
        top=round(longest * (0.75 if is_slanted else 1.0)) + 58 * scale,
        right=round(max(longest * 0.75 - cell / 2, 0) if is_slanted else 0) + 30 * scale,
    )


def _name_px(cell: int, scale: int) -> int:
    return min(13 * scale, cell - 2 * scale)


def _slant(cell: int, scale: int) -> int:
    """Names climb at 45 degrees, easier to read, unless the columns are too narrow for it."""
    return 45 if cell >= 24 * scale else 90


def _shades(counts: Array) -> Array:
    """uint8 [K, K, 3]: white to full colour."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_right = np.eye(len(counts), dtype=bool)
    strength = np.where(is_right, share, share.clip(0, 1) ** WRONG_POWER)[..., None]
    inks = np.where(is_right[..., None], np.array(BLUE), np.array(VERMILION))
    shades: Array = np.rint(255 + (inks - 255) * strength).astype(np.uint8)
    return shades


def _draw_lines(pen: ImageDraw.ImageDraw, grid: _Grid) -> None:
    for number in range(1, grid.n_classes):
        at = number * grid.cell
        pen.line((grid.left + at, grid.top, grid.left + at, grid.top + grid.side), GRID)
        pen.line((grid.left, grid.top + at, grid.left + grid.side, grid.top + at), GRID)


def _draw_names(canvas: Image.Image, pen: ImageDraw.ImageDraw, grid: _Grid, names: Sequence[str]) -> None:
    font = load_font(_name_px(grid.cell, grid.scale))
    for number, name in enumerate(names):
        text, middle = fit_text(name, font, max_px=140 * grid.scale), (number + 0.5) * grid.cell
        pen.text((grid.left - 8 * grid.scale, grid.top + middle), text, INK, font, anchor="rm")
        start = (grid.left + middle, grid.top - 8 * grid.scale)
        draw_slanted(canvas, start, text, font=font, fill=INK, degrees=_slant(grid.cell, grid.scale))


def _draw_counts(pen: ImageDraw.ImageDraw, grid: _Grid, counts: Array) -> None:
    words = [[_short_count(int(count)) for count in row] for row in counts]
    longest = max((word for row in words for word in row), key=len)
    px = 14 * grid.scale
    while px > 6 and load_font(px).getlength(longest) > grid.cell - 8 * grid.scale:
        px -= 1
    shades = _shades(counts).astype(np.int64)
    for (row, column), count in np.ndenumerate(counts):
        is_dark = shades[row, column] @ (299, 587, 114) < 140_000
        colour = WHITE if is_dark else INK if count else (176, 182, 190)
        at = (grid.left + (column + 0.5) * grid.cell, grid.top + (row + 0.5) * grid.cell)
        pen.text(at, words[row][column], colour, load_font(px), anchor="mm")


def _short_count(count: int) -> str:
    """At most five signs up to ten thousand million: 99999, 123k, 4.5M."""
    if count < 100_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def _draw_titles(canvas: Image.Image, pen: ImageDraw.ImageDraw, grid: _Grid) -> None:
    font = load_font(15 * grid.scale)
    pen.text((grid.left + grid.side / 2, 20 * grid.scale), "prediction", INK, font, anchor="mm")
    start = (20 * grid.scale, grid.top + grid.side / 2 + font.getlength("truth") / 2)
    draw_slanted(canvas, start, "truth", font=font, fill=INK, degrees=90)


def _draw_key(pen: ImageDraw.ImageDraw, grid: _Grid) -> None:
    """What the colours mean, below the matrix."""
    scale, font = grid.scale, load_font(12 * grid.scale)
    x, y = float(grid.left), grid.top + grid.side + 32 * scale
    for word, ink, power in (("right", BLUE, 1.0), ("wrong", VERMILION, WRONG_POWER)):
        pen.text((x, y), word, QUIET, font, anchor="lm")
        x += font.getlength(word) + 6 * scale
        for step in range(40):
            strength = (step / 39) ** power
            colour = tuple(round(255 + (part - 255) * strength) for part in ink)
            pen.rectangle((x + step * scale, y - 5 * scale, x + (step + 1) * scale, y + 5 * scale), fill=colour)
        x += 56 * scale
    pen.text((x, y), "0 to 100 % of the row", QUIET, font, anchor="lm")
