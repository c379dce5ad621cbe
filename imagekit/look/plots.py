"""The plots of a run, drawn by Pillow alone: curves over the epochs, and the confusion matrix.

Shapes: K classes. Colours are those of Okabe and Ito, told apart by colour-blind people; light on the eye in print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.lettering import draw_slanted, fit_text, load_font

Colour = tuple[int, int, int]
Point = tuple[float, float]
Array = npt.NDArray[Any]

WHITE: Colour = (255, 255, 255)
INK: Colour = (32, 36, 42)
QUIET: Colour = (104, 112, 122)
GRID: Colour = (229, 232, 236)
BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)

SMOOTH = 2  # drawn this much larger and reduced: Pillow's lines have no smooth edges of their own
MIN_CURVES_SIZE = (300, 140)
MOST_DRAWABLE = 1e12  # a loss beyond it has no readable axis
MAX_MARKED_EPOCHS = 30

MAX_COUNTED_CLASSES = 20  # above it a count no longer fits into its cell
MAX_NAMED_CLASSES = 60
MAX_CLASSES = 1000
WRONG_POWER = 0.5  # 1 % of a row gives a tenth of the colour: rare mistakes are to be seen
KEY_WIDTH = 340


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `box`: left, top, right, bottom of the plotted area; `unit`: a pixel of a 900 wide picture."""

    box: tuple[float, float, float, float]
    unit: float
    xs: tuple[float, float]
    ys: tuple[float, float]

    def place(self, x: float, y: float) -> Point:
        left, top, right, bottom = self.box
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0]) if self.xs[1] > self.xs[0] else 0.5
        return left + across * (right - left), bottom - (y - self.ys[0]) / (self.ys[1] - self.ys[0]) * (bottom - top)


def draw_curves(rows: Sequence[Mapping[str, float | None]], *, size: tuple[int, int] = (900, 420)) -> Image.Image:
    """Losses and accuracies of training and validation by epoch, side by side in one RGB picture.

    rows: one an epoch with epoch (counted from 1 where missing), train_loss, valid_loss, train_accuracy,
    valid_accuracy (0..1). Values that are missing, None, not finite or beyond 1e12 are left out. size: width, height
    in pixels. Raises ShapeError below 300 x 140.
    """
    if size[0] < MIN_CURVES_SIZE[0] or size[1] < MIN_CURVES_SIZE[1]:
        raise ShapeError(
            f"the curves are to be {size[0]} x {size[1]} pixels, at least {MIN_CURVES_SIZE[0]} x {MIN_CURVES_SIZE[1]}"
            " are needed",
            where="draw_curves: size",
            fix="leave it out for 900 x 420",
        )
    unit = SMOOTH * min(size[0] / 900, size[1] / 420)
    canvas = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), WHITE)
    pen = ImageDraw.Draw(canvas)
    half = canvas.width / 2
    for left, title, key, scale in ((0.0, "Loss", "loss", 1.0), (half, "Accuracy, %", "accuracy", 100.0)):
        curves = {name: _points(rows, f"{name}_{key}", scale) for name in ("train", "valid")}
        _draw_panel(pen, (left, 0, left + half, canvas.height), unit, title, curves, is_share=scale == 100)
    return canvas.reduce(SMOOTH)


def _points(rows: Sequence[Mapping[str, float | None]], name: str, scale: float) -> list[Point]:
    points: list[Point] = []
    for number, row in enumerate(rows, start=1):
        x, y = row.get("epoch"), row.get(name)
        if y is not None and math.isfinite(y) and abs(y) <= MOST_DRAWABLE:
            points.append((x if x is not None and math.isfinite(x) else number, y * scale))
    return points


def _draw_panel(
    pen: ImageDraw.ImageDraw,
    area: tuple[float, float, float, float],
    unit: float,
    title: str,
    curves: Mapping[str, list[Point]],
    *,
    is_share: bool,
) -> None:
    """Title, legend, axes, then the curves with their last values."""
    left, top, right, bottom = area
    box = (left + 58 * unit, top + 56 * unit, right - 92 * unit, bottom - 52 * unit)
    pen.text((box[0], top + 24 * unit), title, INK, load_font(round(17 * unit)), anchor="lm")
    points = [point for curve in curves.values() for point in curve]
    if not points:
        words = "no values"
        pen.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), words, QUIET, load_font(round(14 * unit)), anchor="mm")
        return
    ticks = value_ticks([y for _, y in points], is_share=is_share)
    epochs = [x for x, _ in points]
    panel = Panel(box=box, unit=unit, xs=(min(epochs), max(epochs)), ys=(ticks[0], ticks[-1]))
    draw_axes(pen, panel, ticks)
    colours = {"train": VERMILION, "valid": BLUE}
    for name, curve in curves.items():
        _draw_curve(pen, panel, curve, colours[name])
    best = max(curves["valid"], key=lambda point: (point[1], point[0]), default=None) if is_share else None
    if best is not None:
        _ring(pen, panel.place(*best), 6.5 * unit, unit)
    _draw_legend(pen, (right - 14 * unit, top + 24 * unit), unit, colours, has_best=best is not None)
    _label_ends(pen, panel, {name: curve for name, curve in curves.items() if curve}, colours, is_share=is_share)


def draw_axes(pen: ImageDraw.ImageDraw, panel: Panel, ticks: Sequence[float], *, x_name: str = "epoch") -> None:
    """The grid of the values with their numbers, and the axis below with its ticks and name."""
    left, _, right, bottom = panel.box
    unit, font = panel.unit, load_font(round(13 * panel.unit))
    words = tick_words(ticks)
    for tick, word in zip(ticks, words, strict=True):
        y = panel.place(panel.xs[0], tick)[1]
        pen.line((left, y, right, y), GRID, max(1, round(unit)))
        pen.text((left - 8 * unit, y), word, QUIET, font, anchor="rm")
    for tick in epoch_ticks(*panel.xs):
        x = panel.place(tick, ticks[0])[0]
        pen.line((x, bottom, x, bottom + 5 * unit), QUIET, max(1, round(unit)))
        pen.text((x, bottom + 9 * unit), f"{tick:g}", QUIET, font, anchor="ma")
    pen.line((left, bottom, right, bottom), QUIET, max(1, round(unit)))
    pen.text(((left + right) / 2, bottom + 40 * unit), x_name, QUIET, font, anchor="mm")


def _draw_curve(pen: ImageDraw.ImageDraw, panel: Panel, curve: Sequence[Point], colour: Colour) -> None:
    places = [panel.place(x, y) for x, y in curve]
    if len(places) > 1:
        pen.line(places, colour, max(1, round(2.2 * panel.unit)), joint="curve")
    radius = (3.2 if len(places) <= MAX_MARKED_EPOCHS else 0) * panel.unit
    for place in places if radius else places[-1:]:
        pen.circle(place, radius or 3.2 * panel.unit, fill=colour)


def _ring(pen: ImageDraw.ImageDraw, place: Point, radius: float, unit: float) -> None:
    pen.circle(place, radius, outline=INK, width=max(1, round(1.6 * unit)))


def _draw_legend(
    pen: ImageDraw.ImageDraw, right_middle: Point, unit: float, colours: dict[str, Colour], *, has_best: bool
) -> None:
    """From right to left: a sample of each line and its name."""
    x, y = right_middle
    font = load_font(round(13 * unit))
    for name in (*(["best"] if has_best else []), *reversed(colours)):
        x -= font.getlength(name)
        pen.text((x, y), name, INK, font, anchor="lm")
        if name == "best":
            _ring(pen, (x - 12 * unit, y), 5 * unit, unit)
            x -= 34 * unit
        else:
            pen.line((x - 26 * unit, y, x - 6 * unit, y), colours[name], max(1, round(2.6 * unit)))
            x -= 42 * unit


def _label_ends(
    pen: ImageDraw.ImageDraw,
    panel: Panel,
    curves: Mapping[str, list[Point]],
    colours: Mapping[str, Colour],
    *,
    is_share: bool,
) -> None:
    """The name and last value of each curve beside its end; two that would touch move apart."""
    font, gap = load_font(round(13 * panel.unit)), 17 * panel.unit
    ends = sorted((panel.place(*curve[-1])[1], name) for name, curve in curves.items())
    heights = [y for y, _ in ends]
    if len(ends) == 2 and heights[1] - heights[0] < gap:
        middle = min(max(sum(heights) / 2, panel.box[1] + gap / 2), panel.box[3] - gap / 2)
        heights = [middle - gap / 2, middle + gap / 2]
    for y, (_, name) in zip(heights, ends, strict=True):
        value = curves[name][-1][1]
        number = f"{value:.1f}" if is_share else f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"
        pen.text((panel.box[2] + 13 * panel.unit, y), f"{name} {number}", colours[name], font, anchor="lm")


def value_ticks(values: Sequence[float], *, is_share: bool = False) -> list[float]:
    """Round numbers that enclose all values, 3 to 8 of them; within 0..100 where `is_share` and the values are."""
    low, high = min(values), max(values)
    if low > 0 and low < 0.4 * high:
        low = 0.0  # zero is near: show it
    least = max(1.0 if is_share else 0.0, 1e-3 * max(abs(low), abs(high)), 1e-9)
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    step = round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    if is_share and min(values) >= 0 and max(values) <= 100:
        ticks = [tick for tick in ticks if -1e-9 <= tick <= 100 + 1e-9]
    return ticks


def epoch_ticks(first: float, last: float) -> list[float]:
    """Round epochs from `first` to `last`, `first` itself included, 8 at most."""
    step = max(1.0, round_step((last - first) / 6))
    ticks = [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]
    return [first, *(tick for tick in ticks if tick - first >= 0.6 * step)]


def round_step(at_least: float) -> float:
    """The next of ..., 0.1, 0.2, 0.5, 1, 2, 5, 10, ... from `at_least` up; 1 for zero."""
    if at_least <= 0:
        return 1.0
    power = math.floor(math.log10(at_least))
    factor = next(factor for factor in (1, 2, 5, 10) if factor * 10.0**power >= at_least * (1 - 1e-9))
    return float(f"{factor}e{power}")  # not factor * 10 ** power: 0.1 is to be 0.1


def tick_words(ticks: Sequence[float]) -> list[str]:
    """The ticks as text, all with as many decimals as their step needs; 2e-05 where they are small or large."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    if not 1e-3 <= max(abs(tick) for tick in ticks) < 1e5:
        return [f"{tick:.3g}" for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:.{decimals}f}" for tick in ticks]


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
