"""Telemetry: each layer has its colour, histogram and share, for one layer and many, one step and thousands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.look.plots import WHITE, tick_words, value_ticks
from imagekit.look.telemetry import draw_telemetry


def fake_layers(n_layers=3, n_steps=20, n_bins=40):
    """Means that rise, deviations about 1, histograms that widen, shares that fall."""
    steps = np.arange(n_steps, dtype=np.float32)
    depth = np.arange(n_layers, dtype=np.float32)[:, None]
    bins = np.arange(n_bins)
    width = 1 + depth[..., None] + steps[:, None] / 4
    return {
        "means_LT": 0.1 * depth + steps / 50,
        "stds_LT": 1 + 0.05 * depth + 0 * steps,
        "hists_LTN": (1e4 * np.exp(-((bins - n_bins / 2) ** 2) / width**2)).astype(np.int64),
        "names": [f"layer {number}" for number in range(n_layers)],
        "near_zero_LT": (0.9 - steps / 50 + 0 * depth).clip(0, 1).astype(np.float32),
        "value_range": (-7.0, 7.0),
        "near_zero": 0.5,
    }


def pixels(image: Image.Image):
    return np.asarray(image).astype(np.int64)


def n_near(image: Image.Image, colour, *, within=24):
    return int((abs(pixels(image) - colour).max(axis=2) <= within).sum())


FIRST, LAST = (68, 1, 84), (224, 178, 20)
STRONG = (8, 36, 84)


@pytest.mark.parametrize("n_steps", [1, 2, 20, 3000])
@pytest.mark.parametrize("n_layers", [1, 2, 10])
def test_every_number_of_layers_and_steps_is_drawn(n_layers, n_steps):
    image = draw_telemetry(**fake_layers(n_layers, n_steps))

    assert (image.width, image.mode) == (1200, "RGB")
    assert n_near(image, FIRST) > 50
    assert (n_near(image, LAST) > 50) is (n_layers > 1)
    assert n_near(image, STRONG, within=8) > 200  # the full bins of the histograms


def test_two_layers_stand_side_by_side_and_a_third_below():
    heights = [draw_telemetry(**fake_layers(n)).height for n in (1, 2, 3, 4, 5)]

    assert heights[0] == heights[1] < heights[2] == heights[3] < heights[4]


def test_the_last_share_is_written_above_its_curve():
    layers = fake_layers(1)
    high = draw_telemetry(**layers)
    layers["near_zero_LT"][:, -1] = 0.11

    assert not np.array_equal(pixels(high), pixels(draw_telemetry(**layers)))


def test_high_values_are_above():
    layers = fake_layers(1, 10, 4)
    layers["hists_LTN"][:] = 0
    layers["hists_LTN"][..., -1] = 100

    found = (abs(pixels(draw_telemetry(**layers)) - STRONG).max(axis=2) <= 8).nonzero()[0]

    box_top, box_bottom = found.min(), found.min() + 104
    assert (found > (box_top + box_bottom) / 2).mean() < 0.05


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("key", ["means_LT", "stds_LT", "near_zero_LT"])
def test_values_that_cannot_be_drawn_are_left_out(key, value):
    layers = fake_layers()
    layers[key][1, 5:] = value

    image = draw_telemetry(**layers)

    assert n_near(image, FIRST) > 50


@pytest.mark.parametrize("key", ["means_LT", "stds_LT", "near_zero_LT"])
def test_no_value_at_all_is_said_in_words(key):
    layers = fake_layers()
    layers[key][:] = math.nan

    assert draw_telemetry(**layers).size == draw_telemetry(**fake_layers()).size


def test_a_single_value_between_gaps_is_a_dot():
    layers = fake_layers(1)
    layers["means_LT"][:] = math.nan
    with_none = draw_telemetry(**layers)
    layers["means_LT"][0, 10] = 1

    assert n_near(draw_telemetry(**layers), FIRST) > n_near(with_none, FIRST)


@pytest.mark.parametrize("n_steps", [0, 4])
def test_empty_histograms_and_no_steps_are_drawn(n_steps):
    layers = fake_layers(2, n_steps)
    layers["hists_LTN"] = layers["hists_LTN"] * 0

    assert n_near(draw_telemetry(**layers), STRONG, within=8) < 200


def test_histograms_of_floats_with_gaps_are_drawn():
    layers = fake_layers()
    layers["hists_LTN"] = layers["hists_LTN"].astype(np.float32)
    layers["hists_LTN"][0, 3] = math.nan

    assert n_near(draw_telemetry(**layers), STRONG, within=8) > 200


def test_long_and_strange_names_stay_inside():
    layers = fake_layers(9)
    layers["names"] = ["stage1.0.convs.middle." * 9, "\x1b[31m", "ю" * 400, *layers["names"][3:]]

    picture = pixels(draw_telemetry(**layers))

    assert (picture[:, -8:] == WHITE).all()


def test_a_signal_that_has_vanished_has_short_numbers_at_its_axis():
    assert tick_words(value_ticks([0.0, 7e-6])) == ["0", "2e-06", "4e-06", "6e-06", "8e-06"]
    assert tick_words([0.0, 0.001]) == ["0.000", "0.001"]


def test_the_same_arrays_give_the_same_picture():
    assert draw_telemetry(**fake_layers()).tobytes() == draw_telemetry(**fake_layers()).tobytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"names": ["one"]},
            "means, deviations, shares and histograms are [3, 20], [3, 20], [3, 20], [3, 20, 40], there are 1 names",
        ),
        (
            {"stds_LT": np.zeros((3, 19))},
            "means, deviations, shares and histograms are [3, 20], [3, 19], [3, 20], [3, 20, 40], there are 3 names",
        ),
        (
            {"hists_LTN": np.zeros((3, 20))},
            "means, deviations, shares and histograms are [3, 20], [3, 20], [3, 20], [3, 20], there are 3 names",
        ),
        (
            {"hists_LTN": np.zeros((3, 20, 0))},
            "means, deviations, shares and histograms are [3, 20], [3, 20], [3, 20], [3, 20, 0], there are 3 names",
        ),
    ],
)
def test_shapes_that_disagree_are_all_named(changes, words):
    with pytest.raises(ShapeError) as caught:
        draw_telemetry(**fake_layers() | changes)

    assert str(caught.value) == (
        f"{words}\n  where: draw_telemetry\n  fix: give [L, T] three times, [L, T, N], and L names"
    )


@pytest.mark.parametrize("n_layers", [0, 101])
def test_no_layer_and_too_many_are_refused(n_layers):
    with pytest.raises(ShapeError) as caught:
        draw_telemetry(**fake_layers(n_layers, 2, 4))

    assert str(caught.value) == (
        f"there are {n_layers} layers, telemetry is drawn for 1 to 100\n"
        "  where: draw_telemetry: names\n"
        "  fix: draw the layers of interest alone"
    )
