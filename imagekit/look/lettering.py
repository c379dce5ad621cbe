"""Text in pictures and pages: control characters made visible, letters the typeface has, cut to the space there is."""

from __future__ import annotations

import functools
import math
import unicodedata

from PIL import Image, ImageDraw, ImageFont

from imagekit.files.names import display_name, is_plain

ELLIPSIS = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.cache
def load_font(size_px: int) -> Font:
    """The typeface that Pillow carries, so that a plot looks the same everywhere; at least 4 px high."""
    return ImageFont.load_default(size=max(4, size_px))


def visible(text: str) -> str:
    r"""Write control characters and signs that reorder text as escapes (\n, \x1b, \u202e), as `files.names` does.

    Backslashes stay single, so a name that the manifest has escaped already comes through as it is.
    """
    if is_plain(text.encode("utf-8", "surrogatepass")):
        return text
    return "".join(display_name(sign.encode("utf-8", "surrogatepass")) for sign in text)


def drawable(text: str) -> str:
    """The text in letters that the typeface has, which is little more than ASCII: accents go, the rest becomes "?"."""
    if text.isascii():
        return visible(text)
    letters = (sign for sign in unicodedata.normalize("NFKD", visible(text)) if not unicodedata.combining(sign))
    return "".join(sign if sign.isascii() or sign == ELLIPSIS else "?" for sign in letters)


def fit_text(text: str, font: Font, *, max_px: float) -> str:
    """The drawable text, or as much of its beginning as fits into `max_px` with an ellipsis; "" where nothing fits."""
    text = drawable(text[:1000])  # no picture is that wide
    if font.getlength(text) <= max_px:
        return text
    low, high = 0, len(text)
    while low < high:  # halving: the longest beginning that fits
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle] + ELLIPSIS) <= max_px
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + ELLIPSIS if low else ""


def draw_slanted(
    canvas: Image.Image, at: tuple[float, float], text: str, *, font: Font, fill: tuple[int, int, int], degrees: float
) -> None:
    """Draw text that starts at the point `at` and climbs by `degrees` (anti-clockwise; 90 reads upwards)."""
    length, height = math.ceil(font.getlength(text)) + 2, 2 * math.ceil(font.getbbox("Ag")[3]) + 2
    flat = Image.new("L", (length, height))
    ImageDraw.Draw(flat).text((0, height / 2), text, fill=255, font=font, anchor="lm")
    turned = flat.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True)
    angle = math.radians(degrees)
    x = turned.width / 2 - length / 2 * math.cos(angle)  # where the text starts in the turned picture
    y = turned.height / 2 + length / 2 * math.sin(angle)
    canvas.paste(fill, (round(at[0] - x), round(at[1] - y)), turned)
