"""Schedules: the lessons' values, any number of phases, the ends."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ConfigError
from imagekit.optim.schedules import (
    combine_scheds,
    cos_1cycle,
    cos_1cycle_anneal,
    flat_cos,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
    warmup_linear,
)

_POSITIONS = st.floats(0, 1)
_MAKERS = [sched_lin, sched_cos, sched_exp]


def test_each_annealer_has_the_lessons_value():
    assert sched_lin(1, 2)(0.3) == pytest.approx(1.3)
    assert sched_no(1, 2)(0.3) == 1
    assert sched_cos(1, 3)(0.5) == pytest.approx(2)
    assert sched_cos(0, 1)(0.25) == pytest.approx((1 - math.sqrt(0.5)) / 2)
    assert sched_exp(1, 100)(0.5) == pytest.approx(10)
    assert sched_exp(1e-6, 10)(0.5) == pytest.approx(3.162e-3, rel=1e-3)


@pytest.mark.parametrize("make", _MAKERS)
@settings(deadline=None)
@given(start=st.floats(1e-6, 10), end=st.floats(1e-6, 10), first=_POSITIONS, second=_POSITIONS)
def test_an_annealer_goes_from_start_to_end_without_turning_back(make, start, end, first, second):
    sched = make(start, end)
    earlier, later = sorted([first, second])

    assert sched(0.0) == pytest.approx(start)
    assert sched(1.0) == pytest.approx(end)
    assert (sched(later) - sched(earlier)) * (end - start) >= -1e-9


def test_an_annealer_keeps_its_name_and_docstring():
    assert sched_cos.__name__ == "sched_cos"
    assert sched_cos.__doc__ == "Half a cosine from start to end: slow, fast, slow."


@pytest.mark.parametrize(("pos", "expected"), [(0, 0.3), (0.15, 0.45), (0.3, 0.6), (0.65, 0.4), (1, 0.2)])
def test_two_cosines_have_the_lessons_values(pos, expected):
    sched = combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])

    assert sched(pos) == pytest.approx(expected)


@pytest.mark.parametrize(("pos", "expected"), [(0, 0.1), (0.15, 0.2), (0.3, 0.3), (0.65, 0.175), (1, 0.05)])
def test_the_one_cycle_has_the_lessons_values(pos, expected):
    sched = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.1, 0.3, 0.05))

    assert sched(pos) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pos", "expected"), [(0, 0), (0.125, 0.5), (0.25, 1), (0.375, 1.5), (0.6, 2.2), (0.75, 2.5), (1, 3)]
)
def test_three_phases_follow_one_another(pos, expected):
    sched = combine_scheds([0.25, 0.25, 0.5], [sched_lin(0, 1), sched_lin(1, 2), sched_lin(2, 3)])

    assert sched(pos) == pytest.approx(expected)


@pytest.mark.parametrize("pcts", [[0.7, 0.2, 0.1], [0.1] * 10, [1 / 3] * 3, [0.1, 0.2, 0.7], [0.333333, 0.666667]])
def test_shares_that_miss_one_by_rounding_are_fine(pcts):
    sched = combine_scheds(pcts, [sched_lin(i, i + 1) for i in range(len(pcts))])

    assert sched(0.0) == 0
    assert sched(1.0) == len(pcts)
    assert sched(1 - 1e-12) == pytest.approx(len(pcts))


@settings(deadline=None)
@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=8).filter(any), pos=_POSITIONS)
def test_phases_that_join_make_a_schedule_without_jumps(weights, pos):
    shares = [weight / sum(weights) for weight in weights]
    ends = [math.fsum(shares[:i]) for i in range(len(shares) + 1)]
    sched = combine_scheds(shares, [sched_lin(a, b) for a, b in pairwise(ends)])

    assert sched(pos) == pytest.approx(pos, abs=1e-9)


def test_phases_without_a_share_are_passed_over():
    sched = combine_scheds([0.0, 0.5, 0.0, 0.5, 0.0], [sched_no(i, i) for i in range(5)])

    assert [sched(pos) for pos in (0, 0.4, 0.5, 0.9)] == [1, 1, 3, 3]
    assert sched(1.0) == 4  # the very end belongs to the last phase, as the end of any schedule does


def test_one_phase_is_the_schedule_itself():
    assert combine_scheds([1.0], [sched_lin(1, 2)])(0.3) == pytest.approx(1.3)


def test_a_position_outside_training_counts_as_the_nearer_end():
    sched = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.1, 0.3, 0.05))

    assert sched(-0.1) == pytest.approx(0.1)
    assert sched(1.0000001) == pytest.approx(0.05)


def test_learning_rate_and_momentum_of_the_leaderboard_run():
    lr = combine_scheds([0.5, 0.5], cos_1cycle_anneal(1e-3, 1e-2, 1e-7))
    momentum = combine_scheds([0.5, 0.5], cos_1cycle_anneal(0.95, 0.85, 0.95))

    assert [lr(pos) for pos in (0, 0.5, 1)] == pytest.approx([1e-3, 1e-2, 1e-7])
    assert [momentum(pos) for pos in (0, 0.5, 1)] == pytest.approx([0.95, 0.85, 0.95])


@pytest.mark.parametrize(
    ("pcts", "n_scheds", "problem"),
    [
        ([0.3, 0.6], 2, "shares are [0.3, 0.6] and sum to 0.9, must sum to 1"),
        ([1.5, -0.5], 2, "shares are [1.5, -0.5], must be at least 0"),
        ([math.nan, 1.0], 2, "shares are [nan, 1.0], must be at least 0"),
        ([0.3, 0.7], 3, "2 shares for 3 schedules, must be one each and at least one"),
        ([], 0, "0 shares for 0 schedules, must be one each and at least one"),
    ],
)
def test_shares_that_cannot_be_are_refused(pcts, n_scheds, problem):
    with pytest.raises(ConfigError) as caught:
        combine_scheds(pcts, [sched_no(1, 1)] * n_scheds)

    assert str(caught.value) == (
        f"{problem}\n  where: combine_scheds: pcts\n  fix: write one share per schedule, such as [0.3, 0.7]"
    )


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 0), (-1, 1)])
def test_an_exponential_through_zero_is_refused(start, end):
    with pytest.raises(ConfigError) as caught:
        sched_exp(start, end)

    assert str(caught.value) == (
        f"start is {start} and end is {end}, must both be above 0 (or both below)\n"
        "  where: sched_exp\n"
        "  fix: use sched_cos or sched_lin for a schedule that starts or ends at 0"
    )


def test_the_one_cycle_in_one_piece_has_the_lessons_values():
    sched = cos_1cycle(0.1, 0.3, 0.05)

    assert [sched(pos) for pos in (0, 0.15, 0.3, 0.65, 1)] == pytest.approx([0.1, 0.2, 0.3, 0.175, 0.05])


def test_flat_then_cosine():
    sched = flat_cos(0.008)

    assert [sched(pos) for pos in (0, 0.5, 0.7499)] == [0.008] * 3
    assert [sched(pos) for pos in (0.75, 0.875, 1)] == pytest.approx([0.008, 0.004, 0])
    assert flat_cos(0.008, flat=0.5, end=1e-4)(1) == pytest.approx(1e-4)


def test_warm_up_then_a_straight_line_down():
    sched = warmup_linear(2.0)

    assert [sched(pos) for pos in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 1, 2, 1, 0])
    assert warmup_linear(2.0, warmup=0.5, start=1.0, end=0.5)(0.25) == pytest.approx(1.5)


_SHARED = {
    "cos_1cycle: peak": lambda share: cos_1cycle(1, 2, 3, peak=share),
    "flat_cos: flat": lambda share: flat_cos(2, flat=share),
    "warmup_linear: warmup": lambda share: warmup_linear(2, warmup=share),
}


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("where", list(_SHARED))
def test_a_phase_may_take_all_or_nothing(where, share):
    sched = _SHARED[where](share)

    assert all(math.isfinite(sched(pos)) for pos in (0, 0.5, 1))


@pytest.mark.parametrize("where", list(_SHARED))
@pytest.mark.parametrize("share", [-0.1, 1.1, 30, math.nan])
def test_a_share_that_cannot_be_is_refused(where, share):
    with pytest.raises(ConfigError) as caught:
        _SHARED[where](share)

    assert str(caught.value) == (
        f"the share is {share}, must be from 0 to 1\n  where: {where}\n  fix: write 0.3 for 30 %, say"
    )
