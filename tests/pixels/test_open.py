"""Opening: every mode as stored, and for hostile bytes a documented reason, never another exception."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from imagekit.errors import ImageError
from imagekit.pixels.limits import MAX_PIXELS
from imagekit.pixels.open import Picture, open_image, read_header

REASONS = {"bomb", "truncated", "corrupt", "unidentified", "unsupported-format", "unsupported-mode", "too-small"}


def noise(mode: str = "RGB", size: tuple[int, int] = (37, 23), seed: int = 0) -> Image.Image:
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(values[..., 0].astype(np.int32 if mode == "I" else np.float32))
    if mode in ("LA", "RGBA", "CMYK"):
        bands = [Image.fromarray(values[..., band]) for band in range(4)]
        return Image.merge(mode, bands[: len(mode)] if mode != "LA" else bands[:2])
    return Image.fromarray(values[..., :3]).convert(mode)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def error_of(data: bytes, **options: int) -> ImageError:
    with pytest.raises(ImageError) as caught:
        open_image(data, **options)
    return caught.value


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


STORED = [
    *[("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("TIFF", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB")],
    *[("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
    *[("BMP", mode) for mode in ("1", "L", "P", "RGB")],
    *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    *[("GIF", mode) for mode in ("L", "P")],
]


@pytest.mark.parametrize(("format", "mode"), STORED)
def test_an_image_opens_in_the_mode_it_is_stored_in_with_the_pixels_that_pillow_decodes(format, mode):
    data = saved(noise(mode), format)

    picture = open_image(data)

    expected = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode, picture.width, picture.height) == (format, expected.mode, 37, 23)
    assert (picture.n_frames, picture.orientation) == (1, 1)
    assert picture.image.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("format", "mode"), STORED)
def test_the_header_says_the_same_as_the_picture(format, mode):
    data = saved(noise(mode), format)

    header, picture = read_header(data), open_image(data)

    assert facts(header) == facts(picture)


def facts(found):
    return tuple(getattr(found, key) for key in ("format", "mode", "width", "height", "n_frames", "orientation", "icc"))


def test_palette_images_keep_their_transparency_as_stored():
    image = noise("P")

    picture = open_image(saved(image, "PNG", transparency=bytes([0, 128, 255])))

    assert (picture.mode, picture.image.info["transparency"]) == ("P", bytes([0, 128, 255]))


def test_an_adobe_cmyk_jpeg_is_opened_with_the_ink_values_that_were_saved():
    inks = Image.new("CMYK", (16, 16), (200, 100, 50, 25))

    picture = open_image(saved(inks, "JPEG", quality=95))

    assert picture.mode == "CMYK"
    assert np.abs(np.asarray(picture.image).astype(int) - (200, 100, 50, 25)).max() <= 4


def test_a_ycck_jpeg_opens_as_cmyk():
    plain = saved(noise("CMYK"), "JPEG")
    at = plain.index(b"Adobe") + 11
    ycck = plain[:at] + b"\x02" + plain[at + 1 :]  # Adobe's transform flag 2: the four channels are YCCK

    picture = open_image(ycck)

    assert (picture.format, picture.mode) == ("JPEG", "CMYK")
    assert picture.image.tobytes() != open_image(plain).image.tobytes()


@pytest.mark.parametrize("format", ["GIF", "TIFF", "MPO", "WEBP", "PNG"])
def test_a_file_of_three_frames_gives_the_first_and_counts_all(format):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])

    picture = open_image(data)

    assert (picture.format, picture.n_frames, read_header(data).n_frames) == (format, 3, 3)
    red, green, blue = picture.image.convert("RGB").getpixel((5, 5))
    assert red > 240 and max(green, blue) < 15


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_a_broken_later_frame_costs_nothing_of_the_first(format):
    frames = [noise("L", seed=seed) for seed in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    cut = data[: len(data) * 3 // 5]

    picture = open_image(cut)

    assert picture.image.convert("L").tobytes() == frames[0].tobytes()
    assert 1 <= picture.n_frames <= 3


def test_an_icc_profile_is_noticed():
    with_profile = saved(noise(), "PNG", icc_profile=b"profile")

    assert open_image(with_profile).icc is True
    assert open_image(saved(noise(), "PNG")).icc is False


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"x" * 40])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_means_orientation_1_and_no_loss(format, exif):
    data = saved(noise(), format, exif=exif)

    picture = open_image(data)

    assert picture.orientation == 1
    assert picture.image.size == (37, 23)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_counts_as_1(value):
    exif = Image.Exif()
    exif[0x0112] = value

    assert open_image(saved(noise(), "JPEG", exif=exif)).orientation == 1


def test_an_orientation_behind_the_pixels_of_a_png_is_found_by_header_and_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = saved(noise(), "PNG")
    late = plain[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[-12:]

    assert (read_header(late).orientation, open_image(late).orientation) == (6, 6)


def test_an_orientation_in_xmp_counts_where_exif_is_silent():
    data = saved(noise(), "JPEG", xmp=b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>')

    assert open_image(data).orientation == 3


# -- what cannot be used ---------------------------------------------------------------------------------------------


def test_an_empty_file_is_truncated():
    assert str(error_of(b"")) == "truncated: the file is empty (0 bytes)"


def test_a_text_file_named_jpg_is_unidentified():
    assert str(error_of(b"hello, world")) == ("unidentified: the content is no known image; it begins with b'hello, w'")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"P6 1 1 255 abc", "PNM"),
        (b"\0\0\1\0\1\0", "icon"),
    ],
)
def test_an_image_of_a_format_outside_the_allow_list_is_named(data, name):
    assert str(error_of(data)) == (
        f"unsupported-format: the content is {name}; formats read: JPEG, PNG, WEBP, GIF, BMP, TIFF"
    )


def test_a_header_that_promises_too_many_pixels_is_a_bomb_before_any_pixel():
    data = png_header(9_460, 9_460) + chunk(b"IDAT", b"")

    assert str(error_of(data)) == f"bomb: 9460 x 9460 = 89491600 pixels, the limit is {MAX_PIXELS}"


def test_the_pixel_limit_is_exact_and_can_be_set():
    data = saved(noise(size=(20, 10)), "PNG")

    assert open_image(data, max_pixels=200).width == 20
    assert str(error_of(data, max_pixels=199)) == "bomb: 20 x 10 = 200 pixels, the limit is 199"


def test_a_header_beyond_pillows_own_limit_is_a_bomb():
    for limit in (MAX_PIXELS, 10**12):
        error = error_of(png_header(65_000, 65_000) + chunk(b"IDAT", b""), max_pixels=limit)

        assert error.reason == "bomb"


@pytest.mark.parametrize("format", ["BMP", "GIF", "WEBP", "TIFF", "JPEG"])
def test_a_pixel_bomb_is_found_in_every_format(format):
    assert error_of(saved(noise("L"), format), max_pixels=850).reason == "bomb"
    assert open_image(saved(noise("L"), format), max_pixels=851).width == 37


def test_compressed_text_in_a_png_is_a_bomb_when_it_swells():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)))
    pixels = saved(noise(), "PNG")[33:]

    error = error_of(png_header(37, 23) + text + pixels)

    assert str(error) == "bomb: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"


def test_many_text_chunks_are_a_bomb_together():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * PngImagePlugin.MAX_TEXT_CHUNK))
    pixels = saved(noise(), "PNG")[33:]

    assert error_of(png_header(37, 23) + text * 65 + pixels).reason == "bomb"
    assert open_image(png_header(37, 23) + text * 2 + pixels).width == 37


def test_no_pixels_at_all_is_too_small():
    bmp = bytearray(saved(noise(size=(1, 1)), "BMP"))
    assert open_image(bytes(bmp)).image.size == (1, 1)

    bmp[18:22] = struct.pack("<i", 0)

    assert str(error_of(bytes(bmp))) == "too-small: the header promises no pixels"


def test_a_tiff_of_a_pixel_layout_that_pillow_does_not_know_is_an_unsupported_mode():
    data = bytearray(saved(noise("L"), "TIFF"))
    at = data.index(struct.pack("<HHI", 258, 3, 1)) + 8  # BitsPerSample
    data[at : at + 2] = struct.pack("<H", 7)

    assert str(error_of(bytes(data))) == "unsupported-mode: unknown pixel mode"


def test_half_a_file_is_truncated_in_every_format():
    for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        data = saved(noise("L", size=(64, 64)), format)

        assert error_of(data[: len(data) // 2]).reason == "truncated", format


def test_rubbish_inside_a_complete_png_is_corrupt():
    data = bytearray(saved(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF

    error = error_of(bytes(data))

    assert error.reason in ("corrupt", "truncated")
    assert str(error) == f"{error.reason}: {error.detail}"


def test_a_decoder_that_runs_out_of_memory_is_a_bomb(monkeypatch):
    def no_memory(*_args: object) -> None:
        raise MemoryError

    data = saved(noise(), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", no_memory)

    assert str(error_of(data)) == "bomb: decoding needs more memory than this process may have"


def test_the_detail_is_one_line_without_addresses():
    error = error_of(b"\xff\xd8\xff\xe0" + b"\0" * 50)

    assert "\n" not in error.detail and " at 0x" not in error.detail


def test_a_bare_key_of_the_decoder_says_that_it_is_one(monkeypatch):
    def no_key(*_args: object) -> None:
        raise KeyError(10825)

    data = saved(noise(), "TIFF")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load_prepare", no_key)

    assert str(error_of(data)) == "corrupt: KeyError: 10825"


def test_pillows_warnings_stay_inside():
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    raw = exif.tobytes()
    cut = saved(noise(), "JPEG", exif=raw[: len(raw) - 4])
    before = list(warnings.filters)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        picture = open_image(cut)

    assert isinstance(picture, Picture)
    assert heard == []
    assert list(warnings.filters) == before


def test_two_overlapping_opens_leave_no_filter_behind():
    from imagekit.pixels.quiet import quiet_pillow

    before = list(warnings.filters)
    outer, inner = quiet_pillow(), quiet_pillow()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)  # the first to come is the first to leave, as threads do

    assert list(warnings.filters) == [warnings.filters[0], *before]
    inner.__exit__(None, None, None)
    assert list(warnings.filters) == before


def test_a_metadata_fault_is_in_the_debug_log(caplog):
    with caplog.at_level(logging.DEBUG, logger="imagekit.pixels.open"):
        open_image(saved(noise(), "PNG", exif=b"Exif\0\0garbage!"))

    assert "EXIF cannot be read" in caplog.text


# -- laws ------------------------------------------------------------------------------------------------------------

SAMPLES = {
    "jpeg": saved(noise(size=(40, 40)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "progressive": saved(noise(size=(40, 40)), "JPEG", progressive=True),
    "cmyk": saved(noise("CMYK", size=(40, 40)), "JPEG"),
    "mpo": saved(noise(size=(20, 20)), "MPO", save_all=True, append_images=[noise(size=(20, 20))]),
    "png": saved(noise("RGBA"), "PNG"),
    "apng": saved(noise(), "PNG", save_all=True, append_images=[noise(seed=1)]),
    "palette": saved(noise("P"), "PNG", transparency=bytes(range(200))),
    "png16": saved(noise("I;16"), "PNG"),
    "gif": saved(noise("L"), "GIF", save_all=True, append_images=[noise("L", seed=1), noise("L", seed=2)]),
    "webp": saved(noise(), "WEBP"),
    "bmp": saved(noise("P"), "BMP"),
    "tiff": saved(noise("I;16"), "TIFF"),
    "lzw": saved(noise(), "TIFF", compression="tiff_lzw", tiffinfo={274: 6}),
    "pages": saved(noise("L"), "TIFF", save_all=True, append_images=[noise("L", seed=1)]),
}


def check_outcome(data: bytes) -> None:
    try:
        picture = open_image(data)
    except ImageError as error:
        assert error.reason in REASONS
        assert error.detail
    else:
        assert picture.image.size == (picture.width, picture.height)
        assert len(picture.image.tobytes()) > 0
        assert 1 <= picture.orientation <= 8
        assert picture.n_frames >= 1


@pytest.mark.parametrize("name", SAMPLES)
@settings(deadline=None, max_examples=60)
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_a_full_picture_or_a_documented_reason(name, where):
    data = SAMPLES[name]

    check_outcome(data[: int(where * len(data))])


@pytest.mark.parametrize("name", SAMPLES)
@settings(deadline=None, max_examples=100)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6))
def test_a_file_with_bytes_flipped_is_a_full_picture_or_a_documented_reason(name, flips):
    data = bytearray(SAMPLES[name])
    for where, mask in flips:
        data[int(where * where * len(data))] ^= mask  # squared: headers are short, and where the traps are

    check_outcome(bytes(data))


@settings(deadline=None, max_examples=200)
@given(
    magic=st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBP", b"BM", b"II*\0", b"MM\0*"]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_behind_a_magic_number_have_a_documented_outcome(magic, rest):
    check_outcome(magic + rest)


@pytest.mark.parametrize("name", ["jpeg", "png", "gif"])
def test_no_cut_of_the_pixel_data_passes_for_a_whole_picture(name):
    data, whole = SAMPLES[name], open_image(SAMPLES[name]).image.tobytes()

    for cut in range(0, len(data), 7):
        try:
            pixels = open_image(data[:cut]).image.tobytes()
        except ImageError as error:
            assert error.reason in ("truncated", "unidentified", "corrupt")
        else:
            assert pixels == whole
