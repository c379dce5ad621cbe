"""Every filter beside the others: the right pixels, the right share of texture, nothing smoothed on the page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imagekit.look.resamplers import draw_resamplers, resample_all, texture
from imagekit.look.source import Source
from imagekit.pixels.open import open_image
from imagekit.pixels.resize import FILTERS, resize

UNSMOOTHED = "bilinear, not antialiased"


def noise(side_px: int = 256) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8))


def source(image: Image.Image) -> Source:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Source(name="one.png", picture=open_image(buffer.getvalue()))


def test_filters_that_skip_pixels_keep_more_of_noise_than_those_that_average():
    kept = {result.name: result.kept for result in resample_all(noise(), side_px=32)}

    assert kept["nearest"] == 1
    assert kept["nearest"] > kept["bicubic-nearest"] > kept["bicubic"] > kept["bilinear"]
    assert kept[UNSMOOTHED] > 3 * kept["bilinear"]
    assert kept["box"] == pytest.approx(1 / 8, abs=0.03)  # the mean of 8 x 8 independent values


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_the_one_that_it_is_called(name: str):
    results = {result.name: result.image for result in resample_all(noise(), side_px=64)}

    expected = resize(noise(), (64, 64), filter=name)

    assert np.abs(np.asarray(results[name], int) - np.asarray(expected, int)).max() <= 1


def test_nearest_after_bicubic_shows_every_second_pixel_of_it():
    results = {result.name: result.image for result in resample_all(noise(), side_px=64)}

    twice_HWC = np.asarray(resize(noise(), (128, 128), filter="bicubic"), int)

    assert np.abs(np.asarray(results["bicubic-nearest"], int) - twice_HWC[1::2, 1::2]).max() <= 1


def test_without_antialiasing_the_pixels_between_are_skipped():
    striped = np.zeros((64, 64, 3), dtype=np.uint8)
    striped[:, ::4] = striped[:, 3::4] = 255  # of every four columns the inner two are black

    results = {result.name: result.image for result in resample_all(Image.fromarray(striped), side_px=16)}

    assert results[UNSMOOTHED].getextrema() == ((0, 0),) * 3
    assert 100 < results["box"].getpixel((8, 8))[0] < 150


def test_an_even_picture_loses_nothing():
    results = resample_all(Image.new("RGB", (100, 100), (9, 99, 199)), side_px=32)

    assert {result.kept for result in results} == {1.0}
    assert {colour for result in results for _, colour in result.image.getcolors()} == {(9, 99, 199)}


def test_texture_is_the_difference_of_neighbours_not_of_large_shapes():
    halves = Image.new("RGB", (11, 10), (0, 0, 0))
    halves.paste((255, 255, 255), (0, 0, 5, 10))
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (10, 5)))

    assert texture(halves) == pytest.approx(255 / 10 / 2)  # one step in ten across, none down
    assert texture(stripes) == 127.5
    assert texture(Image.new("RGB", (10, 10), (255, 0, 0))) == 0
    assert texture(Image.new("RGB", (1, 1))) == 0


def test_the_page_shows_the_square_in_the_middle_and_every_result_pixel_by_pixel():
    wide = Image.new("RGB", (400, 256), (255, 0, 0))
    wide.paste(noise(), (72, 0))

    drawn = draw_resamplers(source(wide), side_px=64)

    results = resample_all(noise(), side_px=64)
    cell = 396  # 384 px, six times 64, and the gap
    left, top = 16 + 6, drawn.page.height - 16 - 3 * (cell + 24) + 24 + 6
    for number, result in enumerate(results, start=1):
        x, y = left + number % 3 * cell, top + number // 3 * (cell + 24)
        shown = drawn.page.crop((x, y, x + 384, y + 384))
        assert shown.tobytes() == result.image.resize((384, 384), Image.Resampling.NEAREST).tobytes(), result.name
    first = drawn.page.crop((left, top, left + 384, top + 384))
    assert np.asarray(first, float).std() > 40


def test_the_notes_give_each_share_with_two_decimals():
    drawn = draw_resamplers(source(noise()), side_px=64)

    results = resample_all(noise(), side_px=64)
    assert drawn.images == ("one.png",)
    assert drawn.notes == (
        "256 px to 64 px by every filter, enlarged without smoothing",
        *(f"{result.name}: keeps {result.kept:.2f} of the texture" for result in results),
    )
    assert [result.name for result in results] == [
        *("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "bicubic-nearest"),
        UNSMOOTHED,
    ]


def test_a_source_that_is_too_small_for_two_steps_is_named():
    drawn = draw_resamplers(source(noise(100)), side_px=64)

    assert drawn.notes[0] == (
        "100 px to 64 px by every filter, enlarged without smoothing; bicubic-nearest is plain bicubic below 128 px"
    )
