"""Logs for those who have no run directory: complete, readable at any time, and never over somebody's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from learner.toy import EventLog, Loaders, ShuffledLoaders, blobs, make_learner

from imagekit.callbacks.logs import CsvLog, JsonLines
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.errors import OutputError
from imagekit.learner.callback import Callback
from imagekit.runs.recorder import read_events, read_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def epochs(path: Path) -> list[str]:
    return [row["epoch"] for row in read_rows(path)]


def events(path: Path) -> list[tuple[str, int]]:
    return [(event["event"], event["epoch"]) for event in read_events(path)]


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_an_epoch_as_it_was_measured(path: Path):
    learner = make_learner(None, MetricsCallback(), CsvLog(path))

    learner.fit(2)

    assert epochs(path) == ["1", "2"]
    assert {key: float(value) for key, value in read_rows(path)[-1].items()} == learner.row


def test_what_nobody_measured_is_an_empty_field(path: Path):
    make_learner(Loaders(blobs([2], seed=1), []), MetricsCallback(), CsvLog(path)).fit(1)

    assert read_rows(path)[0]["valid_loss"] == ""


def test_without_metrics_the_epoch_is_in_the_table(path: Path):
    make_learner(None, CsvLog(str(path))).fit(2)

    assert path.read_text() == "epoch\n1\n2\n"


def test_a_further_fit_adds_its_rows_and_validation_alone_none(path: Path):
    learner = make_learner(None, MetricsCallback(), CsvLog(path))
    learner.fit(2)

    learner.validate()
    learner.fit(1)

    assert epochs(path) == ["1", "2", "1"]


@pytest.mark.parametrize(("first_epoch", "expected"), [(1, ["1", "2", "3"]), (2, ["1", "2", "3"])])
def test_a_resumed_fit_goes_on_where_it_was(path: Path, first_epoch: int, expected: list[str]):
    make_learner(None, MetricsCallback(), CsvLog(path)).fit(2)

    make_learner(None, MetricsCallback(), CsvLog(path)).fit(3, first_epoch=first_epoch)

    assert epochs(path) == expected


def test_a_fit_that_goes_on_inside_its_first_epoch_begins_the_table_anew(path: Path):
    dls = ShuffledLoaders(blobs([8], seed=1)[0], [], size=4)
    make_learner(dls, MetricsCallback(), CsvLog(path)).fit(1)

    make_learner(dls, MetricsCallback(), CsvLog(path)).fit(2, first_batch=1)

    assert epochs(path) == ["1", "2"]


def test_a_file_that_is_there_is_not_added_to(path: Path):
    path.write_text("name,phone\n")

    with pytest.raises(OutputError) as caught:
        make_learner(None, MetricsCallback(), CsvLog(path)).fit(1)

    assert str(caught.value) == (
        f"the log exists already\n  where: {path}\n  fix: give another path, or move it away yourself"
    )
    assert path.read_text() == "name,phone\n"


def test_an_empty_file_that_is_there_is_used(path: Path):
    path.touch()

    make_learner(None, CsvLog(path)).fit(1)

    assert epochs(path) == ["1"]


# -- the events -------------------------------------------------------------------------------------------------------


def test_events_are_the_start_each_epoch_and_the_end(path: Path):
    learner = make_learner(None, MetricsCallback(), JsonLines(path))

    learner.fit(2)

    assert events(path) == [("start", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    found = read_events(path)
    assert found[0]["n_epochs"] == 2
    assert {key: found[2][key] for key in learner.row} == learner.row
    assert all(event["time"].endswith("+00:00") for event in found)


def test_events_are_only_ever_added_and_validation_alone_has_none(path: Path):
    learner = make_learner(None, JsonLines(path))
    learner.fit(1)

    learner.validate()
    learner.fit(1)

    assert events(path) == [("start", 0), ("epoch", 1), ("end", 1)] * 2


def test_a_fit_that_goes_on_says_so(path: Path):
    dls = ShuffledLoaders(blobs([8], seed=1)[0], [], size=4)

    make_learner(dls, JsonLines(path)).fit(2, first_epoch=1, first_batch=1)

    assert events(path) == [("resume", 1), ("epoch", 2), ("end", 2)]
    assert read_events(path)[0]["batch"] == 1


def test_a_failure_is_written_down(path: Path):
    with pytest.raises(ValueError, match="broken"):
        make_learner(None, JsonLines(path), EventLog("after_pred", ValueError("broken\nbadly"))).fit(1)

    last = read_events(path)[-1]
    assert (last["event"], last["epoch"], last["error"], last["what"]) == ("failure", 0, "ValueError", "broken")


def test_a_failure_at_the_begin_is_written_down_too(path: Path):
    class Early(Callback):
        def begin_fit(self) -> None:
            raise ValueError("too early")

    with pytest.raises(ValueError, match="too early"):
        make_learner(None, Early(), JsonLines(path)).fit(1)

    assert events(path) == [("failure", 0)]


class Stop(Callback):
    def after_step(self) -> None:
        self.learner.stop = self.epoch == 1


def test_an_interrupt_is_no_failure(path: Path):
    make_learner(None, JsonLines(path), Stop()).fit(3)
    with pytest.raises(KeyboardInterrupt):
        make_learner(None, JsonLines(path), EventLog("begin_batch", KeyboardInterrupt())).fit(1)

    assert [event for event, _ in events(path)] == ["start", "epoch", "interrupt", "start", "interrupt"]
