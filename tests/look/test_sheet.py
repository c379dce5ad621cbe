"""Contact sheets: the size follows from the counts, every picture is in its cell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.look.sheet import cell_for, contact_sheet, fit_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def plain(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, colour)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 40), n_columns=st.integers(1, 9), cell_px=st.integers(8, 40))
def test_sheet_is_columns_times_rows_of_cells(n: int, n_columns: int, cell_px: int):
    sheet = contact_sheet([plain()] * n, n_columns=n_columns, cell_px=cell_px)

    assert sheet.size == (n_columns * cell_px, -(-n // n_columns) * cell_px)


def test_pictures_fill_their_cells_row_by_row():
    sheet = contact_sheet([plain(RED), plain(BLUE), plain(BLUE)], n_columns=2, cell_px=20)

    assert [sheet.getpixel(at) for at in ((10, 10), (30, 10), (10, 30), (30, 30))] == [RED, BLUE, BLUE, WHITE]


@pytest.mark.parametrize(("size", "is_beside"), [((100, 20), True), ((20, 100), False)])
def test_aspect_is_kept(size: tuple[int, int], is_beside: bool):
    sheet = contact_sheet([plain(size=size)], n_columns=1, cell_px=64)

    assert sheet.getpixel((32, 32)) == RED
    assert sheet.getpixel((5, 32)) == (RED if is_beside else WHITE)
    assert sheet.getpixel((32, 5)) == (WHITE if is_beside else RED)


def test_titles_add_a_strip_above_each_picture():
    bare = contact_sheet([plain()] * 5, n_columns=2, cell_px=60)
    titled = contact_sheet([plain()] * 5, n_columns=2, cell_px=60, titles=["a", "b\n\x1b", "", "long " * 99, "中"])

    assert (bare.size, titled.size) == ((120, 180), (120, 210))
    assert titled.crop((0, 0, 60, 10)).getextrema() != ((255, 255),) * 3


def test_the_strip_of_titles_is_as_high_as_asked_for():
    sheet = contact_sheet([plain(size=(120, 120))] * 2, n_columns=1, cell_px=124, titles=["a", "b"], title_px=30)

    assert sheet.size == (124, 2 * (124 + 30))
    assert [sheet.getpixel((60, y)) for y in (29, 33, 150, 154 + 33)] == [WHITE, RED, RED, RED]


@settings(deadline=None, max_examples=60)
@given(side_px=st.integers(6, 600))
def test_a_cell_made_for_a_side_shows_it_pixel_by_pixel(side_px: int):
    sheet = contact_sheet([plain(size=(side_px, side_px))], n_columns=1, cell_px=cell_for(side_px))

    assert dict(map(reversed, sheet.getcolors(1 << 20) or []))[RED] == side_px**2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_usual_mode_is_shown(mode: str):
    assert contact_sheet([Image.new(mode, (9, 9))], cell_px=16).mode == "RGB"


def test_small_pictures_are_enlarged_pixel_by_pixel():
    two = Image.new("RGB", (2, 1), RED)
    two.putpixel((1, 0), BLUE)

    fitted = fit_image(two, 10)

    assert fitted.size == (10, 5)
    assert {colour for _, colour in fitted.getcolors() or []} == {RED, BLUE}


def test_a_line_of_pixels_keeps_one_pixel_of_height():
    assert fit_image(plain(size=(1000, 1)), 50).size == (50, 1)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"images": []}, "there is no picture to show\n  where: contact_sheet: images\n  fix: give at least one picture"),
    (
        {"n_columns": 0},
        "n_columns is 0, must be at least 1\n  where: contact_sheet: n_columns\n  fix: give 4, say",
    ),
    ({"cell_px": 7}, "cell_px is 7, must be at least 8\n  where: contact_sheet: cell_px\n  fix: give 128, say"),
    ({"title_px": 9}, "title_px is 9, must be at least 10\n  where: contact_sheet: title_px\n  fix: give 22, say"),
    (
        {"titles": ["a", "b"]},
        "there are 2 titles for 1 pictures\n  where: contact_sheet: titles\n"
        "  fix: give one title a picture, or none at all",
    ),
]


@pytest.mark.parametrize(("options", "text"), BAD)
def test_sheets_that_cannot_be_say_why(options: dict[str, Any], text: str):
    assert contact_sheet([plain()], n_columns=1, cell_px=8, titles=["a"]).width == 8

    with pytest.raises(ShapeError) as caught:
        contact_sheet(**({"images": [plain()]} | options))

    assert str(caught.value) == text
