"""Pillow's memory seen as an array: the same pixels, no copy, alive as long as somebody looks."""

import gc

import numpy as np
import pytest
from PIL import Image

from imagekit.pixels.memory import image_of, pixels_of


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (23, 37), (375, 500)])
def test_the_pixels_are_those_that_a_copy_has(size):
    array_HW3 = noise(*size)

    pixels_HW4 = pixels_of(Image.fromarray(array_HW3))

    assert (pixels_HW4.shape, pixels_HW4.dtype) == ((*size, 4), np.uint8)
    assert np.array_equal(pixels_HW4[..., :3], array_HW3)


def test_nothing_is_copied():
    image = Image.new("RGB", (30, 20))

    pixels_HW4 = pixels_of(image)
    image.putpixel((3, 2), (1, 2, 3))

    assert tuple(pixels_HW4[2, 3, :3]) == (1, 2, 3)


def test_the_memory_lives_as_long_as_the_array():
    array_HW3 = noise(300, 400)

    pixels_HW4 = pixels_of(Image.fromarray(array_HW3))
    gc.collect()
    others = [Image.new("RGB", (400, 300), "#ffffff") for _ in range(10)]

    assert len(others) == 10
    assert np.array_equal(pixels_HW4[..., :3], array_HW3)


def test_an_image_that_pillow_holds_in_pieces_is_copied():
    image = Image.linear_gradient("L").convert("RGB").resize((2100, 2100))  # beyond one block of 16 MB

    pixels_HW3 = pixels_of(image)

    assert pixels_HW3.shape == (2100, 2100, 3)
    assert np.array_equal(pixels_HW3, np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_mode_of_another_layout_is_copied(mode):
    image = Image.linear_gradient("L").convert(mode)

    assert np.array_equal(pixels_of(image), np.asarray(image))


@pytest.mark.parametrize("channels", [3, 4])
def test_an_array_becomes_an_image_of_its_own(channels):
    array_HWC = noise(23, 37, channels)
    expected = array_HWC[..., :3].copy()

    image = image_of(array_HWC)
    array_HWC[:] = 0

    assert (image.mode, image.size, image.info) == ("RGB", (37, 23), {})
    assert np.array_equal(np.asarray(image), expected)
