"""Decoding for loaders: the pixels and the errors of the careful way, whichever decoder is there."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ImageError
from imagekit.pixels import decode, turbo
from imagekit.pixels.decode import decode_rgb
from imagekit.pixels.open import open_image
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.upright import upright


def _picture(size: tuple[int, int] = (83, 61), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return coarse.convert(mode)


def _saved(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = {
    "4:2:0": _saved(_picture(), subsampling="4:2:0"),
    "4:4:4": _saved(_picture(), subsampling="4:4:4"),
    "progressive": _saved(_picture(), progressive=True),
    "grey": _saved(_picture(mode="L")),
    "stored as RGB": _saved(_picture(), keep_rgb=True),
    "cmyk": _saved(_picture(mode="CMYK")),
    "turned": _saved(_picture(), exif=EXIF),
    "one pixel": _saved(_picture((1, 1))),
    "png": _saved(_picture(), "PNG"),
    "png with alpha": _saved(_picture(mode="RGBA"), "PNG"),
    "palette": _saved(_picture(mode="P"), "PNG"),
    "webp": _saved(_picture(), "WEBP"),
}


def _carefully(data: bytes) -> np.ndarray:
    return np.array(to_rgb(upright(open_image(data))))


def _outcome(read: object, data: bytes) -> tuple[object, ...]:
    try:
        pixels = read(data)
    except ImageError as error:
        return error.reason, error.detail
    return pixels.shape, pixels.tobytes()


@pytest.fixture(params=["simplejpeg", "Pillow alone"])
def decoder(request, monkeypatch):
    if request.param == "Pillow alone":
        monkeypatch.setattr(turbo, "_module", None)
    return request.param


@pytest.mark.parametrize("kind", FILES)
def test_the_pixels_are_those_of_the_careful_way(kind, decoder):
    pixels = decode_rgb(FILES[kind])

    assert np.array_equal(pixels, _carefully(FILES[kind]))
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_a_plain_jpeg_is_read_without_pillows_look_at_its_segments(decoder, monkeypatch):
    monkeypatch.setattr(decode, "open_image", None)

    assert decode_rgb(FILES["4:2:0"]).shape == (61, 83, 3)


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(["4:2:0", "progressive", "grey"]), data=st.data())
def test_a_file_cut_or_changed_anywhere_has_the_outcome_of_the_careful_way(kind, data):
    broken = bytearray(FILES[kind])
    for position in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=3)):
        broken[position] = data.draw(st.integers(0, 255))
    broken = bytes(broken[: data.draw(st.integers(0, len(broken)))] if data.draw(st.booleans()) else broken)

    for module in (None, turbo.load_turbo()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(turbo, "_module", module)
            assert _outcome(decode_rgb, broken) == _outcome(_carefully, broken)


def test_a_picture_larger_than_allowed_is_refused(decoder):
    with pytest.raises(ImageError) as caught:
        decode_rgb(FILES["4:2:0"], max_pixels=100)

    assert str(caught.value) == "bomb: 83 x 61 = 5063 pixels, the limit is 100"
