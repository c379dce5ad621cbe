"""Processes that work for this one: what they give back, how they end, and what is said when one dies."""

from __future__ import annotations

import errno
import faulthandler
import gc
import multiprocessing
import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from data.open_files import n_open_files

from imagekit.data import shared, workers
from imagekit.data.workers import N_AHEAD, Workers
from imagekit.errors import ConfigError, ImageError, WorkerError

pytestmark = pytest.mark.usefixtures("own_children")


class Calls:
    """Work whose jobs are functions of (slot, mark), called in a worker."""

    def put(self, job, slot):
        return job

    def do(self, message, slot, mark):
        function, *arguments = message
        return function(slot, mark, *arguments)

    def row_name(self, row):
        return f"{row}.png"


def crew(n_workers=1, slot_bytes=8):
    return closing(Workers(Calls(), n_workers=n_workers, slot_bytes=slot_bytes))


def results(hands, jobs):
    return [result for result, _ in hands.run(iter(jobs))]


def give(slot, mark, value):
    return value


def give_bytes(slot, mark, value, n):
    return bytes([value]) * n


def give_pid(slot, mark):
    return os.getpid()


def nap(slot, mark, value, seconds):
    time.sleep(seconds)
    return value


def write(slot, mark, value):
    np.frombuffer(slot, np.uint8)[:] = value


def read_bytes(slot):
    return np.frombuffer(slot, np.uint8).tolist()


def raise_it(slot, mark, error):
    raise error


def die(slot, mark, row, how):
    mark(row)
    faulthandler.disable()  # the test runner's, which would print
    if isinstance(how, signal.Signals | int) and how < 0:
        os.kill(os.getpid(), -how)
        time.sleep(5)
    os._exit(how)


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_jobs_whoever_is_done_first(n_workers):
    jobs = [(nap, number, 0.02 * (number % 3 == 0)) for number in range(20)]

    with crew(n_workers) as hands:
        assert results(hands, jobs) == list(range(20))
        assert results(hands, jobs[:2]) == [0, 1]


def test_all_workers_have_a_hand_in_it():
    with crew(3) as hands:
        pids = results(hands, [(give_pid,)] * 9)

    assert len(set(pids)) == 3
    assert os.getpid() not in pids


def test_what_is_written_into_a_slot_is_there_until_the_next_result_is_asked_for():
    with crew(2, slot_bytes=5) as hands:
        seen = [read_bytes(slot) for _, slot in hands.run(iter([(write, number) for number in range(20)]))]

    assert seen == [[number] * 5 for number in range(20)]


def test_without_a_job_no_process_is_started():
    with crew(2) as hands:
        assert results(hands, []) == []
        assert multiprocessing.active_children() == []


def test_workers_stay_from_one_run_to_the_next_and_close_leaves_nothing():
    hands, before = Workers(Calls(), n_workers=2, slot_bytes=8), n_open_files()

    first, again = (set(results(hands, [(give_pid,)] * 6)) for _ in range(2))
    hands.close()
    hands.close()

    assert first == again
    assert n_open_files() <= before
    assert multiprocessing.active_children() == []


def interrupt(number, frame):
    raise KeyboardInterrupt


def test_who_does_not_want_to_wait_for_a_worker_leaves_none_behind():
    hands = Workers(Calls(), n_workers=1, slot_bytes=8)
    got = hands.run(iter([(give, 1), (nap, 2, 30.0)]))
    next(got)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            hands.close()
    finally:
        signal.signal(signal.SIGALRM, before)

    assert multiprocessing.active_children() == []


def test_workers_that_nobody_closed_end_when_nobody_has_them():
    hands, before = Workers(Calls(), n_workers=1, slot_bytes=8), n_open_files()
    (pid,) = results(hands, [(give_pid,)])

    del hands
    gc.collect()
    end = time.monotonic() + 2
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert n_open_files() <= before


def test_the_workers_of_another_loader_that_began_later_hold_nobody_up():
    first, second = (Workers(Calls(), n_workers=2, slot_bytes=8) for _ in range(2))
    results(first, [(give, 0)])
    left = second.run(iter([(give_bytes, 0, 2**20)] * 20))
    next(left)
    begun = time.monotonic()

    first.close()
    second.close()

    assert time.monotonic() - begun < 1
    with pytest.raises(ConfigError, match="the loader was closed"):
        next(left)


@pytest.mark.parametrize(
    ("how", "words", "fix"),
    [
        (
            -signal.SIGKILL,
            "was killed by SIGKILL",
            "the usual cause is too little memory, for which the system kills the largest: try fewer --workers than 2",
        ),
        *(
            (
                -number,
                f"was killed by {number.name}",
                "a decoder crashed on this file: imagekit verify finds files that changed; take it out, or restore it",
            )
            for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL)
        ),
        (
            -signal.SIGUSR1,
            "was killed by SIGUSR1",
            "see what the system says of it (dmesg, the container's log), and try fewer --workers than 2",
        ),
        (
            -(signal.SIGRTMIN + 2),
            f"was killed by signal {signal.SIGRTMIN + 2}",
            "see what the system says of it (dmesg, the container's log), and try fewer --workers than 2",
        ),
        (
            3,
            "ended with exit code 3",
            "see what the system says of it (dmesg, the container's log), and try fewer --workers than 2",
        ),
    ],
)
def test_a_worker_that_dies_is_told_with_its_file_and_a_cure_and_the_next_run_works(how, words, fix, capfd):
    begun = time.monotonic()
    with crew(2) as hands:
        pids = []

        with pytest.raises(WorkerError) as caught:
            for pid, _ in hands.run(iter([(give_pid,), (give_pid,), (die, 7, how), (nap, 0, 5), (give_pid,)])):
                pids.append(pid)
        left = multiprocessing.active_children()
        again = results(hands, [(give, 1), (give, 2)])

    assert str(caught.value) == (
        f"worker process 1 of 2 (pid {pids[0]}) {words} at 7.png\n  where: Loader\n  fix: {fix}"
    )
    assert (left, again) == ([], [1, 2])
    assert time.monotonic() - begun < 2
    assert capfd.readouterr() == ("", "")


def test_of_a_single_worker_smaller_batches_are_the_cure():
    with crew(1) as hands, pytest.raises(WorkerError) as caught:
        results(hands, [(die, 0, -signal.SIGKILL)])

    assert str(caught.value).endswith(
        "for which the system kills the largest: try smaller images or a smaller --batch-size"
    )


def test_a_worker_that_dies_idle_and_unmarked_is_told_when_it_is_asked_again():
    with crew(1) as hands:
        (pid,) = results(hands, [(give_pid,)])
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)

        with pytest.raises(WorkerError) as caught:
            results(hands, [(give, 0)] * 3)

        assert results(hands, [(give, 5)]) == [5]

    assert caught.value.what == f"worker process 1 of 1 (pid {pid}) was killed by SIGKILL before its first image"


def test_a_worker_that_lives_and_has_closed_its_pipe_is_ended(monkeypatch):
    real = workers._next_message

    def read_and_close(connection, parent):
        message = real(connection, parent)
        connection.close()
        return message

    monkeypatch.setattr(workers, "_SECONDS_TO_END", 0.1)
    monkeypatch.setattr(workers, "_next_message", read_and_close)
    with crew(1) as hands, pytest.raises(WorkerError) as caught:
        results(hands, [(nap, 0, 5)])

    assert caught.value.what.endswith(") closed its pipe before its first image")
    assert multiprocessing.active_children() == []


def test_an_exception_comes_out_as_it_is_with_the_workers_traceback_as_a_note():
    with crew(2) as hands:
        with pytest.raises(ImageError) as caught:
            results(hands, [(give, 1), (raise_it, ImageError("truncated", "it ends early", where="a.jpg"))])

        assert results(hands, [(give, 4)] * 8) == [4] * 8

    assert (str(caught.value), caught.value.reason) == ("truncated: it ends early\n  where: a.jpg", "truncated")
    (note,) = caught.value.__notes__
    assert note.startswith("in a worker process:\nTraceback (most recent call last):\n")
    assert "in raise_it" in note
    assert note.rstrip().endswith("where: a.jpg")


class Demanding(Exception):
    """It cannot be made of the one text that it hands on."""

    def __init__(self, row, cause):
        super().__init__(f"row {row}: {cause}")


def raise_demanding(slot, mark):
    raise Demanding(3, "no colour")


def raise_local(slot, mark):
    class Local(Exception):
        pass

    raise Local("nobody else knows this class")


def raise_mute(slot, mark):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    raise Mute


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (raise_demanding, f"{Demanding.__module__}.Demanding: row 3: no colour"),
        (raise_local, f"{Demanding.__module__}.raise_local.<locals>.Local: nobody else knows this class"),
        (raise_mute, f"{Demanding.__module__}.raise_mute.<locals>.Mute: <exception str() failed>"),
    ],
)
def test_an_exception_that_cannot_be_sent_is_told_in_its_words(job, words, capfd):
    with crew(1) as hands:
        with pytest.raises(WorkerError) as caught:
            results(hands, [(job,)])

        assert results(hands, [(give, 4)]) == [4]

    assert str(caught.value) == (
        f"an error of a worker process cannot be sent from it: {words}\n  where: Loader\n"
        "  fix: use --workers 0 to get it as it is, or make it of what pickle can take"
    )
    assert f"in {job.__name__}\n" in caught.value.__notes__[0]
    assert capfd.readouterr().err == ""


def give_generator(slot, mark):
    return (number for number in range(3))


def test_a_batch_that_cannot_be_sent_is_told():
    with crew(1) as hands:
        with pytest.raises(WorkerError) as caught:
            results(hands, [(give_generator,)])

        assert results(hands, [(give, 4)]) == [4]

    assert str(caught.value) == (
        "a batch of a worker process cannot be sent from it: TypeError: cannot pickle 'generator' object\n"
        "  where: Loader\n  fix: use --workers 0 to get it as it is, or make it of what pickle can take"
    )


class Spoilt:
    """What cannot be unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def give_spoilt(slot, mark):
    return Spoilt()


def test_a_batch_that_cannot_be_read_again_raises_what_pickle_says_and_loses_no_slot():
    with crew(1) as hands:
        for _ in range(2 * (1 + N_AHEAD)):
            with pytest.raises(ValueError, match="invalid literal for int"):
                results(hands, [(give_spoilt,), (give, 1)])

        assert results(hands, [(give, 4)] * 8) == [4] * 8


def leave_by_break(run):
    for _ in run:
        break


def leave_by_exception(run):
    with pytest.raises(KeyError):
        for _ in run:
            raise KeyError


def leave_by_close(run):
    next(run)
    run.close()


def leave_untouched(run):
    run.close()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_exception, leave_by_close, leave_untouched])
def test_a_run_that_was_left_early_costs_no_slot_and_leaves_no_result_behind(leave):
    n_slots = 2 * (1 + N_AHEAD)
    with crew(2) as hands:
        for _ in range(3 * n_slots):
            leave(hands.run(iter([(nap, "old", 0.001)] * 10)))

        assert results(hands, [(give, number) for number in range(20)]) == list(range(20))
        assert len(hands._free) == n_slots


def test_a_run_that_begins_while_all_workers_are_at_what_another_left_waits_for_them():
    with crew(1) as hands:
        left = hands.run(iter([(give, 0), *[(nap, "old", 0.02)] * 10]))
        next(left)
        left.close()

        assert results(hands, [(give, 1), (give, 2)]) == [1, 2]


def test_ctrl_c_while_a_result_is_waited_for_leaves_workers_that_can_be_used(monkeypatch):
    with crew(1) as hands:
        (before,) = results(hands, [(give_pid,)])
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(workers, "wait", lambda connections: signal.raise_signal(signal.SIGINT))
            results(hands, [(nap, 0, 0.01)] * 10)

        after = results(hands, [(give_pid,)] * 5)

    assert len(set(after)) == 1
    assert before not in after


def test_a_run_goes_on_after_close_only_to_say_so():
    with crew(1) as hands:
        run = hands.run(iter([(give, number) for number in range(10)]))
        next(run)
        hands.close()

        with pytest.raises(ConfigError) as caught:
            next(run)

        assert results(hands, [(give, 4)] * 8) == [4] * 8

    assert str(caught.value) == (
        "the loader was closed while it was gone through\n  where: Loader\n"
        "  fix: close it after its last batch, or leave the loop"
    )


def test_workers_that_ended_meanwhile_get_no_slot_back_from_an_old_run():
    with crew(1) as hands:
        run = hands.run(iter([(give, number) for number in range(10)]))
        next(run)
        hands.close()
        results(hands, [(give, 0)])

        run.close()

        assert len(hands._free) == len(set(hands._free)) == 1 + N_AHEAD


def test_jobs_that_raise_end_the_run_with_what_they_raised():
    def jobs():
        yield give, 1
        raise RuntimeError("no more jobs")

    with crew(1) as hands:
        with pytest.raises(RuntimeError, match="no more jobs"):
            results(hands, jobs())

        assert results(hands, [(give, 4)] * 8) == [4] * 8


def test_a_system_that_forks_no_more_is_told_with_a_cure(monkeypatch):
    real, forks = os.fork, []

    def fork():
        if len(forks) == 1:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        forks.append(1)
        return real()

    with crew(2) as hands:
        with monkeypatch.context() as patched, pytest.raises(WorkerError) as caught:
            patched.setattr(os, "fork", fork)
            results(hands, [(give, 1)])
        left = multiprocessing.active_children()

        assert results(hands, [(give, 4)]) == [4]

    assert str(caught.value) == (
        "worker processes cannot be started, 2 in all: Resource temporarily unavailable\n  where: Loader\n"
        "  fix: try fewer --workers; 0 makes batches in the process that trains"
    )
    assert left == []


def test_too_many_open_files_are_told_too(monkeypatch):
    def memfd_create(*arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(shared, "_new_fd", memfd_create)

    with crew(1) as hands, pytest.raises(WorkerError) as caught:
        results(hands, [(give, 1)])

    assert caught.value.what == "worker processes cannot be started, 1 in all: Too many open files"


def give_state(slot, mark):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {
        "threads": torch.get_num_threads(),
        "niceness": os.nice(0),
        "SIGINT": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "SIGTERM": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
        "blocked": bool({signal.SIGINT, signal.SIGTERM} & blocked),
    }


def test_a_worker_gives_way_computes_with_one_thread_and_leaves_signals_to_its_parent(monkeypatch):
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with crew(1) as hands:
            (state,) = results(hands, [(give_state,)])
    finally:
        signal.signal(signal.SIGTERM, before)

    niceness = min(19, os.nice(0) + workers.NICENESS)
    assert state == {"threads": 1, "niceness": niceness, "SIGINT": True, "SIGTERM": True, "blocked": False}
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_at_the_very_start_of_a_worker_is_no_end_and_no_traceback(monkeypatch, capfd):
    real = workers._serve

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        real(*arguments)

    monkeypatch.setattr(workers, "_serve", interrupted)
    with crew(2) as hands:
        assert results(hands, [(give, 4)] * 3) == [4] * 3

    assert capfd.readouterr() == ("", "")


def test_a_worker_whose_parent_is_another_process_than_at_its_start_ends():
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs, pytest.MonkeyPatch.context() as patched:
        patched.setattr(workers, "_SECONDS_TO_LOOK", 0.01)

        assert workers._next_message(theirs, parent=-1) is None
        ours.send("next")
        assert workers._next_message(theirs, parent=-1) == "next"


def test_batches_of_many_megabytes_go_through_the_pipe_while_more_are_asked_for():
    jobs = [(give_bytes, number, 2_000_000) for number in range(12)]

    with crew(2) as hands:
        assert [(len(each), each[0]) for each in results(hands, jobs)] == [(2_000_000, n) for n in range(12)]


def test_tensors_keep_dtype_and_strides_and_need_no_shared_memory_of_torch(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("/dev/shm is full")

    for storage in ("_share_fd_cpu_", "_share_filename_cpu_"):
        monkeypatch.setattr(torch.UntypedStorage, storage, refuse)
    before = maps_of_shm()

    with crew(1) as hands:
        got, listed = results(hands, [(give_tensors,), (maps_of_shm,)])

    wanted = give_tensors(None, None)
    assert [(x.dtype, x.stride()) for x in got] == [(x.dtype, x.stride()) for x in wanted]
    assert all(a.equal(b) for a, b in zip(got, wanted, strict=True))
    assert (listed, maps_of_shm()) == (before, before)


def give_tensors(slot, mark):
    floats = torch.arange(120.0).reshape(2, 3, 4, 5)
    return [floats.to(memory_format=torch.channels_last), floats.transpose(0, 2), torch.ones(3, dtype=torch.bfloat16)]


def maps_of_shm(slot=None, mark=None):
    """What lies in /dev/shm and is mapped into this process."""
    words = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return {line[5] for line in words if len(line) > 5 and line[5].startswith("/dev/shm")}


def test_workers_serve_a_thread_that_is_not_the_first():
    got = []

    def run():
        with crew(1) as hands:
            got.extend(results(hands, [(give, 4)]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert got == [4]
