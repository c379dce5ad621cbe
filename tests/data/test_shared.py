"""Memory without a name that a process shares with those that it starts."""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from data.open_files import n_open_files

from imagekit.data.shared import SharedBytes


def write_seven(memory):
    np.frombuffer(memory.view, np.uint8)[:] = 7


@pytest.mark.parametrize("size", [0, 1, 5, 10_000])
def test_new_bytes_are_zero_and_as_many_as_asked_for_and_at_least_one(size):
    memory = SharedBytes(size)

    assert bytes(memory.view) == bytes(max(1, size))


def test_what_a_forked_process_writes_is_seen_here():
    memory = SharedBytes(5)
    process = multiprocessing.get_context("fork").Process(target=write_seven, args=(memory,))

    process.start()
    process.join()

    assert bytes(memory.view) == bytes([7] * 5)


def test_the_memory_is_no_file_of_dev_shm_and_has_no_other_name():
    memory = SharedBytes(5)

    path = Path(f"/proc/self/fd/{memory.fd}").readlink()

    assert str(path) == "/memfd:imagekit (deleted)"
    assert not os.get_inheritable(memory.fd)


def test_without_memfd_it_is_a_file_that_has_no_name_either(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    memory = SharedBytes(5)

    assert bytes(memory.view) == bytes(5)
    assert list(tmp_path.iterdir()) == []
    assert Path(f"/proc/self/fd/{memory.fd}").readlink().parent == tmp_path


def test_closing_it_gives_the_descriptor_back_and_keeps_what_is_looked_at():
    before = n_open_files()
    memory = SharedBytes(5)
    array = np.frombuffer(memory.view, np.uint8)
    array[0] = 3

    memory.close()
    memory.close()

    assert array.tolist() == [3, 0, 0, 0, 0]
    del memory, array
    assert n_open_files() <= before


def test_memory_that_nobody_closed_is_given_back_too():
    before = n_open_files()

    for _ in range(5):
        SharedBytes(5)

    assert n_open_files() <= before


def test_a_size_that_cannot_be_leaves_no_descriptor():
    before = n_open_files()

    with pytest.raises(OSError, match=r"File too large|Cannot allocate memory"):
        SharedBytes(2**63 - 1)

    assert n_open_files() <= before


def test_a_worker_that_was_started_anew_gets_the_memory_too():
    memory = SharedBytes(5)
    process = multiprocessing.get_context("spawn").Process(target=shutil.copyfileobj, args=(Nothing(), Writer(memory)))

    process.start()
    process.join()

    assert (process.exitcode, bytes(memory.view)) == (0, b"hello")


class Nothing:
    """Reads as five bytes and the end."""

    def __init__(self):
        self.left = [b"hello"]

    def read(self, n):
        return self.left.pop() if self.left else b""


class Writer:
    """Writes into shared memory."""

    def __init__(self, memory):
        self.memory = memory

    def write(self, data):
        self.memory.view[:] = data
