"""Pages of strips: text of one size whatever the pictures' size, nothing cut off without a sign."""

from __future__ import annotations

import numpy as np
import pytest
from look.pictures_of_colour import has_ink
from PIL import Image

from imagekit.look.lettering import load_font
from imagekit.look.sheet import cell_for
from imagekit.look.strips import LEAST_WIDTH_PX, MARGIN_PX, STRIP_TITLE_PX, Block, Strip, draw_note, draw_page, wrap

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], side_px: int = 32) -> Image.Image:
    return Image.new("RGB", (side_px, side_px), colour)


def corner(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int]:
    ys, xs = np.nonzero((np.asarray(page) == colour).all(axis=2))
    return int(xs.min()), int(ys.min())


def test_a_line_goes_on_in_the_next_between_words():
    font = load_font(14)

    lines = wrap("one two three four five six seven", font, max_px=80)

    assert " ".join(lines) == "one two three four five six seven"
    assert 1 < len(lines) < 7
    assert all(font.getlength(line) <= 80 for line in lines)


def test_a_word_without_room_loses_its_end_and_says_so():
    lines = wrap("short pneumonoultramicroscopicsilicovolcanoconiosis", load_font(14), max_px=80)

    assert lines[0] == "short"
    assert lines[1].startswith("pneumono")
    assert lines[1].endswith("…")


@pytest.mark.parametrize("text", ["", "  "])
def test_no_text_takes_no_line(text: str):
    assert wrap(text, load_font(14), max_px=80) == []


def test_strips_lie_abreast_and_below_each_other():
    strips = [Strip(pictures=[plain(colour)], n_columns=1, title="x") for colour in (RED, BLUE, (0, 99, 0))]

    page = draw_page("title", "intro", [Block(heading="heading", strips=strips, n_abreast=2)], side_px=32)

    red, blue, green = corner(page, RED), corner(page, BLUE), corner(page, (0, 99, 0))
    assert page.width == LEAST_WIDTH_PX + 2 * MARGIN_PX
    assert (blue[0] - red[0], blue[1]) == ((LEAST_WIDTH_PX + MARGIN_PX) // 2, red[1])
    assert green[0] == red[0]
    assert green[1] - red[1] > 32 + STRIP_TITLE_PX


def test_a_strip_without_a_title_has_no_line_for_it():
    blocks = [
        [Block(heading="h", strips=[Strip(pictures=[plain(RED)], n_columns=1, title=title)])] for title in ("", "t")
    ]

    bare, titled = (draw_page("title", "intro", block, side_px=32) for block in blocks)

    assert titled.height - bare.height == STRIP_TITLE_PX


@pytest.mark.parametrize("side_px", [32, 300])
def test_title_intro_heading_and_strip_titles_are_drawn(side_px: int):
    strip = Strip(pictures=[plain(RED, side_px)], n_columns=1, title="strip", titles=["one"])

    page = draw_page("title", "intro", [Block(heading="heading", strips=[strip])], side_px=side_px)

    left, top = corner(page, RED)
    assert has_ink(page.crop((left, top - STRIP_TITLE_PX, left + side_px, top)))
    assert has_ink(page.crop((0, top - 2 * STRIP_TITLE_PX, page.width, top - STRIP_TITLE_PX)))
    assert has_ink(page.crop((0, 0, page.width, 50)))
    assert not has_ink(page.crop((0, 0, page.width, MARGIN_PX)))


def test_a_picture_of_the_side_is_shown_pixel_by_pixel():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    noise.putpixel((0, 0), RED)

    page = draw_page("t", "i", [Block(heading="h", strips=[Strip(pictures=[noise], n_columns=1)])], side_px=48)

    left, top = corner(page, RED)
    assert page.crop((left, top, left + 48, top + 48)).tobytes() == noise.tobytes()


@pytest.mark.parametrize("side_px", [8, 32, 48, 62, 63, 64, 127, 128, 250, 384, 512])
def test_a_page_is_as_wide_as_its_pictures(side_px: int):
    strip = Strip(pictures=[plain(RED, side_px)] * 40, n_columns=40)

    page = draw_page("t", "i", [Block(heading="h", strips=[strip])], side_px=side_px)

    assert page.width == max(40 * cell_for(side_px), LEAST_WIDTH_PX) + 2 * MARGIN_PX


def test_a_note_holds_its_words_inside_the_square():
    note = draw_note(["cannot be read:", "changed-during-read"], side_px=128)

    assert note.size == (128, 128)
    assert has_ink(note)
    assert not has_ink(note.crop((0, 0, 128, 30)))


def test_a_note_without_room_for_words_is_a_cross():
    small, large = (np.asarray(draw_note(["cannot be read", "truncated"], side_px=side)) for side in (32, 128))

    crossed = [(small[i, i] < 128).all() and (small[i, 31 - i] < 128).any() for i in range(4, 28)]
    assert sum(crossed) > 20
    assert (large[4, 4] > 128).all()
