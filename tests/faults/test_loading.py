"""Rows 30 and 34 of the threat table: workers that make batches, and the ends that they and their parent come to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from data.rows import Rows, told

from imagekit.data.batches import collate, padding_collate
from imagekit.data.loaders import Loader
from imagekit.transforms.resize import ResizeFixed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def nap(row: int) -> None:
    time.sleep(0.005)


def slow_loader(**options: Any) -> Loader[Rows]:
    """Batches that take a while, from two workers."""
    return Loader(
        Rows(60, transforms=[ResizeFixed(4)], on_read=nap), batch_size=2, shuffle=False, n_workers=2, **options
    )


Ready = Callable[[], object]
Body = Callable[[Ready], None]


@contextmanager
def started(body: Body) -> Iterator[int]:
    """Run the body in a forked process with a group of its own until it says that it is ready; its pid."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = 1
        try:
            body(lambda: os.write(write, b"1"))
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    try:
        assert os.read(read, 1) == b"1"
        yield pid
    finally:
        os.close(read)
        for each in living(pid):
            os.kill(each, signal.SIGKILL)


def living(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = path.joinpath("stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.name))
    return found


def seconds_until_gone(group: int, *, timeout_s: float = 8) -> float:
    """How long a group lives on."""
    begun = time.monotonic()
    while living(group) and time.monotonic() - begun < timeout_s:
        time.sleep(0.01)
    return time.monotonic() - begun


def idle(ready: Ready) -> None:
    """All work is done."""
    loader = slow_loader()
    list(loader)
    ready()
    signal.pause()


def working(ready: Ready) -> None:
    """Workers are in the middle of their batches."""
    loader = slow_loader()
    for _ in loader:
        ready()
        signal.pause()


def talking(ready: Ready) -> None:
    """Workers write results that are too large for a pipe, and nobody reads them; two loaders have a hand in it."""
    iterators = [iter(slow_loader(collate=lambda samples: bytes(2**20))) for _ in range(2)]
    for each in iterators:
        next(each)
    time.sleep(0.1)
    ready()
    signal.pause()


def with_a_friend(ready: Ready) -> None:
    """Another process was forked, which holds all pipes open and does not end."""
    loader = slow_loader()
    next(iter(loader))
    if os.fork() == 0:
        os.setsid()
        time.sleep(3)
        os._exit(0)
    ready()
    signal.pause()


@pytest.mark.parametrize("body", [idle, working, talking, with_a_friend])
def test_workers_end_soon_after_their_parent_was_killed(body: Body, capfd: pytest.CaptureFixture[str]) -> None:
    with started(body) as pid:
        n_before = len(living(pid))

        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        assert n_before >= 3
        assert seconds_until_gone(pid) < 2.5
    assert capfd.readouterr() == ("", "")


def go_through_ctrl_c(ready: Ready) -> None:
    """Be interrupted, close, and do it all again."""
    loader = slow_loader()
    with pytest.raises(KeyboardInterrupt):
        for batch in loader:
            if batch.number == 2:
                ready()
    assert len(multiprocessing.active_children()) in (0, 2)  # ended, where the interrupt came between two messages
    assert [batch.number for batch in loader] == list(range(30))
    loader.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("delay_s", [0, 0.003, 0.008])
def test_ctrl_c_for_the_whole_group_is_the_parents_alone_to_act_on(
    delay_s: float, capfd: pytest.CaptureFixture[str]
) -> None:
    with started(go_through_ctrl_c) as pid:
        time.sleep(delay_s)
        os.killpg(pid, signal.SIGINT)
        _, status = os.waitpid(pid, 0)

        assert capfd.readouterr() == ("", "")
        assert os.waitstatus_to_exitcode(status) == 0
        assert living(pid) == []


def end_with_workers(ready: Ready) -> None:
    """Come to the end of the program with a loader that nobody closed."""
    loader = slow_loader()
    next(iter(loader))
    ready()
    multiprocessing.util._exit_function()


def test_a_program_that_ends_takes_its_workers_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    with started(end_with_workers) as pid:
        _, status = os.waitpid(pid, 0)

        assert (os.waitstatus_to_exitcode(status), living(pid)) == (0, [])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("collate_fn", [collate, padding_collate])
def test_no_batch_needs_shared_memory_of_the_system(
    collate_fn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("/dev/shm is full")

    for name in ("_share_fd_cpu_", "_share_filename_cpu_", "_new_shared"):
        monkeypatch.setattr(torch.UntypedStorage, name, refuse)
    monkeypatch.setattr("_posixshmem.shm_open", refuse)
    options = {"batch_size": 4, "shuffle": True, "collate": collate_fn}
    rows = Rows(13, transforms=[ResizeFixed(4)])

    with closing(Loader(rows, n_workers=2, **options)) as loader:
        got = [told(batch) for batch in loader]

    assert got == [told(batch) for batch in Loader(rows, n_workers=0, **options)]
