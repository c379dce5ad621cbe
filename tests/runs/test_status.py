"""status.json: written whole, read with care; a run lives as long as its lock is held."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.errors import CheckpointError
from imagekit.files import lock
from imagekit.files.lock import output_lock
from imagekit.runs.status import STATES, Status, is_alive, read_status, write_status


@pytest.mark.parametrize("state", STATES)
def test_status_reads_back_as_it_was_written(tmp_path: Path, state: str):
    path = tmp_path / "status.json"

    written = write_status(path, state=state, epoch=2, n_epochs=5)

    assert read_status(path) == written
    assert (written.state, written.pid, written.epoch, written.n_epochs) == (state, os.getpid(), 2, 5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", written.heartbeat)


def status_of(pid: int) -> Status:
    return Status(state="running", pid=pid, epoch=0, n_epochs=1, heartbeat="")


def test_a_run_lives_as_long_as_its_lock_is_held_whatever_has_its_pid_now(tmp_path: Path):
    run = tmp_path / "run"

    with output_lock(run):
        while_held = is_alive(run, status_of(2**30))

    assert while_held
    assert not is_alive(run, status_of(os.getpid()))


def test_a_run_that_was_started_through_a_link_lives_by_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")

    with output_lock(tmp_path / "real"):
        found = [is_alive(run, status_of(0)) for run in (tmp_path / "link", Path(), Path("../real/."), Path("../link"))]

    assert found == [True] * 4


def test_where_locks_cannot_be_asked_the_pid_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".run.imagekit-lock").touch()
    monkeypatch.setattr(lock.fcntl, "flock", fail)
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()

    alive = {pid: is_alive(tmp_path / "run", status_of(pid)) for pid in (os.getpid(), 1, gone.pid, 0, -1, 2**70)}

    # 1 lives, whoever it belongs to
    assert alive == {os.getpid(): True, 1: True, gone.pid: False, 0: False, -1: False, 2**70: False}


def test_missing_status_says_so(tmp_path: Path):
    path = tmp_path / "status.json"

    with pytest.raises(CheckpointError) as caught:
        read_status(path)

    assert str(caught.value) == (
        "the status of the run cannot be read: No such file or directory\n"
        f"  where: {path}\n"
        "  fix: name the folder of a run"
    )


GOOD = {"state": "done", "pid": 1, "epoch": 1, "n_epochs": 1, "heartbeat": "2026-01-02T03:04:05.678+00:00"}


ODD_VALUES: list[dict[str, object]] = [
    *({"state": "odd"}, {"state": []}, {"pid": "1"}, {"epoch": None}),
    *({"heartbeat": odd} for odd in ("x", "", 1, None, "2026-01-02T03:04:05", "2026-01-02T03:04:05+01:00")),
]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 5_000),
        *(pytest.param(json.dumps(GOOD | odd).encode(), id=str(odd)) for odd in ODD_VALUES),
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
