"""A line plot, drawn by Pillow alone: one or several panels side by side, linear or logarithmic.

Shapes: N points, S stretches without a gap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.lettering import Font, draw_slanted, fit_text, load_font
from imagekit.look.plots import (
    BLUE,
    GRID,
    INK,
    MAX_MARKED_EPOCHS,
    QUIET,
    SMOOTH,
    VERMILION,
    WHITE,
    Array,
    Colour,
    Panel,
    Point,
    round_step,
    tick_words,
    value_ticks,
)

# Okabe and Ito's, but for their yellow, which is too light for a line on white
COLOURS: tuple[Colour, ...] = (BLUE, VERMILION, (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), INK)
DOTS: Colour = (176, 182, 190)

MAX_PANELS = 4
MIN_PANEL = (300, 240)  # letters of 8 pixels
WANTED_PANEL = (480, 380)  # the size of a panel where letters have their 13 pixels
MOST_DRAWABLE = 1e300  # beyond it the difference of two values may have no float

Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class Lines:
    """One panel of a plot: series by name, each [N] values at x = 1, 2, ..., or [N, 2] points (x, y).

    dots: the names of those drawn as grey dots without a line, noisy values say. log_x, log_y: a logarithmic axis.
    """

    title: str
    series: Mapping[str, Any]
    _: KW_ONLY
    x_name: str = "step"
    y_name: str = ""
    dots: Collection[str] = ()
    log_x: bool = False
    log_y: bool = False


def draw_lines(panels: Sequence[Lines], *, size: tuple[int, int] | None = None) -> Image.Image:
    """The panels side by side in one RGB picture, each with title, legend and axes.

    size: width and height of the picture in pixels, 480 x 380 a panel where None; the letters grow with it.
    A name keeps its colour from panel to panel. Up to 30 points are marked. What is not finite or beyond 1e300 is a
    gap, and so is 0 and below on a logarithmic axis; a lone value between gaps is a dot.
    Raises ShapeError for no panel or over 4, a panel without a series or with over 7 lines, a series of another
    shape, dots without a series, and less than 300 x 240 pixels a panel.
    """
    width, height = _check_size(size, len(panels))
    for panel in panels:
        _check_names(panel)
    curves = [{name: _points(values, name, panel) for name, values in panel.series.items()} for panel in panels]
    colours = _choose_colours(panels)
    canvas = Image.new("RGB", (width * SMOOTH, height * SMOOTH), WHITE)
    each = canvas.width / len(panels)
    unit = SMOOTH * min(width / len(panels) / WANTED_PANEL[0], height / WANTED_PANEL[1])
    for number, (panel, names, points) in enumerate(zip(panels, colours, curves, strict=True)):
        _Frame(canvas, (number * each, (number + 1) * each), unit, panel, names).draw(points)
    return canvas.reduce(SMOOTH)


def _check_size(size: tuple[int, int] | None, n_panels: int) -> tuple[int, int]:
    if not 1 <= n_panels <= MAX_PANELS:
        raise ShapeError(
            f"there are {n_panels} panels, a picture has 1 to {MAX_PANELS}",
            where="draw_lines: panels",
            fix="draw several pictures" if n_panels else "give one Lines at least",
        )
    width, height = size if size is not None else (WANTED_PANEL[0] * n_panels, WANTED_PANEL[1])
    least = (MIN_PANEL[0] * n_panels, MIN_PANEL[1])
    if width < least[0] or height < least[1]:
        raise ShapeError(
            f"the picture is to be {width} x {height} pixels, {n_panels} panels need at least {least[0]} x {least[1]}",
            where="draw_lines: size",
            fix=f"leave it out for {WANTED_PANEL[0] * n_panels} x {WANTED_PANEL[1]}",
        )
    return width, height


def _check_names(panel: Lines) -> None:
    stray = [name for name in panel.dots if name not in panel.series]
    if stray or not panel.series:
        raise ShapeError(
            f'dots names "{stray[0]}", which is no series' if stray else "there is no series",
            where=f'draw_lines: panel "{panel.title}"',
            fix=f"the series are {', '.join(panel.series)}" if panel.series else "give series by name",
        )
    n_lines = len(panel.series) - len(set(panel.dots))
    if n_lines > len(COLOURS):
        raise ShapeError(
            f"there are {n_lines} lines, they are told apart for at most {len(COLOURS)}",
            where=f'draw_lines: panel "{panel.title}"',
            fix="draw several panels, or only some of the series",
        )


def _choose_colours(panels: Sequence[Lines]) -> list[dict[str, Colour]]:
    """By name for each panel: what a name had in an earlier one if that is free, else the next that is free."""
    before: dict[str, Colour] = {}
    chosen: list[dict[str, Colour]] = []
    for panel in panels:
        names = [name for name in panel.series if name not in panel.dots]
        here: dict[str, Colour] = {}
        for name in sorted(names, key=lambda name: name not in before):
            free = [colour for colour in COLOURS if colour not in here.values()]
            here[name] = before[name] if before.get(name) in free else free[0]
        before = {**here, **before}
        chosen.append(here)
    return chosen


def _points(values: Any, name: str, panel: Lines) -> Array:
    """float64 [N, 2], on logarithmic axes the logarithm to base 10; NaN where nothing can be drawn."""
    where = f'draw_lines: panel "{panel.title}"'
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f'series "{name}" cannot be read as numbers: {error}',
            where=where,
            fix="give a list, an array or a float32 tensor of numbers",
        ) from error
    if given.ndim == 1:
        given = np.stack([np.arange(1, len(given) + 1, dtype=np.float64), given], axis=1)
    if given.ndim != 2 or given.shape[1] != 2:
        raise ShapeError(
            f'series "{name}" is {list(given.shape)}, must be [N] values or [N, 2] points',
            where=where,
            fix="give the values of y, or list(zip(x, y))",
        )
    is_drawable = np.isfinite(given) & (np.abs(np.nan_to_num(given)) <= MOST_DRAWABLE)
    for axis, is_log in enumerate((panel.log_x, panel.log_y)):
        if is_log:
            is_drawable[:, axis] &= given[:, axis] > 0
    points: Array = np.where(is_drawable.all(axis=1, keepdims=True), given, np.nan)
    for axis, is_log in enumerate((panel.log_x, panel.log_y)):
        if is_log:
            points[:, axis] = np.log10(points[:, axis])
    return points


class _Frame:
    """The place of one panel on the canvas, and what draws there. across: left and right in pixels."""

    def __init__(
        self,
        canvas: Image.Image,
        across: tuple[float, float],
        unit: float,
        lines: Lines,
        colours: Mapping[str, Colour],
    ) -> None:
        self.canvas, self.pen, self.unit, self.lines, self.colours = (
            canvas,
            ImageDraw.Draw(canvas),
            unit,
            lines,
            colours,
        )
        self.left, self.right = across[0] + 18 * unit, across[1] - 22 * unit
        self.font = load_font(round(13 * unit))

    def draw(self, curves: Mapping[str, Array]) -> None:
        """Title and legend above, then the axes, as wide as the numbers beside them leave, then the lines."""
        top = self._draw_head() + 22 * self.unit
        bottom = self.canvas.height - 54 * self.unit
        points = np.concatenate(list(curves.values()))
        points = points[~np.isnan(points[:, 0])]
        if not len(points):
            middle = ((self.left + self.right) / 2, (top + bottom) / 2)
            self.pen.text(middle, "no values", QUIET, self.font, anchor="mm")
            return
        ys = _enclosing_ticks(points[:, 1], is_log=self.lines.log_y)
        widest = max(self.font.getlength(word) for _, word in ys)
        left = self.left + widest + (30 if self.lines.y_name else 8) * self.unit
        panel = Panel(
            box=(left, top, self.right, bottom),
            unit=self.unit,
            xs=(float(points[:, 0].min()), float(points[:, 0].max())),
            ys=(ys[0][0], ys[-1][0]),
        )
        self._draw_axes(panel, ys)
        # dots first: lines are to stay visible
        for name in sorted(curves, key=lambda name: name not in self.lines.dots):
            self._draw_curve(panel, name, curves[name])

    def _draw_head(self) -> float:
        """The title and the rows of the legend; where they end."""
        title_font = load_font(round(17 * self.unit))
        title = fit_text(self.lines.title, title_font, max_px=self.right - self.left)
        self.pen.text((self.left, 24 * self.unit), title, INK, title_font, anchor="lm")
        x, y = self.left, 50 * self.unit
        for name in self.lines.series:
            word = fit_text(name, self.font, max_px=self.right - self.left - 28 * self.unit)
            length = self.font.getlength(word) + 26 * self.unit
            if x > self.left and x + length > self.right:
                x, y = self.left, y + 20 * self.unit
            self._draw_sample((x, y), name)
            self.pen.text((x + 26 * self.unit, y), word, INK, self.font, anchor="lm")
            x += length + 18 * self.unit
        return y

    def _draw_sample(self, at: Point, name: str) -> None:
        x, y = at
        if name in self.lines.dots:
            self._dot((x + 10 * self.unit, y), 2.4, DOTS)
        else:
            self.pen.line((x, y, x + 20 * self.unit, y), self.colours[name], max(1, round(2.6 * self.unit)))

    def _draw_axes(self, panel: Panel, ys: Ticks) -> None:
        left, top, right, bottom = panel.box
        thin = max(1, round(self.unit))
        for tick, word in ys:
            y = panel.place(panel.xs[0], tick)[1]
            self.pen.line((left, y, right, y), GRID, thin)
            self.pen.text((left - 8 * self.unit, y), word, QUIET, self.font, anchor="rm")
        for tick, word in _ticks_within(panel.xs, self.font, width=right - left, is_log=self.lines.log_x):
            x = panel.place(tick, panel.ys[0])[0]
            self.pen.line((x, bottom, x, bottom + 5 * self.unit), QUIET, thin)
            self.pen.text((x, bottom + 9 * self.unit), word, QUIET, self.font, anchor="ma")
        self.pen.line((left, bottom, right, bottom), QUIET, thin)
        name = fit_text(self.lines.x_name, self.font, max_px=right - left)
        self.pen.text(((left + right) / 2, bottom + 38 * self.unit), name, QUIET, self.font, anchor="mm")
        name = fit_text(self.lines.y_name, self.font, max_px=bottom - top)
        if name:
            start = (self.left + 4 * self.unit, (top + bottom + self.font.getlength(name)) / 2)
            draw_slanted(self.canvas, start, name, font=self.font, fill=QUIET, degrees=90)

    def _draw_curve(self, panel: Panel, name: str, points: Array) -> None:
        if name in self.lines.dots:
            for x, y in points[~np.isnan(points[:, 0])]:
                self._dot(panel.place(x, y), 2.0, DOTS)
            return
        is_marked = len(points) <= MAX_MARKED_EPOCHS
        for stretch in _stretches(points):
            places = [panel.place(float(x), float(y)) for x, y in stretch]
            if len(places) > 1:
                self.pen.line(places, self.colours[name], max(1, round(2.0 * self.unit)), joint="curve")
            for place in places if is_marked or len(places) == 1 else []:
                self._dot(place, 3.0, self.colours[name])

    def _dot(self, place: Point, radius: float, colour: Colour) -> None:
        self.pen.circle(place, radius * self.unit, fill=colour)


def _stretches(points: Array) -> list[Array]:
    """[N, 2] to S arrays without NaN."""
    numbers = np.flatnonzero(~np.isnan(points[:, 0]))
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return [points[part] for part in parts if len(part)]


def _enclosing_ticks(values: Array, *, is_log: bool) -> Ticks:
    """Round numbers, or powers of ten, from below all values to above them."""
    low, high = float(values.min()), float(values.max())
    if low == high == 0 and not is_log:
        low, high = -1.0, 1.0
    if not is_log:
        # value_ticks takes what is below 1e-9 for rounding: values of another size come to it as numbers from 1 to 10
        size = 10.0 ** max(-300, math.floor(math.log10(max(abs(low), abs(high), 1e-300))))
        ticks = [tick * size for tick in value_ticks([low / size, high / size])]
        return list(zip(ticks, _words(ticks), strict=True))
    step = _power_step(high - low, n_most=5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    powers = [number * step for number in range(first, max(last, first + 1) + 1)]
    return [(power, _power_word(power)) for power in powers]


def _ticks_within(across: tuple[float, float], font: Font, *, width: float, is_log: bool) -> Ticks:
    """As many round numbers, or powers of ten, as have room beside one another; 8 at most."""
    low, high = across
    ends = [(end, f"{10**end if is_log else end:.6g}") for end in across]
    if high - low < 1 / MOST_DRAWABLE:  # all at one x
        return ends[:1]
    ticks: Ticks = []
    for n_most in (7, 5, 4, 3, 2, 1):
        if is_log:
            powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, _power_step(high - low, n_most=n_most))
            ticks = [(power, _power_word(power)) for power in powers]
        else:
            step = round_step((high - low) / n_most)
            round_ones = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
            values = [number * step for number in round_ones]
            ticks = list(zip(values, _words(values), strict=True))
        if sum(font.getlength(f"{word}  ") for _, word in ticks) <= width:
            break
    return ticks or ends  # between two powers of ten there is none


def _power_step(span: float, *, n_most: int) -> int:
    return max(1, math.ceil(span / n_most - 1e-9))


def _power_word(power: int) -> str:
    return f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"


def _words(ticks: Sequence[float]) -> list[str]:
    """The ticks as text, all different."""
    words = tick_words(ticks) if len(ticks) > 1 else [f"{tick:.6g}" for tick in ticks]
    digits = 3
    while len(set(words)) < len(set(ticks)) and digits < 17:  # 100,100 and 100,200 are one to three digits
        digits += 1
        words = [f"{tick:.{digits}g}" for tick in ticks]
    return [re.sub(r"e([+-])0*", lambda sign: "e-" if sign[1] == "-" else "e", word) for word in words]
