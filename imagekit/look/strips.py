"""Pages of pictures: a title, then blocks under headings, in each of them strips of pictures with a line of text above.

Pages are laid out in pixels, and text keeps its size however small the pictures are: a line that has no room goes on
in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from imagekit.look.lettering import Font, drawable, fit_text, load_font
from imagekit.look.sheet import INK, PAPER, cell_for, contact_sheet

QUIET = (91, 101, 114)
LINE = (214, 219, 225)
TITLE_PX, HEADING_PX, TEXT_PX = 24, 18, 14  # heights of letters
STRIP_TITLE_PX = 24  # a line above a strip, and above each picture that has a title of its own
MARGIN_PX, GAP_PX = 16, 12
LEAST_NOTE_PX = 96  # a narrower square holds no word of a reason
LEAST_WIDTH_PX = 640  # of what is on a page: room for its headings


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """Pictures in rows of `n_columns`. title: the line above all of them, none if it is ""; titles: one a picture."""

    pictures: Sequence[Image.Image]
    n_columns: int
    title: str = ""
    titles: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Strips under a heading, `n_abreast` of them side by side; all have the same number of columns."""

    heading: str
    strips: Sequence[Strip]
    n_abreast: int = 1


def draw_page(title: str, intro: str, blocks: Sequence[Block], *, side_px: int) -> Image.Image:
    """Title, introduction and blocks, one below the other, as an RGB picture.

    side_px: of every picture; one whose longer side is as long is shown pixel by pixel. A page is as wide as its widest
    block, and at least wide enough for its text.
    """
    bodies = [_draw_block(block, cell_px=cell_for(side_px)) for block in blocks]
    width = max([LEAST_WIDTH_PX, *(body.width for body in bodies)])
    parts = [_paragraph(title, TITLE_PX, INK, width), _paragraph(intro, TEXT_PX, QUIET, width)]
    for block, body in zip(blocks, bodies, strict=True):
        parts += [_rule(width), _paragraph(block.heading, HEADING_PX, INK, width), body]
    return _pile(parts, width)


def draw_note(lines: Sequence[str], *, side_px: int) -> Image.Image:
    """A grey square with text, in place of a picture that cannot be shown; with a cross where text has no room."""
    note = Image.new("RGB", (side_px, side_px), LINE)
    font, pen = load_font(TEXT_PX), ImageDraw.Draw(note)
    if side_px < LEAST_NOTE_PX:
        pen.line((0, 0, side_px, side_px), INK, 2)
        pen.line((0, side_px, side_px, 0), INK, 2)
        return note
    wrapped = [piece for line in lines for piece in wrap(line, font, max_px=side_px - 4)]
    pen.multiline_text((side_px / 2, side_px / 2), "\n".join(wrapped), INK, font, anchor="mm", align="center")
    return note


def wrap(text: str, font: Font, *, max_px: float) -> list[str]:
    """The text in lines of at most `max_px`, broken between words; a word that is longer loses its end."""
    lines: list[str] = []
    for word in drawable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= max_px:
            lines[-1] = longer
        else:
            lines.append(fit_text(word, font, max_px=max_px))
    return lines


def _draw_block(block: Block, *, cell_px: int) -> Image.Image:
    """The strips in reading order; those of one row begin at the same height."""
    least_px = (LEAST_WIDTH_PX + MARGIN_PX) // block.n_abreast - MARGIN_PX
    drawn = [_draw_strip(strip, cell_px=cell_px, least_px=least_px) for strip in block.strips]
    rows = [drawn[start : start + block.n_abreast] for start in range(0, len(drawn), block.n_abreast)]
    step_px = max(strip.width for strip in drawn) + MARGIN_PX
    height = sum(max(strip.height for strip in row) + GAP_PX for row in rows) - GAP_PX
    body = Image.new("RGB", (step_px * len(rows[0]) - MARGIN_PX, height), PAPER)
    y = 0
    for row in rows:
        for number, strip in enumerate(row):
            body.paste(strip, (number * step_px, y))
        y += max(strip.height for strip in row) + GAP_PX
    return body


def _draw_strip(strip: Strip, *, cell_px: int, least_px: int) -> Image.Image:
    """The pictures with their line of text, which has room for `least_px` even where the pictures are narrower."""
    sheet = contact_sheet(
        strip.pictures, n_columns=strip.n_columns, cell_px=cell_px, titles=strip.titles, title_px=STRIP_TITLE_PX
    )
    if not strip.title:
        return sheet
    drawn = Image.new("RGB", (max(sheet.width, least_px), sheet.height + STRIP_TITLE_PX), PAPER)
    drawn.paste(sheet, (0, STRIP_TITLE_PX))
    font = load_font(TEXT_PX)
    title = fit_text(strip.title, font, max_px=drawn.width - 4)
    ImageDraw.Draw(drawn).text((2, STRIP_TITLE_PX / 2), title, INK, font, anchor="lm")
    return drawn


def _paragraph(text: str, size_px: int, ink: tuple[int, int, int], width: int) -> Image.Image:
    font, line_px = load_font(size_px), round(size_px * 1.35)
    lines = wrap(text, font, max_px=width)
    paragraph = Image.new("RGB", (width, max(1, line_px * len(lines))), PAPER)
    pen = ImageDraw.Draw(paragraph)
    for number, line in enumerate(lines):
        pen.text((0, number * line_px + line_px / 2), line, ink, font, anchor="lm")
    return paragraph


def _rule(width: int) -> Image.Image:
    """A thin line between two blocks, with room above it."""
    rule = Image.new("RGB", (width, GAP_PX + 1), PAPER)
    rule.paste(LINE, (0, GAP_PX, width, GAP_PX + 1))
    return rule


def _pile(parts: Sequence[Image.Image], width: int) -> Image.Image:
    """Everything below each other, with a margin around it."""
    height = sum(part.height for part in parts) + (len(parts) - 1) * GAP_PX // 2
    page = Image.new("RGB", (width + 2 * MARGIN_PX, height + 2 * MARGIN_PX), PAPER)
    y = MARGIN_PX
    for part in parts:
        page.paste(part, (MARGIN_PX, y))
        y += part.height + GAP_PX // 2
    return page
