"""Tasks that workers of the engine run in its tests; importable by a fresh interpreter."""

import ctypes
import os
import signal
import sys
import threading
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


def chatter(item):
    """Noise in every way a library makes it: half a line through Python, and something on stdout."""
    if item == "half a line":
        sys.stderr.write("half a line")
    if item == "stdout":
        os.write(1, b"out of band\n")
    if item == "noise and death":
        os.write(2, b"last words\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def take_memory(n_bytes):
    return len(bytearray(n_bytes))


def take_memory_or_say_so(n_bytes):
    try:
        return take_memory(n_bytes)
    except MemoryError:
        return "too much"


def take_memory_or_die(n_bytes):
    try:
        return take_memory(n_bytes)
    except MemoryError:
        os.abort()


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def tell_pid(item):
    return os.getpid()


def tell_big(n_bytes):
    return bytes(n_bytes)


def raise_odd_error(item):
    raise OddError("cause", "effect")


def return_a_lock(item):
    return threading.Lock()


class OddError(Exception):
    """Cannot be pickled and rebuilt: it takes two arguments and hands one on."""

    def __init__(self, cause, effect):
        super().__init__(f"{cause} and {effect}")


class Warm:
    """A task that warms up in a given way, and tells how often it did."""

    def __init__(self, how, *, n_bytes=0):
        self.how = how
        self.n_bytes = n_bytes
        self.n_times = 0

    def warm_up(self):
        self.n_times += 1
        if self.how == "noisy":
            os.write(2, b"torch has something to say\n")
        if self.how == "slow":
            time.sleep(0.8)
        if self.how == "hang":
            time.sleep(60)
        if self.how == "fail":
            raise DiskFullError("the disk is full", where="cache", fix="free some space")
        self.kept = bytearray(self.n_bytes)

    def __call__(self, item):
        return self.n_times if item is None else take_memory(item)


class HangAfterMark:
    """Writes its process id to the file it is given, then hangs, or works for a short while again and again."""

    def __init__(self, how):
        self.how = how

    def __call__(self, item):
        with Path(item).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(60 if self.how == "hang" else 0.05)
