"""Faults at the k-th change on disk, for k = 1, 2, 3, ... until none fails; and the outputs they are tried on.

Run as a program (`faults.py MODE CASE FOLDER`), it kills one forked child a k, and prints what each left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from imagekit.files import atomic, seam

OPERATIONS = (
    "write_all",
    "write_at",
    "fsync",
    "link",
    "clone",
    "replace",
    "rename",
    "unlink",
    "remove_tree",
    "exchange",
    "sync_filesystem",
)
OLD, NEW = b"old" * 10, b"new" * 1000
FILES = ("a.jpg", "n01/b.jpg", "n01/c.jpg")


class FaultAt:
    """A context in which the k-th call through the seam runs `fault(operation, arguments)`, before or after it."""

    def __init__(self, k: int, fault: Callable[[str, tuple[Any, ...]], object], *, after: bool = False) -> None:
        self.left = k
        self.fired = False
        self._fault = fault
        self._after = after
        self._patches = ExitStack()

    def __enter__(self) -> FaultAt:
        for name in OPERATIONS:
            self._patches.enter_context(mock.patch.object(seam, name, self._wrap(name, getattr(seam, name))))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._patches.close()

    def _wrap(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: Any) -> object:
            self.left -= 1
            if self.left == 0:
                self.fired = True
                if not self._after:
                    self._fault(name, args)
                result = call(*args)
                self._fault(name, args)
                return result
            return call(*args)

        return wrapped


def fill(folder: Path, content: bytes) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def state(path: Path) -> str:
    """absent, old, new, or torn."""
    if not path.exists():
        return "absent"
    if path.is_file():
        held = {path.read_bytes()}
    else:
        names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
        held = {(path / name).read_bytes() for name in FILES} if names == sorted(FILES) else {b"torn"}
    return "old" if held == {OLD} else "new" if held == {NEW} else "torn"


class FileCase:
    """write_bytes onto a file."""

    def __init__(self, folder: Path, *, present: bool) -> None:
        self.target = folder / "manifest.parquet"
        self.before = "old" if present else "absent"
        if present:
            self.target.write_bytes(OLD)

    def run(self) -> None:
        atomic.write_bytes(self.target, NEW)

    def heal(self) -> None:
        atomic.heal_file(self.target)


class FolderCase:
    """A folder, built, synced and published."""

    def __init__(self, folder: Path, *, present: bool) -> None:
        self.target = folder / "subset"
        self.before = "old" if present else "absent"
        if present:
            fill(self.target, OLD)

    def run(self) -> None:
        staging = atomic.staging_folder(self.target)
        fill(staging, NEW)
        atomic.sync_tree(staging)
        atomic.publish_folder(staging, self.target)

    def heal(self) -> None:
        atomic.heal_folder(self.target)


CASES = {
    "new file": lambda folder: FileCase(folder, present=False),
    "file over a file": lambda folder: FileCase(folder, present=True),
    "new folder": lambda folder: FolderCase(folder, present=False),
    "folder over a folder": lambda folder: FolderCase(folder, present=True),
}


def die(operation: str, args: tuple[Any, ...]) -> None:
    if operation == "write_all":
        os.write(args[0], args[1][: len(args[1]) // 2])  # killed in the middle of a write
    if operation == "remove_tree":
        shutil.rmtree(args[0] / "n01", ignore_errors=True)  # killed in the middle of a removal
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(k: int, case: FileCase | FolderCase, *, after: bool, exchanging: bool) -> bool:
    """Run the case in a child that is killed at the k-th operation; whether it was."""
    pid = os.fork()
    if pid == 0:
        with FaultAt(k, die, after=after), ExitStack() as stack:
            if not exchanging:
                stack.enter_context(mock.patch.object(seam, "exchange", lambda one, other: False))
            case.run()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def main(mode: str, case_name: str, folder: Path) -> None:
    rows = []
    killed = True
    k = 0
    while killed:
        k += 1
        place = folder / f"k{k}"
        place.mkdir()
        case = CASES[case_name](place)
        killed = kill_at(k, case, after="after" in mode, exchanging="without exchange" not in mode)
        torn_before_healing = state(case.target) == "torn"
        case.heal()
        healed = state(case.target)
        case.run()
        case.heal()
        rest = sorted(path.name for path in place.iterdir() if path != case.target)
        rows.append(
            {
                "k": k,
                "killed": killed,
                "before": case.before,
                "torn": torn_before_healing,
                "healed": healed,
                "again": state(case.target),
                "rest": rest,
            }
        )
    print(json.dumps(rows))  # noqa: T201  (the answer to the test that started this program)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
