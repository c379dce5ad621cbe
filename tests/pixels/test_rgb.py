"""Any mode to RGB: scaled, composited, refused; never clipped and never a hidden colour."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ImageError, ShapeError
from imagekit.pixels.open import open_image
from imagekit.pixels.rgb import require_rgb, to_rgb


def reopened(image: Image.Image, format: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return open_image(buffer.getvalue()).image


def noise(bands: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (19, 31, bands), dtype=np.uint8)


def on_white(rgba: Image.Image) -> np.ndarray:
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "RGBX"])
def test_an_opaque_mode_gives_what_pillow_gives(mode):
    source = Image.fromarray(noise(3))
    image = source.convert(mode)

    rgb = to_rgb(image)

    assert rgb.mode == "RGB"
    assert np.array_equal(rgb, image.convert("RGB"))


def test_plain_rgb_is_returned_as_it_is():
    image = Image.fromarray(noise(3))

    assert to_rgb(image) is image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_composited_on_white(mode):
    image = Image.fromarray(noise(4)).convert(mode)

    rgb = to_rgb(image)

    assert np.abs(np.asarray(rgb).astype(int) - on_white(image.convert("RGBA"))).max() <= 1


@pytest.mark.parametrize(("straight", "premultiplied"), [("RGBA", "RGBa"), ("LA", "La")])
def test_premultiplied_alpha_comes_to_the_same(straight, premultiplied):
    values = noise(4)
    values[..., 3] = np.where(values[..., 3] < 128, 0, 255)
    image = Image.fromarray(values).convert(straight)

    assert np.array_equal(to_rgb(image.convert(premultiplied)), to_rgb(image))


def test_what_a_transparent_pixel_hides_is_not_shown():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))

    assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)
    assert to_rgb(image, background=(1, 2, 3)).getpixel((0, 0)) == (1, 2, 3)


def test_half_transparent_is_half_way():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))

    assert to_rgb(image, background=(0, 0, 0)).getpixel((0, 0)) == (128, 0, 0)


@pytest.mark.parametrize("transparency", [7, bytes([0, 90, 180, 255])])
def test_a_palette_with_transparency_is_composited(transparency):
    image = reopened(Image.fromarray(noise(3)).quantize(16), "PNG", transparency=transparency)

    rgb = to_rgb(image)

    assert np.abs(np.asarray(rgb).astype(int) - on_white(image.convert("RGBA"))).max() <= 1
    del image.info["transparency"]
    assert not np.array_equal(rgb, image.convert("RGB"))


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_a_transparent_colour_is_composited(mode, key):
    black = Image.new("RGB", (8, 8)).convert(mode)

    assert to_rgb(reopened(black, "PNG", transparency=key)).getpixel((3, 3)) == (255, 255, 255)
    assert to_rgb(reopened(black, "PNG")).getpixel((3, 3)) == (0, 0, 0)


def test_a_transparent_sixteen_bit_grey_is_composited():
    values = np.full((4, 4), 0x1234, np.uint16)
    values[0, 0] = 0x1235

    rgb = to_rgb(reopened(Image.fromarray(values), "PNG", transparency=0x1234), background=(9, 8, 7))

    assert rgb.getpixel((1, 1)) == (9, 8, 7)
    assert rgb.getpixel((0, 0)) == (18, 18, 18)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_whole_range(format):
    ramp = np.linspace(0, 65_535, 256 * 4).round().astype(np.uint16).reshape(4, -1)

    rgb = np.asarray(to_rgb(reopened(Image.fromarray(ramp), format)))

    assert np.array_equal(rgb[..., 0], np.round(ramp / 257))
    assert np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 1], rgb[..., 2])
    assert len(np.unique(rgb)) == 256


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_byte_order_makes_no_difference(mode):
    values = np.array([[0, 128, 129, 257, 65_535]], np.uint16)
    image = Image.frombytes(mode, (5, 1), values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())

    assert [image_value[0] for image_value in np.asarray(to_rgb(image))[0]] == [0, 0, 1, 1, 255]


def test_32_bit_whole_numbers_that_16_bits_hold_are_scaled_alike():
    image = Image.fromarray(np.array([[0, 257, 65_535]], np.int32))

    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 1, 255]


@settings(deadline=None)
@given(value=st.integers(0, 65_535))
def test_scaling_is_the_nearest_of_256_levels(value):
    image = Image.fromarray(np.array([[value]], np.uint16))

    level = to_rgb(image).getpixel((0, 0))[0]

    assert abs(level * 257 - value) <= 128


@pytest.mark.parametrize(("value", "shown"), [(65_536, "65536"), (-1, "-1")])
def test_values_beyond_16_bits_are_refused_not_clipped(value, shown):
    image = Image.fromarray(np.array([[value, value]], np.int32))

    with pytest.raises(ImageError) as caught:
        to_rgb(image)

    assert str(caught.value) == (f"unsupported-mode: mode I with values {shown}..{shown}, more than 16 bits hold")


@pytest.mark.parametrize("mode", ["F", "LAB", "HSV"])
def test_a_mode_without_a_known_range_is_refused(mode):
    image = Image.fromarray(noise(3)).convert(mode)

    with pytest.raises(ImageError) as caught:
        to_rgb(image)

    assert str(caught.value) == f"unsupported-mode: mode {mode} has no fixed range of values that fits 8-bit RGB"


def test_an_image_that_is_not_rgb_is_refused_where_rgb_is_needed():
    require_rgb(Image.new("RGB", (1, 1)), where="here")

    with pytest.raises(ShapeError) as caught:
        require_rgb(Image.new("P", (1, 1)), where="here")

    assert str(caught.value) == "the image has mode P, must be RGB\n  where: here\n  fix: to_rgb(image) first"


def test_the_transparent_colour_of_a_sixteen_bit_rgb_png_is_scaled_with_its_pixels():
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    pixels = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    data += chunk(b"IDAT", zlib.compress(b"\0" + pixels)) + chunk(b"IEND", b"")

    rgb = to_rgb(open_image(data).image)

    assert [rgb.getpixel((0, 0)), rgb.getpixel((1, 0))] == [(255, 255, 255), (255, 0, 0)]
