"""Locks: one writer an output, gone with its process, and nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagekit.errors import LockedError, OutputError
from imagekit.files import lock
from imagekit.files.lock import is_locked, output_lock

HOLD = """
import sys
from imagekit.files.lock import output_lock
with output_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
FAIL = """
import sys
from imagekit.errors import ImagekitError
from imagekit.files.lock import output_lock
try:
    with output_lock(sys.argv[1]):
        print("held")
except ImagekitError as error:
    print(error)
    sys.exit(error.exit_code)
"""
# a worker forked while the lock is held lives on after its parent was killed
FORK = """
import os, sys
from imagekit.files.lock import output_lock
with output_lock(sys.argv[1]):
    parent = os.getpid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.kill(parent, 9)
        sys.stdin.read()
        os._exit(0)
    os.wait()
"""


@contextmanager
def held_elsewhere(output: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, output], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_exits_4_and_names_the_first(tmp_path: Path) -> None:
    output = tmp_path / "out"

    with held_elsewhere(output) as first:
        second = subprocess.run([sys.executable, "-c", FAIL, output], capture_output=True, text=True, check=False)

    assert second.returncode == 4
    assert second.stdout == (
        f"another process (pid {first.pid}) is writing out\n"
        f"  where: {output}\n  fix: wait until it has ended, or choose another output\n"
    )


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with held_elsewhere(output) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()

        with output_lock(output):
            held = (tmp_path / ".out.imagekit-lock").read_text()

    assert held == f"{os.getpid()}\n"


def test_whether_a_lock_is_held_can_be_asked_and_a_kill_lets_go_of_it(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with held_elsewhere(output) as first:
        while_held = is_locked(output)
        first.send_signal(signal.SIGKILL)
        first.wait()

        after_kill = is_locked(output)

    assert (while_held, after_kill) == (True, False)
    assert (tmp_path / ".out.imagekit-lock").read_text() == f"{first.pid}\n"


def test_asking_for_a_lock_creates_nothing_and_leaves_it_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "out")
    assert not is_locked(tmp_path / "nowhere" / "out")
    assert list(tmp_path.iterdir()) == []

    (tmp_path / ".out.imagekit-lock").touch(mode=0o444)
    assert not is_locked(tmp_path / "out")
    with output_lock(tmp_path / "out"):
        assert is_locked(tmp_path / "out")
        assert is_locked(tmp_path / "out")


def test_a_child_forked_while_a_lock_is_asked_for_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copies, flock = tmp_path / ".out.imagekit-lock", [], lock.fcntl.flock
    path.touch()

    def copy_what_a_fork_would(fd: int, operation: int) -> None:
        flock(fd, operation)
        copies.append(os.dup(fd))  # shares the lock, as the descriptor of a forked child does

    monkeypatch.setattr(lock.fcntl, "flock", copy_what_a_fork_would)
    asked = is_locked(tmp_path / "out")
    monkeypatch.undo()

    with output_lock(tmp_path / "out"):
        held = path.read_text()

    assert (asked, held) == (False, f"{os.getpid()}\n")
    for fd in copies:
        os.close(fd)


@pytest.mark.timeout(10)
def test_asking_for_a_lock_that_cannot_be_told_is_an_error_and_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    os.mkfifo(tmp_path / ".out.imagekit-lock")
    assert not is_locked(tmp_path / "out")
    monkeypatch.setattr(lock.fcntl, "flock", fail)

    with pytest.raises(OSError, match="No locks available"):
        is_locked(tmp_path / "out")


def test_forked_workers_do_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, tmp_path / "out"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.wait()
        os.kill(worker, 0)  # alive

        with output_lock(tmp_path / "out"):
            holder = (tmp_path / ".out.imagekit-lock").read_text()

    assert holder == f"{os.getpid()}\n"


def test_a_forked_child_that_leaves_the_block_does_not_release_the_lock(tmp_path: Path) -> None:
    output = tmp_path / "out"
    script = """
import os, sys
from imagekit.files.lock import output_lock
path = sys.argv[1]
with output_lock(path):
    parent = os.getpid()
    if os.fork():
        os.wait()
        sys.stdout.write(str(os.path.exists(os.path.join(os.path.dirname(path), ".out.imagekit-lock"))))
        sys.stdout.flush()
"""

    shown = subprocess.run([sys.executable, "-c", script, output], capture_output=True, text=True, check=True)

    assert shown.stdout == "True"


def test_releasing_leaves_no_file_behind_also_after_an_error(tmp_path: Path) -> None:
    with output_lock(tmp_path / "out"):
        pass
    with pytest.raises(KeyboardInterrupt), output_lock(tmp_path / "out"):
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []
    assert not lock._held


def test_the_same_process_cannot_lock_an_output_twice(tmp_path: Path) -> None:
    output = tmp_path / "out"

    with output_lock(output), pytest.raises(LockedError) as caught, output_lock(tmp_path / "." / "out"):
        pass

    assert caught.value.what == f"another process (pid {os.getpid()}) is writing out"


def test_different_outputs_do_not_block_each_other(tmp_path: Path) -> None:
    with output_lock(tmp_path / "a"), output_lock(tmp_path / "b"):
        names = sorted(path.name for path in tmp_path.iterdir())

    assert names == [".a.imagekit-lock", ".b.imagekit-lock"]


def test_a_lock_file_without_a_pid_is_still_a_lock(tmp_path: Path) -> None:
    with output_lock(tmp_path / "out"):
        (tmp_path / ".out.imagekit-lock").write_text("")
        with pytest.raises(LockedError) as caught, output_lock(tmp_path / "out"):
            pass

    assert caught.value.what == "another process is writing out"


def test_a_lock_file_removed_between_opening_and_locking_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".out.imagekit-lock"
    flock = lock.fcntl.flock
    calls: list[int] = []

    def remove_first(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            path.unlink()  # what the process that held it before does at its release
        flock(fd, operation)

    monkeypatch.setattr(lock.fcntl, "flock", remove_first)

    with output_lock(tmp_path / "out"):
        assert path.read_text() == f"{os.getpid()}\n"

    assert len(calls) == 2


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    with output_lock(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b" / ".out.imagekit-lock").exists()


def test_an_output_below_a_file_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError) as caught, output_lock(tmp_path / "file" / "out"):
        pass

    assert str(caught.value) == (
        f"cannot write beside out: its folder is a file\n  where: {tmp_path / 'file' / 'out'}\n"
        "  fix: choose an output in a folder that you may write to"
    )


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", fail)

    with pytest.raises(OutputError, match="cannot write beside out: No locks available"), output_lock(tmp_path / "out"):
        pass


def test_names_of_255_bytes_can_be_locked(tmp_path: Path) -> None:
    with output_lock(tmp_path / ("é" * 127 + "x")):
        (name,) = [path.name for path in tmp_path.iterdir()]

    assert name.startswith(".")
    assert name.endswith(".imagekit-lock")
