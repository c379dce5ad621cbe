"""The last epoch and the best one are on the disk after every epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learner.toy import EventLog, Loaders, conv_net, images, make_learner

from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.checkpoint import load_checkpoint
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


def test_last_is_the_last_epoch_and_best_the_last_that_was_best(layout: RunLayout):
    learner = make_learner(None, Scores([True, True, False]))

    learner.fit(3, [CheckpointCallback(layout, learner.state_dict)])

    assert load_checkpoint(layout.last)["epochs_done"] == 3
    assert load_checkpoint(layout.best)["epochs_done"] == 2
    events = [(event["event"], event["epoch"], event["best"]) for event in read_events(layout.events)]
    assert events == [("checkpoint", 1, True), ("checkpoint", 2, True), ("checkpoint", 3, False)]


def test_a_kill_between_the_two_files_loses_no_best(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    learner = make_learner(None, Scores([True, True]))
    learner.fit(1, [CheckpointCallback(layout, learner.state_dict)])

    def killed_before_last(path: Path, state: object) -> None:
        from imagekit.runs.checkpoint import save_checkpoint

        if path == layout.last:
            raise KeyboardInterrupt
        save_checkpoint(path, state)  # type: ignore[arg-type]

    monkeypatch.setattr("imagekit.callbacks.checkpoint.save_checkpoint", killed_before_last)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(2, [CheckpointCallback(layout, learner.state_dict)], first_epoch=1)

    assert load_checkpoint(layout.last)["epochs_done"] == 1
    assert load_checkpoint(layout.best)["epochs_done"] == 2


def run(layout: RunLayout, *callbacks: Callback, resume: bool = False) -> Learner:
    dls = Loaders(images([8, 8], seed=1), images([8], seed=2))
    metrics = MetricsCallback()
    learner = make_learner(dls, metrics, ParamScheduler("lr", lambda pos: 0.1 * (1 - pos)), model=conv_net())
    state = load_checkpoint(layout.last, required=("model", "optimizer", "epochs_done")) if resume else None
    metrics.best = state["best"] if state else None
    saver = CheckpointCallback(layout, lambda: learner.state_dict() | {"best": metrics.best})
    first_epoch = learner.load_state_dict(state) if state else 0
    learner.fit(4, [saver, RecorderCallback(layout), *callbacks], first_epoch=first_epoch)
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
