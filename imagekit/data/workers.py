"""Processes that make batches: a task is a whole batch, and its pixels are written where the parent reads them.

Parent and workers share slots, one for each batch under way, and a page that says which row a worker is at. A message
is a few numbers; pixels never go through a pipe. What is done is given back in the order in which it was asked for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from imagekit.data.parcels import Parcel, pack, receive, send, unpack
from imagekit.data.shared import SharedBytes
from imagekit.errors import ConfigError, WorkerError

N_AHEAD = 2  # batches that wait for a worker beside the one it is at: it never waits for the parent's next step
NICENESS = 10
_SECONDS_TO_END = 5.0
_SECONDS_TO_LOOK = 1.0  # between two looks whether the parent lives: others that it forked may hold its pipes open
_NOBODY = -1
_LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM)
_BEFORE_DAEMONS = 10  # multiprocessing ends its daemons by SIGTERM after finalizers of a priority of 0 or more
# our ends of all pipes of this process: a forked worker inherits them, and would keep them open when we are gone
_ours: weakref.WeakSet[Connection] = weakref.WeakSet()


class Work(Protocol):
    """What a worker does."""

    def put(self, job: Any, slot: memoryview) -> Any:
        """Write what does not fit into a message into the slot, in the parent; the rest is the message."""
        ...

    def do(self, message: Any, slot: memoryview, mark: Callable[[int], object]) -> Any:
        """Do it, in the worker; mark: told each row before it is read. Returns plain data for the parent."""
        ...

    def row_name(self, row: int) -> str:
        """What a row is, for people."""
        ...


class Failure(NamedTuple):
    """An exception that ended a task, and where."""

    error: BaseException
    trace: str


@dataclass(slots=True)
class _Worker:
    process: Any
    connection: Connection
    n_waiting: int = 0


class Workers:
    """`n_workers` processes that do `work`, forked where that is safe (Linux), else started anew.

    They begin with the first task, live until `close`, end when this process does, leave Ctrl-C and SIGTERM to it,
    compute with one thread each, and give way to it: preempting one of the threads that train stalls them all.
    Raises WorkerError where one cannot be started or ends by itself: all of them are ended then, and the next task
    starts new ones; ConfigError where they were ended while they were asked.
    """

    def __init__(self, work: Work, *, n_workers: int, slot_bytes: int) -> None:
        self.work, self.n_workers, self.slot_bytes = work, n_workers, slot_bytes
        self._workers: list[_Worker] = []
        self._shared: list[SharedBytes] = []
        self._free: list[int] = []
        self._done: dict[int, tuple[int, Parcel]] = {}
        self._slot_of: dict[int, int] = {}
        self._left: set[int] = set()  # tasks whose result nobody wants any more
        self._next, self._life = 0, 0
        self._finalizer: Finalize | None = None

    def run(self, jobs: Iterator[Any]) -> Iterator[tuple[Any, memoryview]]:
        """Of each job, in order, what `work.do` returned and its slot, which is another job's when the next is asked.

        What `work.do` raised is raised here.
        """
        with contextlib.closing(self._results(jobs)) as results:
            for parcel, slot in results:
                result = unpack(parcel)
                if isinstance(result, Failure):
                    raise _explained(result)
                yield result, slot

    @property
    def n_slots(self) -> int:
        """Batches that may be under way."""
        return self.n_workers * (1 + N_AHEAD)

    def close(self) -> None:
        """End them, at the latest after five seconds."""
        self._end(_SECONDS_TO_END)

    def _results(self, jobs: Iterator[Any]) -> Generator[tuple[Parcel, memoryview], None, None]:
        mine: deque[int] = deque()
        job, slot, life = next(jobs, None), _NOBODY, self._life
        try:
            while job is not None or mine:
                while job is not None and self._has_room():
                    mine.append(self._begin(job))
                    job = next(jobs, None)
                if not mine or mine[0] not in self._done:  # none is mine while all do what was left by another
                    self._receive()
                    continue
                slot, parcel = self._done.pop(mine.popleft())
                yield parcel, self._slot(slot)
                self._require(life)
                self._free.append(slot)
        except GeneratorExit:
            self._leave(mine, slot, life)
            raise
        except BaseException:  # Ctrl-C, say: a message may be half read
            if life == self._life:
                self.close()
            raise

    def _has_room(self) -> bool:
        if not self._workers:
            self._start()
        return bool(self._free)

    def _start(self) -> None:
        if self._finalizer is None:
            self._finalizer = Finalize(self, _close, args=(weakref.ref(self),), exitpriority=_BEFORE_DAEMONS)
        context = choose_context()
        try:
            self._shared = [SharedBytes(self.n_slots * self.slot_bytes), SharedBytes(8 * self.n_workers)]
            for number in range(self.n_workers):
                self._workers.append(self._started(context, number))
        except OSError as error:
            raise WorkerError(
                f"worker processes cannot be started, {self.n_workers} in all: {error.strerror or error}",
                where="Loader",
                fix="try fewer --workers; 0 makes batches in the process that trains",
            ) from error
        self._free = list(range(self.n_slots))

    def _started(self, context: BaseContext, number: int) -> _Worker:
        memory, page = self._shared
        self._rows = np.frombuffer(page.view, dtype=np.int64)
        self._rows[number] = _NOBODY
        ours, theirs = context.Pipe()
        _ours.add(ours)
        arguments = (self.work, theirs, memory, self.slot_bytes, page, number, os.getpid())
        process = context.Process(target=_serve, args=arguments, daemon=True, name=f"imagekit worker {number + 1}")  # type: ignore[attr-defined]
        # Ctrl-C before the worker ignores it would have it print a traceback
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Worker(process, ours)

    def _end(self, seconds: float) -> None:
        """End them, those that are at something after some seconds."""
        workers, shared = self._workers, self._shared
        self._workers, self._shared, self._free, self._left = [], [], [], set()
        self._done, self._slot_of, self._life = {}, {}, self._life + 1
        self._rows = np.zeros(0, np.int64)  # the old one holds the page
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.connection.send(None)
            worker.connection.close()  # one that writes a result finds that nobody reads it
        end = time.monotonic() + seconds
        try:
            for worker in workers:
                worker.process.join(max(0, end - time.monotonic()))
        finally:  # also where somebody does not want to wait: nobody else knows them any more
            for worker in workers:
                if worker.process.is_alive():
                    worker.process.kill()
                worker.process.join()
                worker.process.close()
            for each in shared:
                each.close()

    def _require(self, life: int) -> None:
        if life != self._life:
            raise ConfigError(
                "the loader was closed while it was gone through",
                where="Loader",
                fix="close it after its last batch, or leave the loop",
            )

    def _begin(self, job: Any) -> int:
        ticket, slot = self._next, self._free.pop()
        self._next += 1
        self._slot_of[ticket] = slot
        message = self.work.put(job, self._slot(slot))
        worker = min(self._workers, key=lambda each: each.n_waiting)
        worker.n_waiting += 1
        try:
            worker.connection.send((ticket, slot, message))
        except OSError:
            self._lost(worker)
        return ticket

    def _receive(self) -> None:
        """Wait for the next result of anybody."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(by_connection)):
            worker = by_connection[ready]  # type: ignore[index]
            try:
                ticket, parcel = receive(worker.connection)
            except (EOFError, OSError):
                self._lost(worker)
            worker.n_waiting -= 1
            slot = self._slot_of.pop(ticket)
            if ticket in self._left:
                self._left.discard(ticket)
                self._free.append(slot)
            else:
                self._done[ticket] = slot, parcel

    def _leave(self, tickets: deque[int], slot: int, life: int) -> None:
        """Give back the slot of the result that was looked at; nobody waits for these tasks any more."""
        if life != self._life:
            return
        self._free.append(slot)
        for ticket in tickets:
            if ticket in self._done:
                self._free.append(self._done.pop(ticket)[0])
            else:
                self._left.add(ticket)

    def _slot(self, slot: int) -> memoryview:
        return memoryview(self._shared[0].view)[slot * self.slot_bytes : (slot + 1) * self.slot_bytes]

    def _lost(self, worker: _Worker) -> None:
        """Raise WorkerError about a worker whose pipe ended."""
        number = self._workers.index(worker)
        worker.process.join(_SECONDS_TO_END)
        code, pid, row = worker.process.exitcode, worker.process.pid, int(self._rows[number])
        n_workers = self.n_workers
        self._end(0)
        doing = "before its first image" if row == _NOBODY else f"at {self.work.row_name(row)}"
        raise WorkerError(
            f"worker process {number + 1} of {n_workers} (pid {pid}) {_how(code)} {doing}",
            where="Loader",
            fix=_cure(code, n_workers),
        )


def _close(workers: weakref.ref[Workers]) -> None:
    """As the program ends."""
    if (there := workers()) is not None:
        there.close()


def choose_context() -> BaseContext:
    """Fork on Linux, where workers begin at once and share what was loaded; elsewhere a fresh interpreter each."""
    return multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")


def _serve(
    work: Work,
    connection: Connection,
    memory: SharedBytes,
    slot_bytes: int,
    page: SharedBytes,
    number: int,
    parent: int,
) -> None:
    """The whole life of a worker."""
    for other in list(_ours):
        other.close()
    # both reach the whole group, Ctrl-C always and SIGTERM where a cluster, systemd or timeout(1) sends it: the parent
    # still needs the batches that are under way, and says when to end
    for number_of in _LEFT_TO_PARENT:
        signal.signal(number_of, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_PARENT)
    torch.set_num_threads(1)
    os.nice(NICENESS)
    rows = np.frombuffer(page.view, dtype=np.int64)

    def mark(row: int) -> None:
        rows[number] = row

    # the parent is gone, or wants no more
    with contextlib.suppress(EOFError, OSError):
        while (message := _next_message(connection, parent)) is not None:
            ticket, slot, rest = message
            view = memoryview(memory.view)[slot * slot_bytes : (slot + 1) * slot_bytes]
            send(connection, ticket, _packed(_attempt(work, rest, view, mark)))


def _next_message(connection: Connection, parent: int) -> Any:
    """What the parent wants next; None for the end."""
    while not connection.poll(_SECONDS_TO_LOOK):
        if os.getppid() != parent:
            return None
    return connection.recv()


def _attempt(work: Work, message: Any, view: memoryview, mark: Callable[[int], object]) -> Any:
    try:
        return work.do(message, view, mark)
    except Exception as error:  # noqa: BLE001 - it is raised again, in the parent
        return Failure(error, traceback.format_exc())


def _packed(result: Any) -> Parcel:
    """The result as it is sent; in place of one that cannot be sent, a Failure that says so."""
    try:
        if isinstance(result, Failure):
            pickle.loads(pickle.dumps(result))  # some exceptions cannot be made again from what they were made of
        return pack(result)
    except Exception as error:  # noqa: BLE001 - it is raised again, in the parent
        return pack(_unsendable(result, error, traceback.format_exc()))


def _unsendable(result: Any, error: Exception, trace: str) -> Failure:
    if isinstance(result, Failure):
        what, why, trace = "an error", _words_of(result.error), result.trace
    else:
        what, why = "a batch", _words_of(error)
    told = WorkerError(
        f"{what} of a worker process cannot be sent from it: {why}",
        where="Loader",
        fix="use --workers 0 to get it as it is, or make it of what pickle can take",
    )
    return Failure(told, trace)


def _words_of(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _explained(failure: Failure) -> BaseException:
    failure.error.add_note(f"in a worker process:\n{failure.trace}")
    return failure.error


def _how(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _cure(code: int | None, n_workers: int) -> str:
    fewer = f"fewer --workers than {n_workers}" if n_workers > 1 else "smaller images or a smaller --batch-size"
    if code == -signal.SIGKILL:
        return f"the usual cause is too little memory, for which the system kills the largest: try {fewer}"
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL):
        return "a decoder crashed on this file: imagekit verify finds files that changed; take it out, or restore it"
    return f"see what the system says of it (dmesg, the container's log), and try {fewer}"
