"""Waiting and computing are told apart by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from learner.toy import Loaders, blobs, make_learner

from imagekit.callbacks.timing import TimingCallback
from imagekit.learner.callback import Callback


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Batches that take `seconds` each to come."""

    def __init__(self, batches: list[Any], clock: Clock, seconds: float) -> None:
        self.batches, self.clock, self.seconds = batches, clock, seconds

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.clock.now += self.seconds
            yield batch


class Work(Callback):
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.rows: list[dict[str, Any]] = []

    def after_pred(self) -> None:
        self.clock.now += self.seconds

    def after_fit(self) -> None:
        self.rows.append(dict(self.row))


def test_waiting_share_and_speed_come_from_the_training_batches():
    clock = Clock()
    dls = Loaders(Slow(blobs([10, 10], seed=1), clock, 1.0), Slow(blobs([5], seed=2), clock, 7.0))  # type: ignore[arg-type]
    timing, work = TimingCallback(clock=clock), Work(clock, 3.0)

    make_learner(dls, timing, work).fit(2)

    assert work.rows[0] == {"images_per_s": 20 / 8, "data_wait": 2 / 8, "seconds": 18.0}
    assert timing.totals() == {"epochs": 2, "images": 40, "train_s": 16, "data_wait_s": 4, "valid_s": 20}


def test_a_clock_that_stands_still_divides_by_nothing():
    work = Work(Clock(), 0.0)

    make_learner(None, TimingCallback(clock=Clock()), work).fit(1)

    assert work.rows[0] == {"images_per_s": None, "data_wait": None, "seconds": 0.0}


def test_the_real_clock_measures_something():
    timing = TimingCallback()

    make_learner(None, timing).fit(1)

    totals = timing.totals()
    assert totals["images"] == 8
    assert 0 < totals["data_wait_s"] < totals["train_s"]
