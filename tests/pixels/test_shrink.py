"""From file bytes to file bytes: every mode and kind of source, kept where no pixel would change, the same bytes with
and without the fast decoder."""

import io
import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ImageError, ShapeError, UsageError
from imagekit.pixels import shrink as shrink_module
from imagekit.pixels import turbo
from imagekit.pixels.geometry import MODES, place
from imagekit.pixels.open import open_image, read_header
from imagekit.pixels.resize import FILTERS
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.shrink import SHRINK_FILTERS, Shrinking, check_image, shrink, warm_up
from imagekit.pixels.upright import upright


def picture(size: tuple[int, int] = (150, 100), mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Soft patches and mild noise, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    values = (np.asarray(coarse) + rng.integers(-5, 6, (size[1], size[0], 3))).clip(0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    image = Image.fromarray(values)
    if mode in ("RGBA", "LA"):
        alpha = Image.linear_gradient("L").resize(size)
        image.putalpha(alpha)
    return image.convert(mode)


def saved(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int, format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, format, exif=exif)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(open_image(data).image.convert("RGB")).astype(int)


def without_turbo(data: bytes, how: Shrinking):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turbo, "_module", None)
        return shrink(data, how)


def outcome(data: bytes, how: Shrinking, do=shrink):
    try:
        return do(data, how)
    except ImageError as error:
        return error.reason, error.detail


def plainly(data: bytes, how: Shrinking) -> Image.Image:
    """The same by Pillow alone, in the obvious order: turn, convert, crop and resize, pad."""
    image = to_rgb(upright(open_image(data)), background=how.background)
    placed = place(image.size, how.side_px, mode=how.mode, enlarge=how.enlarge)
    if placed.changes(image.size):
        image = image.resize(placed.size, FILTERS[how.filter], box=placed.box)
    canvas = Image.new("RGB", placed.canvas, how.background)
    canvas.paste(image, tuple((whole - part) // 2 for whole, part in zip(placed.canvas, image.size, strict=True)))
    return canvas


TWO = [picture(seed=1), picture(seed=2)]
KINDS = {
    "jpeg": saved(picture()),
    "grey jpeg": saved(picture(mode="L")),
    "cmyk jpeg": saved(picture(mode="CMYK")),
    "progressive": saved(picture(), progressive=True),
    "mpo": saved(TWO[0], "MPO", save_all=True, append_images=TWO[1:]),
    "turned": turned(picture(), 6),
    "turned png": turned(picture(), 7, "PNG"),
    "turned tiff": turned(picture(), 8, "TIFF"),
    "png": saved(picture(), "PNG"),
    "16-bit png": saved(picture(mode="I;16"), "PNG"),
    "alpha png": saved(picture(mode="RGBA"), "PNG"),
    "grey alpha png": saved(picture(mode="LA"), "PNG"),
    "palette png": saved(picture(mode="P"), "PNG", transparency=3),
    "bilevel png": saved(picture(mode="1"), "PNG"),
    "gif": saved(TWO[0], "GIF", save_all=True, append_images=TWO[1:]),
    "apng": saved(TWO[0], "PNG", save_all=True, append_images=TWO[1:]),
    "webp": saved(picture(mode="RGBA"), "WEBP", lossless=True),
    "bmp": saved(picture(), "BMP"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_mode_is_what_pillow_makes_of_it_step_by_step(kind, mode):
    how = Shrinking(side_px=40, mode=mode, format="png", background=(10, 200, 30))

    made = shrink(KINDS[kind], how)

    expected = plainly(KINDS[kind], how)
    assert (made.width, made.height) == expected.size == open_image(made.payload).image.size
    assert np.abs(pixels(made.payload) - np.asarray(expected).astype(int)).max() <= 2
    assert (made.resized, made.kept, made.decode_path) == (True, False, "full")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side_px", [40, 100])
def test_the_header_is_that_of_the_source(kind, side_px):
    found = shrink(KINDS[kind], Shrinking(side_px=side_px)).header

    assert found == read_header(KINDS[kind])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "lanczos"])
def test_every_filter_is_pillows(filter, mode):
    how = Shrinking(side_px=40, mode=mode, filter=filter, format="png")

    made = shrink(KINDS["jpeg"], how)

    assert np.abs(pixels(made.payload) - np.asarray(plainly(KINDS["jpeg"], how)).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", MODES)
def test_a_turned_picture_is_made_upright_once_and_left_without_its_note(orientation, mode):
    data = turned(picture((151, 100)), orientation)
    how = Shrinking(side_px=41, mode=mode, format="png")

    made = shrink(data, how)

    assert np.abs(pixels(made.payload) - np.asarray(plainly(data, how)).astype(int)).max() <= 2
    assert open_image(made.payload).orientation == 1


def test_the_picture_is_centred_on_its_canvas():
    made = shrink(saved(Image.new("RGB", (90, 41), "#ff0000"), "PNG"), Shrinking(side_px=50, mode="fit", format="png"))

    found = pixels(made.payload)

    assert found.shape == (50, 50, 3)
    red_rows = np.flatnonzero((found == (255, 0, 0)).all(axis=(1, 2)))
    assert (red_rows[0], red_rows[-1]) == (13, 35)  # 23 rows of 50: 13 above, 14 below
    assert (found[:13] == 255).all() and (found[36:] == 255).all()


def test_padding_alone_resamples_nothing():
    image = picture((30, 20))

    made = shrink(saved(image, "PNG"), Shrinking(side_px=40, mode="fit", format="png"))

    assert (made.resized, made.kept, made.width, made.height) == (False, False, 40, 40)
    assert np.array_equal(pixels(made.payload)[10:30, 5:35], np.asarray(image))


# -- the texture-keeping filter ----------------------------------------------------------------------------------------


def test_two_steps_are_bicubic_to_twice_the_size_and_every_second_pixel_of_it():
    data = saved(picture((400, 300)), "PNG")

    made = shrink(data, Shrinking(side_px=60, filter="bicubic-nearest", format="png"))

    twice = shrink(data, Shrinking(side_px=120, filter="bicubic", format="png"))
    assert np.array_equal(pixels(made.payload), pixels(twice.payload)[1::2, 1::2])


@pytest.mark.parametrize(("side_px", "two_steps"), [(50, True), (51, False)])
def test_a_picture_smaller_than_twice_the_size_takes_one_step(side_px, two_steps):
    data = saved(picture((150, 100)), "PNG")

    made = shrink(data, Shrinking(side_px=side_px, filter="bicubic-nearest", format="png"))

    plain = shrink(data, Shrinking(side_px=side_px, filter="bicubic", format="png"))
    assert (made.payload != plain.payload) is two_steps


# -- reduced decoding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1200, 960), (1203, 961), (1199, 967), (961, 1207)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("side_px", "path"), [(100, "scaled/2"), (60, "scaled/4"), (32, "scaled/8")])
def test_a_far_larger_jpeg_is_decoded_small_and_looks_the_same(size, mode, side_px, path):
    data = saved(picture(size), quality=92)
    how = Shrinking(side_px=side_px, mode=mode, format="png")

    made = shrink(data, how)

    assert made.decode_path in ({path} if mode != "fit" and mode != "longest" else {path, "scaled/4", "scaled/8"})
    assert np.abs(pixels(made.payload) - np.asarray(plainly(data, how)).astype(int)).mean() < 0.6
    assert (made.header.width, made.header.height) == size
    assert without_turbo(data, how) == made


def test_edges_stay_where_they_are_when_the_sides_are_no_multiple_of_the_scale():
    image = Image.new("RGB", (807, 801), "#000000")
    image.paste("#ffffff", (403, 0, 807, 801))
    how = Shrinking(side_px=80, mode="stretch", format="png")

    data = saved(image, quality=95)

    made = shrink(data, how)
    assert made.decode_path == "scaled/2"
    assert np.abs(pixels(made.payload) - np.asarray(plainly(data, how)).astype(int)).max() <= 12


@pytest.mark.parametrize(
    ("filter", "path"), [("nearest", "full"), ("bicubic-nearest", "scaled/2"), ("lanczos", "scaled/4")]
)
def test_a_filter_that_keeps_texture_is_given_more_pixels_to_choose_from(filter, path):
    data = saved(picture((800, 800)))

    assert shrink(data, Shrinking(side_px=60, filter=filter)).decode_path == path


def test_other_formats_are_decoded_in_full():
    assert shrink(saved(picture((800, 800)), "PNG"), Shrinking(side_px=30)).decode_path == "full"


# -- bytes that are kept -----------------------------------------------------------------------------------------------

KEPT = [
    (saved(picture((100, 80))), Shrinking(side_px=80)),
    (saved(picture((100, 80))), Shrinking(side_px=100)),
    (saved(picture((100, 80))), Shrinking(side_px=100, mode="longest", quality=20)),
    (saved(picture((80, 80))), Shrinking(side_px=80, mode="fit")),
    (saved(picture((80, 80))), Shrinking(side_px=80, mode="fill")),
    (saved(picture((80, 80))), Shrinking(side_px=80, mode="stretch")),
    (saved(picture((80, 80), "L")), Shrinking(side_px=80)),
    (saved(picture((80, 80)), "PNG"), Shrinking(side_px=80, format="png")),
    (saved(picture((80, 80)), "PNG"), Shrinking(side_px=80, format="keep")),
    (saved(picture((80, 80)), "WEBP"), Shrinking(side_px=80, format="keep")),
]
CHANGED = [
    (saved(picture((100, 80))), Shrinking(side_px=79)),
    (saved(picture((100, 80))), Shrinking(side_px=100, enlarge=True)),
    (saved(picture((100, 80))), Shrinking(side_px=100, mode="fit")),
    (saved(picture((100, 80))), Shrinking(side_px=80, mode="fill")),
    (saved(picture((80, 80))), Shrinking(side_px=80, format="png")),
    (turned(picture((80, 80)), 3), Shrinking(side_px=80)),
    (saved(picture((80, 80), "CMYK")), Shrinking(side_px=80)),
    (saved(picture((80, 80), "RGBA"), "PNG"), Shrinking(side_px=80, format="png")),
    (saved(picture((80, 80)), "PNG", transparency=(1, 2, 3)), Shrinking(side_px=80, format="png")),
    (saved(picture((80, 80), "P"), "PNG"), Shrinking(side_px=80, format="keep")),
    (saved(picture((80, 80), "I;16"), "PNG"), Shrinking(side_px=80, format="keep")),
    (saved(TWO[0], "PNG", save_all=True, append_images=TWO[1:]), Shrinking(side_px=100, format="keep")),
    (saved(TWO[0], "WEBP", save_all=True, append_images=TWO[1:]), Shrinking(side_px=100, format="keep")),
    (saved(TWO[0], "MPO", save_all=True, append_images=TWO[1:]), Shrinking(side_px=100, format="keep")),
    (saved(TWO[0], "GIF"), Shrinking(side_px=100, format="keep")),
]


@pytest.mark.parametrize("turbo_module", [None, turbo.load_turbo()], ids=["pillow", "turbo"])
@pytest.mark.parametrize(("data", "how"), KEPT)
def test_bytes_are_kept_where_no_pixel_would_change(data, how, turbo_module, monkeypatch):
    monkeypatch.setattr(turbo, "_module", turbo_module)

    made = shrink(data, how)

    assert (made.payload, made.kept, made.resized) == (data, True, False)
    assert (made.width, made.height) == (made.header.width, made.header.height)


@pytest.mark.parametrize(("data", "how"), CHANGED)
def test_bytes_are_made_anew_where_a_pixel_the_format_or_the_frames_change(data, how):
    made = shrink(data, how)

    assert made.kept is False and made.payload != data
    again = open_image(made.payload)
    assert (again.mode, again.n_frames, again.orientation) == ("RGB", 1, 1)


@pytest.mark.parametrize(
    ("kind", "format"), [("jpeg", "JPEG"), ("mpo", "JPEG"), ("webp", "WEBP"), ("gif", "PNG"), ("bmp", "PNG")]
)
def test_keep_writes_the_sources_format_or_png(kind, format):
    assert read_header(shrink(KINDS[kind], Shrinking(side_px=40, format="keep")).payload).format == format


def test_kept_bytes_have_been_decoded_whole():
    data = saved(picture((80, 80)))

    with pytest.raises(ImageError) as caught:
        shrink(data[:-60], Shrinking(side_px=80))

    assert caught.value.reason == "truncated"


def test_quality_subsampling_and_metadata():
    data = saved(picture(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", comment=b"a secret", icc_profile=b"p")

    fine = shrink(data, Shrinking(side_px=60, quality=95, subsampling="4:4:4"))
    poor = shrink(data, Shrinking(side_px=60, quality=50))

    assert len(fine.payload) > len(poor.payload)
    assert Image.open(io.BytesIO(fine.payload)).layer[0][1:3] == (1, 1)
    assert not set(Image.open(io.BytesIO(poor.payload)).info) & {"exif", "comment", "icc_profile"}
    assert poor.header.icc is True


# -- the same with and without the fast decoder ------------------------------------------------------------------------


@pytest.mark.parametrize("filter", SHRINK_FILTERS)
@pytest.mark.parametrize("kind", ["jpeg", "grey jpeg", "cmyk jpeg", "progressive", "mpo", "turned"])
def test_the_bytes_do_not_depend_on_the_decoder(kind, filter):
    for mode in MODES:
        how = Shrinking(side_px=40, mode=mode, filter=filter)

        assert shrink(KINDS[kind], how) == without_turbo(KINDS[kind], how)


@pytest.mark.parametrize("kind", ["jpeg", "grey jpeg", "progressive", "turned", "mpo"])
@settings(deadline=None, max_examples=30)
@given(
    cut=st.floats(0.2, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
)
def test_a_damaged_file_has_the_same_outcome_with_and_without_the_fast_decoder_and_in_a_mere_check(kind, cut, flips):
    data = bytearray(KINDS[kind])
    for where, mask in flips:
        data[int(where * where * len(data))] ^= mask
    damaged = bytes(data[: int(len(data) * cut)])
    how = Shrinking(side_px=20)

    with_it, without_it = outcome(damaged, how), outcome(damaged, how, without_turbo)
    checked = outcome(damaged, how, lambda data, _how: check_image(data))

    assert with_it == without_it
    assert checked == (with_it if isinstance(with_it, tuple) else with_it.header)


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_tells_the_facts(kind):
    assert check_image(KINDS[kind]) == read_header(KINDS[kind])


def test_a_result_does_not_depend_on_what_was_made_before():
    how = Shrinking(side_px=40)
    first = shrink(KINDS["jpeg"], how)

    for kind in ("png", "cmyk jpeg", "16-bit png"):
        shrink(KINDS[kind], how)

    assert shrink(KINDS["jpeg"], how) == first


# -- what cannot be made -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turbo_module", [None, turbo.load_turbo()], ids=["pillow", "turbo"])
def test_too_many_pixels_are_a_bomb_before_they_are_decoded(turbo_module, monkeypatch):
    monkeypatch.setattr(turbo, "_module", turbo_module)

    for do in (partial(shrink, KINDS["jpeg"], Shrinking(side_px=40)), partial(check_image, KINDS["jpeg"])):
        with pytest.raises(ImageError) as caught:
            do(max_pixels=14_999)

        assert str(caught.value) == "bomb: 150 x 100 = 15000 pixels, the limit is 14999"
        assert do(max_pixels=15_000).width in (60, 150)


def test_a_picture_may_not_be_enlarged_into_a_bomb():
    thin = saved(Image.new("RGB", (3000, 1)), "PNG")

    with pytest.raises(ImageError) as caught:
        shrink(thin, Shrinking(side_px=1000, enlarge=True))

    assert str(caught.value) == ("bomb: 3000000 x 1000 = 3000000000 pixels when enlarged, the limit is 89478485")
    assert shrink(thin, Shrinking(side_px=10, enlarge=True, format="png")).width == 30_000


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        OSError("out of memory error when writing image file"),
    ],
)
def test_memory_that_runs_out_at_any_step_is_a_bomb(monkeypatch, error):
    def fail(*_args: object, **_options: object) -> None:
        raise error

    for step in ("resize_hwc", "encode", "decode_turbo"):
        with monkeypatch.context() as patch:
            patch.setattr(shrink_module, step, fail)
            with pytest.raises(ImageError) as caught:
                shrink(KINDS["jpeg"], Shrinking(side_px=40))

            assert str(caught.value) == "bomb: decoding needs more memory than this process may have"


@pytest.mark.parametrize("error", [RuntimeError("a fault of the program"), OSError("another")])
def test_another_error_is_not_taken_for_it(monkeypatch, error):
    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(shrink_module, "encode", fail)

    with pytest.raises(type(error)) as caught:
        shrink(KINDS["jpeg"], Shrinking(side_px=40))
    assert caught.value is error


def test_a_side_too_long_for_the_format_is_said():
    wide = saved(Image.new("RGB", (17_000, 2)), "PNG")

    with pytest.raises(ShapeError, match="17000 x 2 pixels; webp takes at most 16383 a side"):
        shrink(wide, Shrinking(side_px=10, format="webp"))


def test_a_range_that_cannot_be_known_is_an_unsupported_mode():
    floats = saved(Image.new("F", (40, 40)), "TIFF")

    with pytest.raises(ImageError) as caught:
        shrink(floats, Shrinking(side_px=10))

    assert caught.value.reason == "unsupported-mode"


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("mode", "fil", 'did you mean "fill"? known: fill, fit, longest, shortest, stretch'),
        (
            "filter",
            "bicubik",
            'did you mean "bicubic"? known: bicubic, bicubic-nearest, bilinear, box, hamming, lanczos, nearest',
        ),
        ("format", "jpg", 'did you mean "jpeg"? known: jpeg, keep, png, webp'),
        ("subsampling", "4:2:1", 'did you mean "4:2:2"? known: 4:2:0, 4:2:2, 4:4:4'),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_before_any_image(key, value, fix):
    with pytest.raises(UsageError) as caught:
        Shrinking(side_px=40, **{key: value})

    assert str(caught.value) == f'{key} is "{value}"\n  where: shrink: {key}\n  fix: {fix}'


def test_a_side_below_one_pixel_is_refused():
    assert Shrinking(side_px=1).side_px == 1

    with pytest.raises(UsageError) as caught:
        Shrinking(side_px=0)

    assert str(caught.value) == "side_px is 0, must be at least 1 pixel\n  where: shrink: side_px"


# -- in a worker -------------------------------------------------------------------------------------------------------


def test_a_rule_and_a_result_travel_between_processes():
    how = Shrinking(side_px=40, mode="fit", background=(1, 2, 3))
    made = shrink(KINDS["jpeg"], how)

    assert (pickle.loads(pickle.dumps(how)), pickle.loads(pickle.dumps(made))) == (how, made)


@pytest.mark.slow
def test_warming_up_loads_all_that_images_need_and_leaves_one_thread(tmp_path):
    for number, data in enumerate(KINDS.values()):
        (tmp_path / f"{number:02}").write_bytes(data)
    code = f"""
import pathlib, sys
from imagekit.pixels.shrink import Shrinking, shrink, warm_up
warm_up(Shrinking(side_px=20, filter="lanczos"))
told = ["torch" in sys.modules]
how = Shrinking(side_px=20)
warm_up(how)
told.append(sys.modules["torch"].get_num_threads())
loaded = set(sys.modules)
for path in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):
    shrink(path.read_bytes(), how)
print(told, sorted(set(sys.modules) - loaded))
"""

    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "2"},  # what torch would take
        capture_output=True,
        text=True,
        check=False,
    )

    assert (told.stdout, told.stderr) == ("[False, 1] []\n", "")


def test_warming_up_accepts_every_rule():
    for filter in SHRINK_FILTERS:
        for format in ("jpeg", "png", "webp", "keep"):
            how = Shrinking(side_px=8, filter=filter, format=format)
            assert warm_up(how) is None, how  # type: ignore[func-returns-value]  # no rule makes it raise
