"""Where the time of a run goes: waiting for data, moving it, forward, backward, step, validation; and its memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch

from imagekit.learner.callback import Callback

# of the training time, of which they are the whole; then of the validation time, likewise
TRAIN_PARTS = ("data_wait_s", "transfer_s", "forward_s", "backward_s", "step_s", "other_s")
VALID_PARTS = ("valid_wait_s", "valid_rest_s")
MAX_TIMED_BATCHES = 200  # of each phase: seven events a batch are made and kept
COUNTED = ("epochs", "images", "batches", "timed_batches", "train_s", "valid_s")
FIRST = ("first_epoch_train_s", "first_epoch_data_wait_s")


class Event(Protocol):
    """A moment of the device's work: what torch.cuda.Event(enable_timing=True) is."""

    def record(self, stream: Any = None) -> object: ...
    def elapsed_time(self, end_event: Any) -> float: ...


class TimingCallback(Callback):
    """Measure training speed, the share of it spent waiting for data, and what the rest of the time went to.

    The row gets images_per_s (training images over training seconds), data_wait (0..1: the share of the training time
    between the end of one batch and the arrival of the next) and seconds (the whole epoch, validation included).
    An accelerator is waited for once after each phase, so that its work is counted where it was asked for. The row is
    by the host's clock.

    `totals` has the parts. While a fit lasts it has a second callback of this one's, which is the last at each event
    and tells when the other callbacks have run. The parts are by the host's clock, but on CUDA: there events on the
    device measure them, without waiting, for the first 200 batches of each phase, and the rest of the phase is divided
    as those were. A phase on CUDA that an error ended stays by the host's clock: the device is not asked again.
    clock: seconds. make_event: makes an Event; None for torch.cuda.Event where the model is on CUDA, else no events.
    """

    _order = -20

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        make_event: Callable[[], Event] | None = None,
    ) -> None:
        self._clock, self._make_event = clock, make_event
        self._device = torch.device("cpu")
        self._events: EventTimes | None = None
        self._phase: _Phase | None = None
        self._last = _LastHandlers(self._switch)
        self._epoch_start = self._train = self._wait = 0.0
        self._n_images = 0
        self._has_begun = self._is_epoch = False
        self._sums = dict.fromkeys((*COUNTED, *TRAIN_PARTS, *VALID_PARTS, *FIRST), 0.0)

    def begin_fit(self) -> None:
        """The last callback joins."""
        self.learner.remove_callbacks([self._last])  # there still, where the end of an earlier fit failed
        self.learner.add_callbacks([self._last])

    def begin_epoch(self) -> None:
        """The clock starts."""
        self._epoch_start = self._clock()
        self._train = self._wait = 0.0
        self._n_images, self._is_epoch = 0, True
        self._begin_phase(self._epoch_start, is_train=True)
        self._has_begun = True

    def begin_batch(self) -> None:
        """The batch is here: what passed since the last one was waiting."""
        self._switch("transfer_s", "valid_rest_s")
        if self._phase is not None:
            self._phase.n_batches += 1
            self._phase.n_images += len(self.learner.yb) if self.learner.in_train else 0

    def after_loss(self) -> None:
        """The forward pass is done; callbacks look at it."""
        self._switch("other_s")

    def after_backward(self) -> None:
        """The backward pass is done."""
        self._switch("step_s")

    def after_batch(self) -> None:
        """The batch is done, or was left; callbacks look at it."""
        self._switch("other_s")

    def begin_validate(self) -> None:
        """Training ends here; a validation alone begins."""
        if self._phase is None:
            now = self._epoch_start = self._clock()
            self._train, self._is_epoch = 0.0, False
        else:
            self._n_images, self._wait = self._phase.n_images, self._phase.seconds["data_wait_s"]
            now = self._end_phase()
            self._train = now - self._epoch_start
        self._begin_phase(now, is_train=False)

    def after_epoch(self) -> None:
        """Fill the row."""
        seconds = self._end_phase() - self._epoch_start
        self.learner.row |= {
            "images_per_s": self._n_images / self._train if self._train else None,
            "data_wait": self._wait / self._train if self._train else None,
            "seconds": seconds,
        }
        self._sums["epochs"] += self._is_epoch

    def after_fit(self) -> None:
        """Count what an open epoch has measured; the last callback leaves."""
        if self._phase is not None:
            self._end_phase(is_failed=self.learner.failure is not None)
        self.learner.remove_callbacks([self._last])
        self._events = None  # no copy of the callback could copy them

    def totals(self) -> dict[str, float | None]:
        """Over all fits so far, an epoch that was left or is open included; what timing.json is made of.

        epochs      those that were ended; images, batches: of training
        train_s     seconds of training, the sum of: data_wait_s (end of a batch to the arrival of the next), transfer_s
                    (callbacks of begin_batch: to the device, transforms), forward_s (model and loss), backward_s,
                    step_s (optimizer and zero_grad with the callbacks of after_backward and after_step), other_s (other
                    callbacks, beginning and end)
        valid_s     seconds of validation, its end included; valid_wait_s: of that, waiting for data
        images_per_s  images / train_s, None without any
        timed_batches  batches whose parts were measured; where fewer than `batches`, parts of the others are estimated
        first_epoch_train_s, first_epoch_data_wait_s  those of the first epoch, in which caches fill and workers start
        peak_rss_bytes, peak_worker_rss_bytes  most memory of this process since it began, and of the largest of its
                    child processes that have ended: workers count once their loader is closed
        peak_device_bytes  most memory that tensors had on the device since the process began; None elsewhere than CUDA
        """
        phase = self._phase
        sums = self._sums if phase is None else _added(self._sums, phase, phase.seconds, until=phase.mark)
        return {
            **{name: seconds for name, seconds in sums.items() if name != "valid_rest_s"},
            "images_per_s": sums["images"] / sums["train_s"] if sums["train_s"] else None,
            "peak_rss_bytes": peak_rss_bytes(resource.RUSAGE_SELF),
            "peak_worker_rss_bytes": peak_rss_bytes(resource.RUSAGE_CHILDREN),
            "peak_device_bytes": peak_device_bytes(self._device),
        }

    def _switch(self, in_train: str, in_valid: str = "") -> None:
        """What is open ends, this begins; "" for going on. Outside a phase (Learner.get_batch) nothing is measured."""
        phase = self._phase
        if phase is not None and (part := in_train if phase.is_train else in_valid):
            phase.switch(part, self._clock())

    def _begin_phase(self, now: float, *, is_train: bool) -> None:
        self._device = next(self.learner.model.parameters()).device
        if self._events is None:
            self._events = _events_on(self._device, self._make_event)
        self._phase = _Phase(now, is_train=is_train, is_first=not self._has_begun, events=self._events)

    def _end_phase(self, *, is_failed: bool = False) -> float:
        """Add the phase to the sums; returns the time."""
        phase: Any = self._phase
        events = None if is_failed else phase.events
        if events is not None:
            events.end()
        if not is_failed:
            self._synchronize()
        now = self._clock()
        phase.close(now)
        parts = phase.seconds
        if events is not None:
            parts, phase.n_timed = events.read(now - phase.begun), events.n_batches
        self._sums = _added(self._sums, phase, parts, until=now)
        self._phase = None
        return now

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _LastHandlers(Callback):
    """Where the other callbacks of an event have run, and what is being measured goes on."""

    _order = 10**7  # behind all others: autocast starts at 99, a rate finder sets rates at 10^6

    def __init__(self, switch: Callable[..., None]) -> None:
        self._switch = switch

    def begin_epoch(self) -> None:
        self._switch("data_wait_s")

    def begin_batch(self) -> None:
        self._switch("forward_s")

    def after_loss(self) -> None:
        self._switch("backward_s")

    def after_batch(self) -> None:
        self._switch("data_wait_s", "valid_wait_s")

    def begin_validate(self) -> None:
        self._switch("data_wait_s", "valid_wait_s")


class _Phase:
    """Training or validation of one epoch: the seconds of its parts, of which one is open at any time."""

    def __init__(self, begun: float, *, is_train: bool, is_first: bool, events: EventTimes | None) -> None:
        self.is_train, self.is_first, self.events = is_train, is_first, events
        self.wait, self.rest = ("data_wait_s", "other_s") if is_train else VALID_PARTS
        self.begun = self.mark = begun
        self.part = self.rest
        self.seconds = dict.fromkeys(TRAIN_PARTS if is_train else VALID_PARTS, 0.0)
        self.n_batches = self.n_images = 0
        self.n_timed: int | None = None if events is None else 0  # None: all
        if events is not None:
            events.begin(wait=self.wait, rest=self.rest)

    def switch(self, part: str, now: float) -> None:
        """End the open part and begin this one."""
        self.seconds[self.part] += now - self.mark
        self.part, self.mark = part, now
        if self.events is not None:
            self.events.mark(part)

    def close(self, now: float) -> None:
        """End the open part; behind the last batch nothing is waited for."""
        self.seconds[self.rest if self.part == self.wait else self.part] += now - self.mark
        self.mark = now


class EventTimes:
    """The seconds of the parts of a phase, as the device took them.

    Events lie in the device's queue, so that looking at its clock waits for nothing; they are read once, when the
    device is done. Those of the first `max_batches` batches of a phase are recorded. What is called waiting here is a
    device that has nothing to do, and not a host that waits while the device still works.
    """

    def __init__(
        self, make_event: Callable[[], Event], *, stream: Any = None, max_batches: int = MAX_TIMED_BATCHES
    ) -> None:
        self._make_event, self._stream, self._max_batches = make_event, stream, max_batches
        self._made: list[Event] = []  # used again in each phase
        self._parts: list[str] = []
        self._wait = self._rest = ""
        self._n_waits = self._second = 0
        self._is_full = False

    @property
    def n_batches(self) -> int:
        """Those that were recorded to their end."""
        return max(0, self._n_waits - 1)

    def begin(self, *, wait: str, rest: str) -> None:
        """Begin a phase, in the part `rest`; a part `wait` begins behind each batch and before the first."""
        self._wait, self._rest = wait, rest
        self._parts, self._n_waits, self._second, self._is_full = [], 0, 0, False
        self.mark(rest)

    def mark(self, part: str) -> None:
        """End the open part and begin this one; from the batch on that is one too many, nothing."""
        if not self._is_full:
            self._is_full = self._n_waits > self._max_batches
            self._record(part)

    def end(self) -> None:
        """End the phase, before the device is waited for."""
        if self._is_full:
            return
        if self._parts[-1] == self._wait:
            self._parts[-1] = self._rest  # behind the last batch nothing is waited for
        self._record(self._rest)

    def read(self, phase_s: float) -> dict[str, float]:
        """Seconds by part, which add up to `phase_s`, those of the whole phase; once the device is done.

        Time of batches beyond the last that was timed is divided as that of the timed ones but for the first, in which
        workers start and kernels are chosen.
        """
        spans = zip(self._parts, self._made, self._made[1 : len(self._parts)], strict=False)
        timed = [(part, begin.elapsed_time(end) / 1000) for part, begin, end in spans]
        parts = _sums_of(timed)
        later = _sums_of(timed[self._second : -1]) if self._is_full else {}  # whole batches, wait and work
        timed_s, later_s = sum(parts.values()), sum(later.values())
        left_s = phase_s - timed_s
        if left_s < 0:  # two clocks never quite agree
            return {part: seconds * phase_s / timed_s for part, seconds in parts.items()}
        shares = {part: seconds / later_s for part, seconds in later.items()} if later_s else {self._rest: 1.0}
        return {part: parts.get(part, 0.0) + left_s * shares.get(part, 0.0) for part in {**parts, **shares}}

    def _record(self, part: str) -> None:
        n = len(self._parts)
        if n == len(self._made):
            self._made.append(self._make_event())
        self._made[n].record(self._stream)
        self._parts.append(part)
        if part == self._wait:
            self._n_waits += 1
            self._second = n if self._n_waits == 2 else self._second


def peak_rss_bytes(who: int) -> float:
    """Most resident memory so far: of this process (resource.RUSAGE_SELF), or of the largest of its children that have
    ended (RUSAGE_CHILDREN).
    """
    peak = resource.getrusage(who).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)  # bytes on macOS, KiB on Linux


def peak_device_bytes(device: torch.device) -> float | None:
    """Most memory that tensors had on a CUDA device since the process began, or its peak was reset; else None."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


def _events_on(device: torch.device, make_event: Callable[[], Event] | None) -> EventTimes | None:
    if device.type == "cuda":
        make: Callable[[], Any] = make_event or partial(torch.cuda.Event, enable_timing=True)
        return EventTimes(make, stream=torch.cuda.current_stream(device))
    return None if make_event is None else EventTimes(make_event)


def _sums_of(spans: list[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part, seconds in spans:
        sums[part] = sums.get(part, 0.0) + seconds
    return sums


def _added(sums: Mapping[str, float], phase: _Phase, parts: Mapping[str, float], *, until: float) -> dict[str, float]:
    """The sums and one phase more, up to the time `until`."""
    phase_s = until - phase.begun
    more = {**parts, "train_s" if phase.is_train else "valid_s": phase_s}
    if phase.is_train:
        n_timed = phase.n_batches if phase.n_timed is None else phase.n_timed
        more |= {"images": phase.n_images, "batches": phase.n_batches, "timed_batches": n_timed}
    if phase.is_train and phase.is_first:
        more |= {"first_epoch_train_s": phase_s, "first_epoch_data_wait_s": parts.get("data_wait_s", 0.0)}
    return {name: total + more.get(name, 0.0) for name, total in sums.items()}
