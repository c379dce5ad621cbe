"""Memory that was freed is used again, not fetched anew."""

import ctypes
import subprocess
import sys

import pytest

from imagekit.learner.allocator import keep_freed_memory

PROGRAM = """
import resource, sys
import numpy as np
from imagekit.learner.allocator import keep_freed_memory

def touch():
    for _ in range(4):  # as a step: two large blocks, made and freed
        blocks = [np.empty(48 * 2**20, np.uint8) for _ in range(2)]
        for block in blocks:
            block.fill(1)
        del blocks, block

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
touch()
before = faults()
touch()
print(faults() - before)
"""


def count_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_the_pages_of_freed_blocks_are_not_touched_for_the_first_time_again() -> None:
    pages = 4 * 2 * 48 * 2**20 // 4096

    assert count_faults("plain") > pages / 600  # two megabytes a page at most
    assert count_faults("keep") < 100


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False


def test_a_library_without_that_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())

    assert keep_freed_memory() is False
