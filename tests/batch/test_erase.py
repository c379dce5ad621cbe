"""Erasing: boxes inside the image, their areas and shapes, and nothing else touched."""

from __future__ import annotations

import math

import pytest
import torch

from imagekit.batch.erase import Cutout, RandomErasing, erase_boxes
from imagekit.batch.normalize import Normalize
from imagekit.batch.pipeline import BatchPipeline
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys, uniform


def _keys(n: int) -> torch.Tensor:
    return make_keys(seed=0, epoch=0, ids_B=torch.arange(n))


def _boxes(transform: RandomErasing | Cutout, n: int = 5_000, *, size: tuple[int, int] = (60, 80)) -> torch.Tensor:
    return transform.boxes(uniform(_keys(n), stream=transform.stream, n=transform.n_draws), size=size)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_only_the_box_is_filled(dtype, layout):
    batch = torch.ones(2, 3, 6, 8).to(dtype).contiguous(memory_format=layout)

    result = erase_boxes(batch, torch.tensor([[1, 2, 4, 5], [3, 3, 3, 6]]), fill=0.0)

    expected = batch.clone()
    expected[0, :, 2:5, 1:4] = 0
    assert torch.equal(result, expected)
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=layout)
    assert bool(batch.all())


def test_random_boxes_lie_inside_and_have_the_areas_and_shapes_asked_for():
    left, top, right, bottom = _boxes(RandomErasing(p=1.0)).unbind(dim=1)

    area, ratio = (right - left) * (bottom - top) / 4800, (right - left) / (bottom - top)
    assert left.min() == top.min() == 0
    assert (right.max(), bottom.max()) == (80, 60)
    assert (right > left).all()
    assert 0.015 < area.min() < 0.03
    assert 0.31 < area.max() < 0.35
    assert 0.25 < ratio.min() < 0.35
    assert 2.5 < ratio.max() < 4
    assert abs(float((ratio > 1).double().mean()) - 0.5) < 0.05


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.double(), other.double()]))[0, 1])


def test_places_across_and_down_areas_and_shapes_are_drawn_apart():
    n = 20_000
    transform = RandomErasing(p=1.0, min_area=0.04, max_area=0.06, ratio=(0.5, 2.0))
    left, top, right, bottom = _boxes(transform, n, size=(1000, 1000)).unbind(dim=1)

    area, log_ratio = (right - left) * (bottom - top) / 1e6, ((right - left) / (bottom - top)).log()

    noise = 3 / math.sqrt(n)
    across, down = left / (1000 - (right - left)), top / (1000 - (bottom - top))
    pairs = [(across, down), (across, area), (down, area), (area, log_ratio), (across, log_ratio)]
    assert max(abs(_correlation(*pair)) for pair in pairs) < noise * 1.5
    # uniform in area, log-uniform in shape: mean and spread of either
    assert abs(float(area.mean()) - 0.05) < 3 * 0.02 / math.sqrt(12 * n)
    assert abs(float(area.std()) / (0.02 / math.sqrt(12)) - 1) < 0.02
    assert abs(float(log_ratio.mean())) < 3 * 2 * math.log(2) / math.sqrt(12 * n)
    assert abs(float(log_ratio.std()) / (2 * math.log(2) / math.sqrt(12)) - 1) < 0.02


def test_a_box_that_does_not_fit_is_tried_again_with_new_draws():
    # a box of half the area that is more than twice as wide as high does not fit a square
    hard = RandomErasing(p=1.0, min_area=0.5, max_area=0.5, ratio=(1.0, 4.0))

    left, _, right, _ = _boxes(hard, 2_000, size=(100, 100)).unbind(dim=1)

    # a try fits when log ratio is below log 2 of log 4: every second; ten fail together once in a thousand
    assert float((right > left).double().mean()) > 0.99


def test_a_cutouts_centre_is_drawn_apart_across_and_down():
    left, top, _, _ = _boxes(Cutout(side_px=2), 20_000, size=(1000, 1000)).unbind(dim=1)

    assert abs(_correlation(left, top)) < 4 / math.sqrt(20_000)


def test_a_box_that_never_fits_leaves_the_image_whole():
    boxes = _boxes(RandomErasing(p=1.0, min_area=0.9, max_area=1.0, ratio=(5.0, 6.0)), 50, size=(10, 10))

    assert (boxes[:, 0] == boxes[:, 2]).all()


@pytest.mark.parametrize("transform", [RandomErasing(p=0.3), Cutout(side_px=9, p=0.3)])
def test_images_are_erased_as_often_as_asked(transform):
    left, _, right, _ = _boxes(transform).unbind(dim=1)

    assert abs(float((right > left).double().mean()) - 0.3) < 3 * math.sqrt(0.3 * 0.7 / 5_000)


def test_a_cutout_is_centred_on_any_pixel_and_cut_off_at_the_edges():
    left, top, right, bottom = _boxes(Cutout(side_px=20)).unbind(dim=1)

    assert left.min() == top.min() == 0
    assert (right.max(), bottom.max()) == (80, 60)
    assert ((right - left).min(), (right - left).max()) == (10, 20)
    assert ((bottom - top).min(), (bottom - top).max()) == (10, 20)


def test_erasing_comes_after_normalising_and_fills_with_the_train_mean():
    batch = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pipeline = BatchPipeline([Cutout(side_px=8), Normalize([0.5] * 3, [0.2] * 3)])

    result = pipeline(batch, _keys(4))

    normal = Normalize([0.5] * 3, [0.2] * 3)(batch)
    changed = (result != normal).any(dim=1)
    assert changed.flatten(1).sum(dim=1).min() >= 16
    assert torch.equal(result[~changed[:, None].expand_as(result)], normal[~changed[:, None].expand_as(result)])
    assert (result[changed[:, None].expand_as(result)] == 0).all()


def test_a_square_larger_than_the_image_says_both_sizes():
    with pytest.raises(ShapeError) as caught:
        Cutout(side_px=9)(torch.zeros(1, 3, 8, 20), _keys(1))

    assert str(caught.value) == (
        "the square is 9 pixels wide, the images are 20 x 8\n  where: Cutout.side_px\n  fix: make it smaller"
    )


def test_a_side_that_is_no_side_is_refused():
    with pytest.raises(ConfigError) as caught:
        Cutout(side_px=0)

    assert str(caught.value) == (
        "side_px is 0, must be from 1 to 100000\n  where: Cutout.side_px\n  fix: set side_px = 1 to do without"
    )


def test_a_side_from_a_schedule_is_rounded():
    left, _, right, _ = _boxes(Cutout(side_px=7.6), 500).unbind(dim=1)

    assert (right - left).max() == 8


def test_a_range_of_shapes_that_cannot_be_is_refused():
    with pytest.raises(ConfigError) as caught:
        RandomErasing(ratio=(2.0, 1.0))

    assert str(caught.value) == (
        "ratio is (2.0, 1.0), must be (lowest, highest) above 0, the lowest first\n"
        "  where: RandomErasing.ratio\n  fix: leave it out to get the default"
    )


def test_a_least_area_above_the_greatest_is_refused():
    with pytest.raises(ConfigError) as caught:
        _boxes(RandomErasing(min_area=0.5), 3)

    assert str(caught.value) == (
        f"min_area is 0.5, above max_area, {1 / 3}\n  where: RandomErasing.min_area\n  fix: set both to 0 to do without"
    )


def test_an_area_of_nothing_erases_nothing():
    left, _, right, _ = _boxes(RandomErasing(p=1.0, min_area=0, max_area=0), 50).unbind(dim=1)

    assert torch.equal(left, right)


@pytest.mark.parametrize("fill", [-1, 256, 0.5])
def test_bytes_cannot_be_filled_with_what_they_cannot_hold(fill):
    with pytest.raises(ShapeError) as caught:
        erase_boxes(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([[0, 0, 1, 1]]), fill=fill)

    assert str(caught.value) == (
        f"fill is {fill}, and the batch is torch.uint8\n"
        "  where: erase_boxes\n"
        "  fix: fill with 0 to 255, or erase floats"
    )
