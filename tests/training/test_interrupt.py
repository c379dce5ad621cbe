"""Ctrl-C and SIGTERM: asked once a training ends in order, asked twice at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trees import draw_tree

from imagekit.learner.callback import Callback
from imagekit.manifest.build import build_manifest
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import read_status, write_status
from imagekit.training.config import TrainConfig
from imagekit.training.interrupt import SIGNALS, StopOnSignal, resume_command
from imagekit.training.train import train
from imagekit.training.train_report import TrainReport

QUICK = TrainConfig(model_options={"nfs": [4]}, epochs=2, size=12, batch_size=4, precision="fp32", device="cpu")


class Signal(Callback):
    """Send this process signals at the n-th time that an event comes, counted from 0."""

    def __init__(self, event: str, nth: int, *numbers: signal.Signals, order: int = 0) -> None:
        self.event, self.n_left, self.numbers, self._order = event, nth, numbers, order

    def came(self, event: str) -> None:
        if event == self.event:
            self.n_left -= 1
            for number in self.numbers if self.n_left == -1 else ():
                os.kill(os.getpid(), number)

    def begin_epoch(self) -> None:
        self.came("begin_epoch")

    def after_pred(self) -> None:
        self.came("after_pred")

    def after_epoch(self) -> None:
        self.came("after_epoch")

    def after_fit(self) -> None:
        self.came("after_fit")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three train batches of four, two of validation."""
    root = draw_tree(tmp_path_factory.mktemp("interrupt") / "pictures", n_valid=5, size=(20, 16))
    return Path(build_manifest(root, n_workers=1).output)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What was there before is there again at the end."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def fit(manifest: Path, run: Path, *callbacks: Callback, **options: Any) -> TrainReport:
    return train(manifest, output=run, config=QUICK, extra_callbacks=callbacks, **options)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_ends_it_after_the_step_under_way_and_says_how_to_go_on(manifest, tmp_path, capfd, number):
    report = fit(manifest, tmp_path / "my run", Signal("after_pred", 1, number))

    layout = RunLayout(tmp_path / "my run")
    assert (report.exit_code, report.rows, report.best) == (130, [], None)
    assert report.next_command == f"imagekit train --resume '{layout.root}'"
    assert report.summary() == (
        "interrupted in epoch 1 of 2, after 2 of 3 steps; everything is saved\nno epoch is whole yet\n"
        f"run: {layout.root}, seed 0"
    )
    assert report.to_dict()["interrupted"] == report.interrupted
    assert "\nstopping after this step, to save it; once more leaves at once\n" in capfd.readouterr().err
    assert read_status(layout.status).state == "interrupted"
    state = load_checkpoint(layout.last)
    assert (state["epochs_done"], state["batches_done"], state["cursor"]) == (0, 2, 8)


def test_a_quiet_run_says_nothing(manifest, tmp_path, capfd):
    report = fit(manifest, tmp_path / "run", Signal("after_pred", 0, signal.SIGINT), quiet=True)

    assert (report.exit_code, capfd.readouterr().err) == (130, "")


def test_in_validation_it_ends_there_and_the_epoch_is_not_learnt_again(manifest, tmp_path):
    report = fit(manifest, tmp_path / "run", Signal("after_pred", 8, signal.SIGINT), quiet=True)

    assert report.interrupted == "interrupted in epoch 2 of 2, in validation; everything is saved"
    assert [row["epoch"] for row in report.rows] == [1]
    assert report.summary().splitlines()[1].startswith("valid accuracy ")
    assert load_checkpoint(RunLayout(report.run).last)["batches_done"] == 3


@pytest.mark.parametrize("event", ["after_epoch", "after_fit"])
def test_behind_the_last_step_there_is_nothing_left_to_stop(manifest, tmp_path, event):
    nth = 1 if event == "after_epoch" else 0

    report = fit(manifest, tmp_path / "run", Signal(event, nth, signal.SIGINT, order=45), quiet=True)

    assert (report.exit_code, report.interrupted, len(report.rows)) == (0, None, 2)
    assert read_status(tmp_path / "run/status.json").state == "done"


def test_a_stop_that_a_callback_asked_for_is_an_interruption_too(manifest, tmp_path):
    class Stop(Callback):
        def after_pred(self) -> None:
            self.learner.stop = True

    report = fit(manifest, tmp_path / "run", Stop(), quiet=True)

    assert report.interrupted == "interrupted in epoch 1 of 2, after 1 of 3 steps; everything is saved"
    assert report.exit_code == 130


def test_a_signal_in_an_epoch_after_which_it_ends_anyhow_interrupts_nothing(manifest, tmp_path):
    config = replace(QUICK, epochs=9, early_stop=1, lr=1e-30, model_options={"nfs": [4], "norm": "group"})
    sending = Signal("after_epoch", 1, signal.SIGINT)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True, extra_callbacks=[sending])

    assert (report.exit_code, report.interrupted, len(report.rows)) == (0, None, 2)
    assert read_status(tmp_path / "run/status.json").state == "done"


@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_leaves_at_once_and_what_is_saved_can_be_gone_on_from(manifest, tmp_path, second):
    with pytest.raises(KeyboardInterrupt):
        fit(manifest, tmp_path / "run", Signal("after_pred", 2, signal.SIGINT, second), quiet=True)

    layout = RunLayout(tmp_path / "run")
    assert read_status(layout.status).state == "interrupted"
    assert load_checkpoint(layout.last)["batches_done"] == 0
    assert resume_command(layout.root) == f"imagekit train --resume {layout.root}"


def test_before_the_fit_a_signal_ends_the_call(manifest, tmp_path, monkeypatch):
    def interrupted(*args: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("imagekit.training.train.find_stats", interrupted)

    with pytest.raises(KeyboardInterrupt):
        fit(manifest, tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()
    assert resume_command(tmp_path / "run") is None


def test_in_another_thread_it_trains_and_leaves_the_signals_alone(manifest, tmp_path):
    reports: list[TrainReport] = []
    thread = threading.Thread(target=lambda: reports.append(fit(manifest, tmp_path / "run", quiet=True)))

    thread.start()
    thread.join()

    assert [len(report.rows) for report in reports] == [2]


def test_a_signal_that_the_process_was_told_to_ignore_stays_ignored(manifest, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        report = fit(manifest, tmp_path / "run", Signal("after_pred", 0, signal.SIGINT), quiet=True)
    finally:
        signal.signal(signal.SIGINT, before)

    assert (report.exit_code, len(report.rows)) == (0, 2)


def test_nobody_who_listens_is_no_reason_to_fail(monkeypatch):
    def gone(fd: int, data: bytes) -> int:
        raise BrokenPipeError

    class Learner:
        stop = False

    stopping = StopOnSignal(quiet=False)
    stopping.learner = Learner()
    monkeypatch.setattr(os, "write", gone)
    with stopping.caught():
        stopping.begin_fit()

        os.kill(os.getpid(), signal.SIGINT)

    assert (stopping.learner.stop, stopping.asked) == (True, True)


@pytest.mark.parametrize(
    ("state", "pid", "is_saved", "is_told"),
    [
        ("running", 0, True, True),
        ("interrupted", 0, True, True),
        ("interrupted", 0, False, False),
        ("done", 0, True, False),
        ("failed", 0, True, False),
        ("interrupted", 1, True, False),  # somebody else's, which this process was about to overwrite
    ],
)
def test_only_a_run_that_this_process_left_unfinished_is_to_be_gone_on_with(tmp_path, state, pid, is_saved, is_told):
    layout = RunLayout(tmp_path / "run").create()
    status = write_status(layout.status, state=state, epoch=0, n_epochs=2)
    layout.status.write_text(layout.status.read_text().replace(str(status.pid), str(pid or status.pid)))
    if is_saved:
        layout.last.write_bytes(b"")

    assert resume_command(layout.root) == (f"imagekit train --resume {layout.root}" if is_told else None)
