"""What is shown: a table with bars on a terminal, self-contained lines elsewhere."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from learner.toy import EventLog, Loaders, ShuffledLoaders, blobs, make_learner

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.progress import (
    ProgressCallback,
    choose_columns,
    header,
    minutes,
    plain_line,
    table_row,
    write_line,
)
from imagekit.callbacks.timing import TimingCallback

ROW: dict[str, Any] = {
    "epoch": 3,
    "train_loss": 0.5341239,
    "train_accuracy": 0.81,
    "valid_loss": 0.6,
    "valid_accuracy": 0.736,
    "lr": 0.123456,
    "is_best": True,
    "images_per_s": 960.4,
    "data_wait": 0.034,
    "seconds": 67.2,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_row_stands_under_its_heading():
    assert header() == (
        " epoch  train_loss  train_accuracy  valid_loss  valid_accuracy         lr    img/s   wait    time"
    )
    assert table_row(ROW) == (
        "    3*    0.534124        0.810000    0.600000        0.736000      0.123      960     3%   01:07"
    )


def test_plain_line_names_its_values():
    assert plain_line(ROW | {"is_best": False}, n_epochs=5) == (
        "epoch 3/5  train_loss 0.534124  train_accuracy 0.810000  valid_loss 0.600000  valid_accuracy 0.736000"
        "  lr 0.123  img/s 960  wait 3%  time 01:07  left 02:14"
    )


def test_what_nobody_measured_is_a_dash():
    assert table_row({"epoch": 1, "valid_loss": None}).split() == ["1", *"--------"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (59.4, "00:59"), (59.6, "01:00"), (3600, "60:00"), (6001, "100:01"), (None, "-")],
)
def test_time_is_minutes_and_seconds(seconds: float | None, text: str):
    assert minutes(seconds) == text


def fit(*, n_epochs: int = 2, dls: Any = None, **options: Any) -> list[str]:
    lines: list[str] = []
    progress = ProgressCallback(write=lines.append, **options)
    make_learner(dls, TimingCallback(), MetricsCallback(), BestCallback(), progress).fit(n_epochs)
    return lines


def test_without_a_terminal_there_is_one_line_an_epoch_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    lines = fit()

    assert [line.split("  ")[0] for line in lines] == ["epoch 1*/2", "epoch 2*/2"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    make_learner(None, MetricsCallback(), BestCallback(), ProgressCallback()).fit(1)

    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"epoch 1\*/1  train_loss \d\.\d{6}  .*  time -  left -\n", captured.err)


def test_on_a_terminal_there_is_a_header_a_row_an_epoch_and_bars(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    make_learner(None, TimingCallback(), MetricsCallback(), ProgressCallback()).fit(2)

    shown = terminal.getvalue()
    assert shown.count("train_loss") == 1
    assert len(re.findall(r"^ +[12]\*? +\d\.\d{6}", shown.replace("\r", "\n"), flags=re.MULTILINE)) == 2
    assert "epoch 1/2 train" in shown
    assert "epoch 2/2 valid" in shown
    assert "epochs" in shown


def test_the_bar_of_an_epoch_that_is_gone_on_with_begins_inside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    dls = ShuffledLoaders(blobs([12], seed=1)[0], blobs([4], seed=2), size=4)

    make_learner(dls, MetricsCallback(), ProgressCallback()).fit(1, first_batch=2)

    assert re.search(r"epoch 1/1 train: +67%\|.*\| 2/3 ", terminal.getvalue())
    assert re.search(r"epoch 1/1 valid: +0%\|.*\| 0/1 ", terminal.getvalue())


def test_bars_are_taken_away_also_after_an_exception(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = ProgressCallback(write=lambda line: None)
    learner = make_learner(None, progress, EventLog("after_pred", ValueError("broken")))

    with pytest.raises(ValueError, match="broken"):
        learner.fit(1)

    assert (progress._epochs, progress._batches) == (None, None)


def test_no_stderr_at_all_is_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", None)
    learner = make_learner(None, MetricsCallback(), ProgressCallback())

    learner.fit(1)

    assert learner.epochs_done == 1


def test_empty_valid_set_is_shown_as_dashes():
    lines = fit(dls=Loaders(blobs([4], seed=1), []), n_epochs=1)

    assert "valid_loss -  valid_accuracy -" in lines[0]


def test_star_is_on_the_epochs_that_were_best():
    lines: list[str] = []
    progress = ProgressCallback(write=lines.append, bars=False)
    best = BestCallback()
    best.best = 2.0
    make_learner(None, MetricsCallback(), best, progress).fit(1)

    assert lines[0].startswith("epoch 1/1  ")


def test_further_measures_stand_behind_the_accuracy():
    columns = choose_columns(["valid_top5", "valid_ema_accuracy"])

    keys = [key for _, key, _, _ in columns]
    assert keys[3:7] == ["valid_accuracy", "valid_top5", "valid_ema_accuracy", "lr"]
    assert [width for _, key, width, _ in columns if key.startswith("valid_")][2:] == [10, 18]


def test_nobody_who_reads_is_no_reason_to_fail(monkeypatch):
    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())

    write_line("a line")

    assert sys.stderr.getvalue() == "a line\n"
