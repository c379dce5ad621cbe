"""metrics.csv and events.jsonl: a line is there or not there, never half of one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from imagekit.errors import CheckpointError, DiskFullError
from imagekit.files import seam
from imagekit.runs.recorder import append_event, append_row, keep_rows, read_events, read_rows, write_failure


def test_rows_come_under_one_header_with_full_precision(tmp_path: Path):
    path = tmp_path / "metrics.csv"

    append_row(path, {"epoch": 1, "loss": 0.1 + 0.2, "accuracy": None, "is_best": True})
    append_row(path, {"epoch": 2, "loss": 1e-300, "accuracy": 0.5, "is_best": False})

    assert path.read_text() == "epoch,loss,accuracy,is_best\n1,0.30000000000000004,,1\n2,1e-300,0.5,0\n"
    assert read_rows(path)[0] == {"epoch": "1", "loss": "0.30000000000000004", "accuracy": "", "is_best": "1"}


def test_row_with_other_columns_is_refused(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    append_row(path, {"epoch": 1, "loss": 0.5})

    with pytest.raises(CheckpointError) as caught:
        append_row(path, {"epoch": 2, "accuracy": 0.5})

    assert str(caught.value) == (
        "a row has the columns epoch, accuracy; the file has epoch, loss\n"
        f"  where: {path}\n"
        "  fix: resume with the metrics that the run was started with, or start a new run"
    )
    assert len(read_rows(path)) == 1


@pytest.mark.parametrize(("n_epochs", "kept"), [(0, []), (1, ["1"]), (2, ["1", "2"]), (9, ["1", "2", "3"])])
def test_keep_rows_cuts_back_to_the_first_epochs(tmp_path: Path, n_epochs: int, kept: list[str]):
    path = tmp_path / "metrics.csv"
    for epoch in (1, 2, 3):
        append_row(path, {"epoch": epoch})

    keep_rows(path, n_epochs=n_epochs)

    assert [row["epoch"] for row in read_rows(path)] == kept
    append_row(path, {"epoch": 7})
    assert [row["epoch"] for row in read_rows(path)] == [*kept, "7"]


def test_keep_rows_of_a_file_that_is_not_there_makes_none(tmp_path: Path):
    keep_rows(tmp_path / "metrics.csv", n_epochs=0)

    assert list(tmp_path.iterdir()) == []


def test_a_csv_cut_anywhere_loses_its_last_row_only(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    for epoch in (1, 2):
        append_row(path, {"epoch": epoch, "loss": 0.25})
    data = path.read_bytes()
    n_whole = data.index(b"\n2") + 1

    for cut in range(n_whole, len(data)):
        path.write_bytes(data[:cut])
        assert [row["epoch"] for row in read_rows(path)] == ["1"]
        append_row(path, {"epoch": 2, "loss": 0.25})
        assert path.read_bytes() == data


def test_a_damaged_row_is_named(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n1,2\n1\n")

    with pytest.raises(CheckpointError) as caught:
        read_rows(path)

    assert str(caught.value) == (
        f"line 3 of metrics.csv is damaged\n  where: {path}\n  fix: delete the line, or move metrics.csv aside"
    )


def test_events_keep_their_order_and_carry_a_time(tmp_path: Path):
    path = tmp_path / "events.jsonl"

    append_event(path, "start", epoch=0)
    append_event(path, "epoch", epoch=1, loss=float("nan"), label="tënch\n")

    events = read_events(path)
    assert [event["event"] for event in events] == ["start", "epoch"]
    assert events[1] | {"time": ""} == {"time": "", "event": "epoch", "epoch": 1, "loss": "nan", "label": "tënch\n"}
    assert all(event["time"].endswith("+00:00") for event in events)


def test_an_event_file_cut_anywhere_loses_its_last_line_only(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    for event in ("start", "end"):
        append_event(path, event)
    data = path.read_bytes()
    n_whole = data.index(b"\n") + 1

    for cut in range(n_whole, len(data)):
        path.write_bytes(data[:cut])
        assert [event["event"] for event in read_events(path)] == ["start"]
        append_event(path, "resume")
        assert [event["event"] for event in read_events(path)] == ["start", "resume"]


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"time": "2')

    append_event(path, "start")

    assert [event["event"] for event in read_events(path)] == ["start"]


def test_a_long_torn_line_is_cut_whole(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    append_event(path, "start")
    with path.open("ab") as file:
        file.write(b"x" * 200_000)

    append_event(path, "resume")

    assert [event["event"] for event in read_events(path)] == ["start", "resume"]


@pytest.mark.parametrize("line", ["{", "3", "\x00", "[" * 5_000], ids=lambda line: repr(line[:9]))
def test_a_damaged_event_is_named(tmp_path: Path, line: str):
    path = tmp_path / "events.jsonl"
    path.write_text(line + "\n")

    with pytest.raises(CheckpointError) as caught:
        read_events(path)

    assert str(caught.value) == (
        f"line 1 of events.jsonl is damaged\n  where: {path}\n  fix: delete the line, or move events.jsonl aside"
    )


def test_no_file_means_no_events_and_no_rows(tmp_path: Path):
    assert read_events(tmp_path / "none") == []
    assert read_rows(tmp_path / "none") == []


def test_a_full_disk_is_said_and_the_next_line_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "events.jsonl"
    append_event(path, "start")

    def write_half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(seam, "write_all", write_half)
        with pytest.raises(DiskFullError) as caught:
            append_event(path, "epoch")

    assert str(caught.value) == (
        "the disk is full while writing events.jsonl\n"
        f"  where: {path}\n"
        "  fix: free some space there and run the same command again"
    )
    append_event(path, "end")
    assert [event["event"] for event in read_events(path)] == ["start", "end"]


def test_failure_is_json(tmp_path: Path):
    write_failure(tmp_path / "failure.json", {"epoch": 1, "loss": "nan"})

    assert json.loads((tmp_path / "failure.json").read_text()) == {"epoch": 1, "loss": "nan"}
