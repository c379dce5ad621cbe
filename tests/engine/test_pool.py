"""The engine: every item answered once, whatever its worker does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine.crash_tasks import Unimportable, fill_disk, misbehave, square

from imagekit.engine.pool import Done, Failed, run_items
from imagekit.errors import DiskFullError, ImagekitError


def collect(task, items, **options):
    return {result.index: result for result in run_items(task, items, **options)}


@pytest.mark.parametrize("n_items", [0, 1, 15, 16, 17, 200])
def test_every_item_is_answered_exactly_once(n_items):
    results = list(run_items(square, range(n_items), n_workers=2))

    assert sorted((result.index, result.value) for result in results) == [(n, n * n) for n in range(n_items)]


@pytest.mark.parametrize("kind", ["crash", "kill"])
def test_a_crash_costs_one_item_and_names_the_signal(kind):
    items = [("fine", n) for n in range(40)]
    items[5] = items[30] = (kind, 0)

    results = collect(misbehave, items, n_workers=2)

    assert len(results) == 40
    words = "the decoder died (SIGSEGV)" if kind == "crash" else "the decoder died (SIGKILL)"
    failures = {index: result for index, result in results.items() if isinstance(result, Failed)}
    assert sorted(failures) == [5, 30]
    assert all(failure.reason == "decoder-crash" for failure in failures.values())
    assert all(failure.detail.startswith(words) for failure in failures.values())


def test_a_hanging_item_is_ended_at_the_time_limit():
    items = [("fine", 0), ("hang", 1), ("fine", 2)]

    results = collect(misbehave, items, n_workers=1, timeout_s=0.5)

    assert results[1] == Failed(1, "timeout", "took longer than 0.5 s")
    assert [results[0], results[2]] == [Done(0, 0), Done(2, 2)]


def test_what_a_library_writes_to_stderr_stays_with_its_item():
    results = collect(misbehave, [("fine", 0), ("noise", 1), ("fine", 2)], n_workers=1)

    assert [results[index].noise for index in range(3)] == ["", "libtiff: odd tag", ""]


def test_an_error_of_the_task_reaches_the_caller_with_its_cure_and_the_item():
    with pytest.raises(DiskFullError) as caught:
        list(run_items(fill_disk, [3], n_workers=1))

    assert str(caught.value) == "the disk is full\n  where: out\n  fix: free some space"
    assert caught.value.__notes__ == ["while working on 3"]


def test_a_worker_that_cannot_start_is_an_error_with_its_last_words():
    with pytest.raises(ImagekitError) as caught:
        list(run_items(Unimportable(), [1], n_workers=1))

    assert str(caught.value) == (
        "a worker process ended before it took any work (exit status 7): no such module here\n"
        "  fix: run imagekit doctor; if memory is short, give fewer --workers"
    )


def test_no_workers_is_an_error():
    with pytest.raises(ImagekitError) as caught:
        list(run_items(square, [1], n_workers=0))

    assert str(caught.value) == "n_workers is 0, must be at least 1\n  fix: give --workers 1 or more"


def test_items_are_taken_lazily():
    taken = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = run_items(square, items(), n_workers=1)
    next(results)
    results.close()

    assert len(taken) <= 4 * 16


def test_leaving_early_ends_the_workers(tmp_path):
    marks = [str(tmp_path / f"{n}") for n in range(2)]

    script = (
        "import sys, threading; sys.path.insert(0, sys.argv[1]); from crash_tasks import start_then_wait\n"
        "from imagekit.engine.pool import run_items\n"
        "list(run_items(start_then_wait, sys.argv[2:], n_workers=2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent), *marks])
    deadline = time.monotonic() + 30
    while not Path(marks[0]).exists() or not Path(marks[0]).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker_pid = int(Path(marks[0]).read_text())
    parent.send_signal(signal.SIGINT)
    parent.wait(30)

    with pytest.raises(ProcessLookupError):
        os.kill(worker_pid, 0)
