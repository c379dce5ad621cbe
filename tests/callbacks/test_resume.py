"""A fit that was stopped or killed anywhere, and goes on from its checkpoint, ends as one that never was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import EventLog, ShuffledLoaders, blobs, make_learner
from torch import Tensor, nn

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.early_stopping import EarlyStopping
from imagekit.callbacks.ema import ModelEma
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.callbacks.step_seeds import StepSeeds
from imagekit.callbacks.telemetry import Telemetry
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.optim.schedules import cos_1cycle
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events
from imagekit.runs.status import read_status

N_BATCHES, N_VALID = 5, 2
MOMENTS = 2 * (N_BATCHES + N_VALID)  # batches of two epochs, training and validation
REQUIRED = ("model", "optimizer", "epochs_done", "batches_done")


def small_net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2)
    return nn.Sequential(nn.Sequential(*layers[:3]), *layers[3:])


def learner_of(layout: RunLayout, seed: int, *, every: int | None = None, dtype: torch.dtype | None = None) -> Learner:
    """Everything that a run has, made anew; `seed` is of what a loaded state must overrule."""
    dls = ShuffledLoaders(blobs([37], seed=1)[0], blobs([5, 3], seed=2), size=8)
    learner = make_learner(
        dls,
        *(StepSeeds(3), MetricsCallback(), ModelEma(0.9), BestCallback("valid_loss"), NanGuard(layout)),
        *(ParamScheduler("lr", cos_1cycle(0.01, 0.2, 0.0)), ParamScheduler("dropout", cos_1cycle(0.1, 0.5, 0.2))),
        *(GradientAccumulation(2), EarlyStopping("valid_loss", patience=2)),
        *(RecorderCallback(layout), Telemetry(layout.telemetry_data, every=2)),
        *([MixedPrecision(dtype=dtype, init_scale=2.0**40)] if dtype else []),
        model=small_net(seed),
        opt_func=torch.optim.Adam,
    )
    state = lambda best: learner.state_dict() | {"row": dict(learner.row)}  # noqa: E731
    learner.add_callbacks([CheckpointCallback(layout, state, every=every)])
    return learner


def fit(layout: RunLayout, *callbacks: Callback, **options: Any) -> Learner:
    """Begin, or go on from last.pt."""
    is_first = not layout.last.exists()
    learner = learner_of(layout, 0 if is_first else 7, **options)
    first_epoch = 0 if is_first else learner.load_state_dict(load_checkpoint(layout.last, required=REQUIRED))
    torch.manual_seed(99)  # nothing depends on where the generators are
    learner.fit(2, callbacks, first_epoch=first_epoch, first_batch=learner.batches_done)
    return learner


class StopAt(Callback):
    """Ask for a stop in the given batch of this fit, training and validation counted alike."""

    def __init__(self, number: int) -> None:
        self.n_left = number

    def after_pred(self) -> None:
        self.n_left -= 1
        self.learner.stop |= self.n_left < 0


def assert_same(one: Any, other: Any, place: str = "state") -> None:
    """Equal in type and in every bit."""
    assert type(one) is type(other), place
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), place
    elif isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{number}]")
    else:
        assert one == other, place


def assert_same_run(one: RunLayout, other: RunLayout) -> None:
    """Weights, optimizer, averages and counts; rows; telemetry."""
    for name in ("last", "best"):
        assert_same(load_checkpoint(getattr(one, name)), load_checkpoint(getattr(other, name)), name)
    assert one.metrics.read_text() == other.metrics.read_text()
    assert one.telemetry_data.read_text() == other.telemetry_data.read_text()


def new_run(folder: Path) -> RunLayout:
    return RunLayout(folder).create()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    layout = new_run(tmp_path_factory.mktemp("whole"))
    fit(layout)
    return layout


def test_the_whole_run_is_of_two_epochs_and_dropout_has_its_part(whole: RunLayout, tmp_path: Path):
    alone = new_run(tmp_path)
    learner = learner_of(alone, 0)
    learner.remove_callbacks([learner.find(StepSeeds)])

    learner.fit(2)

    assert load_checkpoint(whole.last)["epochs_done"] == 2
    assert not torch.equal(
        load_checkpoint(alone.last)["model"]["2.weight"], load_checkpoint(whole.last)["model"]["2.weight"]
    )


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_fit_stopped_at_any_batch_goes_on_to_the_same_end(whole: RunLayout, tmp_path: Path, number: int):
    layout = new_run(tmp_path)
    stopped = fit(layout, StopAt(number))
    place = stopped.epochs_done, stopped.batches_done
    saved, status = load_checkpoint(layout.last), read_status(layout.status)

    fit(layout)

    epoch, batch = divmod(number, N_BATCHES + N_VALID)
    group_end = min(N_BATCHES, batch // 2 * 2 + 2)  # the two batches of a step, the last alone
    assert place == (saved["epochs_done"], saved["batches_done"]) == (epoch, group_end)
    assert status.state == "interrupted"
    assert_same_run(layout, whole)
    events = [event for event in read_events(layout.events) if event["event"] in ("resume", "interrupt")]
    assert [(event["event"], event["epoch"], event["batch"]) for event in events] == [
        ("interrupt", *place),
        ("resume", *place),
    ]


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_fit_killed_at_any_batch_goes_on_to_the_same_end(whole: RunLayout, tmp_path: Path, number: int):
    layout, kill = new_run(tmp_path), EventLog("after_batch", OSError("killed"), nth=number + 1)
    kill._order = 400
    with pytest.raises(OSError, match="killed"):
        fit(layout, kill, every=1)

    fit(layout, every=1)

    assert_same_run(layout, whole)


@settings(deadline=None, max_examples=6)
@given(numbers=st.lists(st.integers(0, 5), max_size=5))
def test_however_often_a_fit_is_stopped_it_ends_the_same(
    whole: RunLayout, tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
):
    layout = new_run(tmp_path_factory.mktemp("run"))
    for number in numbers:
        fit(layout, StopAt(number))

    fit(layout)

    assert_same_run(layout, whole)


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ("begin_fit", None),  # nothing was begun
        ("begin_epoch", (1, 0)),
        ("begin_batch", (0, 0)),  # inside the third step, with a group behind it
        ("after_backward", (0, 0)),
        ("after_step", (0, 0)),
        ("after_batch", (0, 0)),  # others have not counted the batch
        ("begin_validate", (0, N_BATCHES)),
    ],
)
def test_an_interrupt_from_the_keyboard_is_saved_only_between_steps(
    whole: RunLayout, tmp_path: Path, event: str, place: tuple[int, int] | None
):
    layout = new_run(tmp_path)
    nth = {"begin_epoch": 2, "begin_batch": 3, "after_backward": 3, "after_step": 2, "after_batch": 4}.get(event, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(layout, EventLog(event, KeyboardInterrupt(), nth=nth))
    found = load_checkpoint(layout.last) if layout.last.exists() else None

    fit(layout)

    assert (found and (found["epochs_done"], found["batches_done"])) == place
    assert_same_run(layout, whole)


class InterruptedData(ShuffledLoaders):
    """An interrupt while the third batch of the second epoch is waited for."""

    def __init__(self, dls: Any) -> None:
        vars(self).update(vars(dls))
        inner, self.train_dl = self.train_dl, self
        self.inner: Any = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Any:
        for number, batch in enumerate(self.inner):
            if (self.inner.epoch, number) == (1, 2):
                raise KeyboardInterrupt
            yield batch

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.inner.epoch, self.inner.first_batch = epoch, first_batch


def test_an_interrupt_while_a_batch_is_waited_for_costs_nothing(whole: RunLayout, tmp_path: Path):
    layout = new_run(tmp_path)
    learner = learner_of(layout, 0)
    learner.data = InterruptedData(learner.data)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(2)
    found = load_checkpoint(layout.last)

    fit(layout)

    assert (found["epochs_done"], found["batches_done"]) == (1, 2)
    assert_same_run(layout, whole)


def test_the_skipped_steps_of_float16_are_counted_on(tmp_path: Path):
    layout, alone = new_run(tmp_path / "a"), new_run(tmp_path / "b")
    fit(alone, dtype=torch.float16)
    fit(layout, StopAt(3), dtype=torch.float16)

    fit(layout, dtype=torch.float16)

    assert load_checkpoint(layout.last)["callbacks"]["mixed_precision"]["scale"] < 2.0**40
    assert alone.metrics.read_text().splitlines()[1].split(",").count("3") == 1
    assert_same_run(layout, alone)


def test_a_fit_that_had_ended_has_nothing_left(whole: RunLayout, tmp_path: Path):
    layout = new_run(tmp_path)
    fit(layout)

    learner = fit(layout)

    assert learner.epochs_done == 2
    assert_same_run(layout, whole)
