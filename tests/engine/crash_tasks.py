"""Tasks that workers of the engine run in its tests; importable by a fresh interpreter."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from imagekit.errors import DiskFullError


def square(number):
    return number * number


def misbehave(item):
    kind, number = item
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(60)
    if kind == "noise":
        os.write(2, b"libtiff: odd tag\n")
    return number


def fill_disk(number):
    raise DiskFullError("the disk is full", where="out", fix="free some space")


def start_then_wait(item):
    Path(item).write_text(str(os.getpid()))
    time.sleep(60)


class Unimportable:
    def __reduce__(self):
        return (exit_at_once, ())

    def __call__(self, item):
        return item


def exit_at_once():
    sys.stderr.write("no such module here")
    sys.stderr.flush()
    os._exit(7)
