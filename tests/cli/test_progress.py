"""Progress: what the line and the bar say about rates, bytes and quarantined files."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from imagekit.cli.progress import Progress, progress


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: pytest puts its own stderr in place between fixtures and tests."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def bar_of(shown: Progress) -> Any:
    return shown._bar


# -- lines ---------------------------------------------------------------------------------------------------------


def test_a_line_says_count_rate_bytes_time_left_and_quarantined(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(None, "images", clock=clock) as shown:
        shown.report(0, 9469, n_bytes=0, n_bad=0)
        clock.now = 30.0
        shown.report(3000, 9469, n_bytes=330_000_000, n_bad=12)

    assert capsys.readouterr().err == "3,000 of 9,469 images, 100.0/s, 65 s left, 11.0 MB/s, 12 quarantined\n"


def test_a_line_leaves_out_what_nobody_reported(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(None, "images", clock=clock) as shown:
        shown.report(0, 100)
        clock.now = 30.0
        shown.report(30, 100)

    assert capsys.readouterr().err == "30 of 100 images, 1.0/s, 70 s left\n"


def test_no_quarantined_file_is_not_worth_a_word(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(None, "images", clock=clock) as shown:
        shown.report(0, 100, n_bad=0)
        clock.now = 30.0
        shown.report(30, 100, n_bad=0)

    assert "quarantined" not in capsys.readouterr().err


def test_there_is_one_line_each_half_minute_however_often_it_is_told(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(None, "images", clock=clock) as shown:
        for done in range(91):
            clock.now = float(done)
            shown.report(done, 91)

    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["30", "60", "90"]


def test_what_an_earlier_run_did_is_counted_but_not_in_the_rates(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(None, "images", clock=clock) as shown:
        clock.now = 25.0  # looking for what is done already
        shown.report(7210, 9469, n_bytes=793_100_000, n_bad=3)
        clock.now = 35.0
        shown.report(7310, 9469, n_bytes=804_100_000)

    assert capsys.readouterr().err == "7,310 of 9,469 images, 10.0/s, 216 s left, 1.1 MB/s, 3 quarantined\n"


def test_a_comment_comes_last(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(None, "images", clock=clock) as shown:
        shown.comment("hashing")
        shown.report(0, 100, n_bad=1)
        clock.now = 40.0
        shown.report(20, 100)

    assert capsys.readouterr().err == "20 of 100 images, 0.5/s, 160 s left, 1 quarantined, hashing\n"


def test_a_clock_that_stands_still_divides_nothing_by_zero(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(None, "images", clock=clock) as shown:
        clock.now = 40.0
        shown.report(0, 10, n_bytes=5)

    assert capsys.readouterr().err == "0 of 10 images, 0.0/s\n"


# -- the bar -------------------------------------------------------------------------------------------------------


def test_the_bar_shows_bytes_and_quarantined_behind_the_rate(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    with progress(None, "images", clock=clock) as shown:
        shown.report(0, 100, n_bytes=0)
        clock.now = 2.0
        shown.report(40, 100, n_bytes=50_000_000, n_bad=2)
        bar = bar_of(shown)
        bar.refresh()

        assert (bar.n, bar.total, bar.postfix) == (40, 100, "25.0 MB/s, 2 quarantined")
    assert "40/100" in terminal.getvalue()
    assert "25.0 MB/s, 2 quarantined" in terminal.getvalue()


def test_the_bar_starts_where_an_earlier_run_ended(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    with progress(None, "images", clock=clock) as shown:
        shown.report(7210, 9469)
        shown.report(7211, 9469)
        bar = bar_of(shown)

        assert (bar.n, bar.initial, bar.total) == (7211, 7210, 9469)
    assert "7210/9469" in terminal.getvalue()


def test_the_bar_takes_two_arguments_as_ever(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    make_terminal(monkeypatch)
    with progress(10, "images", clock=clock) as shown:
        shown.report(4, 20)
        shown.comment("1 quarantined")
        bar = bar_of(shown)

        assert (bar.n, bar.total, bar.postfix) == (4, 20, "1 quarantined")
    assert shown.done == 4


def test_a_bar_is_taken_away_at_the_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    with progress(10, "images", clock=clock) as shown:
        shown.report(10, 10)

    assert terminal.getvalue().endswith("\r")
