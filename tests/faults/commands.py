"""The command line as a process of its own, in a group of its own, so that it can be interrupted as a terminal does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RECIPES = '[tiny]\nlayout = "split/class"\nsplit = "folders"\nsizes = ["full", 4]\n'


def start(source: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """`imagekit make-subset tiny SOURCE -o OUTPUT`, started; the recipe takes every class of split folders."""
    recipes = source.with_name("recipes.toml")
    recipes.write_text(RECIPES)
    return start_command("make-subset", "tiny", source, "-o", output, "--recipes", recipes, *options)


def start_command(*words: str | Path) -> subprocess.Popen[str]:
    """`imagekit WORDS`, started."""
    return subprocess.Popen(
        [sys.executable, "-m", "imagekit", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(source: Path, output: Path, *options: str) -> tuple[int, str, str]:
    """The same to its end: exit code, stdout, stderr."""
    return end_of(start(source, output, *options))


def command(*words: str | Path) -> tuple[int, str, str]:
    """`imagekit WORDS` to its end: exit code, stdout, stderr."""
    return end_of(start_command(*words))


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for it: exit code, stdout, stderr."""
    out, err = process.communicate()
    return process.returncode, out, err


def signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the command and its workers, as Ctrl-C in a terminal does; nothing where all have ended."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def wait_for(path: Path, process: subprocess.Popen[str] | None = None, *, timeout_s: float = 30) -> None:
    """Wait until something is there, or the process that makes it has ended."""
    end = time.monotonic() + timeout_s
    while not path.exists() and (process is None or process.poll() is None):
        assert time.monotonic() < end, path
        time.sleep(0.002)


def is_group_gone(process: subprocess.Popen[str], *, timeout_s: float = 10) -> bool:
    """Whether every process of the group ends within a time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
