"""Encoding: plain files, the same bytes each time, nothing of the source's metadata."""

import io

import numpy as np
import pytest
from PIL import Image

from imagekit.errors import ShapeError, UsageError
from imagekit.pixels.encode import ENCODE_FORMATS, encode, extension_for
from imagekit.pixels.open import open_image


def picture(width: int = 48, height: int = 32) -> Image.Image:
    down, right = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([right * 5, down * 7, (right + down) * 3], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("format", ENCODE_FORMATS)
def test_what_is_written_opens_as_the_same_picture(format):
    image = picture()

    opened = open_image(encode(image, format=format, quality=90))

    assert (opened.format, opened.mode, opened.image.size) == (format.upper(), "RGB", (48, 32))
    assert np.abs(np.asarray(opened.image).astype(int) - np.asarray(image)).mean() < 8


def test_png_loses_nothing():
    assert np.array_equal(open_image(encode(picture(), format="png")).image, picture())


@pytest.mark.parametrize("format", ENCODE_FORMATS)
def test_the_same_pixels_give_the_same_bytes(format):
    assert encode(picture(), format=format) == encode(picture().copy(), format=format)


@pytest.mark.parametrize("format", ENCODE_FORMATS)
def test_no_metadata_goes_along_and_the_image_keeps_its_own(format):
    exif = Image.Exif()
    exif[0x0110] = "a camera with a GPS"
    image = picture()
    image.info = {
        "exif": exif.tobytes(),
        "icc_profile": b"a profile",
        "comment": b"a comment",
        "dpi": (300, 300),
        "xmp": b"<x:xmpmeta/>",
        "transparency": (0, 0, 0),
    }

    data = encode(image, format=format)

    assert data == encode(picture(), format=format)
    assert image.info["comment"] == b"a comment"
    assert not set(Image.open(io.BytesIO(data)).info) & {"exif", "icc_profile", "comment", "dpi", "xmp", "transparency"}


def test_a_jpeg_is_baseline_with_colour_at_half_resolution():
    opened = Image.open(io.BytesIO(encode(picture())))

    assert opened.layer[0][1:3] == (2, 2) and opened.layer[1][1:3] == (1, 1)
    assert "progressive" not in opened.info


@pytest.mark.parametrize(("subsampling", "luma"), [("4:2:0", (2, 2)), ("4:2:2", (2, 1)), ("4:4:4", (1, 1))])
def test_the_resolution_of_a_jpegs_colour_can_be_chosen(subsampling, luma):
    opened = Image.open(io.BytesIO(encode(picture(), subsampling=subsampling)))

    assert opened.layer[0][1:3] == luma and opened.layer[1][1:3] == (1, 1)


def test_an_unknown_subsampling_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        encode(picture(), subsampling="420")

    assert str(caught.value) == (
        'subsampling is "420"\n  where: encode: subsampling\n  fix: did you mean "4:2:0"? known: 4:2:0, 4:2:2, 4:4:4'
    )


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_costs_bytes(format):
    assert len(encode(picture(), format=format, quality=30)) < len(encode(picture(), format=format, quality=95))


def test_each_format_has_its_extension():
    assert [extension_for(format) for format in ENCODE_FORMATS] == [".jpg", ".png", ".webp"]


def test_an_unknown_format_is_refused_with_the_nearest():
    for call in (lambda: encode(picture(), format="jpg"), lambda: extension_for("jpg")):
        with pytest.raises(UsageError) as caught:
            call()

        assert str(caught.value) == (
            'format is "jpg", which cannot be written\n  where: encode: format\n'
            '  fix: did you mean "jpeg"? known: jpeg, png, webp'
        )


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_outside_1_to_100_is_refused(quality):
    assert encode(picture(), quality=1) and encode(picture(), quality=100)

    with pytest.raises(UsageError) as caught:
        encode(picture(), quality=quality)

    assert str(caught.value) == (
        f"quality is {quality}, must be 1 to 100\n  where: encode: quality\n  fix: 90 is a good start"
    )


def test_a_mode_other_than_rgb_is_refused():
    with pytest.raises(ShapeError) as caught:
        encode(Image.new("RGBA", (4, 4)))

    assert (
        str(caught.value) == "the image has mode RGBA, must be RGB\n  where: encode: image\n  fix: to_rgb(image) first"
    )


@pytest.mark.parametrize(("format", "longest_px"), [("webp", 16_383), ("jpeg", 65_500)])
def test_a_side_that_the_format_cannot_hold_is_refused(format, longest_px):
    assert encode(Image.new("RGB", (longest_px, 1)), format=format)

    with pytest.raises(ShapeError) as caught:
        encode(Image.new("RGB", (longest_px + 1, 1)), format=format)

    assert str(caught.value) == (
        f"the image is {longest_px + 1} x 1 pixels; {format} takes at most {longest_px} a side\n"
        "  where: encode: image\n  fix: resize it first, or choose png"
    )
