"""A fit ends when nothing gets better, with everything of its last epoch kept and shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import EventLog, Loaders, blobs, loaders, make_learner

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.early_stopping import EarlyStopping
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.progress import ProgressCallback
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import read_status


class Scripted(Callback):
    """One value an epoch, as if it had been measured."""

    _order = 15

    def __init__(self, values: list[Any], column: str = "valid_accuracy") -> None:
        self.values, self.column = values, column

    def after_epoch(self) -> None:
        self.learner.row[self.column] = self.values[self.learner.epoch]


def stopped_after(values: list[float], column: str = "valid_accuracy", **options: Any) -> int | None:
    """The epoch at which a fit over these values is stopped."""
    stopping = EarlyStopping(column, **options)
    make_learner(loaders([1], [1]), Scripted(values, column), stopping).fit(len(values))
    return stopping.stopped_epoch


def test_it_stops_when_patience_epochs_bettered_nothing():
    assert stopped_after([0.1, 0.5, 0.4, 0.4, 0.4, 0.9], patience=3) == 5
    assert stopped_after([0.1, 0.5, 0.4, 0.4, 0.6, 0.9], patience=3) is None
    assert stopped_after([0.1, 0.5, 0.4, 0.9], patience=1) == 3


def test_an_equal_value_is_no_improvement():
    assert stopped_after([0.5, 0.5, 0.5, 0.9], patience=2) == 3


def test_a_loss_is_to_fall():
    assert stopped_after([0.9, 0.8, 0.7, 0.8, 0.1], "valid_loss", patience=1) == 4


def test_the_direction_can_be_told():
    assert stopped_after([0.5, 0.4, 0.3, 0.4, 0.1], "valid_temperature", patience=1, mode="min") == 4


@pytest.mark.parametrize(("column", "values"), [("valid_accuracy", [0.5, 0.55, 0.6, 0.65]), ("valid_loss", [2, 1.95])])
def test_less_than_min_delta_is_no_improvement(column: str, values: list[float]):
    assert stopped_after([*values, 0, 0], column, patience=1, min_delta=0.0625) == 2


def test_small_steps_that_add_up_to_min_delta_are_one_improvement():
    assert stopped_after([0.5, 0.5625, 0.625, 0.6875, 0.75], patience=2, min_delta=0.1) is None


def test_nan_is_no_improvement_whether_it_comes_first_or_later():
    assert stopped_after([math.nan, math.nan, 0.5], patience=2) == 2
    assert stopped_after([0.5, math.nan, math.nan, 0.9], patience=2) == 3
    assert stopped_after([math.nan, 0.1, math.nan, 0.2], patience=2) is None


def test_at_the_last_epoch_there_is_nothing_to_stop():
    assert stopped_after([0.5, 0.4, 0.4], patience=2) is None


def wait_by_hand(values: list[float], patience: int, min_delta: float) -> int | None:
    for epoch in range(1, len(values)):
        seen = [value for value in values[:epoch] if not math.isnan(value)]
        best, since = -math.inf, 0
        for value in values[:epoch]:
            is_better = value > best + min_delta if seen and best > -math.inf else not math.isnan(value)
            best, since = (value, 0) if is_better else (best, since + 1)
        if since >= patience:
            return epoch
    return None


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, math.nan]), min_size=1, max_size=7)


@settings(deadline=None, max_examples=30)
@given(values=SCORES, patience=st.integers(1, 3), min_delta=st.sampled_from([0.0, 0.25]))
def test_it_stops_where_counting_by_hand_does(values: list[float], patience: int, min_delta: float):
    assert stopped_after(values, patience=patience, min_delta=min_delta) == wait_by_hand(values, patience, min_delta)


@settings(deadline=None, max_examples=20)
@given(values=SCORES, cut=st.integers(1, 6))
def test_a_fit_resumed_after_any_epoch_stops_where_the_whole_one_does(values: list[float], cut: int):
    whole = stopped_after(values, patience=2)
    first = make_learner(loaders([1], [1]), Scripted(values), EarlyStopping(patience=2), SavedState())
    first.fit(min(cut, len(values)))
    saved = first.callbacks[-1].saved
    stopping = EarlyStopping(patience=2)
    again = make_learner(loaders([1], [1]), Scripted(values), stopping)

    again.fit(len(values), first_epoch=again.load_state_dict(saved))

    assert stopping.stopped_epoch == whole


class SavedState(Callback):
    """Take the state when a checkpoint does: before early stopping has its turn."""

    _order = 60
    saved: Any = None

    def after_epoch(self) -> None:
        self.saved = self.learner.state_dict()


def test_a_checkpoint_holds_the_count_of_its_own_epoch():
    learner = make_learner(loaders([1], [1]), Scripted([0.5, 0.25]), EarlyStopping(), SavedState())

    learner.fit(2)

    assert learner.callbacks[-1].saved["callbacks"]["early_stopping"] == {
        "monitor": "valid_accuracy",
        "best": 0.5,
        "n_waited": 1,
    }
    assert learner.find(EarlyStopping).n_waited == 1


def test_a_checkpoint_inside_an_epoch_counts_nothing():
    class SkippedSteps(Callback):
        """A column that is there from the beginning of the epoch, and the state taken in each batch."""

        def begin_epoch(self) -> None:
            self.learner.row["skipped_steps"] = 1.0

        def after_batch(self) -> None:
            self.learner.state_dict()

        def after_epoch(self) -> None:
            self.learner.row["skipped_steps"] = 1.0 - self.epoch

    stopping = EarlyStopping("skipped_steps", mode="min", patience=1)

    make_learner(loaders([1], [1]), SkippedSteps(), stopping).fit(3)

    assert (stopping.best, stopping.stopped_epoch) == (-1.0, None)


def test_the_count_of_another_column_does_not_go_on():
    stopping = EarlyStopping("valid_loss")

    stopping.load_state_dict({"monitor": "valid_accuracy", "best": 0.9, "n_waited": 2})

    assert (stopping.best, stopping.n_waited) == (None, 0)


def test_another_fit_from_the_beginning_counts_anew():
    stopping = EarlyStopping(patience=1)
    learner = make_learner(loaders([1], [1]), Scripted([0.5, 0.4, 0.3]), stopping)
    learner.fit(3)

    learner.fit(2)

    assert (stopping.stopped_epoch, stopping.best, stopping.n_waited) == (None, 0.5, 1)


def test_validation_alone_is_no_epoch():
    stopping = EarlyStopping("valid_loss", patience=1)
    learner = make_learner(loaders([1], [1]), MetricsCallback(), stopping, lr=0.0)
    learner.fit(1)

    learner.validate()

    assert (stopping.n_waited, stopping.stopped_epoch) == (0, None)


def test_a_failed_epoch_does_not_count():
    stopping = EarlyStopping("valid_loss", patience=1)
    log = EventLog("after_step", ValueError("broken"), nth=2)
    learner = make_learner(loaders([1], [1]), MetricsCallback(), stopping, log, lr=0.0)
    with pytest.raises(ValueError, match="broken"):
        learner.fit(3)

    learner.validate()

    assert stopping.n_waited == 0


def test_the_last_epoch_is_validated_recorded_saved_and_shown(tmp_path: Path):
    layout, lines, dls = RunLayout(tmp_path).create(), [], loaders([2, 2], [2, 2, 2])
    seen = EventLog()
    stopping = EarlyStopping("valid_loss", patience=1)
    learner = make_learner(dls, MetricsCallback(), BestCallback(), ProgressCallback(write=lines.append), seen, lr=0.0)
    saver = CheckpointCallback(layout, lambda best: learner.state_dict())

    learner.fit(9, [stopping, RecorderCallback(layout), saver])

    assert stopping.stopped_epoch == 2
    assert stopping.reason == f"stopped after epoch 2: valid_loss has not bettered {stopping.best:.6g} for 1 epoch"
    assert seen.log.count("after_batch") == 2 * 5
    assert seen.log[-2:] == ["after_cancel_train", "after_fit"]
    assert [row["epoch"] for row in read_rows(layout.metrics)] == ["1", "2"]
    assert load_checkpoint(layout.last)["epochs_done"] == 2
    assert len(lines) == 2
    assert learner.row["epoch"] == 2
    status = read_status(layout.status)
    assert (status.state, status.epoch, status.n_epochs) == ("done", 2, 9)
    assert read_events(layout.events)[-1]["event"] == "end"


def test_a_fit_resumed_after_it_had_stopped_stops_at_once():
    first = make_learner(loaders([1], [1]), Scripted([0.5, 0.4]), EarlyStopping(patience=1), SavedState())
    first.fit(2)
    seen, stopping = EventLog(), EarlyStopping(patience=1)
    again = make_learner(loaders([1], [1]), Scripted([0.5] * 9), stopping, seen)

    again.fit(9, first_epoch=again.load_state_dict(first.callbacks[-1].saved))

    assert stopping.stopped_epoch == 2
    assert "begin_batch" not in seen.log


def test_a_monitor_that_was_never_a_number_is_said():
    stopping = EarlyStopping(patience=1)
    make_learner(loaders([1], [1]), Scripted([math.nan, 0.5]), stopping).fit(2)

    assert stopping.reason == "stopped after epoch 1: valid_accuracy was never a number for 1 epoch"
    assert EarlyStopping().reason is None


def failure(*callbacks: Callback, dls: Any = None) -> str:
    with pytest.raises(ConfigError) as caught:
        make_learner(dls, *callbacks).fit(2)
    return str(caught.value)


def test_a_column_that_is_not_there_is_an_error_that_lists_those_that_are():
    assert failure(MetricsCallback(), EarlyStopping("valid_acc")) == (
        'no column "valid_acc" was measured in this epoch\n  where: EarlyStopping: monitor\n'
        '  fix: did you mean "valid_accuracy"? known: lr, train_accuracy, train_loss, valid_accuracy, valid_loss'
    )


NOTHING = (
    '"{}" has no value to go by\n  where: EarlyStopping: monitor\n'
    "  fix: add validation images, or monitor a column of training, train_loss say"
)


def test_without_validation_images_the_fit_does_not_begin():
    seen = EventLog()

    text = failure(MetricsCallback(), EarlyStopping(), seen, dls=Loaders(blobs([1], seed=1), []))

    assert text == NOTHING.format("valid_accuracy")
    assert "begin_batch" not in seen.log


def test_without_validation_images_training_can_be_watched():
    stopping = EarlyStopping("train_loss", patience=1)

    make_learner(Loaders(blobs([2], seed=1), []), MetricsCallback(), stopping, lr=0.0).fit(4)

    assert stopping.stopped_epoch == 2


def test_a_column_that_nobody_measured_is_an_error():
    assert failure(Scripted([None], "speed"), EarlyStopping("speed")) == NOTHING.format("speed")


@pytest.mark.parametrize(
    ("options", "what", "key", "fix"),
    [
        (
            {"patience": 0},
            "patience is 0, must be at least 1",
            "patience",
            "give the number of epochs to wait for something better",
        ),
        (
            {"min_delta": -0.1},
            "min_delta is -0.1, must be at least 0 and finite",
            "min_delta",
            "give the least change that counts, in units of the monitor",
        ),
        (
            {"min_delta": math.nan},
            "min_delta is nan, must be at least 0 and finite",
            "min_delta",
            "give the least change that counts, in units of the monitor",
        ),
        (
            {"mode": "up"},
            'mode is "up", must be "max" or "min"',
            "mode",
            'leave it out: that is "min" for a loss or an error, else "max"',
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], what: str, key: str, fix: str):
    with pytest.raises(ConfigError) as caught:
        EarlyStopping(**options)

    assert str(caught.value) == f"{what}\n  where: EarlyStopping: {key}\n  fix: {fix}"
