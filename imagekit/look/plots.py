"""The curves of a run over its epochs, drawn by Pillow alone, and the axes that other plots use too.

Colours are those of Okabe and Ito, told apart by colour-blind people; light on the eye in print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.epochs import best_number
from imagekit.look.lettering import load_font

Colour = tuple[int, int, int]
Point = tuple[float, float]
Array = npt.NDArray[Any]

WHITE: Colour = (255, 255, 255)
INK: Colour = (32, 36, 42)
QUIET: Colour = (104, 112, 122)
GRID: Colour = (229, 232, 236)
BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
GREEN: Colour = (0, 158, 115)

# name in the plot -> where its columns begin in metrics.csv, and its colour
CURVES: dict[str, tuple[str, Colour]] = {
    "train": ("train", VERMILION),
    "valid": ("valid", BLUE),
    "EMA": ("valid_ema", GREEN),
}

SMOOTH = 2  # drawn this much larger and reduced: Pillow's lines have no smooth edges of their own
MIN_CURVES_SIZE = (300, 140)
MOST_DRAWABLE = 1e12  # a loss beyond it has no readable axis
MAX_MARKED_EPOCHS = 30


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
    valid_accuracy (0..1); valid_ema_loss and valid_ema_accuracy, of the averaged weights, where there are any. Values
    that are missing, None, not finite or beyond 1e12 are left out. The valid accuracy of the best epoch is ringed.
    size: width, height in pixels. Raises ShapeError below 300 x 140.
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
    best = best_number(rows)
    for left, title, key, scale in ((0.0, "Loss", "loss", 1.0), (half, "Accuracy, %", "accuracy", 100.0)):
        curves = {name: _points(rows, f"{start}_{key}", scale) for name, (start, _) in CURVES.items()}
        curves = {name: curve for name, curve in curves.items() if curve}
        ringed = _point(rows, best, "valid_accuracy", scale) if best is not None and key == "accuracy" else None
        area = (left, 0.0, left + half, float(canvas.height))
        _draw_panel(pen, area, unit, title, curves, ringed=ringed, is_share=scale == 100)
    return canvas.reduce(SMOOTH)


def _points(rows: Sequence[Mapping[str, float | None]], name: str, scale: float) -> list[Point]:
    points = [_point(rows, number, name, scale) for number in range(len(rows))]
    return [point for point in points if point is not None]


def _point(rows: Sequence[Mapping[str, float | None]], number: int, name: str, scale: float) -> Point | None:
    x, y = rows[number].get("epoch"), rows[number].get(name)
    if y is None or not math.isfinite(y) or abs(y) > MOST_DRAWABLE:
        return None
    return (x if x is not None and math.isfinite(x) else number + 1, y * scale)


def _draw_panel(
    pen: ImageDraw.ImageDraw,
    area: tuple[float, float, float, float],
    unit: float,
    title: str,
    curves: Mapping[str, list[Point]],
    *,
    ringed: Point | None,
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
    for name, curve in curves.items():
        _draw_curve(pen, panel, curve, CURVES[name][1])
    if ringed is not None:
        _ring(pen, panel.place(*ringed), 6.5 * unit, unit)
    _draw_legend(pen, (right - 14 * unit, top + 24 * unit), unit, list(curves), has_best=ringed is not None)
    _label_ends(pen, panel, curves, is_share=is_share)


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
    pen: ImageDraw.ImageDraw, right_middle: Point, unit: float, names: Sequence[str], *, has_best: bool
) -> None:
    """From right to left: a sample of each line and its name."""
    x, y = right_middle
    font = load_font(round(13 * unit))
    for name in (*(["best"] if has_best else []), *reversed(names)):
        x -= font.getlength(name)
        pen.text((x, y), name, INK, font, anchor="lm")
        if name == "best":
            _ring(pen, (x - 12 * unit, y), 5 * unit, unit)
            x -= 34 * unit
        else:
            pen.line((x - 26 * unit, y, x - 6 * unit, y), CURVES[name][1], max(1, round(2.6 * unit)))
            x -= 42 * unit


def _label_ends(pen: ImageDraw.ImageDraw, panel: Panel, curves: Mapping[str, list[Point]], *, is_share: bool) -> None:
    """The name and last value of each curve beside its end; those that would touch move apart."""
    font = load_font(round(13 * panel.unit))
    ends = sorted((panel.place(*curve[-1])[1], name) for name, curve in curves.items())
    heights = spread([y for y, _ in ends], gap=17 * panel.unit, within=(panel.box[1], panel.box[3]))
    for y, (_, name) in zip(heights, ends, strict=True):
        value = curves[name][-1][1]
        number = f"{value:.1f}" if is_share else f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"
        pen.text((panel.box[2] + 13 * panel.unit, y), f"{name} {number}", CURVES[name][1], font, anchor="lm")


def spread(places: Sequence[float], *, gap: float, within: tuple[float, float]) -> list[float]:
    """Places in ascending order, moved apart to at least `gap`; those that touch lie about their common middle."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _row(groups[-1], gap, within)[0] - _row(groups[-2], gap, within)[-1] < gap:
            last = groups.pop()
            groups[-1] += last
    return [place for group in groups for place in _row(group, gap, within)]


def _row(group: Sequence[float], gap: float, within: tuple[float, float]) -> list[float]:
    half = (len(group) - 1) / 2 * gap
    middle = min(max(sum(group) / len(group), within[0] + half), max(within[0] + half, within[1] - half))
    return [middle - half + number * gap for number in range(len(group))]


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
