"""Where the time went is told apart by a clock that the test turns; on a device, by events that the test makes."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import Loaders, blobs, loaders, make_learner
from torch import Tensor, nn

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.timing import (
    TRAIN_PARTS,
    EventTimes,
    TimingCallback,
    peak_device_bytes,
    peak_rss_bytes,
)
from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS, CancelBatchException, CancelEpochException, CancelTrainException
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Batches that take `seconds` each to come, and `end` seconds until it is known that there are no more."""

    def __init__(self, batches: list[Any], clock: Clock, seconds: float, *, end: float = 0.0) -> None:
        self.batches, self.clock, self.seconds, self.end = batches, clock, seconds, end

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.clock.now += self.seconds
            yield batch
        self.clock.now += self.end


class Work(Callback):
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.rows: list[dict[str, Any]] = []

    def after_pred(self) -> None:
        self.clock.now += self.seconds

    def after_epoch(self) -> None:
        self.rows.append(dict(self.row))


def _spending(event: str) -> Any:
    def handle(self: Any) -> None:
        self.clock.now += self.seconds.get(event, 0.0)
        if event == self.event and self.learner.in_train and self.learner.i_batch == self.i_batch:
            raise self.error

    return handle


class _Spend(Callback):
    _order = 250

    def __init__(
        self, clock: Clock, event: str = "", error: BaseException | None = None, *, i_batch: int = 0, **seconds: float
    ) -> None:
        self.clock, self.seconds = clock, seconds
        self.event, self.error, self.i_batch = event, error, i_batch


# a late callback that takes so many seconds at each event, and raises `error` at the named one, in batch `i_batch`
Spend: Any = type("Spend", (_Spend,), {event: _spending(event) for event in EVENTS})


class SlowModel(nn.Module):
    """A linear layer that takes 100 s forward and 1,000 s backward."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.layer, self.clock = nn.Linear(2, 2), clock

    def forward(self, x: Tensor) -> Tensor:
        self.spend(100.0)
        pred: Tensor = self.layer(x)
        if pred.requires_grad:
            pred.register_hook(lambda grad: self.spend(1000.0))
        return pred

    def spend(self, seconds: float) -> None:
        self.clock.now += seconds


class SlowSGD(torch.optim.SGD):
    """10,000 s a step."""

    clock: Clock

    def step(self, closure: Any = None) -> Any:
        self.clock.now += 10_000.0
        return super().step(closure)


def slow_learner(clock: Clock, *callbacks: Callback, train: int = 2, valid: int = 1, end: float = 0.0) -> Learner:
    """Two images a batch, 1 s to wait for one in training, 5 s in validation; and what model and optimizer take."""
    train_dl = Slow(blobs([2] * train, seed=1), clock, 1.0, end=end)
    dls = Loaders(train_dl, Slow(blobs([2] * valid, seed=2), clock, 5.0, end=end))  # type: ignore[arg-type]
    SlowSGD.clock = clock
    return make_learner(dls, *callbacks, model=SlowModel(clock), opt_func=SlowSGD)


class Moment:
    """An event of a device whose clock is the test's; in milliseconds, as CUDA's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock

    def record(self, stream: Any = None) -> None:
        self.at = self.clock()

    def elapsed_time(self, end_event: Moment) -> float:
        return 1000 * (end_event.at - self.at)

    def __deepcopy__(self, memo: dict[int, Any]) -> Moment:
        raise TypeError("a moment of a device has no copy")


def parts_of(timing: TimingCallback) -> dict[str, float | None]:
    return {name: timing.totals()[name] for name in TRAIN_PARTS}


def test_waiting_share_and_speed_come_from_the_training_batches():
    clock = Clock()
    dls = Loaders(Slow(blobs([10, 10], seed=1), clock, 1.0), Slow(blobs([5], seed=2), clock, 7.0))  # type: ignore[arg-type]
    timing, work = TimingCallback(clock=clock), Work(clock, 3.0)

    make_learner(dls, timing, work).fit(2)

    assert work.rows[0] == {"images_per_s": 20 / 8, "data_wait": 2 / 8, "seconds": 18.0}
    totals = timing.totals()
    memory = {name: totals.pop(name) for name in list(totals) if name.startswith("peak_")}
    assert totals == {
        "epochs": 2,
        "images": 40,
        "batches": 4,
        "timed_batches": 4,
        "train_s": 16,
        "data_wait_s": 4,
        "transfer_s": 0,
        "forward_s": 12,
        "backward_s": 0,
        "step_s": 0,
        "other_s": 0,
        "valid_s": 20,
        "valid_wait_s": 14,
        "first_epoch_train_s": 8,
        "first_epoch_data_wait_s": 2,
        "images_per_s": 40 / 16,
    }
    assert list(memory) == ["peak_rss_bytes", "peak_worker_rss_bytes", "peak_device_bytes"]


def test_a_clock_that_stands_still_divides_by_nothing():
    timing, work = TimingCallback(clock=Clock()), Work(Clock(), 0.0)

    make_learner(None, timing, work).fit(1)

    assert work.rows[0] == {"images_per_s": None, "data_wait": None, "seconds": 0.0}
    assert timing.totals()["images_per_s"] is None


def test_the_real_clock_measures_something_in_every_part():
    timing = TimingCallback()

    make_learner(None, timing).fit(1)

    totals = timing.totals()
    assert totals["images"] == 8
    assert all(type(seconds) is float and seconds > 0 for seconds in parts_of(timing).values())
    assert sum(totals[name] or 0.0 for name in TRAIN_PARTS) == pytest.approx(totals["train_s"], rel=1e-9)


def test_each_second_goes_to_the_part_that_it_was_spent_in():
    clock = Clock()
    timing = TimingCallback(clock=clock)
    at_events = {"begin_batch": 10.0, "after_pred": 2.0, "after_loss": 3.0, "after_backward": 4.0, "after_step": 5.0}

    slow_learner(clock, timing, Spend(clock, **at_events)).fit(1)

    # of two batches; in validation 5 to wait, 10 + 100 + 2 + 3 to compute
    assert parts_of(timing) == {
        "data_wait_s": 2 * 1,
        "transfer_s": 2 * 10,
        "forward_s": 2 * (100 + 2),
        "backward_s": 2 * 1000,
        "step_s": 2 * (4 + 10_000 + 5),
        "other_s": 2 * 3,
    }
    assert (timing.totals()["valid_s"], timing.totals()["valid_wait_s"]) == (120, 5)


def test_a_slow_callback_between_two_batches_is_not_waiting_for_data():
    clock = Clock()
    timing, work = TimingCallback(clock=clock), Work(clock, 0.0)

    slow_learner(clock, timing, Spend(clock, begin_epoch=50.0, after_batch=20.0, begin_validate=30.0), work).fit(1)

    totals = timing.totals()
    assert (totals["data_wait_s"], totals["other_s"]) == (2, 50 + 2 * 20)
    assert (totals["valid_s"], totals["valid_wait_s"]) == (5 + 100 + 20 + 30, 5)
    assert work.rows[0]["data_wait"] == 2 / (totals["train_s"] or 1)


STEP = {"forward_s": 100, "backward_s": 1000, "step_s": 10_000}


def test_what_comes_behind_the_last_batch_is_not_waiting_for_data():
    clock = Clock()
    timing = TimingCallback(clock=clock)

    slow_learner(clock, timing, valid=3, end=40.0).fit(1)

    totals = timing.totals()
    assert (totals["data_wait_s"], totals["other_s"]) == (2, 40)
    assert (totals["valid_s"], totals["valid_wait_s"]) == (3 * 105 + 40, 3 * 5)


@pytest.mark.parametrize(
    ("event", "ran"),
    [
        ("begin_batch", {}),
        ("after_pred", {"forward_s": 100}),
        ("after_loss", {"forward_s": 100}),
        ("after_backward", {"forward_s": 100, "backward_s": 1000}),
        ("after_step", STEP),
    ],
)
def test_a_batch_that_was_left_counts_in_the_parts_that_ran(event: str, ran: dict[str, float]):
    clock = Clock()
    timing = TimingCallback(clock=clock)

    slow_learner(clock, timing, Spend(clock, event, CancelBatchException(), i_batch=0)).fit(1)

    whole = {"data_wait_s": 2, "transfer_s": 0, "other_s": 0} | STEP
    assert parts_of(timing) == {name: seconds + ran.get(name, 0) for name, seconds in whole.items()}


def test_gradients_that_add_up_step_once_for_several_batches():
    clock = Clock()
    timing = TimingCallback(clock=clock)

    slow_learner(clock, timing, GradientAccumulation(2), train=4).fit(1)

    totals = timing.totals()
    assert (totals["backward_s"], totals["step_s"], totals["batches"]) == (4 * 1000, 2 * 10_000, 4)


@pytest.mark.parametrize(
    "error", [None, CancelBatchException(), CancelEpochException(), CancelTrainException(), RuntimeError("lost")]
)
@settings(deadline=None, max_examples=12)
@given(
    seconds=st.dictionaries(st.sampled_from(EVENTS), st.floats(0.0, 1e3)),
    event=st.sampled_from(["begin_batch", "after_pred", "after_loss", "after_backward", "after_step"]),
    with_events=st.booleans(),
)
def test_the_parts_add_up_to_the_seconds_of_the_epochs(
    error: BaseException | None, seconds: dict[str, float], event: str, with_events: bool
):
    clock = Clock()
    timing = TimingCallback(clock=clock, make_event=partial(Moment, clock) if with_events else None)
    measured = seconds | {"begin_fit": 0.0, "after_epoch": 0.0, "after_cancel_train": 0.0, "after_fit": 0.0}
    learner = slow_learner(clock, timing, Spend(clock, event if error else "", error, i_batch=1, **measured))

    begun = clock.now
    try:
        learner.fit(2)
    except RuntimeError:
        assert learner.failure is error
    totals = timing.totals()

    parts = sum(totals[name] or 0.0 for name in TRAIN_PARTS)
    assert parts == pytest.approx(totals["train_s"], rel=1e-9)
    assert parts + (totals["valid_s"] or 0.0) == pytest.approx(clock.now - begun, rel=1e-9)
    assert 0 <= (totals["valid_wait_s"] or 0.0) <= (totals["valid_s"] or 0.0)
    assert all((totals[name] or 0.0) >= 0 for name in TRAIN_PARTS)


@pytest.mark.parametrize("error", [CancelTrainException(), RuntimeError("lost")])
def test_an_epoch_that_was_left_open_counts_as_far_as_it_came(error: BaseException):
    clock = Clock()
    timing = TimingCallback(clock=clock)
    learner = slow_learner(clock, timing, Spend(clock, "after_loss", error, i_batch=1))

    try:
        learner.fit(1)
    except RuntimeError:
        assert learner.failure is error
    totals = timing.totals()

    assert (totals["epochs"], totals["images"], totals["valid_s"]) == (0, 4, 0)
    assert parts_of(timing) == {
        "data_wait_s": 2,
        "transfer_s": 0,
        "forward_s": 200,
        "backward_s": 1000,
        "step_s": 10_000,
        "other_s": 0,
    }
    assert totals["train_s"] == totals["first_epoch_train_s"] == 11_202


def test_an_epoch_that_was_left_open_still_counts_behind_a_second_fit():
    clock = Clock()
    timing = TimingCallback(clock=clock)
    learner = slow_learner(clock, timing)

    learner.fit(1, [Spend(clock, "after_loss", CancelTrainException(), i_batch=1)])
    learner.fit(1)

    assert (timing.totals()["epochs"], timing.totals()["train_s"]) == (1, 11_202 + 2 * 11_101)


def test_the_totals_can_be_asked_for_in_the_middle_of_an_epoch():
    class Ask(Callback):
        _order = 300

        def after_backward(self) -> None:
            self.seen = timing.totals()

    clock = Clock()
    timing, ask = TimingCallback(clock=clock), Ask()

    slow_learner(clock, timing, Spend(clock, after_backward=7.0), ask).fit(1)

    # as far as the last part that has ended: the 7 s are of one that is open
    assert (ask.seen["train_s"], ask.seen["images"], ask.seen["step_s"]) == (11_108 + 1101, 4, 10_007)
    assert timing.totals()["train_s"] == 2 * 11_108


class Placed(Loaders):
    """Loaders whose next training iteration begins where they are told."""

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.train_dl.first = first_batch  # type: ignore[attr-defined]


class SlowFrom(Slow):
    first = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(Slow(self.batches[self.first :], self.clock, self.seconds))


@pytest.mark.parametrize(("first_batch", "speed", "wait"), [(1, 4 / 5, 2 / 5), (3, 0.0, 0.0)])
def test_a_fit_that_goes_on_inside_an_epoch_measures_what_is_left_of_it(first_batch: int, speed: float, wait: float):
    clock = Clock()
    timing, work = TimingCallback(clock=clock), Work(clock, 0.0)
    train_dl = SlowFrom(blobs([2] * 3, seed=1), clock, 1.0)
    learner = make_learner(Placed(train_dl, blobs([2], seed=2)), timing, work)  # type: ignore[arg-type]

    learner.fit(2, [Spend(clock, begin_epoch=3.0)], first_epoch=1, first_batch=first_batch)

    n = 3 - first_batch
    assert work.rows == [{"images_per_s": speed, "data_wait": wait, "seconds": 3.0 + n}]
    totals = timing.totals()
    assert (totals["epochs"], totals["batches"], totals["other_s"], totals["data_wait_s"]) == (1, n, 3, n)


def test_validation_alone_is_no_epoch_and_takes_its_own_seconds():
    clock = Clock()
    timing = TimingCallback(clock=clock)
    learner = slow_learner(clock, timing)

    before, _, after = dict(learner.validate()), learner.fit(1), dict(learner.validate())

    assert before == after == {"images_per_s": None, "data_wait": None, "seconds": 105.0}
    totals = timing.totals()
    assert (totals["epochs"], totals["train_s"], totals["valid_s"], totals["valid_wait_s"]) == (1, 22_202, 315, 15)


def test_a_batch_outside_a_fit_is_not_measured():
    clock = Clock()
    timing = TimingCallback(clock=clock)

    slow_learner(clock, timing).get_batch(in_train=True)

    assert (timing.totals()["images"], timing.totals()["train_s"]) == (0, 0)


@pytest.mark.parametrize("error", [None, RuntimeError("lost")])
def test_the_last_callback_is_there_for_the_fit_alone(error: BaseException | None):
    clock = Clock()
    timing = TimingCallback(clock=clock, make_event=partial(Moment, clock))
    learner = slow_learner(clock, timing, Spend(clock, "after_loss" if error else "", error))
    before = list(learner.callbacks)

    try:
        learner.fit(1)
    except RuntimeError:
        assert learner.failure is error

    assert learner.callbacks == before
    assert copy.deepcopy(timing, {id(learner): learner}).totals() == timing.totals()


def test_only_the_first_epoch_is_told_apart_also_in_a_second_fit():
    clock = Clock()
    timing = TimingCallback(clock=clock)
    learner = slow_learner(clock, timing)

    learner.fit(2)
    learner.fit(1)

    totals = timing.totals()
    assert (totals["first_epoch_train_s"], totals["first_epoch_data_wait_s"]) == (2 * 11_101, 2)
    assert (totals["epochs"], totals["train_s"]) == (3, 6 * 11_101)


def record(times: EventTimes, clock: Clock, *, waits: list[float], work: float) -> None:
    """A phase of batches of which each is waited for, then takes `work` seconds; begin and end take 1 s each."""
    times.begin(wait="wait", rest="rest")
    clock.now += 1.0
    times.mark("wait")
    for wait in waits:
        clock.now += wait
        times.mark("work")
        clock.now += work
        times.mark("wait")
    clock.now += 1.0
    times.end()


def test_events_give_the_seconds_between_them():
    clock = Clock()
    times = EventTimes(partial(Moment, clock))

    record(times, clock, waits=[5.0, 2.0, 2.0], work=3.0)

    assert times.read(20.0) == pytest.approx({"wait": 9, "work": 9, "rest": 2})
    assert times.n_batches == 3


def test_beyond_the_bound_time_is_divided_as_it_was_but_in_the_first_batch():
    clock = Clock()
    times = EventTimes(partial(Moment, clock), max_batches=3)

    record(times, clock, waits=[50.0] + [2.0] * 9, work=6.0)

    # timed: 1 + 56 + 8 + 8 + 2 of 130; the other 55 are one quarter waiting, as the second batch and the third were
    assert times.read(130.0) == pytest.approx({"rest": 1, "wait": 56 + 55 / 4, "work": 18 + 55 * 3 / 4})
    assert times.n_batches == 3


def test_with_the_first_batch_alone_the_rest_is_not_guessed():
    clock = Clock()
    times = EventTimes(partial(Moment, clock), max_batches=1)

    record(times, clock, waits=[5.0, 2.0], work=3.0)

    assert times.read(15.0) == pytest.approx({"wait": 5 + 2, "work": 3, "rest": 1 + 4})


def test_as_many_batches_as_are_timed_leave_nothing_to_divide():
    clock = Clock()
    times = EventTimes(partial(Moment, clock), max_batches=3)

    record(times, clock, waits=[2.0] * 3, work=3.0)

    assert times.read(47.0) == pytest.approx({"wait": 6, "work": 9, "rest": 2 + 30})


def test_where_the_devices_clock_is_ahead_the_parts_still_add_up():
    clock = Clock()
    times = EventTimes(partial(Moment, clock))

    record(times, clock, waits=[5.0], work=3.0)

    assert times.read(9.0) == pytest.approx({"wait": 4.5, "work": 2.7, "rest": 1.8})


def test_events_are_made_once_and_are_as_many_as_the_bound_allows():
    made: list[Moment] = []

    def make() -> Moment:
        made.append(Moment(clock))
        return made[-1]

    clock = Clock()
    times = EventTimes(make, max_batches=2)

    for n in (10, 1, 4):
        record(times, clock, waits=[1.0] * n, work=1.0)

    assert len(made) == 2 + 2 * 2 + 1  # begin and the first wait, two a batch, and where the next one came
    assert times.read(10.0) == pytest.approx({"rest": 1, "wait": 3 + 2, "work": 2 + 2})


def test_events_are_recorded_in_the_stream_that_was_given():
    streams: list[Any] = []
    event = SimpleNamespace(record=streams.append, elapsed_time=lambda end: 0.0)

    EventTimes(lambda: event, stream="the model's").begin(wait="wait", rest="rest")

    assert streams == ["the model's"]


def test_parts_come_from_the_device_where_it_has_events():
    host, device = Clock(), Clock()  # a host that takes no time for anything, but waits for the device at the end
    timing = TimingCallback(clock=host, make_event=partial(Moment, device))
    learner = slow_learner(device, timing)

    learner.fit(1, [Spend(host, after_step=11_101.0)])

    totals = timing.totals()
    assert parts_of(timing) == pytest.approx(
        {"data_wait_s": 2, "transfer_s": 0, **{k: 2 * v for k, v in STEP.items()}, "other_s": 0}
    )
    assert (totals["train_s"], totals["batches"], totals["timed_batches"]) == (2 * 11_101, 2, 2)


def test_after_an_error_the_device_is_not_asked_again():
    def refuse(self: Moment, end_event: Moment) -> float:
        raise RuntimeError("the device is lost")

    clock = Clock()
    moment = type("Lost", (Moment,), {"elapsed_time": refuse})
    timing = TimingCallback(clock=clock, make_event=partial(moment, clock))
    learner = slow_learner(clock, timing, Spend(clock, "after_loss", ValueError("not a number"), i_batch=1))

    with pytest.raises(ValueError, match=r"^not a number$"):
        learner.fit(1)

    totals = timing.totals()
    assert (totals["forward_s"], totals["train_s"], totals["batches"], totals["timed_batches"]) == (200, 11_202, 2, 0)


def test_memory_is_in_bytes_on_linux_and_on_macos(monkeypatch: pytest.MonkeyPatch):
    peaks = {resource.RUSAGE_SELF: 3000, resource.RUSAGE_CHILDREN: 500}
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peaks[who]))

    seen = {}
    for platform in ("linux", "darwin"):
        monkeypatch.setattr("sys.platform", platform)
        seen[platform] = [peak_rss_bytes(who) for who in peaks]

    assert seen == {"linux": [3000 * 1024, 500 * 1024], "darwin": [3000, 500]}


def test_this_process_takes_as_many_bytes_as_it_has_at_least():
    totals = TimingCallback().totals()

    assert 50e6 < (totals["peak_rss_bytes"] or 0) < 1e12
    assert totals["peak_device_bytes"] is None


def test_memory_of_a_device_is_that_of_cuda_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 4096 * (device.index + 1))

    peaks = [peak_device_bytes(torch.device(name)) for name in ("cpu", "cuda:1")]

    assert peaks == [None, 8192.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_the_forward_pass_takes_what_the_device_takes():
    class Sleep(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            torch.cuda._sleep(20_000_000)  # cycles: some 10 ms, which the host does not wait for
            return super().forward(x)

    dls = loaders([4] * 5, [4])
    for phase in (dls.train_dl, dls.valid_dl):
        phase[:] = [tuple(part.cuda() for part in batch) for batch in phase]  # type: ignore[misc]
    timing = TimingCallback()

    make_learner(dls, timing, model=Sleep(2, 2).cuda(), loss_func=cross_entropy).fit(1)

    totals = timing.totals()
    assert (totals["forward_s"] or 0) > 5 * 0.005
    assert sum(totals[name] or 0.0 for name in TRAIN_PARTS) == pytest.approx(totals["train_s"], rel=1e-9)
    assert (totals["peak_device_bytes"] or 0) > 0
