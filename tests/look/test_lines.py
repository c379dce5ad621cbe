"""Line plots: every series in its colour, gaps, logarithms, ticks that are round and have room, refusals in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ShapeError
from imagekit.look import lines
from imagekit.look.lettering import load_font
from imagekit.look.lines import COLOURS, DOTS, Lines, draw_lines

FONT = load_font(26)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def count(image, colour):
    return int((np.asarray(image) == colour).all(axis=2).sum())


def columns_of(image, colour):
    return np.flatnonzero((np.asarray(image) == colour).all(axis=2)[70:].any(axis=0))  # below the legend


def rows_of(image, colour):
    return 70 + np.flatnonzero((np.asarray(image) == colour).all(axis=2)[70:].any(axis=1))


def words(ticks):
    return [word for _, word in ticks]


def test_each_panel_is_480_by_380_pixels_and_has_the_colours_of_its_lines():
    panel = Lines("Two", {"a": [1, 2, 3], "b": [3, 2, 1]})

    one, three = draw_lines([panel]), draw_lines([panel] * 3)

    assert (one.size, one.mode, three.size) == ((480, 380), "RGB", (1440, 380))
    for number in range(3):
        part = three.crop((480 * number, 0, 480 * (number + 1), 380))
        assert min(count(part, COLOURS[0]), count(part, COLOURS[1])) > 200


@pytest.mark.parametrize("size", [(300, 240), (1000, 300), (480, 1200)])
def test_a_picture_has_the_size_asked_for(size):
    assert draw_lines([Lines("One", {"a": [1, 2]})], size=size).size == size


def test_values_stand_at_1_2_3_and_points_where_they_say():
    values, points = [5.0, 6.0, 8.0], [(1, 5.0), (2, 6.0), (3, 8.0)]

    pictures = [draw_lines([Lines("Same", {"a": series})]).tobytes() for series in (values, points, np.array(points))]

    assert len(set(pictures)) == 1


def test_tensors_are_series_too():
    tensor = torch.tensor([1.0, 3.0, 2.0])

    assert draw_lines([Lines("T", {"a": tensor})]) == draw_lines([Lines("T", {"a": tensor.tolist()})])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e301, None])
def test_what_cannot_be_drawn_is_a_gap(value):
    whole = draw_lines([Lines("Gap", {"a": [1.0] * 100})])
    broken = draw_lines([Lines("Gap", {"a": [1.0] * 40 + [value] * 20 + [1.0] * 40})])

    columns, gap = columns_of(whole, COLOURS[0]), columns_of(broken, COLOURS[0])

    assert np.diff(columns).max() == 1
    assert np.diff(gap).max() == pytest.approx(0.21 * (columns[-1] - columns[0]), rel=0.05)


@pytest.mark.parametrize("axis", ["log_x", "log_y"])
def test_zero_and_below_are_gaps_on_a_logarithmic_axis(axis):
    points = [(1, 1), (2, 2), (0, 3), (-1, 4), (5, 0), (6, -3), (7, 7)]
    fine = [point for point in points if point[axis == "log_y"] > 0]

    assert draw_lines([Lines("Log", {"a": points}, **{axis: True})])  # the gaps break the line
    kept = lines._points(points, "a", Lines("Log", {}, **{axis: True}))
    assert np.flatnonzero(~np.isnan(kept[:, 0])).tolist() == [points.index(point) for point in fine]


def test_a_lone_value_between_gaps_is_a_dot():
    alone = [math.nan] * 50 + [2.0] + [math.nan] * 49

    picture = draw_lines([Lines("Lone", {"a": alone, "b": [1.0, 3.0]})])

    assert len(columns_of(picture, COLOURS[0])) in (5, 6)


def test_a_power_law_is_straight_between_logarithmic_axes():
    xs = [10.0**power for power in range(-8, 3)]
    panel = Lines("Law", {"a": [(x, x * x) for x in xs]}, log_x=True, log_y=True)

    points = lines._points(panel.series["a"], "a", panel)

    assert points[:, 1] == pytest.approx(2 * points[:, 0])


def test_dots_are_grey_have_no_line_and_lie_below_the_lines():
    flat = [1.0] * 200
    picture = draw_lines([Lines("Dots", {"line": flat, "values": flat}, dots=["values"])])
    only = draw_lines([Lines("Dots", {"values": [1.0, 3.0]}, dots=["values"])])

    assert np.diff(columns_of(picture, COLOURS[0])).max() == 1
    assert count(only, DOTS) > 10
    assert np.diff(columns_of(only, DOTS)).max() > 200


def test_a_name_keeps_its_colour_from_panel_to_panel():
    panels = [Lines("1", {"a": [1], "b": [2]}), Lines("2", {"c": [1], "b": [2]}), Lines("3", {"c": [1], "a": [1]})]

    first, second, third = lines._choose_colours(panels)

    assert first == {"a": COLOURS[0], "b": COLOURS[1]}
    assert second == {"b": COLOURS[1], "c": COLOURS[0]}
    assert third["c"] != third["a"]


def test_up_to_30_points_are_marked():
    few, many = (draw_lines([Lines("M", {"a": [1.0] * n, "b": [0.0, 2.0]})]) for n in (30, 31))

    heights = [len(rows_of(picture.crop((100, 0, 460, 380)), COLOURS[0])) for picture in (few, many)]

    assert heights[0] >= heights[1] + 2


@pytest.mark.parametrize("values", [[], [math.nan], [[math.inf, 1.0]], [-1.0]])
def test_no_value_at_all_is_said_in_words(values):
    picture = draw_lines([Lines("None", {"a": values}, log_y=True)])

    assert len(np.flatnonzero((np.asarray(picture) != 255).any(axis=(1, 2))[80:])) > 5


def test_a_legend_too_long_for_one_row_takes_more_and_stays_inside():
    names = [f"a rather long name {number}" for number in range(7)] + ["x" * 500]
    series = {name: [1.0, 2.0] for name in names}

    picture = draw_lines([Lines("y" * 300, series, y_name="z" * 99, dots=[names[-1]])])

    assert (np.asarray(picture)[:, -8:] == 255).all()
    assert all(count(picture, colour) > 20 for colour in COLOURS)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 7e-12], ["0", "2e-12", "4e-12", "6e-12", "8e-12"]),
        ([1e5, 1.002e5], ["1e5", "1.0005e5", "1.001e5", "1.0015e5", "1.002e5"]),
        ([0.0, 0.0], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_ticks_of_values_are_round_and_differ(values, shown):
    ticks = words(lines._enclosing_ticks(np.array(values), is_log=False))

    assert ticks == shown


@pytest.mark.parametrize(
    ("powers", "shown"),
    [
        ([0.2, 0.4], ["1", "10"]),
        ([-2, 2], ["0.01", "0.1", "1", "10", "100"]),
        ([0, 0], ["1", "10"]),
        ([-65, 38], ["1e-84", "1e-63", "1e-42", "1e-21", "1", "1e21", "1e42"]),
    ],
)
def test_ticks_of_logarithms_are_powers_of_ten_and_enclose_the_values(powers, shown):
    ticks = lines._enclosing_ticks(np.array(powers), is_log=True)

    assert words(ticks) == shown
    assert ticks[0][0] <= min(powers) <= max(powers) <= ticks[-1][0]


@pytest.mark.parametrize(
    ("across", "width", "is_log", "shown"),
    [
        ((1, 100), 900, False, ["20", "40", "60", "80", "100"]),
        ((1, 100), 200, False, ["50", "100"]),
        ((1, 4), 900, False, ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]),
        ((5.3, 5.3), 900, False, ["5.3"]),
        ((1 / 3, 1 / 3), 900, False, ["0.333333"]),
        ((0.2, 0.2), 900, True, ["1.58489"]),
        ((-8, 1), 900, True, ["1e-8", "1e-6", "1e-4", "0.01", "1"]),
        ((0.2, 0.6), 900, True, ["1.58489", "3.98107"]),
    ],
)
def test_ticks_across_have_room_beside_one_another(across, width, is_log, shown):
    assert words(lines._ticks_within(across, FONT, width=width, is_log=is_log)) == shown


@given(
    st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_any_numbers_are_drawn(points, log_x, log_y):
    assert draw_lines([Lines("Any", {"a": points}, log_x=log_x, log_y=log_y)], size=(300, 240)).size == (300, 240)


def test_the_same_series_give_the_same_picture():
    panel = Lines("Same", {"a": np.sin(np.arange(50))}, y_name="sine")

    assert draw_lines([panel]).tobytes() == draw_lines([panel]).tobytes()


@pytest.mark.parametrize(
    ("n_panels", "fix"), [(0, "give one Lines at least"), (5, "draw several pictures")], ids=["none", "five"]
)
def test_no_panel_and_too_many_are_refused(n_panels, fix):
    with pytest.raises(ShapeError) as caught:
        draw_lines([Lines("One", {"a": [1]})] * n_panels)

    assert str(caught.value) == (
        f"there are {n_panels} panels, a picture has 1 to 4\n  where: draw_lines: panels\n  fix: {fix}"
    )


@pytest.mark.parametrize("size", [(599, 240), (600, 239)])
def test_too_small_a_picture_is_refused(size):
    with pytest.raises(ShapeError) as caught:
        draw_lines([Lines("One", {"a": [1]})] * 2, size=size)

    assert str(caught.value) == (
        f"the picture is to be {size[0]} x {size[1]} pixels, 2 panels need at least 600 x 240\n"
        "  where: draw_lines: size\n"
        "  fix: leave it out for 960 x 380"
    )


@pytest.mark.parametrize(
    ("panel", "words"),
    [
        (
            Lines("P", {}),
            'there is no series\n  where: draw_lines: panel "P"\n  fix: give series by name',
        ),
        (
            Lines("P", {"a": [1], "b": [1]}, dots=["c"]),
            'dots names "c", which is no series\n  where: draw_lines: panel "P"\n  fix: the series are a, b',
        ),
        (
            Lines("P", {str(number): [1] for number in range(8)}),
            "there are 8 lines, they are told apart for at most 7\n"
            '  where: draw_lines: panel "P"\n'
            "  fix: draw several panels, or only some of the series",
        ),
        (
            Lines("P", {"a": [[1, 2, 3]]}),
            'series "a" is [1, 3], must be [N] values or [N, 2] points\n'
            '  where: draw_lines: panel "P"\n'
            "  fix: give the values of y, or list(zip(x, y))",
        ),
        (
            Lines("P", {"a": 1.0}),
            'series "a" is [], must be [N] values or [N, 2] points\n'
            '  where: draw_lines: panel "P"\n'
            "  fix: give the values of y, or list(zip(x, y))",
        ),
        (
            Lines("P", {"a": ["high"]}),
            "series \"a\" cannot be read as numbers: could not convert string to float: 'high'\n"
            '  where: draw_lines: panel "P"\n'
            "  fix: give a list, an array or a float32 tensor of numbers",
        ),
    ],
    ids=["no series", "dots", "eight lines", "three columns", "a number", "words"],
)
def test_what_cannot_be_drawn_is_refused_in_words(panel, words):
    with pytest.raises(ShapeError) as caught:
        draw_lines([panel])

    assert str(caught.value) == words


def test_seven_lines_and_dots_beside_them_are_drawn():
    series = {str(number): [number, number] for number in range(8)}

    picture = draw_lines([Lines("Seven", series, dots=["7"])])

    assert all(count(picture, colour) > 50 for colour in COLOURS)
