"""Orientation: applied once, for every value, in every format that can carry it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagekit.pixels.open import open_image, read_header
from imagekit.pixels.upright import TURN, UNDO, upright, upright_size

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

# The corners of the stored image, clockwise from the top left, are red, green, blue, white; here they are upright.
CORNERS = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (BLUE, WHITE, RED, GREEN),
    4: (WHITE, BLUE, GREEN, RED),
    5: (RED, WHITE, BLUE, GREEN),
    6: (WHITE, RED, GREEN, BLUE),
    7: (BLUE, GREEN, RED, WHITE),
    8: (GREEN, BLUE, WHITE, RED),
}


def stored() -> Image.Image:
    image = Image.new("RGB", (48, 32))
    for box, colour in (((0, 0), RED), ((24, 0), GREEN), ((24, 16), BLUE), ((0, 16), WHITE)):
        image.paste(colour, (*box, box[0] + 24, box[1] + 16))
    return image


def with_orientation(value: int, format: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    buffer = io.BytesIO()
    stored().save(buffer, format, exif=exif, **options)
    return buffer.getvalue()


def corners(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    width, height = image.size
    places = ((4, 4), (width - 5, 4), (width - 5, height - 5), (4, height - 5))
    return tuple(tuple(255 * (value > 127) for value in image.getpixel(place)) for place in places)


FORMATS = [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]


@pytest.mark.parametrize(("format", "options"), FORMATS)
@pytest.mark.parametrize("value", CORNERS)
def test_the_corners_are_where_a_person_expects_them(value, format, options):
    picture = open_image(with_orientation(value, format, **options))

    turned = upright(picture)

    assert corners(turned) == CORNERS[value]
    assert turned.size == upright_size(picture) == ((48, 32) if value < 5 else (32, 48))


@pytest.mark.parametrize(("format", "options"), FORMATS)
@pytest.mark.parametrize("value", CORNERS)
def test_the_picture_itself_stays_as_stored(value, format, options):
    data = with_orientation(value, format, **options)

    picture, header = open_image(data), read_header(data)
    upright(picture)

    assert corners(picture.image) == CORNERS[1]
    assert (picture.width, picture.height, picture.orientation) == (48, 32, value)
    assert (header.width, header.height, header.orientation) == (48, 32, value)
    assert upright_size(header) == upright_size(picture)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", CORNERS)
def test_the_result_agrees_with_pillow_and_cannot_be_turned_again(value, format):
    data = with_orientation(value, format)

    turned = upright(open_image(data))

    assert turned.tobytes() == ImageOps.exif_transpose(Image.open(io.BytesIO(data))).tobytes()
    assert ImageOps.exif_transpose(turned).tobytes() == turned.tobytes()
    assert 0x0112 not in turned.getexif()


def test_an_image_without_orientation_is_handed_through():
    buffer = io.BytesIO()
    stored().save(buffer, "PNG")
    picture = open_image(buffer.getvalue())

    assert upright(picture) is picture.image


def test_turning_keeps_the_transparent_colour():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    stored().convert("P").save(buffer, "PNG", exif=exif, transparency=3)

    assert upright(open_image(buffer.getvalue())).info["transparency"] == 3


@pytest.mark.parametrize("value", TURN)
def test_undo_is_the_inverse_of_turn(value):
    image = stored()

    assert np.array_equal(image.transpose(TURN[value]).transpose(UNDO[value]), image)
