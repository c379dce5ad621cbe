"""Resizing: Pillow to the byte, torch within one level of it, sizes that keep the aspect."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from imagekit.errors import ShapeError, UsageError
from imagekit.pixels.geometry import place
from imagekit.pixels.resize import FILTERS, resize, resize_hwc


def picture(width: int = 160, height: int = 120) -> Image.Image:
    """Smooth slopes, edges and mild noise, as in a photograph; no value near black or white."""
    down, right = np.mgrid[0:height, 0:width]
    slopes = [80 + 60 * right / width, 150 - 50 * down / height, 100 + 30 * np.sin(right / 7) * np.cos(down / 9)]
    image = Image.fromarray(np.stack(slopes, axis=-1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 4, height // 4, width // 2, height // 2), fill=(180, 90, 70))
    draw.rectangle((width // 2, height // 3, width * 3 // 4, height * 3 // 4), fill=(70, 170, 120))
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 3))
    return Image.fromarray((np.asarray(image) + noise).astype(np.uint8))


BOXES = [None, (0, 0, 160, 120), (10, 5, 150, 101), (10.25, 5.5, 150.75, 100.1), (0, 0, 160 / 1.14, 120 / 1.14)]
SIZES = [(128, 128), (64, 48), (20, 90), (160, 60), (300, 260), (1, 1)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("filter", FILTERS)
def test_the_pillow_backend_is_pillow(filter, box):
    image = picture()

    resized = resize(image, (50, 70), filter=filter, box=box)

    assert resized.tobytes() == image.resize((50, 70), FILTERS[filter], box=box).tobytes()


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_the_backends_agree_within_one_level(filter, size, box):
    image = picture()

    pillow = np.asarray(resize(image, size, filter=filter, box=box)).astype(int)
    torch_ = np.asarray(resize(image, size, filter=filter, box=box, backend="torch")).astype(int)

    assert np.abs(pillow - torch_).max() <= 1


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    corner=st.tuples(st.floats(0, 90), st.floats(0, 70)),
    extent=st.tuples(st.floats(1, 60), st.floats(1, 40)),
    filter=st.sampled_from(["bilinear", "bicubic"]),
)
def test_the_backends_agree_for_any_box_but_for_the_rounding_of_two_passes(size, corner, extent, filter):
    image = picture()
    box = (*corner, corner[0] + extent[0], corner[1] + extent[1])

    pillow = np.asarray(resize(image, size, filter=filter, box=box)).astype(int)
    torch_ = np.asarray(resize(image, size, filter=filter, box=box, backend="torch")).astype(int)

    assert np.abs(pillow - torch_).max() <= 2


@pytest.mark.parametrize("box", [(0, 0, 159.5, 119.5), (0, 0, 159.125, 120), (0, 0, 160, 119.75), (0, 0, 159, 119)])
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 30), (7, 50), (158, 118), (300, 260)])
def test_a_sliver_left_out_at_the_right_and_the_bottom_is_left_out_exactly(size, filter, box):
    image = picture()

    pillow = np.asarray(resize(image, size, filter=filter, box=box)).astype(int)
    torch_ = np.asarray(resize(image, size, filter=filter, box=box, backend="torch")).astype(int)

    assert np.abs(pillow - torch_).max() <= 1


def test_the_torch_kernel_leaves_channels_last_where_they_are():
    array_HWC = np.array(picture())

    assert resize_hwc(array_HWC, (40, 30)).strides == (120, 3, 1)
    assert resize_hwc(array_HWC, (40, 30)).flags.c_contiguous


def test_a_reduction_averages_texture_that_nearest_keeps():
    checker = Image.fromarray((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")

    spread = {name: np.asarray(resize(checker, (60, 60), filter=name)).std() for name in ("bicubic", "nearest")}

    assert spread["bicubic"] < 10 < 100 < spread["nearest"]


def test_the_result_carries_no_metadata():
    image = picture()
    image.info = {"exif": b"Exif\0\0", "icc_profile": b"profile"}

    assert resize(image, (10, 10)).info == {}
    assert resize(image, image.size).info == {}
    assert "exif" in image.info


def test_an_array_comes_back_as_the_kind_it_was():
    array_HWC = np.asarray(picture())  # Pillow's memory: must not be written
    tensor_HWC = torch.from_numpy(array_HWC.copy())

    from_array, from_tensor = resize_hwc(array_HWC, (40, 30)), resize_hwc(tensor_HWC, (40, 30))

    assert isinstance(from_array, np.ndarray) and isinstance(from_tensor, torch.Tensor)
    assert from_array.shape == tuple(from_tensor.shape) == (30, 40, 3)
    assert from_array.dtype == np.uint8 and from_tensor.is_contiguous()
    assert np.array_equal(from_array, from_tensor.numpy())


def test_an_array_may_have_any_number_of_channels_and_be_a_slice():
    array_HWC = np.array(picture())

    assert resize_hwc(array_HWC[..., :1], (40, 30)).shape == (30, 40, 1)
    assert np.array_equal(
        resize_hwc(array_HWC[10:90, 20:110], (40, 30)), resize_hwc(array_HWC[10:90, 20:110].copy(), (40, 30))
    )


def test_a_box_that_is_the_whole_image_changes_nothing():
    array_HWC = np.array(picture())

    assert np.array_equal(resize_hwc(array_HWC, (40, 30), box=(0, 0, 160, 120)), resize_hwc(array_HWC, (40, 30)))


def test_importing_the_room_does_not_import_torch():
    modules = "open, upright, rgb, resize, encode, dhash, limits, reasons, quiet, geometry, memory, turbo, shrink"
    code = f"import sys; from imagekit.pixels import {modules}; print('torch' in sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "False"


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "side_px", "expected"),
    [
        ((500, 375), 160, (213, 160)),
        ((375, 500), 160, (160, 213)),
        ((500, 375), 320, (427, 320)),
        ((300, 300), 160, (160, 160)),
        ((201, 100), 50, (101, 50)),  # 100.5 goes up
        ((160, 200), 160, (160, 200)),
        ((100, 200), 160, (100, 200)),
        ((10_000, 3), 2, (6667, 2)),
    ],
)
def test_the_shortest_side_is_met_and_never_enlarged(size, side_px, expected):
    assert place(size, side_px, mode="shortest").size == expected


@given(
    size=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    side_px=st.integers(1, 2_000),
)
def test_the_aspect_is_kept_to_half_a_pixel(size, side_px):
    width, height = place(size, side_px, mode="shortest").size

    assert min(width, height) == min(*size, side_px)
    assert abs(max(width, height) - max(size) * min(width, height) / min(size)) <= 0.5


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_mode_other_than_rgb_is_refused():
    with pytest.raises(ShapeError) as caught:
        resize(Image.new("P", (4, 4)), (2, 2))

    assert str(caught.value) == "the image has mode P, must be RGB\n  where: resize: image\n  fix: to_rgb(image) first"


def test_an_unknown_filter_is_named_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        resize(picture(), (2, 2), filter="bicubik")

    assert str(caught.value) == (
        'filter is "bicubik"\n  where: resize: filter\n'
        '  fix: did you mean "bicubic"? known: bicubic, bilinear, box, hamming, lanczos, nearest'
    )


@pytest.mark.parametrize("options", [{"backend": "torch"}])
def test_a_filter_that_torch_lacks_is_refused_there_and_works_in_pillow(options):
    with pytest.raises(UsageError) as caught:
        resize(picture(), (2, 2), filter="lanczos", **options)

    assert str(caught.value) == 'filter is "lanczos"\n  where: resize: filter\n  fix: known: bicubic, bilinear'
    assert resize(picture(), (2, 2), filter="lanczos").size == (2, 2)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError) as caught:
        resize(picture(), (2, 2), backend="pilow")

    assert str(caught.value) == (
        'backend is "pilow"\n  where: resize: backend\n  fix: did you mean "pillow"? known: pillow, torch'
    )


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_empty_size_is_refused(size):
    with pytest.raises(ShapeError) as caught:
        resize(picture(), size)

    assert str(caught.value) == (
        f"the size is {size[0]} x {size[1]}, both sides must be at least 1 pixel\n  where: resize: size"
    )


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 161, 5), (0, 0, 5, 121), (5, 0, 5, 5), (0, 9, 5, 5)])
@pytest.mark.parametrize("backend", ["pillow", "torch"])
def test_a_box_outside_the_image_or_empty_is_refused(backend, box):
    with pytest.raises(ShapeError) as caught:
        resize(picture(), (4, 4), box=box, backend=backend)

    assert str(caught.value) == (
        f"the box is {box}, the image 160 x 120 pixels\n  where: resize: box\n"
        "  fix: left < right and top < bottom, all inside the image"
    )


def test_an_array_that_is_not_uint8_hwc_is_refused():
    with pytest.raises(ShapeError) as caught:
        resize_hwc(np.zeros((4, 4, 3), np.float32), (2, 2))

    assert str(caught.value) == (
        "the array is float32 of shape (4, 4, 3), must be uint8 [H, W, C]\n  where: resize_hwc: image_HWC"
    )
    with pytest.raises(ShapeError, match=r"torch.uint8 of shape \(4, 4\)"):
        resize_hwc(torch.zeros((4, 4), dtype=torch.uint8), (2, 2))


@pytest.mark.parametrize("side_px", [0, -3])
def test_a_side_of_nothing_is_refused(side_px):
    with pytest.raises(ShapeError) as caught:
        place((10, 10), side_px, mode="shortest")

    assert str(caught.value) == (
        f"the picture is 10 x 10 pixels and the side {side_px}, all must be at least 1\n  where: place: size"
    )
