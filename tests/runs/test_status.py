"""status.json: written whole, read with care, stale when its process is gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.errors import CheckpointError
from imagekit.runs.status import STATES, Status, read_status, write_status


@pytest.mark.parametrize("state", STATES)
def test_status_reads_back_as_it_was_written(tmp_path: Path, state: str):
    path = tmp_path / "status.json"

    written = write_status(path, state=state, epoch=2, n_epochs=5)

    assert read_status(path) == written
    assert (written.state, written.pid, written.epoch, written.n_epochs) == (state, os.getpid(), 2, 5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", written.heartbeat)


def test_running_process_is_not_stale_and_a_gone_one_is():
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()

    def status(state: str, pid: int) -> Status:
        return Status(state=state, pid=pid, epoch=0, n_epochs=1, heartbeat="")

    assert not status("running", os.getpid()).is_stale
    assert not status("running", 1).is_stale  # alive, whoever it belongs to
    assert status("running", gone.pid).is_stale
    assert status("running", 0).is_stale
    assert status("running", 2**70).is_stale
    assert not status("done", gone.pid).is_stale


def test_missing_status_says_so(tmp_path: Path):
    path = tmp_path / "status.json"

    with pytest.raises(CheckpointError) as caught:
        read_status(path)

    assert str(caught.value) == (
        "the status of the run cannot be read: No such file or directory\n"
        f"  where: {path}\n"
        "  fix: name the folder of a run"
    )


GOOD = {"state": "done", "pid": 1, "epoch": 1, "n_epochs": 1, "heartbeat": "x"}


ODD_VALUES: list[dict[str, object]] = [{"state": "odd"}, {"state": []}, {"pid": "1"}, {"epoch": None}]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 5_000),
        *(json.dumps(GOOD | odd).encode() for odd in ODD_VALUES),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_damaged_status_is_one_plain_error(tmp_path: Path, data: bytes):
    path = tmp_path / "status.json"
    path.write_bytes(data)

    with pytest.raises(CheckpointError) as caught:
        read_status(path)

    assert str(caught.value) == (
        f"the status of the run is damaged\n  where: {path}\n  fix: train again, or resume to write it anew"
    )


def test_status_with_keys_of_a_later_version_is_read(tmp_path: Path):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(GOOD | {"host": "later"}))

    assert read_status(path).state == "done"
