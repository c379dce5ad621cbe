"""How a run is executed: what may be said, and in which words what may not is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ConfigError
from imagekit.training.running import Running

NUMBERS = st.integers(1, 10**9 - 1)


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Running(**values)
    return str(caught.value)


@settings(deadline=None, max_examples=20)
@given(number=NUMBERS)
def test_a_number_alone_is_steps_and_one_with_a_unit_is_a_time(number: int):
    steps = [Running(checkpoint_every=each) for each in (number, str(number))]
    times = [Running(checkpoint_every=f"{number}{unit}") for unit in "smh"]

    assert [(each.steps_between, each.seconds_between) for each in steps] == [(number, None)] * 2
    assert [each.steps_between for each in times] == [None] * 3
    assert [each.seconds_between for each in times] == [number, number * 60, number * 3600]


def test_checkpoints_of_whole_epochs_alone_have_neither():
    running = Running(checkpoint_every=None)

    assert (running.steps_between, running.seconds_between) == (None, None)


NO_TIMES = ["0", "0m", "-3", "1.5m", "m", "", "10 m", "10d", "1" * 10, 0, -1, 2.5, b"10m"]


@pytest.mark.parametrize("every", NO_TIMES, ids=repr)
def test_checkpoints_at_what_is_neither_steps_nor_a_time_are_refused(every: Any):
    assert refusal(checkpoint_every=every) == (
        f'checkpoint_every is "{every}", must be steps or a time\n  where: --checkpoint-every\n'
        "  fix: give 500 for steps, or 10m for minutes"
    )


def test_an_error_is_a_stop_or_a_skip():
    assert [Running(on_error=each).on_error for each in ("stop", "skip")] == ["stop", "skip"]
    assert refusal(on_error="ignore") == (
        'on_error is "ignore", must be stop or skip\n  where: --on-error\n  fix: leave it out to stop'
    )


@pytest.mark.parametrize("n_workers", [-1, 2.0, "2", True, None])
def test_workers_are_a_whole_number(n_workers: Any):
    assert refusal(n_workers=n_workers) == (
        f"n_workers is {n_workers!r}, must be a whole number, at least 0\n  where: --workers\n"
        "  fix: give 2, say, or 0 for none"
    )


@pytest.mark.parametrize("limit", [-1, 1e9, "1GB"])
def test_a_limit_is_a_number_of_bytes(limit: Any):
    assert refusal(cache_limit=limit) == (
        f"cache_limit is {limit!r}, must be a whole number, at least 0\n  where: --cache-limit\n"
        "  fix: give the bytes, or leave it out"
    )


def test_a_kind_of_cache_that_is_none_is_refused():
    assert refusal(cache="disc") == (
        'cache is "disc", which is not known\n  where: --cache\n'
        '  fix: did you mean "disk"? known: auto, device, disk, none, ram'
    )


@settings(deadline=None, max_examples=20)
@given(
    n_workers=st.integers(0, 64),
    cache=st.sampled_from(["auto", "none", "ram", "disk", "device"]),
    cache_limit=st.none() | st.integers(0, 2**60),
    checkpoint_every=st.none() | NUMBERS | NUMBERS.map("{}m".format),
    on_error=st.sampled_from(["stop", "skip"]),
)
def test_what_is_written_down_is_read_as_it_was(**values: Any):
    running = Running(**values)

    assert Running.from_dict(running.to_dict()) == running
    assert Running.from_dict(running.to_dict() | {"of_a_later_version": 3}) == running


def test_a_change_leaves_all_else():
    running = Running(n_workers=2, cache="ram")

    assert running.changed({"cache": "disk", "cache_limit": 5}) == Running(n_workers=2, cache="disk", cache_limit=5)
