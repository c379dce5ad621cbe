"""The last epoch, the best one and the k best are on the disk after every epoch, whatever happens in between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import EventLog, Loaders, ShuffledLoaders, blobs, conv_net, images, loaders, make_learner

from imagekit.callbacks import checkpoint
from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback, epoch_path
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelEpochException, CancelTrainException
from imagekit.learner.learner import Learner
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows


class Scores(Callback):
    """Say which epochs are the best."""

    def __init__(self, best: list[bool]) -> None:
        self.best = best

    def after_epoch(self) -> None:
        self.learner.row["is_best"] = self.best[self.epoch]


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path).create()


def whole_state(learner: Learner) -> Any:
    """What this learner has, the same for every file."""
    return lambda best: learner.state_dict()


def test_last_is_the_last_epoch_and_best_the_last_that_was_best(layout: RunLayout):
    learner = make_learner(None, Scores([True, True, False]))

    learner.fit(3, [CheckpointCallback(layout, whole_state(learner))])

    assert load_checkpoint(layout.last)["epochs_done"] == 3
    assert load_checkpoint(layout.best)["epochs_done"] == 2
    events = [(event["event"], event["epoch"], event.get("best")) for event in read_events(layout.events)]
    assert events == [("checkpoint", epoch, is_best) for epoch, is_best in enumerate([None, True, True, False])]


def test_the_best_is_told_that_it_is_to_be_used_and_not_gone_on_from(layout: RunLayout):
    learner = make_learner(None, Scores([True, True]))

    learner.fit(2, [CheckpointCallback(layout, lambda best: learner.state_dict() | {"is_to_be_used": best})])

    assert load_checkpoint(layout.best)["is_to_be_used"] is True
    assert load_checkpoint(layout.last)["is_to_be_used"] is False


def test_validation_alone_and_a_failed_epoch_write_nothing(layout: RunLayout):
    log = EventLog("after_step", ValueError("broken"), nth=3)
    learner = make_learner(loaders([2, 2], [2]), Scores([True, True]), log)
    learner.add_callbacks([CheckpointCallback(layout, whole_state(learner))])
    with pytest.raises(ValueError, match="broken"):
        learner.fit(2)
    before = layout.last.stat().st_mtime_ns, layout.best.stat().st_mtime_ns

    learner.validate()

    assert (layout.last.stat().st_mtime_ns, layout.best.stat().st_mtime_ns) == before


def test_a_kill_between_the_two_files_loses_no_best(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    learner = make_learner(None, Scores([True, True]))
    learner.fit(1, [CheckpointCallback(layout, whole_state(learner))])

    kill_before(layout.last, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(2, [CheckpointCallback(layout, whole_state(learner))], first_epoch=1)

    assert load_checkpoint(layout.last)["epochs_done"] == 1
    assert load_checkpoint(layout.best)["epochs_done"] == 2


def kill_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends as this file is to be written."""

    def save(target: Path, state: Mapping[str, object]) -> None:
        if target == path:
            raise KeyboardInterrupt
        save_checkpoint(target, state)

    monkeypatch.setattr(checkpoint, "save_checkpoint", save)


def run(layout: RunLayout, *callbacks: Callback, resume: bool = False) -> Learner:
    dls = Loaders(images([8, 8], seed=1), images([8], seed=2))
    schedule = ParamScheduler("lr", lambda pos: 0.1 * (1 - pos))
    learner = make_learner(dls, MetricsCallback(), BestCallback(), schedule, model=conv_net())
    state = load_checkpoint(layout.last, required=("model", "optimizer", "epochs_done")) if resume else None
    saver = CheckpointCallback(layout, whole_state(learner), top_k=2, monitor="valid_loss")
    first_epoch = learner.load_state_dict(state) if state else 0
    first_batch = learner.batches_done
    learner.fit(4, [saver, RecorderCallback(layout), *callbacks], first_epoch=first_epoch, first_batch=first_batch)
    return learner


@pytest.mark.parametrize("at", ["begin_batch", "after_backward", "begin_validate", "after_epoch"])
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, at: str):
    whole, broken = RunLayout(tmp_path / "a").create(), RunLayout(tmp_path / "b").create()
    reference = run(whole)
    nth = {"begin_batch": 8, "after_backward": 6, "begin_validate": 3, "after_epoch": 3}[at]
    with pytest.raises(KeyboardInterrupt):
        run(broken, EventLog(at, KeyboardInterrupt(), nth=nth))

    resumed = run(broken, resume=True)

    for (name, one), other in zip(
        reference.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert read_rows(broken.metrics) == read_rows(whole.metrics)
    assert len(read_rows(whole.metrics)) == 4
    assert broken.last.read_bytes() == whole.last.read_bytes()
    assert broken.best.read_bytes() == whole.best.read_bytes()
    assert [path.name for path in kept_files(broken)] == [path.name for path in kept_files(whole)]
    for one, other in zip(kept_files(broken), kept_files(whole), strict=True):
        assert one.read_bytes() == other.read_bytes()


# -- inside an epoch --------------------------------------------------------------------------------------------------


def places(layout: RunLayout) -> list[tuple[int, int]]:
    """Epochs and batches done, of each checkpoint in its turn."""
    found = [event for event in read_events(layout.events) if event["event"] == "checkpoint"]
    return [(event["epoch"], event.get("batch", 0)) for event in found]


def fit_inside(layout: RunLayout, *callbacks: Callback, n_batches: int = 5, n_epochs: int = 2, **options: Any) -> None:
    learner = make_learner(loaders([2] * n_batches, [2]), *callbacks)
    learner.fit(n_epochs, [CheckpointCallback(layout, whole_state(learner), **options)])


def test_before_its_first_batch_a_fit_can_be_gone_on_from(layout: RunLayout):
    class Look(Callback):
        def begin_batch(self) -> None:
            self.learner.seen = load_checkpoint(layout.last)

    learner = make_learner(None, Look())

    learner.fit(1, [CheckpointCallback(layout, whole_state(learner)), EventLog("after_pred", CancelTrainException())])

    assert (learner.seen["epochs_done"], learner.seen["batches_done"]) == (0, 0)
    assert learner.seen["optimizer"] is not None
    assert torch.equal(learner.seen["model"]["weight"], learner.model.weight)


def test_a_fit_that_goes_on_does_not_begin_with_a_checkpoint(layout: RunLayout):
    learner = make_learner(loaders([2, 2], [2]))

    learner.fit(2, [CheckpointCallback(layout, whole_state(learner))], first_epoch=1)

    assert places(layout) == [(2, 0)]


def test_every_so_many_steps_since_the_last_there_is_one(layout: RunLayout):
    fit_inside(layout, every=2)

    assert places(layout) == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]


def test_a_distance_longer_than_an_epoch_is_counted_from_its_checkpoint(layout: RunLayout):
    fit_inside(layout, every=6)

    assert places(layout) == [(0, 0), (1, 0), (2, 0)]


def test_a_fit_that_goes_on_counts_from_where_it_begins(layout: RunLayout):
    learner = make_learner(loaders([2] * 5, [2]))

    learner.fit(2, [CheckpointCallback(layout, whole_state(learner), every=3)], first_epoch=1)

    assert places(layout) == [(1, 3), (2, 0)]


def test_steps_are_counted_and_not_batches(layout: RunLayout):
    fit_inside(layout, GradientAccumulation(2), every=2)

    assert places(layout) == [(0, 0), (0, 4), (1, 0), (1, 4), (2, 0)]


class Clock(Callback):
    """Seconds that pass with the batches: ten each."""

    now = 0.0

    def begin_batch(self) -> None:
        self.now += 10.0

    def __call__(self) -> float:
        return self.now


def test_every_so_many_seconds_since_the_last_there_is_one(layout: RunLayout):
    clock = Clock()

    fit_inside(layout, clock, every_s=20.0, clock=clock, n_batches=5)

    assert places(layout) == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]


def test_when_it_is_time_a_group_of_batches_comes_to_its_step_first(layout: RunLayout):
    clock = Clock()

    fit_inside(layout, clock, GradientAccumulation(4), every_s=10.0, clock=clock, n_batches=6, n_epochs=1)

    assert places(layout) == [(0, 0), (0, 4), (0, 6), (1, 0)]


def test_what_others_count_at_the_end_of_a_batch_is_in_the_checkpoint(layout: RunLayout):
    class Counter(Callback):
        _order = 250
        n = 0

        def after_batch(self) -> None:
            self.n += self.in_train

        def state_dict(self) -> dict[str, Any]:
            return {"n": self.n}

    fit_inside(layout, Counter(), EventLog("begin_batch", CancelTrainException(), nth=4), every=1)

    assert load_checkpoint(layout.last)["callbacks"]["counter"] == {"n": 3}


class Stop(Callback):
    """Ask for a stop in a batch, or at an event."""

    def __init__(self, at: str, nth: int) -> None:
        self.at, self.n_left = at, nth

    def after_pred(self) -> None:
        self._count("after_pred")

    def after_epoch(self) -> None:
        self._count("after_epoch")

    def _count(self, event: str) -> None:
        self.n_left -= event == self.at
        self.learner.stop |= not self.n_left


@pytest.mark.parametrize(
    ("at", "nth", "found"),
    [
        ("after_pred", 3, [(0, 0), (0, 3)]),
        ("after_pred", 6, [(0, 0), (0, 5)]),  # in validation
        ("after_epoch", 1, [(0, 0), (1, 0)]),  # which has one already
    ],
)
def test_a_stopped_fit_leaves_a_checkpoint_of_where_it_was(
    layout: RunLayout, at: str, nth: int, found: list[tuple[int, int]]
):
    fit_inside(layout, Stop(at, nth))

    assert places(layout) == found
    saved = load_checkpoint(layout.last)
    assert (saved["epochs_done"], saved["batches_done"]) == found[-1]


@pytest.mark.parametrize("event", ["after_batch", "begin_validate"])
def test_a_training_that_a_callback_ends_has_no_checkpoint_inside_an_epoch(layout: RunLayout, event: str):
    fit_inside(layout, EventLog(event, CancelTrainException()))

    assert places(layout) == [(0, 0)]


def test_of_an_epoch_whose_training_was_cancelled_validation_is_left(layout: RunLayout):
    fit_inside(layout, EventLog("begin_batch", CancelEpochException(), nth=3), Stop("after_pred", 3))

    assert places(layout) == [(0, 0), (0, 5)]


@pytest.mark.parametrize("event", ["begin_batch", "after_backward", "after_batch", "begin_validate", "after_epoch"])
def test_after_an_error_nothing_is_written(layout: RunLayout, event: str):
    with pytest.raises(OSError, match="broken"):
        fit_inside(layout, EventLog(event, OSError("broken")))

    assert places(layout) == [(0, 0)]


def test_a_stop_while_a_kill_hits_a_checkpoint_leaves_the_one_before(
    layout: RunLayout, monkeypatch: pytest.MonkeyPatch
):
    fit_inside(layout, Stop("after_pred", 2))

    kill_before(layout.last, monkeypatch)
    learner = make_learner(ShuffledLoaders(blobs([10], seed=1)[0], [], size=2))
    with pytest.raises(KeyboardInterrupt):
        learner.fit(2, [CheckpointCallback(layout, whole_state(learner), every=1)], first_batch=2)

    assert load_checkpoint(layout.last)["batches_done"] == 2


# -- the k best -------------------------------------------------------------------------------------------------------


class Scripted(Callback):
    """One value an epoch, as if it had been measured."""

    _order = 15

    def __init__(self, values: list[Any], column: str = "valid_accuracy") -> None:
        self.values, self.column = values, column

    def after_epoch(self) -> None:
        self.learner.row[self.column] = self.values[self.learner.epoch]


def kept_files(layout: RunLayout) -> list[Path]:
    return sorted(layout.checkpoints.glob("epoch-*.pt"))


def kept_epochs(layout: RunLayout) -> list[int]:
    return [int(path.stem.removeprefix("epoch-")) for path in kept_files(layout)]


def fit_kept(layout: RunLayout, values: list[Any], *, resume: bool = False, **options: Any) -> CheckpointCallback:
    """A fit of one epoch a value that keeps the best of them."""
    learner = make_learner(loaders([1], [1]), Scripted(values, options.get("monitor", "valid_accuracy")))
    saver = CheckpointCallback(layout, whole_state(learner), **options)
    first_epoch = learner.load_state_dict(load_checkpoint(layout.last)) if resume else 0
    learner.fit(len(values), [saver], first_epoch=first_epoch)
    return saver


def test_the_k_best_epochs_are_kept_and_each_is_of_its_epoch(layout: RunLayout):
    saver = fit_kept(layout, [0.5, 0.25, 0.75, 0.125, 0.625], top_k=2)

    assert saver.table == [
        {"epoch": 3, "value": 0.75, "file": "epoch-0003.pt"},
        {"epoch": 5, "value": 0.625, "file": "epoch-0005.pt"},
    ]
    assert kept_epochs(layout) == [3, 5]
    assert [load_checkpoint(path)["epochs_done"] for path in kept_files(layout)] == [3, 5]
    assert load_checkpoint(layout.last)["callbacks"]["checkpoint"]["table"] == saver.table
    last = read_events(layout.events)[-1]
    assert (last["event"], last["epoch"], last["kept"]) == ("checkpoint", 5, saver.table)


def test_of_equals_the_later_is_kept(layout: RunLayout):
    fit_kept(layout, [0.5, 0.5, 0.5, 0.25], top_k=2)

    assert kept_epochs(layout) == [2, 3]


def test_of_a_loss_the_lowest_are_kept_and_nan_never(layout: RunLayout):
    fit_kept(layout, [math.nan, 0.5, 0.25, math.nan, 0.75], top_k=4, monitor="valid_loss")

    assert kept_epochs(layout) == [2, 3, 5]


def test_without_top_k_no_monitor_is_asked_for(layout: RunLayout):
    learner = make_learner(Loaders(blobs([1], seed=1), []))

    learner.fit(1, [CheckpointCallback(layout, whole_state(learner))])

    assert kept_files(layout) == []
    assert learner.state_dict()["callbacks"] == {}


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, math.nan]), min_size=1, max_size=6)


@settings(deadline=None, max_examples=12)
@given(values=SCORES, top_k=st.integers(1, 3))
def test_what_is_kept_is_the_head_of_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], top_k: int
):
    layout = RunLayout(tmp_path_factory.mktemp("run")).create()

    fit_kept(layout, values, top_k=top_k)

    ranked = sorted((value, epoch) for epoch, value in enumerate(values, start=1) if not math.isnan(value))
    assert kept_epochs(layout) == sorted(epoch for _, epoch in ranked[::-1][:top_k])


def test_nothing_falls_out_before_the_new_ones_are_on_the_disk(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[str, list[int]]] = []

    def save(path: Path, state: Mapping[str, object]) -> None:
        save_checkpoint(path, state)
        seen.append((path.name, kept_epochs(layout)))

    monkeypatch.setattr(checkpoint, "save_checkpoint", save)
    fit_kept(layout, [0.25, 0.5], top_k=1)

    assert seen == [
        ("last.pt", []),
        ("epoch-0001.pt", [1]),
        ("last.pt", [1]),
        ("epoch-0002.pt", [1, 2]),
        ("last.pt", [1, 2]),
    ]
    assert kept_epochs(layout) == [2]


def test_a_kill_before_a_removal_leaves_one_too_many_until_the_next_epoch(
    layout: RunLayout, monkeypatch: pytest.MonkeyPatch
):
    def killed(saver: CheckpointCallback) -> None:
        if saver.learner.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointCallback, "_remove_others", killed)
        fit_kept(layout, [0.25, 0.5, 0.0], top_k=1)
    left = kept_epochs(layout)

    fit_kept(layout, [0.25, 0.5, 0.0], top_k=1, resume=True)

    assert left == [1, 2]
    assert kept_epochs(layout) == [2]


def test_an_epoch_that_was_saved_before_a_kill_and_is_no_longer_good_does_not_stay(
    layout: RunLayout, monkeypatch: pytest.MonkeyPatch
):
    fit_kept(layout, [0.5], top_k=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_before(layout.last, patch)
        fit_kept(layout, [0.5, 0.75], top_k=1, resume=True)
    left = kept_epochs(layout)

    fit_kept(layout, [0.5, 0.25], top_k=1, resume=True)

    assert left == [1, 2]
    assert kept_epochs(layout) == [1]


def test_a_file_that_somebody_else_put_there_stays(layout: RunLayout):
    mine = [layout.checkpoints / name for name in ("epoch-0009.pt", "epoch-0002-mine.pt", "notes.txt")]
    for path in mine:
        path.write_bytes(b"mine")

    fit_kept(layout, [0.25, 0.5, 0.75], top_k=1)
    fit_kept(layout, [0.25, 0.5, 0.75, 1.0], top_k=1, resume=True)

    assert all(path.read_bytes() == b"mine" for path in mine)
    assert epoch_path(layout, 4).exists()
    assert not epoch_path(layout, 3).exists()


def test_a_resumed_fit_can_keep_fewer_and_one_that_keeps_none_removes_none(layout: RunLayout):
    fit_kept(layout, [0.25, 0.5, 0.75], top_k=3)

    fit_kept(layout, [0.25, 0.5, 0.75, 1.0], top_k=0, resume=True)
    with_none = kept_epochs(layout)
    fit_kept(layout, [0.25, 0.5, 0.75, 1.0, 0.0], top_k=2, resume=True)

    assert with_none == [1, 2, 3]
    assert kept_epochs(layout) == [2, 3]


def test_a_file_of_the_table_that_somebody_removed_is_not_missed(layout: RunLayout):
    fit_kept(layout, [0.25, 0.5], top_k=2)
    epoch_path(layout, 1).unlink()

    fit_kept(layout, [0.25, 0.5, 0.75], top_k=2, resume=True)

    assert kept_epochs(layout) == [2, 3]


def test_another_fit_from_the_beginning_keeps_its_own(layout: RunLayout):
    learner = make_learner(loaders([1], [1]), Scripted([0.25, 0.5, 0.75]))
    saver = CheckpointCallback(layout, whole_state(learner), top_k=1)
    learner.fit(3, [saver])

    learner.fit(1, [saver])

    assert saver.table == [{"epoch": 1, "value": 0.25, "file": "epoch-0001.pt"}]
    assert kept_epochs(layout) == [1]


def test_going_on_by_another_column_is_refused(layout: RunLayout):
    fit_kept(layout, [0.25], top_k=1)

    with pytest.raises(CheckpointError) as caught:
        fit_kept(layout, [0.25, 0.5], top_k=1, monitor="valid_loss", resume=True)

    assert str(caught.value) == (
        "the kept epochs were chosen by valid_accuracy, not by valid_loss\n"
        "  where: CheckpointCallback: monitor\n"
        '  fix: go on with monitor="valid_accuracy", or with top_k=0'
    )


def test_a_column_that_is_not_there_is_an_error_that_lists_those_that_are(layout: RunLayout):
    with pytest.raises(ConfigError) as caught:
        make_learner(None, MetricsCallback(), CheckpointCallback(layout, lambda best: {}, top_k=1, monitor="loss")).fit(
            1
        )

    assert str(caught.value) == (
        'no column "loss" was measured in this epoch\n  where: CheckpointCallback: monitor\n'
        "  fix: known: lr, train_accuracy, train_loss, valid_accuracy, valid_loss"
    )


def test_without_validation_images_the_fit_does_not_begin(layout: RunLayout):
    seen = EventLog()
    saver = CheckpointCallback(layout, lambda best: {}, top_k=1)

    with pytest.raises(ConfigError) as caught:
        make_learner(Loaders(blobs([1], seed=1), []), seen, saver).fit(1)

    assert str(caught.value) == (
        '"valid_accuracy" has no value to go by\n  where: CheckpointCallback: monitor\n'
        "  fix: add validation images, or monitor a column of training, train_loss say"
    )
    assert "begin_batch" not in seen.log


def test_a_negative_number_is_refused(layout: RunLayout):
    with pytest.raises(ConfigError) as caught:
        CheckpointCallback(layout, lambda best: {}, top_k=-1)

    assert str(caught.value) == (
        "top_k is -1, must be at least 0\n  where: CheckpointCallback: top_k\n"
        "  fix: give the number of epochs to keep; 0 for the last and the best alone"
    )


def test_a_mode_that_is_none_is_refused(layout: RunLayout):
    with pytest.raises(ConfigError) as caught:
        CheckpointCallback(layout, lambda best: {}, mode="up")  # type: ignore[arg-type]

    assert str(caught.value) == (
        'mode is "up", must be "max" or "min"\n  where: CheckpointCallback: mode\n'
        '  fix: leave it out: that is "min" for a loss or an error, else "max"'
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"every": 0},
            "every is 0, must be a whole number, at least 1\n  where: CheckpointCallback: every\n"
            "  fix: give the training steps from one checkpoint to the next, 1000 say",
        ),
        (
            {"every": 1.5},
            "every is 1.5, must be a whole number, at least 1\n  where: CheckpointCallback: every\n"
            "  fix: give the training steps from one checkpoint to the next, 1000 say",
        ),
        (
            {"every_s": 0.0},
            "every_s is 0.0, must be above 0 and finite\n  where: CheckpointCallback: every_s\n"
            "  fix: give the seconds from one checkpoint to the next, 600 say",
        ),
        (
            {"every_s": math.nan},
            "every_s is nan, must be above 0 and finite\n  where: CheckpointCallback: every_s\n"
            "  fix: give the seconds from one checkpoint to the next, 600 say",
        ),
    ],
)
def test_distances_that_cannot_be_are_refused(layout: RunLayout, options: dict[str, Any], text: str):
    with pytest.raises(ConfigError) as caught:
        CheckpointCallback(layout, lambda best: {}, **options)

    assert str(caught.value) == text
