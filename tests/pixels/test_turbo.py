"""The fast JPEG decoder beside Pillow: the same pixels and facts, or None; never another outcome."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.pixels import turbo
from imagekit.pixels.open import Header, open_image, read_header, reading
from imagekit.pixels.turbo import decode_turbo, load_turbo, scan_header


def picture(size: tuple[int, int] = (83, 61), mode: str = "RGB") -> Image.Image:
    """Soft patches and some noise: sharp colour edges, where decoders would differ."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(data: bytes, scale: int = 1) -> np.ndarray:
    with reading(data) as reader:
        return np.asarray(reader.decode(scale=scale).convert("RGB"))


PLAIN = {
    "4:2:0": saved(picture(), subsampling="4:2:0"),
    "4:2:2": saved(picture(), subsampling="4:2:2"),
    "4:4:4": saved(picture(), subsampling="4:4:4"),
    "poor": saved(picture(), quality=12),
    "fine": saved(picture(), quality=98),
    "progressive": saved(picture(), progressive=True),
    "progressive 4:4:4": saved(picture(), progressive=True, subsampling="4:4:4"),
    "optimised": saved(picture(), optimize=True),
    "restarts": saved(picture(), restart_marker_rows=1),
    "grey": saved(picture(mode="L")),
    "grey progressive": saved(picture(mode="L"), progressive=True),
    "stored as RGB": saved(picture(), keep_rgb=True),
    "with a profile": saved(picture(), icc_profile=b"a profile"),
    "with a comment": saved(picture(), comment=b"a comment", dpi=(300, 300)),
    "one pixel": saved(picture((1, 1))),
    "a row": saved(picture((37, 1))),
    "whole blocks": saved(picture((64, 48))),
    "one more than blocks": saved(picture((65, 49))),
}
TINY = ("one pixel", "a row")
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
UNUSUAL = {
    "exif": saved(picture(), exif=EXIF),
    "xmp": saved(picture(), xmp=b"<x:xmpmeta/>"),
    "a profile in two pieces": saved(picture(), icc_profile=b"p" * 70_000),
    "cmyk": saved(picture(mode="CMYK")),
    "png": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
}


@pytest.mark.parametrize(
    ("kind", "scale"), [(kind, scale) for kind in PLAIN for scale in (1, 2, 4, 8) if scale == 1 or kind not in TINY]
)
def test_the_pixels_are_pillows_to_the_last_bit(kind, scale):
    data = PLAIN[kind]

    pixels_HW3 = decode_turbo(data, read_header(data), scale=scale)

    assert pixels_HW3 is not None and pixels_HW3.dtype == np.uint8
    assert np.array_equal(pixels_HW3, by_pillow(data, scale))


@pytest.mark.parametrize("kind", TINY)
def test_pillow_decodes_a_picture_smaller_than_the_scale_in_full(kind):
    assert np.array_equal(by_pillow(PLAIN[kind], 8), by_pillow(PLAIN[kind]))


@pytest.mark.parametrize("kind", PLAIN)
def test_the_scanned_header_is_the_header(kind):
    assert scan_header(PLAIN[kind]) == read_header(PLAIN[kind])


@pytest.mark.parametrize("kind", UNUSUAL)
def test_whatever_might_turn_or_name_a_picture_otherwise_is_left_to_pillow(kind):
    assert scan_header(UNUSUAL[kind]) is None


def test_a_picture_with_exif_is_decoded_all_the_same_once_pillow_has_read_its_header():
    data = UNUSUAL["exif"]

    pixels_HW3 = decode_turbo(data, read_header(data))

    assert np.array_equal(pixels_HW3, by_pillow(data))


def test_ink_colours_and_other_formats_are_not_decoded_here():
    png = io.BytesIO()
    picture().save(png, "PNG")

    for data in (UNUSUAL["cmyk"], png.getvalue()):
        assert decode_turbo(data, read_header(data)) is None


def test_the_files_of_several_frames_are_left_to_pillow():
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture()])

    assert scan_header(buffer.getvalue()) is None
    assert decode_turbo(buffer.getvalue(), read_header(buffer.getvalue())) is None


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "grey", "restarts"])
@pytest.mark.parametrize("scale", [1, 8])
def test_no_cut_passes_for_a_whole_picture(kind, scale):
    data = PLAIN[kind]
    header = read_header(data)

    passed = [cut for cut in range(len(data)) if decode_turbo(data[:cut], header, scale=scale) is not None]

    assert passed == []


@pytest.mark.parametrize("kind", PLAIN)
@settings(deadline=None, max_examples=40)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_what_is_decoded_of_a_damaged_file_is_what_pillow_makes_of_it(kind, flips):
    data = bytearray(PLAIN[kind])
    for where, mask in flips:
        data[int(where * where * len(data))] ^= mask  # squared: headers are short, and where the traps are
    damaged = bytes(data)

    header = scan_header(damaged)
    pixels_HW3 = decode_turbo(damaged, header) if header and header.width * header.height < 10**6 else None

    if pixels_HW3 is not None:
        found = open_image(damaged)
        assert header == read_header(damaged)
        assert np.array_equal(pixels_HW3, np.asarray(found.image.convert("RGB")))


@settings(deadline=None, max_examples=300)
@given(rest=st.binary(max_size=80))
def test_any_bytes_can_be_scanned(rest):
    header = scan_header(b"\xff\xd8" + rest)

    assert header is None or isinstance(header, Header)


def test_a_header_that_lies_about_the_size_is_not_believed():
    data = PLAIN["4:2:0"]
    header = read_header(data)
    lying = Header(format="JPEG", mode="RGB", width=9, height=9, n_frames=1, orientation=1, icc=False)

    assert decode_turbo(data, header) is not None
    assert decode_turbo(data, lying) is None


def test_without_the_package_pillow_does_it_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # importing it raises ImportError
    monkeypatch.setattr(turbo, "_module", turbo._unset)

    assert load_turbo() is None
    assert decode_turbo(PLAIN["4:2:0"], read_header(PLAIN["4:2:0"])) is None


def test_a_decoder_without_memory_is_not_taken_for_a_damaged_file(monkeypatch):
    class Full:
        @staticmethod
        def decode_jpeg(*_args: object, **_options: object) -> None:
            raise MemoryError

    monkeypatch.setattr(turbo, "_module", Full)

    with pytest.raises(MemoryError):
        decode_turbo(PLAIN["4:2:0"], read_header(PLAIN["4:2:0"]))
