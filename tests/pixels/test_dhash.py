"""The difference hash: golden, near for near-identical images, far for others."""

import numpy as np
import pytest
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.pixels.dhash import DHASH_BITS, dhash
from imagekit.pixels.encode import encode
from imagekit.pixels.open import open_image
from imagekit.pixels.resize import resize


def scene(seed: int, size: tuple[int, int] = (180, 135)) -> Image.Image:
    """A few broad, soft patches of light, as a photograph has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def distance(one: Image.Image, other: Image.Image) -> int:
    return (dhash(one) ^ dhash(other)).bit_count()


def test_the_hash_of_a_known_image_never_changes():  # golden: groups in published manifests depend on it
    down, right = np.mgrid[0:64, 0:90]
    image = Image.fromarray(((right * 7 + down * 13) % 251).astype(np.uint8)).convert("RGB")

    assert f"{dhash(image):016x}" == "d936ccb3649926cd"


def test_bits_run_in_rows_from_the_top_left_and_say_that_it_brightens():
    row = np.array([0, 9, 0, 9, 0, 9, 0, 9, 0], np.uint8) * 20
    cells = np.tile(row, (8, 1))
    cells[7] = row[::-1] + np.arange(9, dtype=np.uint8) * 2

    assert dhash(Image.fromarray(cells).convert("RGB")) == int.from_bytes([0b10101010] * 8, "big")

    cells[0] = np.arange(9)
    assert dhash(Image.fromarray(cells).convert("RGB")) >> 56 == 0b11111111


def test_a_flat_image_hashes_to_zero():
    assert dhash(Image.new("RGB", (30, 20), (9, 90, 200))) == 0


@pytest.mark.parametrize("seed", range(8))
def test_a_smaller_copy_and_a_poorer_copy_are_near(seed):
    image = scene(seed)

    smaller = resize(image, (90, 68))
    poorer = open_image(encode(image, quality=40)).image

    assert distance(image, smaller) <= 3
    assert distance(image, poorer) <= 3


def test_different_images_are_far():
    distances = [distance(scene(one), scene(other)) for one in range(12) for other in range(one)]

    assert min(distances) > 10
    assert abs(np.mean(distances) - DHASH_BITS / 2) < 4


def test_a_turned_image_is_another_image():
    assert distance(scene(0), scene(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 10


def test_the_hash_fits_64_bits():
    rising = Image.fromarray(np.tile(np.arange(0, 90, dtype=np.uint8), (16, 1))).convert("RGB")

    assert dhash(rising) == 2**64 - 1


def test_a_mode_other_than_rgb_is_refused():
    with pytest.raises(ShapeError) as caught:
        dhash(Image.new("L", (9, 8)))

    assert str(caught.value) == "the image has mode L, must be RGB\n  where: dhash: image\n  fix: to_rgb(image) first"
