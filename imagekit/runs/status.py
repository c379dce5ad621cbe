"""status.json: what became of a run, and whether the process that wrote it still lives."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imagekit.errors import CheckpointError
from imagekit.files.jsonl import write_json
from imagekit.files.lock import is_locked

STATES = ("running", "interrupted", "failed", "done")


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The state of a run when its process last said so.

    state: one of STATES; pid: the process; epoch: whole epochs done; n_epochs: epochs asked for; heartbeat: UTC, ISO
    8601.
    """

    state: str
    pid: int
    epoch: int
    n_epochs: int
    heartbeat: str


def utc_now() -> str:
    """The time now, in UTC, to the millisecond, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_status(path: Path, *, state: str, epoch: int, n_epochs: int) -> Status:
    """Write and return the status of this process's run, atomically."""
    status = Status(state=state, pid=os.getpid(), epoch=epoch, n_epochs=n_epochs, heartbeat=utc_now())
    write_json(path, asdict(status))
    return status


def read_status(path: Path) -> Status:
    """The status at `path`. Raises CheckpointError if there is none or it cannot be read."""
    try:
        fields = json.loads(path.read_bytes())
        status = Status(**{name: fields[name] for name in Status.__slots__})
        if status.state not in STATES or not all(type(n) is int for n in (status.pid, status.epoch, status.n_epochs)):
            raise ValueError(f"state {status.state!r}, pid {status.pid!r}")
        if datetime.fromisoformat(status.heartbeat).utcoffset() != timedelta(0):
            raise ValueError(f"heartbeat {status.heartbeat!r}")
    except OSError as error:
        raise CheckpointError(
            f"the status of the run cannot be read: {error.strerror}", where=str(path), fix="name the folder of a run"
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            "the status of the run is damaged", where=str(path), fix="train again, or resume to write it anew"
        ) from error
    return status


def is_alive(run: Path, status: Status) -> bool:
    """Whether the process that wrote the status of `run` still writes it: it holds the output's lock until it ends.

    Where the lock cannot be asked (its file system has none, or it is someone else's and may not be read), any
    process with the pid of the status counts.
    """
    try:
        # a run that was started through a link is locked beside the link
        return any(is_locked(path) for path in {run.absolute(), run.resolve()})
    except OSError:
        return _has_process(status.pid)


def _has_process(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, and belongs to someone else
        return True
    return True
