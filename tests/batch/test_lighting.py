"""Light and colour: closed forms, what stays, how often, and one product for all."""

from __future__ import annotations

import math

import pytest
import torch

from imagekit.batch.lighting import Brightness, Contrast, Hue, Saturation
from imagekit.batch.normalize import Normalize
from imagekit.batch.pipeline import BatchPipeline
from imagekit.batch.transform import Colour
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys, uniform

EVERY = [Brightness, Contrast, Saturation, Hue]
LUMA = torch.tensor([0.299, 0.587, 0.114])


def _batch(n: int = 4, n_channels: int = 3) -> torch.Tensor:
    return torch.rand(n, n_channels, 6, 9, generator=torch.Generator().manual_seed(0))


def _keys(n: int = 4) -> torch.Tensor:
    return make_keys(seed=0, epoch=0, ids_B=torch.arange(n))


def _luma(x: torch.Tensor) -> torch.Tensor:
    return (x * LUMA[:, None, None]).sum(dim=1)


def _factor(transform: Colour, n: int = 4) -> torch.Tensor:
    u = uniform(_keys(n), stream=transform.stream, n=2)
    return 1 + (2 * u[:, 1] - 1).float() * transform.max_change


def test_brightness_multiplies():
    brightness = Brightness(max_change=0.5, p=1.0)

    result = brightness(_batch(), _keys())

    assert torch.allclose(result, _batch() * _factor(brightness)[:, None, None, None], atol=1e-6)


def test_contrast_stretches_about_mid_grey():
    contrast = Contrast(max_change=0.5, p=1.0)

    result = contrast(_batch(), _keys())

    expected = (_batch() - 0.5) * _factor(contrast)[:, None, None, None] + 0.5
    assert torch.allclose(result, expected, atol=1e-6)
    assert torch.allclose(contrast(torch.full_like(_batch(), 0.5), _keys()), torch.tensor(0.5))


def test_saturation_goes_towards_each_pixels_own_grey():
    saturation = Saturation(max_change=0.5, p=1.0)
    factor, grey = _factor(saturation)[:, None, None, None], _luma(_batch())[:, None]

    result = saturation(_batch(), _keys())

    assert torch.allclose(result, grey + (_batch() - grey) * factor, atol=1e-6)
    assert torch.allclose(_luma(result), _luma(_batch()), atol=1e-5)


def test_hue_keeps_luma_and_grey_and_turns_all_the_way_round():
    turned = Hue(max_degrees=180, p=1.0)(_batch(), _keys())
    grey = _luma(_batch())[:, None].expand(-1, 3, -1, -1)

    assert torch.allclose(_luma(turned), _luma(_batch()), atol=1e-5)
    assert (turned - _batch()).abs().max() > 0.2
    assert torch.allclose(Hue(max_degrees=180, p=1.0)(grey, _keys()), grey, atol=1e-5)


def test_a_third_of_the_circle_takes_red_towards_green_and_the_angle_is_the_one_asked_for():
    yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], dtype=torch.float64
    )
    draw = torch.tensor([[0.0, 1.0]], dtype=torch.float64)  # the greatest angle

    turned = Hue(max_degrees=120, p=1.0).matrices(draw, n_channels=3)[0, :3, :3]

    red = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    before, after = yiq @ red, yiq @ turned @ red
    cosine = (before[1:] @ after[1:]) / (before[1:].norm() * after[1:].norm())
    assert math.degrees(math.acos(float(cosine))) == pytest.approx(120, abs=1e-6)
    assert int((turned @ red).argmax()) == 1  # towards green, as in HSV; the other way is blue
    assert int((turned.inverse() @ red).argmax()) == 2


def test_hue_turned_forth_and_back_is_the_picture_again():
    forth = Hue(max_degrees=60, p=1.0).matrices(torch.tensor([[0.0, 0.9]], dtype=torch.float64), n_channels=3)
    back = Hue(max_degrees=60, p=1.0).matrices(torch.tensor([[0.0, 0.1]], dtype=torch.float64), n_channels=3)

    assert torch.allclose(forth @ back, torch.eye(4, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("kind", EVERY)
def test_each_acts_as_often_as_asked_and_leaves_the_others_alone(kind):
    n = 20_000
    u = uniform(_keys(n), stream=kind.stream, n=2)

    matrices = kind(p=0.3).matrices(u, n_channels=3)

    changed = ((matrices - torch.eye(4, dtype=torch.float64)).abs() > 1e-9).flatten(1).any(dim=1)
    assert abs(float(changed.double().mean()) - 0.3) < 3 * math.sqrt(0.3 * 0.7 / n)
    assert torch.allclose(kind(p=0.0)(_batch(), _keys()), _batch(), atol=1e-6)


@pytest.mark.parametrize("kind", [Brightness, Contrast, Saturation])
def test_changes_are_uniform_up_to_the_greatest(kind):
    u = uniform(_keys(20_000), stream=kind.stream, n=2)

    factors = kind(max_change=0.4, p=1.0).matrices(u, n_channels=3)[:, 0, 0]

    least = 0.6 if kind is not Saturation else 1 - 0.4 * (1 - 0.299)
    assert least <= factors.min() < least + 0.001
    assert abs(factors.mean() - 1) < 3 * 0.4 / math.sqrt(3 * 20_000)


def test_all_light_and_normalising_in_one_pass_equal_one_after_another():
    batch, keys = _batch(6), _keys(6)
    steps = [Brightness(p=1.0), Contrast(p=1.0), Saturation(p=1.0), Hue(p=1.0), Normalize([0.4] * 3, [0.3] * 3)]

    at_once = BatchPipeline(steps)(batch, keys)

    one_by_one = batch
    for step in steps:
        one_by_one = step(one_by_one, keys)
    assert torch.allclose(at_once, one_by_one, atol=1e-5)


def test_values_beyond_white_are_kept():
    white = torch.ones(8, 3, 2, 2)

    result = Brightness(max_change=0.5, p=1.0)(white, _keys(8))

    assert result.max() > 1.1


@pytest.mark.parametrize("n_channels", [1, 4, 13])
def test_brightness_and_contrast_take_any_number_of_channels(n_channels):
    both = BatchPipeline([Brightness(p=1.0), Contrast(p=1.0)])
    plane = _batch(4, 1)

    result = both(plane.expand(-1, n_channels, -1, -1).contiguous(), _keys())

    assert torch.allclose(result, both(plane, _keys()).expand_as(result), atol=1e-6)


@pytest.mark.parametrize("kind", [Saturation, Hue])
def test_colour_needs_red_green_and_blue(kind):
    with pytest.raises(ShapeError) as caught:
        kind()(_batch(4, 4), _keys())

    assert str(caught.value) == (
        f"the batch has 4 channels, {kind.__name__} needs red, green and blue\n"
        f"  where: {kind.__name__}\n"
        "  fix: leave it out; Brightness and Contrast take any number of channels"
    )


@pytest.mark.parametrize("kind", EVERY)
def test_bytes_are_refused_until_they_are_floats(kind):
    batch = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)

    with pytest.raises(ShapeError) as caught:
        kind()(batch, _keys(2))

    assert str(caught.value) == (
        f"the batch is torch.uint8 [2, 3, 4, 4], must be floats\n  where: {kind.__name__}\n  fix: put ToFloat before it"
    )


def test_a_change_out_of_range_is_refused():
    with pytest.raises(ConfigError) as caught:
        Contrast(max_change=1.5)

    assert str(caught.value) == (
        "max_change is 1.5, must be from 0 to 1\n  where: Contrast.max_change\n  fix: set max_change = 0 to do without"
    )


def test_a_colour_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match="Colour"):
        Colour().matrices(torch.zeros(1, 0), n_channels=3)
