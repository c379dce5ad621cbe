"""Images that could not be used: counted in the row, each file told once, over a resume too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imagekit.callbacks.skipped import SkippedCallback
from imagekit.data.images import Skipped
from imagekit.errors import ManifestError
from imagekit.runs.recorder import read_events


def skipped_rows(*rows: int) -> list[Skipped]:
    return [Skipped(0, row, ManifestError(f"{row}.png is cut")) for row in rows]


class Loader:
    """What the callback asks of a loader: rows that were left out, and how they are called."""

    def __init__(self, *rows: int) -> None:
        self.skipped = skipped_rows(*rows)
        self.dataset = SimpleNamespace(row_name="{}.png".format)


def callback_at(events: Path, *, train: Loader, valid: Loader, i_batch: int = 0, batches_done: int = 0) -> Any:
    callback = SkippedCallback(events)
    data = SimpleNamespace(train_dl=train, valid_dl=valid)
    callback.learner = SimpleNamespace(data=data, row={}, i_batch=i_batch, batches_done=batches_done, dl=[valid])
    return callback


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def told(events: Path) -> list[tuple[str, str, str]]:
    return [(event["phase"], event["file"], event["why"]) for event in read_events(events)]


def test_an_epoch_counts_what_both_phases_left_out(events):
    callback = callback_at(events, train=Loader(3, 5, 3), valid=Loader(1))

    callback.begin_epoch()
    callback.begin_validate()
    callback.after_epoch()

    assert callback.learner.row == {"skipped": 4}


def test_an_epoch_that_is_not_validated_does_not_count_what_an_earlier_one_met(events):
    callback = callback_at(events, train=Loader(3), valid=Loader(1))
    callback.begin_epoch()
    callback.begin_validate()
    callback.after_epoch()
    callback.learner.dl = ()

    callback.begin_validate()
    callback.after_epoch()

    assert callback.learner.row == {"skipped": 1}


def test_a_file_is_told_once_however_often_it_is_met(events):
    callback = callback_at(events, train=Loader(3, 3), valid=Loader())
    callback.after_epoch()
    callback.learner.data.train_dl.skipped = skipped_rows(5, 3)

    callback.after_epoch()
    callback.after_fit()

    assert told(events) == [("train", "3.png", "is cut"), ("train", "5.png", "is cut")]
    assert callback.names == {"3.png": "is cut", "5.png": "is cut"}


def test_a_fit_that_ended_inside_an_epoch_tells_what_it_met(events):
    callback = callback_at(events, train=Loader(2), valid=Loader())

    callback.after_fit()

    assert told(events) == [("train", "2.png", "is cut")]


def test_an_epoch_without_any_has_a_zero_and_no_event(events):
    callback = callback_at(events, train=Loader(), valid=Loader())

    callback.after_epoch()

    assert (callback.learner.row, events.exists()) == ({"skipped": 0}, False)


def test_a_fit_that_goes_on_inside_an_epoch_adds_to_what_was_counted_and_tells_no_file_again(events):
    first = callback_at(events, train=Loader(3, 5), valid=Loader(), batches_done=2)
    state = first.state_dict()
    second = callback_at(events, train=Loader(7, 3), valid=Loader(), i_batch=2, batches_done=2)

    second.load_state_dict(state)
    second.begin_epoch()
    second.after_epoch()

    assert second.learner.row == {"skipped": 4}
    assert [file for _, file, _ in told(events)] == ["3.png", "5.png", "7.png"]
    assert list(second.names) == ["3.png", "5.png", "7.png"]


def test_between_epochs_nothing_is_carried_over_but_the_names(events):
    callback = callback_at(events, train=Loader(3), valid=Loader())

    state = callback.state_dict()

    assert state == {"n_before": 0, "names": {"3.png": "is cut"}}


def test_the_next_epoch_begins_at_zero(events):
    callback = callback_at(events, train=Loader(3), valid=Loader())
    callback.load_state_dict({"n_before": 9, "names": {}})

    callback.begin_epoch()
    callback.after_epoch()

    assert callback.learner.row == {"skipped": 1}
