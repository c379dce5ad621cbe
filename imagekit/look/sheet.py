"""Contact sheets: many pictures in one, to look at the data."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from imagekit.errors import ShapeError
from imagekit.look.lettering import fit_text, load_font
from imagekit.pixels.rgb import to_rgb

PAPER = (255, 255, 255)
INK = (32, 36, 42)
MIN_CELL_PX = 8
MIN_TITLE_PX = 10


def contact_sheet(
    images: Sequence[Image.Image],
    *,
    n_columns: int = 4,
    cell_px: int = 128,
    titles: Sequence[str] | None = None,
    title_px: int | None = None,
) -> Image.Image:
    """Lay pictures out in rows of `n_columns`, each fitted into a square of `cell_px` with its aspect kept.

    Returns RGB, n_columns * cell_px wide and ceil(n / n_columns) cells high; with titles each cell is higher by a strip
    of `title_px`, by default a sixth of `cell_px`. Small pictures are enlarged without smoothing, so that their pixels
    are seen as they are. Raises ShapeError where there is no picture, a count or size is too small, or the titles are
    not as many as the pictures; ImageError for a picture that cannot be shown as RGB.
    """
    strip = max(MIN_TITLE_PX, round(cell_px / 6)) if title_px is None else title_px
    _check(images, n_columns, cell_px, titles, strip)
    strip = 0 if titles is None else strip
    n_rows = -(-len(images) // n_columns)
    sheet = Image.new("RGB", (n_columns * cell_px, n_rows * (cell_px + strip)), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = load_font(round(strip * 0.62))
    for number, image in enumerate(images):
        x, y = number % n_columns * cell_px, number // n_columns * (cell_px + strip)
        fitted = fit_image(image, cell_px - _gap(cell_px))
        sheet.paste(fitted, (x + (cell_px - fitted.width) // 2, y + strip + (cell_px - fitted.height) // 2))
        if titles is not None:
            title = fit_text(titles[number], font, max_px=cell_px - 4)
            pen.text((x + cell_px / 2, y + strip / 2), title, INK, font, anchor="mm")
    return sheet


def cell_for(side_px: int) -> int:
    """The smallest cell that shows a picture whose longer side is `side_px` pixel by pixel."""
    cell_px = side_px + _gap(side_px)
    while cell_px - _gap(cell_px) < side_px:
        cell_px += 1
    return cell_px


def fit_image(image: Image.Image, side_px: int) -> Image.Image:
    """The picture as RGB, its longer side `side_px`, its aspect kept; the shorter side is at least 1 px."""
    image = to_rgb(image)
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def _gap(cell_px: int) -> int:
    """What lies between two pictures."""
    return max(2, cell_px // 32)


def _check(
    images: Sequence[Image.Image], n_columns: int, cell_px: int, titles: Sequence[str] | None, title_px: int
) -> None:
    if not images:
        raise ShapeError("there is no picture to show", where="contact_sheet: images", fix="give at least one picture")
    for name, value, least, usual in (
        ("n_columns", n_columns, 1, 4),
        ("cell_px", cell_px, MIN_CELL_PX, 128),
        ("title_px", title_px, MIN_TITLE_PX, 22),
    ):
        if value < least:
            raise ShapeError(
                f"{name} is {value}, must be at least {least}",
                where=f"contact_sheet: {name}",
                fix=f"give {usual}, say",
            )
    if titles is not None and len(titles) != len(images):
        raise ShapeError(
            f"there are {len(titles)} titles for {len(images)} pictures",
            where="contact_sheet: titles",
            fix="give one title a picture, or none at all",
        )
