"""The picture of a search for a learning rate: the loss over the rate, and what to choose. Shapes: N steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.look.lines import Lines, draw_lines
from imagekit.look.plots import Array

SIZE = (820, 480)
ROOM_ABOVE = 0.35  # of what the loss falls: so much of the rise at the end is drawn


def draw_lr_curve(
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    marked: Mapping[str, float] | None = None,
    size: tuple[int, int] = SIZE,
) -> Image.Image:
    """Losses as dots and the smoothed ones as a line over the logarithm of the rate, in one RGB picture.

    lrs, losses, smoothed: [N]. marked: rates by what they are, each an upright line. Where the loss falls, what rises
    far above its beginning is left out, since the fall would be a dent beside it. size: width, height in pixels, at
    least 300 x 240. Raises ShapeError for lengths that differ, and as draw_lines does.
    """
    if not len(lrs) == len(losses) == len(smoothed):
        raise ShapeError(
            f"there are {len(lrs)} lrs, {len(losses)} losses and {len(smoothed)} smoothed ones",
            where="draw_lr_curve",
            fix="give one of each for every step",
        )
    loss_N = np.asarray(losses, dtype=np.float64)
    # a curve that is least where it begins only rises: there is no fall to make room for, and none to smooth
    has_fall = len(lrs) > 0 and int(np.argmin(smoothed)) > 0
    loss_N = np.where(loss_N <= _top(loss_N, smoothed), loss_N, np.nan) if has_fall else loss_N
    low, high = (np.nanmin(loss_N), np.nanmax(loss_N)) if len(lrs) else (0.0, 1.0)
    series = {"loss": np.stack([lrs, loss_N], axis=1)}
    if has_fall:
        n_drawn = np.flatnonzero(~np.isnan(loss_N))[-1] + 1  # the line ends with the dots
        series["smoothed"] = np.stack([lrs, smoothed], axis=1)[:n_drawn]
    series |= {f"{name} {lr:.2g}": np.array([[lr, low], [lr, high]]) for name, lr in (marked or {}).items()}
    panel = Lines("Learning rate search", series, x_name="learning rate", y_name="loss", dots={"loss"}, log_x=True)
    return draw_lines([panel], size=size)


def _top(loss_N: Array, smoothed: Sequence[float]) -> float:
    begin = float(loss_N[: int(np.argmin(smoothed)) + 1].max())
    return begin + ROOM_ABOVE * (begin - float(loss_N.min()))
