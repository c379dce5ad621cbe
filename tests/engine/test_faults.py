"""The engine under odd tasks and hostile surroundings: memory, warming up, noise, death between chunks, orphans."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from engine.crash_tasks import (
    Warm,
    chatter,
    misbehave,
    nap,
    raise_odd_error,
    return_a_lock,
    square,
    take_memory,
    take_memory_or_die,
    take_memory_or_say_so,
    tell_big,
    tell_pid,
)

from imagekit.engine import pool, process
from imagekit.engine.channel import WAITING
from imagekit.engine.pool import Done, Failed, Workers, collect_facts, run_items
from imagekit.errors import DiskFullError, ImagekitError

MB = 2**20
TESTS = str(Path(__file__).resolve().parent.parent)
ONLY_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts what a process maps")

ORPHANS = """
import sys
from engine.crash_tasks import HangAfterMark
from imagekit.engine import pool
pool.ORPHAN_SECONDS = 0.5
list(pool.run_items(HangAfterMark(sys.argv[1]), [sys.argv[2]] * 1000, n_workers=1, timeout_s=float(sys.argv[3])))
"""
FROM_THE_CURRENT_FOLDER = """
from imagekit.engine.pool import run_items
from own_task import double
print([result.value for result in run_items(double, [21], n_workers=1)])
"""


def collect(task, items, **options):
    return {result.index: result for result in run_items(task, items, **options)}


def run_script(script, *words, cwd=None):
    """A Python process that finds the tests' modules, and its output once it has ended."""
    env = os.environ | {"PYTHONPATH": TESTS}
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def is_alive(pid):
    """Whether the process runs; one that has ended and that nobody has asked after is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return False
    return state != "Z"


# -- memory --------------------------------------------------------------------------------------------------------


@ONLY_LINUX
def test_an_item_that_needs_too_much_memory_is_a_bomb_and_costs_one_item():
    results = collect(take_memory, [MB, 900 * MB, MB], n_workers=1, memory_limit_bytes=300 * MB)

    assert results == {
        0: Done(0, MB),
        1: Failed(1, "bomb", "it needs more memory than a worker may have"),
        2: Done(2, MB),
    }


@ONLY_LINUX
def test_a_task_that_knows_what_to_do_without_memory_does_it():
    results = collect(take_memory_or_say_so, [MB, 900 * MB], n_workers=1, memory_limit_bytes=300 * MB)

    assert [results[0].value, results[1].value] == [MB, "too much"]


@ONLY_LINUX
def test_a_worker_that_dies_for_lack_of_memory_costs_one_item():
    results = collect(take_memory_or_die, [MB, 900 * MB, MB], n_workers=1, memory_limit_bytes=300 * MB)

    assert [results[0], results[2]] == [Done(0, MB), Done(2, MB)]
    assert results[1] == Failed(1, "decoder-crash", "the decoder died (SIGABRT)")


@ONLY_LINUX
def test_what_warming_up_took_does_not_count_against_the_limit():
    results = collect(Warm("big", n_bytes=500 * MB), [100 * MB], n_workers=1, memory_limit_bytes=300 * MB)

    assert results == {0: Done(0, 100 * MB)}


def test_without_a_limit_memory_is_what_the_machine_has():
    assert collect(take_memory, [300 * MB], n_workers=1) == {0: Done(0, 300 * MB)}


# -- warming up ----------------------------------------------------------------------------------------------------


def test_a_worker_warms_up_once_before_its_first_item():
    assert [result.value for result in run_items(Warm("plain"), [None] * 20, n_workers=1)] == [1] * 20


def test_an_error_while_warming_up_reaches_the_caller_as_it_is():
    with pytest.raises(DiskFullError) as caught:
        list(run_items(Warm("fail"), [None], n_workers=2))

    assert str(caught.value) == "the disk is full\n  where: cache\n  fix: free some space"
    assert caught.value.__notes__ == ["while a worker warmed up"]


def test_warming_up_may_take_longer_than_an_item_may():
    assert collect(Warm("slow"), [None], n_workers=1, timeout_s=0.4) == {0: Done(0, 1)}


def test_warming_up_for_ever_is_an_error(monkeypatch):
    monkeypatch.setattr(pool, "START_SECONDS", 0.5)

    with pytest.raises(ImagekitError) as caught:
        list(run_items(Warm("hang"), [None], n_workers=1))

    assert str(caught.value) == (
        "a worker process was not ready after 0.5 s\n"
        "  fix: run imagekit doctor; if the machine is busy, run the same command again"
    )


def test_workers_can_be_started_before_there_is_work():
    with Workers(Warm("plain"), n_workers=2) as workers:
        workers.start()
        pids = [worker.process.pid for worker in workers.workers]

        values = [result.value for result in workers.run([None] * 5)]

        assert [worker.process.pid for worker in workers.workers] == pids
    assert len(pids) == 2
    assert values == [1] * 5
    assert not any(is_alive(pid) for pid in pids)


# -- noise ---------------------------------------------------------------------------------------------------------


def test_half_a_line_of_noise_does_not_wait_for_the_next_item():
    results = collect(chatter, ["fine", "half a line", "fine"], n_workers=1)

    assert [results[index].noise for index in range(3)] == ["", "half a line", ""]


def test_what_warming_up_said_is_no_noise_of_the_first_item():
    assert collect(Warm("noisy"), [None], n_workers=1) == {0: Done(0, 1, "")}


def test_the_last_words_of_a_dying_worker_go_with_the_item_that_killed_it():
    results = collect(chatter, ["half a line", "noise and death", "fine"], n_workers=1)

    assert results[0].noise == "half a line"
    assert results[1] == Failed(1, "decoder-crash", "the decoder died (SIGKILL); it said: last words")
    assert results[2].noise == ""


def test_what_a_task_prints_does_not_reach_our_stdout(capfd):
    results = collect(chatter, ["stdout"], n_workers=1)

    assert results == {0: Done(0, "stdout")}
    assert capfd.readouterr() == ("", "")


# -- errors that do not travel -------------------------------------------------------------------------------------


def test_an_error_that_cannot_be_rebuilt_arrives_in_words():
    with pytest.raises(ImagekitError) as caught:
        list(run_items(raise_odd_error, ["a.jpg"], n_workers=1))

    assert str(caught.value) == "the task of a worker failed: OddError: cause and effect"
    assert caught.value.__notes__ == ["while working on 'a.jpg'"]


def test_a_result_that_cannot_be_sent_is_an_error_of_the_task():
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object") as caught:
        list(run_items(return_a_lock, ["a.jpg"], n_workers=1))

    assert caught.value.__notes__ == ["while sending the results of 'a.jpg' and 0 more"]


def test_a_worker_that_the_system_refuses_is_an_error(monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(process.subprocess, "Popen", refuse)

    with pytest.raises(ImagekitError) as caught:
        list(run_items(square, [1], n_workers=1))

    assert str(caught.value) == (
        "a worker process cannot be started: Resource temporarily unavailable\n"
        "  fix: run imagekit doctor; if memory is short, give fewer --workers"
    )


# -- time, and death between chunks ----------------------------------------------------------------------------------


def test_a_caller_that_is_busy_for_longer_than_the_time_limit_blames_nobody():
    answered = []
    for result in run_items(square, range(100), n_workers=2, timeout_s=0.5):
        if len(answered) == 40:
            time.sleep(0.8)
        answered.append(result)

    assert sorted((result.index, result.value) for result in answered) == [(n, n * n) for n in range(100)]


def test_a_worker_that_is_killed_while_it_waits_costs_no_item():
    answered, deadline = [], time.monotonic() + 30
    with Workers(tell_pid, n_workers=1) as workers:
        for result in workers.run(range(100)):
            answered.append(result)
            if len(answered) == 10:
                (worker,) = workers.workers
                while worker.now() != (worker.pending[-1][-1][0], WAITING):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                time.sleep(0.1)  # for its answer to be sent
                os.kill(result.value, signal.SIGKILL)

    assert sorted(result.index for result in answered if isinstance(result, Done)) == list(range(100))
    assert len({result.value for result in answered}) == 2


def test_items_that_take_long_are_shared_out_evenly():
    pids = Counter(result.value for result in run_items(nap, [0.1] * 12, n_workers=2))

    assert min(pids.values()) >= 3  # in one chunk they would all be one worker's
    assert len(pids) == 2


def test_large_results_arrive():
    results = collect(tell_big, [3 * MB] * 6, n_workers=2)

    assert [len(results[index].value) for index in range(6)] == [3 * MB] * 6


def test_facts_of_a_failed_item_are_its_reason_and_detail():
    kept = []

    facts = collect_facts(
        misbehave,
        [("hang", 1), ("fine", {"a": 1})],
        n_workers=2,
        timeout_s=0.5,
        memory_limit_bytes=500 * MB,
        keep=lambda index, row: kept.append(index),
    )

    assert facts == [{"reason": "timeout", "detail": "took longer than 0.5 s"}, {"a": 1}]
    assert sorted(kept) == [0, 1]


# -- surroundings --------------------------------------------------------------------------------------------------


def test_a_folder_full_of_modules_does_not_get_into_the_workers(tmp_path):
    for name in ("pickle", "struct", "gc", "signal", "difflib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    script = (
        "import sys; sys.path.remove('')\n"  # as the installed command has it: its own folder, not the current one
        "from imagekit.engine.pool import run_items\n"
        "from engine.crash_tasks import square\n"
        "print([result.value for result in run_items(square, [3], n_workers=1)])"
    )

    shown = run_script(script, cwd=tmp_path)

    assert (shown.stdout, shown.stderr) == ("[9]\n", "")


def test_a_task_beside_the_caller_is_found_by_the_workers(tmp_path):
    (tmp_path / "own_task.py").write_text("def double(n):\n    return 2 * n\n")

    shown = run_script(FROM_THE_CURRENT_FOLDER, cwd=tmp_path)

    assert (shown.stdout, shown.stderr) == ("[42]\n", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc whether a process runs")
@pytest.mark.parametrize(("how", "timeout_s"), [("work", 60.0), ("hang", 0.7)])
def test_a_worker_ends_when_its_parent_is_killed(tmp_path, how, timeout_s):
    mark = tmp_path / "pid"
    env = os.environ | {"PYTHONPATH": TESTS}
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, how, mark, str(timeout_s)], env=env)
    deadline = time.monotonic() + 30
    while not mark.exists() or not mark.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker_pid = int(mark.read_text().split()[0])
    assert is_alive(worker_pid)

    parent.send_signal(signal.SIGKILL)
    parent.wait(30)

    while is_alive(worker_pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
