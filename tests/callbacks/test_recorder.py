"""What a fit leaves in memory and in the run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from learner.toy import EventLog, ShuffledLoaders, blobs, loaders, make_learner

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.recorder import RecorderCallback, StepRecorder
from imagekit.callbacks.run_log import RunLog
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelEpochException, CancelTrainException
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import read_status


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path).create()


def names(layout: RunLayout) -> list[str]:
    return [event["event"] for event in read_events(layout.events)]


# -- in memory --------------------------------------------------------------------------------------------------------


def test_step_recorder_keeps_one_loss_and_one_lr_a_training_batch():
    recorder = StepRecorder()

    make_learner(loaders([4, 4, 4], [4]), ParamScheduler("lr", lambda position: position), recorder).fit(2)

    assert recorder.lrs == [i / 6 for i in range(6)]
    assert len(recorder.losses) == 6
    assert all(isinstance(loss, float) for loss in recorder.losses)


@pytest.mark.parametrize("error", [CancelEpochException(), CancelTrainException()])
def test_step_recorder_keeps_what_a_cancelled_fit_did(error: Exception):
    recorder, log = StepRecorder(), EventLog("after_step", error, nth=2)
    log._order = 100

    make_learner(loaders([4, 4, 4], [4]), recorder, log).fit(1)

    assert len(recorder.losses) == len(recorder.lrs) == 2


# -- on the disk ------------------------------------------------------------------------------------------------------


def test_run_has_a_row_an_epoch_and_its_events(layout: RunLayout):
    make_learner(None, MetricsCallback(), RecorderCallback(layout)).fit(2)

    assert [row["epoch"] for row in read_rows(layout.metrics)] == ["1", "2"]
    assert names(layout) == ["start", "epoch", "epoch", "end"]
    status = read_status(layout.status)
    assert (status.state, status.epoch, status.n_epochs) == ("done", 2, 2)


def test_row_on_disk_is_the_row_measured(layout: RunLayout):
    learner = make_learner(None, MetricsCallback(), RecorderCallback(layout))

    learner.fit(1)

    row = read_rows(layout.metrics)[0]
    assert {key: float(value) for key, value in row.items()} == {
        key: float(value) for key, value in learner.row.items()
    }


class Watch(Callback):
    def __init__(self, layout: RunLayout) -> None:
        self.layout = layout
        self.seen: list[tuple[str, int]] = []

    def begin_batch(self) -> None:
        status = read_status(self.layout.status)
        self.seen.append((status.state, status.epoch))


def test_status_is_running_while_it_runs(layout: RunLayout):
    watch = Watch(layout)

    make_learner(loaders([4], [4]), MetricsCallback(), RecorderCallback(layout), watch).fit(2)

    assert watch.seen == [("running", 0)] * 2 + [("running", 1)] * 2


def test_heartbeat_is_renewed_every_half_minute(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    now, beats = [100.0], []
    monkeypatch.setattr("imagekit.callbacks.recorder.write_status", lambda *args, **kwargs: beats.append(now[0]))
    recorder = RecorderCallback(layout, clock=lambda: now[0])
    recorder.learner = make_learner()
    recorder.begin_fit()

    for now[0] in (110.0, 129.0, 131.0, 140.0, 161.0, 190.0):
        recorder.after_batch()

    assert beats == [100.0, 131.0, 161.0]


def test_stopped_run_is_interrupted(layout: RunLayout):
    class Stop(Callback):
        def after_step(self) -> None:
            self.learner.stop = self.epoch == 1

    make_learner(None, MetricsCallback(), RecorderCallback(layout), Stop()).fit(3)

    assert names(layout) == ["start", "epoch", "interrupt"]
    status = read_status(layout.status)
    assert (status.state, status.epoch, status.n_epochs) == ("interrupted", 1, 3)


def test_stop_asked_for_too_late_changes_nothing(layout: RunLayout):
    class Stop(Callback):
        def after_epoch(self) -> None:
            self.learner.stop = True

    make_learner(None, MetricsCallback(), RecorderCallback(layout), Stop()).fit(1)

    assert read_status(layout.status).state == "done"


@pytest.mark.parametrize(
    ("error", "state", "event"),
    [(KeyboardInterrupt(), "interrupted", "interrupt"), (ValueError("broken\nbadly"), "failed", "failure")],
)
def test_exception_is_written_down(layout: RunLayout, error: BaseException, state: str, event: str):
    learner = make_learner(None, MetricsCallback(), RecorderCallback(layout), EventLog("after_pred", error))

    with pytest.raises(type(error)):
        learner.fit(2)

    last = read_events(layout.events)[-1]
    assert (last["event"], last["error"], last["what"]) == (event, type(error).__name__, str(error).partition("\n")[0])
    assert read_status(layout.status).state == state


def test_early_stopping_is_no_failure(layout: RunLayout):
    log = EventLog("begin_epoch", CancelTrainException(), nth=2)

    make_learner(None, MetricsCallback(), RecorderCallback(layout), log).fit(5)

    assert names(layout) == ["start", "epoch", "end"]
    assert read_status(layout.status).state == "done"


def test_fit_that_fails_before_it_starts_is_a_failed_run(layout: RunLayout):
    learner = make_learner(None, RecorderCallback(layout), ParamScheduler("nothing", lambda position: position))

    with pytest.raises(ConfigError):
        learner.fit(2)

    assert names(layout) == ["failure"]
    assert read_status(layout.status).state == "failed"


def test_resumed_fit_cuts_the_rows_back_to_its_first_epoch(layout: RunLayout):
    make_learner(None, MetricsCallback(), RecorderCallback(layout)).fit(3)

    make_learner(None, MetricsCallback(), RecorderCallback(layout)).fit(3, first_epoch=1)

    assert [row["epoch"] for row in read_rows(layout.metrics)] == ["1", "2", "3"]


# -- a fit that goes on -----------------------------------------------------------------------------------------------


def goes_on(layout: RunLayout, *callbacks: Callback, **options: int) -> list[dict[str, Any]]:
    """The events of a fit of three epochs of three batches that begins at a later place."""
    dls = ShuffledLoaders(blobs([12], seed=1)[0], blobs([4], seed=2), size=4)
    make_learner(dls, MetricsCallback(), RecorderCallback(layout), *callbacks).fit(3, **options)
    return [{key: event[key] for key in event if key not in ("time", "pid")} for event in read_events(layout.events)]


@pytest.mark.parametrize(("epoch", "batch"), [(0, 2), (1, 0), (1, 3)])
def test_a_fit_that_goes_on_says_where(layout: RunLayout, epoch: int, batch: int):
    events = goes_on(layout, first_epoch=epoch, first_batch=batch)

    assert events[0] == {"event": "resume", "epoch": epoch, "batch": batch, "n_epochs": 3}


def test_the_rows_behind_a_begun_epoch_are_made_again(layout: RunLayout):
    goes_on(layout)

    goes_on(layout, first_epoch=1, first_batch=2)

    assert [row["epoch"] for row in read_rows(layout.metrics)] == ["1", "2", "3"]


class StopAt(Callback):
    """Ask for a stop after a training batch."""

    def __init__(self, epoch: int, i_batch: int) -> None:
        self.at = (epoch, i_batch)

    def after_step(self) -> None:
        self.learner.stop = (self.epoch, self.i_batch) == self.at


def test_an_interrupt_inside_an_epoch_says_how_far_it_was(layout: RunLayout):
    events = goes_on(layout, StopAt(1, 1))

    assert events[-1] == {"event": "interrupt", "epoch": 1, "batch": 2}
    status = read_status(layout.status)
    assert (status.state, status.epoch) == ("interrupted", 1)


def test_a_stop_that_comes_as_a_callback_ends_the_fit_changes_nothing(layout: RunLayout):
    class End(Callback):
        _order = 250

        def after_epoch(self) -> None:
            self.learner.stop, self.learner.stop_reason = True, "enough"
            raise CancelTrainException

    events = goes_on(layout, End())

    assert events[-1] == {"event": "end", "epoch": 1, "why": "enough"}
    assert read_status(layout.status).state == "done"


def test_the_log_says_where_a_fit_goes_on_and_where_it_was_stopped(layout: RunLayout):
    goes_on(layout, RunLog(layout, head=["head"]), StopAt(0, 1))
    goes_on(layout, RunLog(layout), first_batch=2)

    lines = [line.partition(" ")[2] for line in layout.log.read_text().splitlines()]
    assert lines[:3] == ["head", "start at epoch 1 of 3", "stopped in epoch 1, behind training batch 2"]
    assert (lines[3], lines[-1]) == ("start at epoch 1 of 3, behind batch 2 of 3", "done")
