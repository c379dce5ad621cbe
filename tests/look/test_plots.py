"""Curves and confusion matrices: what is drawn where, for one epoch and many, two classes and a thousand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.look.confusion import draw_confusion
from imagekit.look.lettering import draw_slanted, drawable, fit_text, load_font, visible
from imagekit.look.plots import (
    BLUE,
    GREEN,
    INK,
    VERMILION,
    draw_curves,
    epoch_ticks,
    round_step,
    spread,
    tick_words,
    value_ticks,
)

Row = dict[str, float | None]


def fake_rows(n: int) -> list[Row]:
    return [
        {
            "epoch": i + 1,
            "train_loss": 2 / (i + 1),
            "valid_loss": 2.2 / (i + 1),
            "train_accuracy": 1 - 0.8 / (i + 1),
            "valid_accuracy": 1 - 0.9 / (i + 1),
        }
        for i in range(n)
    ]


def count_pixels(image: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(image) == colour).all(axis=2).sum())


def halves(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))


@pytest.mark.parametrize("n_epochs", [1, 2, 5, 31, 200])
def test_both_curves_appear_in_both_panels(n_epochs: int):
    for panel in halves(draw_curves(fake_rows(n_epochs))):
        assert count_pixels(panel, BLUE) > 20
        assert count_pixels(panel, VERMILION) > 20


@pytest.mark.parametrize("size", [(900, 420), (300, 140), (1800, 840)])
def test_curves_have_the_size_asked_for(size: tuple[int, int]):
    image = draw_curves(fake_rows(3), size=size)

    assert (image.size, image.mode) == (size, "RGB")


def test_curves_below_the_least_size_say_both_sizes():
    with pytest.raises(ShapeError) as caught:
        draw_curves(fake_rows(3), size=(299, 420))

    assert str(caught.value) == (
        "the curves are to be 299 x 420 pixels, at least 300 x 140 are needed\n"
        "  where: draw_curves: size\n"
        "  fix: leave it out for 900 x 420"
    )


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e300])
def test_values_that_cannot_be_drawn_are_left_out(value: float | None):
    rows = fake_rows(6)
    with_hole = [row | {"valid_loss": value} if i == 2 else row for i, row in enumerate(rows)]
    without = [{k: v for k, v in row.items() if i != 2 or k != "valid_loss"} for i, row in enumerate(rows)]

    assert draw_curves(with_hole).tobytes() == draw_curves(without).tobytes()


def test_runs_without_accuracy_or_epochs_still_draw():
    nothing = draw_curves([])
    loss, accuracy = halves(draw_curves([{"train_loss": 1.0}, {"train_loss": 0.5}]))

    assert count_pixels(nothing, BLUE) == count_pixels(nothing, VERMILION) == 0
    assert count_pixels(loss, VERMILION) > 20
    assert count_pixels(accuracy, VERMILION) == 0


def test_lower_loss_is_drawn_lower():
    loss, _ = halves(draw_curves([{"epoch": 1, "train_loss": 3.0}, {"epoch": 2, "train_loss": 1.0}]))

    is_train = (np.asarray(loss) == VERMILION).all(axis=2)[45:, : int(loss.width * 0.75)]  # without legend and label
    columns = np.flatnonzero(is_train.any(axis=0))
    first, last = (np.flatnonzero(is_train[:, columns[i]]).mean() for i in (0, -1))
    assert first < last


def test_averaged_weights_get_a_line_of_their_own_where_there_are_any():
    rows = [row | {"valid_ema_loss": 1.0, "valid_ema_accuracy": 0.5 + 0.01 * i} for i, row in enumerate(fake_rows(6))]

    for panel, without in zip(halves(draw_curves(rows)), halves(draw_curves(fake_rows(6))), strict=True):
        assert count_pixels(panel, GREEN) > 100
        assert count_pixels(without, GREEN) == 0


def ring_of(rows: list[Row]) -> float:
    """Where the ring of the best epoch is on the curve, as a share of the panel's width."""
    _, panel = halves(draw_curves(rows))
    below_legend = (np.asarray(panel) == INK).all(axis=2)[45:]
    return float(np.flatnonzero(below_legend.any(axis=0)).mean()) / panel.width


def test_the_epoch_that_was_kept_is_ringed_else_the_highest():
    rows = fake_rows(5)
    kept_early = [row | {"is_best": float(i == 1)} for i, row in enumerate(rows)]

    assert ring_of(kept_early) < 0.5 < ring_of(rows)


@settings(deadline=None, max_examples=50)
@given(places=st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_labels_move_apart_and_stay_in_their_order_and_within_the_panel(places: list[float]):
    moved = spread(sorted(places), gap=10, within=(0, 100))

    assert len(moved) == len(places)
    assert all(later - earlier >= 10 - 1e-9 for earlier, later in pairwise(moved))
    assert moved[0] >= -1e-9
    assert moved[-1] <= 100 + 1e-9


def test_labels_that_do_not_touch_stay_where_they_are():
    assert spread([5, 50, 52, 90], gap=10, within=(0, 100)) == [5, 46, 56, 90]


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_ticks_enclose_every_value_and_are_few_and_told_apart(values: list[float]):
    ticks = value_ticks(values)

    step = ticks[1] - ticks[0]
    assert ticks[0] <= min(values) + 1e-6 * step
    assert ticks[-1] >= max(values) - 1e-6 * step
    assert 2 <= len(ticks) <= 9


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_shares_never_get_an_axis_beyond_a_hundred_percent(values: list[float]):
    ticks = value_ticks(values, is_share=True)

    assert len(ticks) >= 2
    assert all(-1e-9 <= tick <= 100 + 1e-9 for tick in ticks)
    assert ticks[0] <= min(values) + 1e-9
    assert ticks[-1] >= max(values) - 1e-9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.4, 2.5], ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]),
        ([100.0, 100.0], ["99.4", "99.6", "99.8", "100.0"]),
        ([0.0, 2e6], ["0", "5e+05", "1e+06", "1.5e+06", "2e+06"]),
    ],
)
def test_ticks_are_round_numbers(values: list[float], words: list[str]):
    assert tick_words(value_ticks(values, is_share=values == [100.0, 100.0])) == words


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [(1, 1, [1]), (1, 5, [1, 2, 3, 4, 5]), (1, 20, [1, 5, 10, 15, 20]), (1, 200, [1, 50, 100, 150, 200])],
)
def test_epoch_ticks_are_whole_and_start_at_the_first(first: float, last: float, ticks: list[float]):
    assert epoch_ticks(first, last) == ticks


@pytest.mark.parametrize(("at_least", "step"), [(0, 1), (0.1, 0.1), (0.11, 0.2), (3, 5), (7, 10), (1e-7, 1e-7)])
def test_steps_are_one_two_or_five(at_least: float, step: float):
    assert round_step(at_least) == step


def diagonal(n: int, value: int = 10) -> list[list[int]]:
    return [[value if row == column else 0 for column in range(n)] for row in range(n)]


def test_right_is_blue_and_wrong_is_vermilion_each_by_its_share_of_the_row():
    image = draw_confusion([[100, 0], [30, 0]], ["a", "b"])

    assert count_pixels(image, BLUE) > 5000  # a: all right
    assert count_pixels(image, VERMILION) > 5000  # b: all taken for a


def test_share_counts_within_the_row_not_over_all():
    few, many = draw_confusion([[1, 0], [0, 1]], ["a", "b"]), draw_confusion([[1, 0], [0, 90]], ["a", "b"])

    assert count_pixels(few, BLUE) == pytest.approx(count_pixels(many, BLUE), rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 10, 20, 21, 60, 61, 200, 1000])
def test_confusion_of_any_number_of_classes_keeps_a_handy_size(n: int):
    image = draw_confusion(diagonal(n), [f"class number {i}" for i in range(n)])

    assert image.mode == "RGB"
    assert max(image.size) <= 2400
    assert count_pixels(image, BLUE) >= n


def test_counts_are_written_up_to_twenty_classes():
    plain, counted = (draw_confusion(diagonal(20, value), ["x"] * 20) for value in (1, 12345))

    assert plain.tobytes() != counted.tobytes()
    assert (
        draw_confusion(diagonal(21, 1), ["x"] * 21).tobytes() == draw_confusion(diagonal(21, 9), ["x"] * 21).tobytes()
    )


@pytest.mark.parametrize("name", ["", "very long " * 500, "line\nbreak\x1b[31m", "中文名字", "\u202egpj.exe", "\ud800"])
def test_odd_names_are_drawn_and_stay_in_their_margin(name: str):
    image = draw_confusion(diagonal(3), [name, "b", "c"])

    assert max(image.size) < 1500


BAD_COUNTS: list[tuple[Sequence[Sequence[int]], list[str], str]] = [
    ([], [], "the counts have 0 rows of 0, there are 0 names"),
    ([[1, 2]], ["a", "b"], "the counts have 1 rows of 2, there are 2 names"),
    ([[1, 2], [3]], ["a", "b"], "the counts have 2 rows of 1/2, there are 2 names"),
]


@pytest.mark.parametrize(("counts", "names", "what"), BAD_COUNTS)
def test_counts_that_are_not_square_say_their_shape(counts: Sequence[Sequence[int]], names: list[str], what: str):
    with pytest.raises(ShapeError) as caught:
        draw_confusion(counts, names)

    assert str(caught.value) == (
        f"{what}\n  where: draw_confusion: counts_KK\n  fix: give as many rows and columns as names, at least one"
    )


def test_more_than_a_thousand_classes_are_refused():
    with pytest.raises(ShapeError) as caught:
        draw_confusion(diagonal(1001), ["x"] * 1001)

    assert str(caught.value) == (
        "there are 1,001 classes, a confusion matrix is drawn for at most 1,000\n"
        "  where: draw_confusion: names\n"
        "  fix: draw the classes of interest alone"
    )


def test_text_is_cut_to_its_space_with_an_ellipsis():
    font = load_font(14)

    cut = fit_text("English springer", font, max_px=60)

    assert fit_text("tench", font, max_px=60) == "tench"
    assert cut.startswith("Eng")
    assert cut.endswith("…")
    assert font.getlength(cut) <= 60
    assert fit_text("tench", font, max_px=1) == ""


def test_letters_that_the_typeface_lacks_lose_their_accents_or_become_question_marks():
    assert drawable("crème brûlée") == "creme brulee"
    assert drawable("中 x") == "? x"
    assert drawable("plain name_1") == "plain name_1"


def test_control_characters_become_visible_and_escaped_names_stay():
    assert visible("a\x1b[31m\n\u202e") == r"a\x1b[31m\n\u202e"
    assert visible(r"already\x1b and C:\dir") == r"already\x1b and C:\dir"
    assert visible("plain é 中") == "plain é 中"


def test_slanted_text_starts_at_its_point_and_climbs():
    canvas = Image.new("RGB", (200, 200), "white")

    draw_slanted(canvas, (50, 150), "MMMMMM", font=load_font(14), fill=(0, 0, 0), degrees=45)

    rows, columns = np.nonzero(np.asarray(canvas)[..., 0] < 128)
    assert abs(columns.min() - 50) <= 8
    assert abs(rows.max() - 150) <= 8
    assert rows[columns > 80].max() < 135
