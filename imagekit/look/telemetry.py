"""The plots of what layers gave in training, drawn by Pillow alone: means, deviations, histograms, near-zero shares.

Shapes: L layers, T steps, N bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.lettering import fit_text, load_font
from imagekit.look.plots import (
    GRID,
    INK,
    MOST_DRAWABLE,
    QUIET,
    SMOOTH,
    WHITE,
    Array,
    Colour,
    Panel,
    Point,
    draw_axes,
    value_ticks,
)

WIDTH = 1200
CURVES_HEIGHT = 330
LEGEND_ROW = 24
LAYER_HEIGHT = 196
LAYERS_A_ROW = 2
MAX_LAYERS = 100
MAX_POINTS = 500  # of a curve: more steps than its pixels are averaged
NAME_WIDTH = 190

# along the depth from violet to yellow, as viridis does: an order that colour-blind eyes see too, dark enough on white
_DEPTHS: tuple[Colour, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 190, 80), (224, 178, 20))
_COUNTS: tuple[Colour, ...] = (WHITE, (126, 184, 218), (0, 114, 178), (8, 36, 84))

Floats = npt.NDArray[np.floating]
Ends = tuple[int, int]  # the numbers of the first and the last step


def draw_telemetry(
    means_LT: Floats,
    stds_LT: Floats,
    hists_LTN: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    near_zero_LT: Floats,
    value_range: tuple[float, float],
    near_zero: float,
    steps: Sequence[int] | None = None,
) -> Image.Image:
    """How the outputs of each layer changed over the steps, in one RGB picture of 1200 px width.

    Above: means and deviations, a curve a layer, coloured by its depth. Below for each layer: its histogram over the
    steps, dark where there are many values, by log(1 + count); and the share of its values within near_zero of 0.
    value_range: of the histograms. steps: the numbers of the T steps, evenly spaced; 1 to T where None. Values that are
    not finite or beyond 1e12 are left out.
    Raises ShapeError where the shapes disagree, and without a layer or for over 100.
    Source: fast.ai course v3, lesson 10.
    """
    _check(means_LT, stds_LT, hists_LTN, near_zero_LT, names)
    xs = _ends(steps, means_LT.shape[1])
    colours = [_blend(_DEPTHS, number / max(len(names) - 1, 1)) for number in range(len(names))]
    layers = [
        _Layer(name, colour, hist, share)
        for name, colour, hist, share in zip(names, colours, hists_LTN, near_zero_LT * 100, strict=True)
    ]
    rows = [layers[first : first + LAYERS_A_ROW] for first in range(0, len(layers), LAYERS_A_ROW)]
    return _stack(
        [
            _draw_curves(means_LT, stds_LT, colours, xs),
            _draw_legend(names, colours),
            *(_draw_row(row, value_range, near_zero, xs) for row in rows),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    name: str
    colour: Colour
    hist_TN: Array
    share_T: Array


def _check(means_LT: Array, stds_LT: Array, hists_LTN: Array, near_zero_LT: Array, names: Sequence[str]) -> None:
    shapes = [array.shape for array in (means_LT, stds_LT, near_zero_LT)]
    is_fine = len(means_LT.shape) == 2 and len(set(shapes)) == 1 and hists_LTN.ndim == 3
    if not is_fine or hists_LTN.shape[:2] != shapes[0] or not hists_LTN.shape[2] or len(names) != len(means_LT):
        given = ", ".join(str(list(shape)) for shape in (*shapes, hists_LTN.shape))
        raise ShapeError(
            f"means, deviations, shares and histograms are {given}, there are {len(names)} names",
            where="draw_telemetry",
            fix="give [L, T] three times, [L, T, N], and L names",
        )
    if not 1 <= len(names) <= MAX_LAYERS:
        raise ShapeError(
            f"there are {len(names)} layers, telemetry is drawn for 1 to {MAX_LAYERS}",
            where="draw_telemetry: names",
            fix="draw the layers of interest alone",
        )


def _ends(steps: Sequence[int] | None, n_steps: int) -> Ends:
    if steps is None:
        return (1, n_steps)
    if len(steps) != n_steps:
        raise ShapeError(
            f"there are {len(steps)} numbers of {n_steps} steps",
            where="draw_telemetry: steps",
            fix="give one a step, or leave them out to count from 1",
        )
    return (steps[0], steps[-1]) if n_steps else (1, 0)


def _blend(stops: Sequence[Colour], share: float) -> Colour:
    at = np.linspace(0, 1, len(stops))
    red, green, blue = (round(float(np.interp(share, at, [stop[part] for stop in stops]))) for part in range(3))
    return red, green, blue


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips)), WHITE)
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def _strip(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("RGB", (WIDTH * SMOOTH, height * SMOOTH), WHITE)
    return canvas, ImageDraw.Draw(canvas)


def _draw_curves(means_LT: Array, stds_LT: Array, colours: Sequence[Colour], xs: Ends) -> Image.Image:
    canvas, pen = _strip(CURVES_HEIGHT)
    half = canvas.width / 2
    for left, title, values_LT in ((0.0, "Mean", means_LT), (half, "Standard deviation", stds_LT)):
        box = (left + 66 * SMOOTH, 44 * SMOOTH, left + half - 24 * SMOOTH, canvas.height - 52 * SMOOTH)
        pen.text((box[0], 24 * SMOOTH), title, INK, load_font(17 * SMOOTH), anchor="lm")
        seen = values_LT[_is_drawable(values_LT)]
        if not seen.size:
            _draw_nothing(pen, box)
            continue
        ticks = value_ticks(seen.tolist())
        panel = Panel(box=box, unit=SMOOTH, xs=xs, ys=(ticks[0], ticks[-1]))
        draw_axes(pen, panel, ticks, x_name="step")
        for values_T, colour in zip(values_LT, colours, strict=True):
            _draw_line(pen, panel, values_T, colour, 1.6)
    return canvas.reduce(SMOOTH)


def _is_drawable(values: Array) -> Array:
    drawable: Array = np.isfinite(values) & (np.abs(np.nan_to_num(values)) <= MOST_DRAWABLE)
    return drawable


def _draw_nothing(pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    pen.text(middle, "no values", QUIET, load_font(14 * SMOOTH), anchor="mm")


def _draw_line(pen: ImageDraw.ImageDraw, panel: Panel, values_T: Array, colour: Colour, width: float) -> None:
    """A line through what can be drawn, broken where something cannot; a lone value is a dot."""
    for run in _runs(values_T, panel.xs):
        places = [panel.place(*point) for point in run]
        if len(places) > 1:
            pen.line(places, colour, round(width * panel.unit), joint="curve")
        else:
            pen.circle(places[0], 2.4 * panel.unit, fill=colour)


def _runs(values_T: Array, xs: tuple[float, float]) -> Iterator[list[Point]]:
    """(step, value) of the drawable stretches; many steps are averaged to at most MAX_POINTS."""
    n_each = -(-len(values_T) // MAX_POINTS)
    every = (xs[1] - xs[0]) / max(len(values_T) - 1, 1)
    run: list[Point] = []
    for first in range(0, len(values_T), n_each or 1):
        values = values_T[first : first + n_each]
        values = values[_is_drawable(values)]
        if values.size:
            middle = first + (min(n_each, len(values_T) - first) - 1) / 2
            run.append((xs[0] + middle * every, float(values.mean(dtype=np.float64))))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _draw_legend(names: Sequence[str], colours: Sequence[Colour]) -> Image.Image:
    """Lines and names from left to right in as many rows as they need."""
    font = load_font(13 * SMOOTH)
    texts = [fit_text(name, font, max_px=NAME_WIDTH * SMOOTH) for name in names]
    column = (max(font.getlength(text) for text in texts) + 52 * SMOOTH) // 1
    n_columns = max(1, int((WIDTH * SMOOTH - 90 * SMOOTH) // column))
    canvas, pen = _strip(-(-len(names) // n_columns) * LEGEND_ROW + 20)
    for number, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        x = 66 * SMOOTH + number % n_columns * column
        y = (number // n_columns + 0.5) * LEGEND_ROW * SMOOTH
        pen.line((x, y, x + 20 * SMOOTH, y), colour, 3 * SMOOTH)
        pen.text((x + 28 * SMOOTH, y), text, INK, font, anchor="lm")
    return canvas.reduce(SMOOTH)


def _draw_row(layers: Sequence[_Layer], value_range: tuple[float, float], near_zero: float, xs: Ends) -> Image.Image:
    canvas, pen = _strip(LAYER_HEIGHT)
    for number, layer in enumerate(layers):
        left = number * canvas.width / LAYERS_A_ROW
        top, bottom = 46 * SMOOTH, canvas.height - 44 * SMOOTH
        _draw_title(pen, (left + 66 * SMOOTH, 16 * SMOOTH), layer)
        _draw_histogram(canvas, pen, (left + 66 * SMOOTH, top, left + 318 * SMOOTH, bottom), layer, value_range, xs)
        _draw_share(pen, (left + 366 * SMOOTH, top, left + 576 * SMOOTH, bottom), layer, near_zero, xs)
    return canvas.reduce(SMOOTH)


def _draw_title(pen: ImageDraw.ImageDraw, at: Point, layer: _Layer) -> None:
    font = load_font(14 * SMOOTH)
    pen.line((at[0], at[1], at[0] + 20 * SMOOTH, at[1]), layer.colour, 3 * SMOOTH)
    text = fit_text(layer.name, font, max_px=480 * SMOOTH)
    pen.text((at[0] + 28 * SMOOTH, at[1]), text, INK, font, anchor="lm")


def _draw_histogram(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    layer: _Layer,
    value_range: tuple[float, float],
    xs: Ends,
) -> None:
    font = load_font(11 * SMOOTH)
    pen.text((box[0], box[1] - 10 * SMOOTH), "histogram, log(1 + count)", QUIET, font, anchor="lm")
    if not np.nansum(layer.hist_TN) > 0:
        _draw_nothing(pen, box)
        return
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    image = Image.fromarray(_shades(layer.hist_TN))
    is_wide = image.width > width
    image = image.resize((width, image.height), Image.Resampling.BOX if is_wide else Image.Resampling.NEAREST)
    canvas.paste(image.resize((width, height), Image.Resampling.NEAREST), (round(box[0]), round(box[1])))
    pen.rectangle(box, outline=QUIET, width=SMOOTH // 2)
    low, high = value_range
    for value in {low, high, *([0.0] if low < 0 < high else [])}:
        y = box[3] - (value - low) / (high - low) * (box[3] - box[1])
        pen.text((box[0] - 6 * SMOOTH, y), f"{value:g}", QUIET, font, anchor="rm")
    _draw_steps(pen, Panel(box=box, unit=SMOOTH, xs=xs, ys=(0, 1)))


def _shades(hist_TN: Array) -> Array:
    """uint8 [N, T, 3], the highest values above."""
    counts = np.log1p(np.nan_to_num(hist_TN.astype(np.float64)).clip(min=0)).T[::-1]
    at = np.linspace(0, 1, len(_COUNTS))
    parts = [np.interp(counts / counts.max(), at, [stop[part] for stop in _COUNTS]) for part in range(3)]
    shades: Array = np.rint(np.stack(parts, axis=-1)).astype(np.uint8)
    return shades


def _draw_steps(pen: ImageDraw.ImageDraw, panel: Panel) -> None:
    """The first and the last step below the axis, and its name."""
    left, _, right, bottom = panel.box
    font = load_font(11 * SMOOTH)
    steps = sorted({round(end) for end in panel.xs})
    for step in steps if len(steps) > 1 else []:
        pen.text((panel.place(step, 0)[0], bottom + 5 * SMOOTH), f"{step}", QUIET, font, anchor="ma")
    name = "step" if len(steps) > 1 else f"step {steps[0]}"
    pen.text(((left + right) / 2, bottom + 5 * SMOOTH), name, QUIET, font, anchor="ma")


def _draw_share(
    pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], layer: _Layer, near_zero: float, xs: Ends
) -> None:
    font = load_font(11 * SMOOTH)
    pen.text((box[0], box[1] - 10 * SMOOTH), f"values within {near_zero:g} of 0, %", QUIET, font, anchor="lm")
    drawable = layer.share_T[_is_drawable(layer.share_T)]
    if not drawable.size:
        _draw_nothing(pen, box)
        return
    panel = Panel(box=box, unit=SMOOTH, xs=xs, ys=(0, 100))
    for tick in (0, 50, 100):
        y = panel.place(1, tick)[1]
        pen.line((box[0], y, box[2], y), GRID, SMOOTH)
        pen.text((box[0] - 6 * SMOOTH, y), f"{tick}", QUIET, font, anchor="rm")
    _draw_steps(pen, panel)
    _draw_line(pen, panel, layer.share_T.clip(0, 100), layer.colour, 2)
    pen.text((box[2], box[1] - 10 * SMOOTH), f"last {drawable[-1]:.0f}", INK, font, anchor="rm")
