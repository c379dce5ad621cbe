"""Be killed at the k-th change on disk, for k = 1, 2, ... until none is left; print what was there each time.

`kill_program.py FOLDER`: all scenarios, one after another, for most of the time goes into the start of a program. A
child is forked a k; nothing but the fork is done between its start and the kill.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from faults.scenarios import SCENARIOS, Stage, without_disk
from files.faults import FaultAt


def die(operation: str, args: tuple[Any, ...], *, note: Path) -> None:
    """Be killed; what can be half done is half done. note: a file to write the operation's name to."""
    note.write_text(operation)
    if operation == "write_all":
        os.write(args[0], args[1][: len(args[1]) // 2])
    if operation == "remove_tree":
        inner = sorted(path for path in args[0].rglob("*") if path.is_dir())
        shutil.rmtree(inner[len(inner) // 2])
    if operation == "clone":
        args[1].touch()
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(k: int, stage: Stage, output: Path) -> bool:
    """Build in a child that is killed at the k-th operation; whether it was."""
    pid = os.fork()
    if pid == 0:
        with FaultAt(k, partial(die, note=output.with_name("operation"))):
            stage.build(output)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def kills(stage: Stage) -> list[dict[str, Any]]:
    """A row a k."""
    rows: list[dict[str, Any]] = []
    killed, k = True, 0
    while killed:
        k += 1
        output = stage.place(k)
        killed = killed_at(k, stage, output)
        found, noted = stage.found(output), output.with_name("operation")
        operation = noted.read_text() if killed else None
        noted.unlink(missing_ok=True)
        report = stage.build(output)
        rest = sorted(path.name for path in output.parent.iterdir() if path != output)
        rows.append(
            {
                "k": k,
                "operation": operation,
                "found": found,
                "again": stage.found(output),
                "exit_code": report.exit_code,
                "rest": rest,
                "clean": stage.is_clean(),
            }
        )
    return rows


def main(folder: Path) -> None:
    """Print the rows of each scenario, by its name."""
    rows = {}
    for number, name in enumerate(SCENARIOS):
        (folder / f"{number}").mkdir()
        rows[name] = kills(Stage(name, folder / f"{number}"))
    print(json.dumps(rows))  # noqa: T201  (the answer to the tests that started this program)


if __name__ == "__main__":
    with without_disk():
        main(Path(sys.argv[1]))
