"""Telemetry: each layer has its colour, histogram and share, for one layer and many, one step and thousands."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagekit.errors import CheckpointError, ShapeError
from imagekit.look.plots import WHITE, tick_words, value_ticks
from imagekit.look.telemetry import draw_telemetry
from imagekit.look.telemetry_file import draw_run_telemetry, write_run_telemetry
from imagekit.runs.telemetry import TelemetryRecord, read_telemetry, write_telemetry


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


def test_the_axes_have_the_numbers_of_the_steps():
    layers, steps = fake_layers(1, 20), range(1, 200, 10)
    counted = pixels(draw_telemetry(**layers))

    numbered = pixels(draw_telemetry(**layers, steps=steps))

    assert np.array_equal(pixels(draw_telemetry(**layers, steps=range(1, 21))), counted)
    different = (numbered != counted).any(axis=2).nonzero()[0]
    assert set(different) & set(range(280, 330))  # below the curves
    assert different.max() > counted.shape[0] - 50  # below the histogram


def test_steps_that_are_not_one_a_value_are_refused():
    with pytest.raises(ShapeError) as caught:
        draw_telemetry(**fake_layers(1, 4), steps=[1, 2, 3])

    assert str(caught.value) == (
        "there are 3 numbers of 4 steps\n  where: draw_telemetry: steps\n"
        "  fix: give one a step, or leave them out to count from 1"
    )


# -- of a run ---------------------------------------------------------------------------------------------------------


def write_run(folder: Path, n_layers: int = 2) -> None:
    layers = fake_layers(n_layers, 6, 8)
    record = TelemetryRecord(
        every=10,
        steps=list(range(1, 60, 10)),
        names=layers["names"],
        means=layers["means_LT"].tolist(),
        stds=layers["stds_LT"].tolist(),
        near_zero=layers["near_zero_LT"].tolist(),
        hists=layers["hists_LTN"].tolist(),
        value_range=layers["value_range"],
        near_zero_below=layers["near_zero"],
    )
    write_telemetry(folder / "telemetry.json", record)


def test_the_picture_of_a_run_is_that_of_its_numbers(tmp_path: Path):
    write_run(tmp_path)

    drawn = draw_run_telemetry(tmp_path)

    layers = fake_layers(2, 6, 8)
    for name in ("means_LT", "stds_LT", "near_zero_LT"):
        layers[name] = layers[name].astype(np.float64).round(5)  # the file has six digits
    assert drawn.tobytes() == draw_telemetry(**layers, steps=range(1, 60, 10)).tobytes()
    assert write_run_telemetry(tmp_path) == tmp_path / "telemetry.png"
    with Image.open(tmp_path / "telemetry.png") as written:
        assert written.tobytes() == drawn.tobytes()


def test_a_run_with_numbers_that_are_none_is_drawn(tmp_path: Path):
    write_run(tmp_path)
    text = (tmp_path / "telemetry.json").read_text()
    (tmp_path / "telemetry.json").write_text(text.replace("0.02", "null").replace("1.05", "1e300"))

    assert draw_run_telemetry(tmp_path).width == 1200


@pytest.mark.parametrize(("first", "value_range"), [(4, (0.0, 7.0)), (3, (-7.0, 7.0))])
def test_where_no_value_is_below_zero_the_histograms_begin_there(
    tmp_path: Path, first: int, value_range: tuple[float, float]
):
    write_run(tmp_path)
    record = read_telemetry(tmp_path / "telemetry.json")
    hists = np.zeros((2, 6, 8), dtype=np.int64)
    hists[..., first:] = 100
    write_telemetry(tmp_path / "telemetry.json", replace(record, hists=hists.tolist()))

    drawn = draw_run_telemetry(tmp_path)

    layers = {"names": record.names, "near_zero_LT": np.array(record.near_zero), "near_zero": 0.5}
    layers |= {"hists_LTN": hists[..., 4 if first == 4 else 0 :], "value_range": value_range, "steps": record.steps}
    assert drawn.tobytes() == draw_telemetry(np.array(record.means), np.array(record.stds), **layers).tobytes()


def test_a_run_that_was_not_watched_has_no_picture(tmp_path: Path):
    assert draw_run_telemetry(tmp_path) is None
    assert write_run_telemetry(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_a_run_is_named(tmp_path: Path):
    (tmp_path / "telemetry.json").write_text("{")

    with pytest.raises(CheckpointError) as caught:
        draw_run_telemetry(str(tmp_path))

    assert caught.value.what == "telemetry.json is damaged"
    assert caught.value.where == str(tmp_path / "telemetry.json")


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
