"""Crops: their boxes, and their pixels beside Pillow's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ConfigError, ShapeError
from imagekit.pixels.resize import FILTERS
from imagekit.transforms.crops import CenterCrop, Crop, GeneralCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.resize import ResizeFixed

_SIDES = st.integers(1, 400)
_DRAWS = st.lists(st.floats(0, 1, exclude_max=True), min_size=22, max_size=22)


def _noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _rows(n: int) -> list[list[float]]:
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(n))
    return uniform(keys, stream=RandomResizedCrop.stream, n=RandomResizedCrop.n_draws).tolist()


def test_centre_crop_keeps_88_percent_of_either_side():
    left, top, right, bottom = CenterCrop(128).box(500, 375)

    assert (right - left, bottom - top) == (439, 329)
    assert (left, top) == (30, 23)


def test_centre_crop_at_scale_1_is_a_resize_of_the_whole_image():
    array = _noise(50, 40)

    assert np.array_equal(CenterCrop((20, 16), scale=1.0)(array), ResizeFixed((20, 16))(array))


def test_centre_crop_is_the_same_every_time():
    array = _noise(50, 40)

    assert np.array_equal(CenterCrop(16)(array), CenterCrop(16)(array))


@settings(deadline=None)
@given(width=_SIDES, height=_SIDES, scale=st.floats(1, 50))
def test_centre_crop_lies_in_the_middle_of_any_image(width, height, scale):
    left, top, right, bottom = CenterCrop(8, scale=scale).box(width, height)

    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert 0 <= (width - right) - left <= 1
    assert 0 <= (height - bottom) - top <= 1


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos"])
def test_crops_equal_pillow_crop_and_resize(filter):
    array = _noise(70, 50) // 2 + 64
    transform, row = RandomResizedCrop((24, 20), filter=filter), _rows(1)[0]

    expected = np.asarray(_pillow(array, transform.box(70, 50, row), (24, 20), filter=filter)).astype(int)

    assert np.abs(transform(array, row) - expected).max() <= 1
    assert np.abs(np.asarray(transform(Image.fromarray(array), row)) - expected).max() <= 1


def _pillow(array: np.ndarray, box: tuple, size: tuple, *, filter: str = "bilinear") -> Image.Image:
    return Image.fromarray(array).crop(box).resize(size, Image.Resampling[filter.upper()])


@settings(deadline=None)
@given(width=_SIDES, height=_SIDES, draws=_DRAWS)
def test_random_crop_lies_inside_any_image(width, height, draws):
    left, top, right, bottom = RandomResizedCrop(8).box(width, height, draws)

    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_crops_keep_area_and_ratio_in_their_ranges():
    transform = RandomResizedCrop(128, scale=(0.35, 1.0))
    boxes = np.array([transform.box(213, 160, row) for row in _rows(20_000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]

    areas = widths * heights / (213 * 160)

    # a side rounds by half a pixel at most, which is 1 % of the smallest crop's area
    assert areas.min() > 0.35 * 0.99
    assert (areas < 0.35).mean() < 0.005  # the lesson's compounding area put 5 % of the crops below the range
    assert areas.max() <= 1
    assert (widths / heights).min() > 0.75 * 0.99
    assert (widths / heights).max() < 4 / 3 * 1.01


def test_random_crops_draw_area_evenly_and_ratio_log_evenly():
    transform = RandomResizedCrop(128, scale=(0.1, 0.3))
    boxes = np.array([transform.box(1000, 1000, row) for row in _rows(20_000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]

    areas, log_ratios = widths * heights / 1e6, np.log(widths / heights)

    assert abs(areas.mean() - 0.2) < 5 * 0.2 / math.sqrt(12 * 20_000)
    assert abs(log_ratios.mean()) < 5 * 2 * math.log(4 / 3) / math.sqrt(12 * 20_000)
    assert abs(areas.var() / (0.2**2 / 12) - 1) < 0.05
    assert abs(log_ratios.var() / ((2 * math.log(4 / 3)) ** 2 / 12) - 1) < 0.05


def test_random_crops_reach_every_position_evenly():
    transform = RandomResizedCrop(8, scale=(0.25, 0.25), ratio=(1, 1))
    lefts = np.array([transform.box(20, 20, row)[0] for row in _rows(11_000)])

    counts = np.bincount(lefts, minlength=11)

    assert len(counts) == 11
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


def test_each_try_has_draws_of_its_own():
    too_wide, fits = [0.999, 0.999], [0.0, 0.5]
    transform = RandomResizedCrop(8, scale=(0.25, 1.0))

    for n_failed in range(10):
        draws = [*too_wide * n_failed, *fits, *too_wide * (9 - n_failed), 0.0, 0.0]

        assert transform.box(100, 100, draws) == (0, 0, 50, 50)


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)), ((40, 30), (0, 0, 40, 30))]
)
def test_a_crop_that_never_fits_becomes_the_centred_one(size, expected):
    misfits = [0.999, 0.0] * 10 + [0.5, 0.5]  # nearly the whole area, as tall as allowed
    if size[0] < size[1]:
        misfits = [0.999, 0.999] * 10 + [0.5, 0.5]

    assert RandomResizedCrop(8).box(*size, misfits) == expected


def test_a_white_image_stays_white():
    white = np.full((33, 47, 3), 255, np.uint8)

    assert all((RandomResizedCrop(16)(white, row) == 255).all() for row in _rows(50))


def test_any_image_down_to_one_pixel_can_be_cropped():
    assert RandomResizedCrop(4)(np.full((1, 1, 3), 9, np.uint8), _rows(1)[0]).tolist() == [[[9] * 3] * 4] * 4
    assert CenterCrop(4)(np.full((1, 1, 3), 9, np.uint8)).tolist() == [[[9] * 3] * 4] * 4


def test_crops_tell_their_options_in_plain_types():
    assert CenterCrop(128).to_dict() == {"name": "CenterCrop", "size": [128, 128], "scale": 1.14, "filter": "bilinear"}
    assert RandomResizedCrop(128, scale=[0.7, 1]).to_dict() == {
        "name": "RandomResizedCrop",
        "size": [128, 128],
        "scale": [0.7, 1],
        "ratio": [0.75, 4 / 3],
        "filter": "bilinear",
    }


@pytest.mark.parametrize("scale", [0.5, 0, float("inf"), float("nan")])
def test_a_centre_crop_larger_than_the_image_is_refused(scale):
    with pytest.raises(ConfigError) as caught:
        CenterCrop(8, scale=scale)

    assert str(caught.value) == (
        f"scale is {scale}, must be at least 1\n"
        "  where: CenterCrop.scale\n"
        "  fix: set scale = 1 to keep the whole image, or 1.14 to cut 6 % off each edge"
    )


@pytest.mark.parametrize("scale", [(0, 1), (0.5, 1.2), (0.9, 0.5), (0.5,), (float("nan"), 1)])
def test_a_range_of_areas_that_cannot_be_is_refused(scale):
    with pytest.raises(ConfigError) as caught:
        RandomResizedCrop(8, scale=scale)

    assert str(caught.value) == (
        f"scale is {scale}, must be (lowest, highest) above 0 and at most 1, the lowest first\n"
        "  where: RandomResizedCrop.scale\n"
        "  fix: leave it out to get the default"
    )


@pytest.mark.parametrize("ratio", [(0, 1), (2, 1), (-1, 1), (1, float("inf"))])
def test_a_range_of_ratios_that_cannot_be_is_refused(ratio):
    with pytest.raises(ConfigError) as caught:
        RandomResizedCrop(8, ratio=ratio)

    assert str(caught.value) == (
        f"ratio is {ratio}, must be (lowest, highest) above 0, the lowest first\n"
        "  where: RandomResizedCrop.ratio\n"
        "  fix: leave it out to get the default"
    )


@pytest.mark.parametrize(
    ("crop_size", "box"),
    [(None, (100, 0, 300, 200)), (50, (175, 75, 225, 125)), ((60, 20), (170, 90, 230, 110))],
)
def test_a_general_crop_is_centred_and_by_default_the_largest_square(crop_size, box):
    assert GeneralCrop(8, crop_size=crop_size).box(400, 200, ()) == box


def test_a_crop_is_one_step_on_the_source_not_two():
    # the box at its size directly, beside a resize of the whole image and a crop of that
    array = _noise(200, 100)

    at_once = GeneralCrop(32, crop_size=64)(array)

    box = (68, 18, 132, 82)
    expected = np.asarray(Image.fromarray(array).resize((32, 32), Image.Resampling.BILINEAR, box=box)).astype(int)
    cut = np.asarray(Image.fromarray(array).crop(box).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    two_steps = np.asarray(Image.fromarray(array).resize((100, 50)).crop((34, 9, 66, 41))).astype(int)
    assert np.abs(at_once - cut).max() <= 1
    assert np.abs(at_once[2:-2, 2:-2] - expected[2:-2, 2:-2]).max() <= 1
    assert np.abs(at_once - two_steps).mean() > 5


def test_a_random_crop_reaches_every_position_evenly():
    transform = RandomCrop(8, crop_size=10)
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(11_000))
    boxes = np.array([transform.box(20, 15, row) for row in uniform(keys, stream=transform.stream, n=2).tolist()])

    lefts, tops = np.bincount(boxes[:, 0], minlength=11), np.bincount(boxes[:, 1], minlength=6)

    assert (len(lefts), len(tops)) == (11, 6)
    assert np.abs(lefts - 1000).max() < 5 * math.sqrt(1000)
    assert np.abs(tops - 11_000 / 6).max() < 5 * math.sqrt(11_000 / 6)
    assert ((boxes[:, 2:] - boxes[:, :2]) == 10).all()


@pytest.mark.parametrize("transform", [GeneralCrop(8, crop_size=(30, 10)), RandomCrop(8, crop_size=(30, 10))])
def test_a_crop_that_does_not_fit_says_both_sizes(transform):
    with pytest.raises(ShapeError) as caught:
        transform(_noise(20, 20), [0.0] * transform.n_draws)

    assert str(caught.value) == (
        "the crop is 30 x 10 pixels, the image 20 x 20\n"
        f"  where: {type(transform).__name__}.crop_size\n"
        "  fix: make it smaller, or leave it out to crop the largest square"
    )


def test_a_crop_size_that_is_no_size_is_refused():
    with pytest.raises(ConfigError) as caught:
        RandomCrop(8, crop_size=0)

    assert str(caught.value) == (
        "size is 0, must be a side or (width, height) in whole pixels, at least 1\n"
        "  where: RandomCrop.crop_size\n"
        "  fix: set a size such as 128 or (160, 120)"
    )


def test_the_last_draw_picks_the_filter():
    transform = RandomCrop(8, crop_size=4, filter=("box", "lanczos"))

    assert [transform.pick_filter([a, b, c]) for a, b, c in ((0, 0, 0.9), (0.9, 0.9, 0.1))] == ["lanczos", "box"]


def test_draws_may_be_a_tensor():
    array, draws = _noise(50, 40), torch.tensor(_rows(1)[0], dtype=torch.float64)

    assert np.array_equal(RandomResizedCrop(8)(array, draws), RandomResizedCrop(8)(array, draws.tolist()))


@pytest.mark.parametrize("shape", [(9, 9), (9,)])
def test_an_array_without_its_three_axes_is_refused(shape):
    with pytest.raises(ShapeError) as caught:
        CenterCrop(8)(np.zeros(shape, np.uint8))

    assert str(caught.value) == (
        f"the image is uint8 {list(shape)}, must be RGB or uint8 [H, W, C]\n"
        "  where: image_size\n"
        "  fix: put MakeRGB before it"
    )


def test_a_filter_is_drawn_for_each_image_all_as_likely():
    several = ("nearest", "bilinear", "lanczos")
    transform = RandomResizedCrop(8, filter=several)
    draws = uniform(make_keys(seed=0, epoch=0, ids_B=torch.arange(9_000)), stream=transform.stream, n=transform.n_draws)

    counts = [sum(transform.pick_filter(row) == name for row in draws.tolist()) for name in several]

    assert transform.n_draws == RandomResizedCrop.n_draws + 1
    assert max(abs(count - 3_000) for count in counts) < 3 * math.sqrt(9_000 * 2 / 9)


@pytest.mark.parametrize("number", range(len(FILTERS)))
def test_a_drawn_filter_is_the_one_that_is_used(number):
    array, several = _noise(40, 40), tuple(FILTERS)
    draw = (number + 0.5) / len(several)

    result = ResizeFixed(16, filter=several)(array, [draw])

    assert np.array_equal(result, ResizeFixed(16, filter=several[number])(array))


def test_a_choice_of_filters_changes_no_box():
    row = [*_rows(1)[0], 0.9]

    assert RandomResizedCrop(8, filter=("box", "lanczos")).box(90, 70, row) == RandomResizedCrop(8).box(
        90, 70, row[:-1]
    )


def test_an_empty_choice_of_filters_is_refused():
    with pytest.raises(ConfigError) as caught:
        CenterCrop(8, filter=())

    assert str(caught.value) == "filter is empty\n  where: CenterCrop.filter\n  fix: name at least one: bilinear, say"


@pytest.mark.parametrize("n_channels", [1, 3, 4, 13])
@pytest.mark.parametrize("filter", ["bilinear", "lanczos", "nearest"])
def test_arrays_of_any_number_of_channels_are_cropped_alike(n_channels, filter):
    grey = _noise(50, 40)[..., :1]
    transform, row = RandomResizedCrop(16, filter=filter), _rows(1)[0]

    result = transform(np.repeat(grey, n_channels, axis=2), row)

    expected = transform(np.repeat(grey, 3, axis=2), row)[..., :1]
    assert result.shape == (16, 16, n_channels)
    assert np.array_equal(result, np.repeat(expected, n_channels, axis=2))


def test_a_crop_must_say_where():
    with pytest.raises(NotImplementedError, match="Crop"):
        Crop(8).box(10, 10, ())
