"""The picture of a search for a learning rate: the loss over the rate, and what to choose. Shapes: N steps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imagekit.errors import OutputError, ShapeError
from imagekit.files.atomic import write_bytes
from imagekit.look.lines import Lines, draw_lines
from imagekit.look.plots import Array

SIZE = (820, 480)
MARK = ("Software", "imagekit find-lr")  # in the PNG, near its start: known again before it is replaced
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


def check_picture(output: Path, *, overwrite: bool) -> None:
    """Whether a picture may be written there: a file that is not ours is never replaced, one that is only when told.

    Raises OutputError.
    """
    if output.suffix.lower() != ".png":
        raise OutputError(
            f'the output is called "{output.name}", and the picture is a PNG',
            where=str(output),
            fix="give a name that ends in .png",
        )
    if not output.parent.is_dir():
        raise OutputError(
            "the folder of the output does not exist", where=str(output), fix="make the folder, or give another -o"
        )
    if not output.exists() and not output.is_symlink():
        return
    if not _is_ours(output):
        raise OutputError(
            "the output exists and is not a picture of imagekit find-lr",
            where=str(output),
            fix="give another -o, or move it away yourself",
        )
    if not overwrite:
        raise OutputError(
            "the output exists already", where=str(output), fix="give another -o, or --overwrite to draw it anew"
        )


def write_picture(output: Path, picture: Image.Image) -> None:
    """Write it as PNG, all at once; no time in it: same picture, same bytes. Raises DiskFullError or OSError."""
    mark = PngInfo()
    mark.add_text(*MARK)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=mark)
    write_bytes(output, buffer.getvalue())


def _is_ours(output: Path) -> bool:
    if not output.is_file():
        return False
    with output.open("rb") as file:
        return "\0".join(MARK).encode() in file.read(200)
