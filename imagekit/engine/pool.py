"""Call one task on many items in worker processes that may crash or hang without taking the rest along.

Workers are started as fresh interpreters (no fork of a threaded parent, no re-import of the caller's main script).
A worker writes the index it is working on into a shared page before it starts, so that after a crash or a time-out
exactly one item is to blame; the others of its chunk are done again elsewhere, so a task must bear being repeated.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any

from imagekit.environment import count_cores
from imagekit.errors import ImagekitError

CHUNK_ITEMS = 16  # a chunk is about 20 ms of decoding: messages cost nothing, and a kill repeats little
CHUNKS_AHEAD = 2  # one at work, one waiting, so that a worker never waits for the parent
NOT_STARTED = -1
_INDEX = struct.Struct("<q")
_START = "from imagekit.engine.worker import main; main()"


@dataclass(frozen=True, slots=True)
class Done:
    """One finished item: its index, what the task returned, and what libraries wrote to stderr meanwhile."""

    index: int
    value: Any
    noise: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """One item that killed or outlasted its worker; `reason` is `timeout` or `decoder-crash`."""

    index: int
    reason: str
    detail: str


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    page: mmap.mmap
    noise: IO[bytes]
    pending: deque[list[tuple[int, Any]]] = field(default_factory=deque)
    seen_index: int = NOT_STARTED
    seen_at: float = 0.0

    def current(self) -> int:
        return int(_INDEX.unpack_from(self.page, 0)[0])


def run_items(
    task: Callable[[Any], Any], items: Iterable[Any], *, n_workers: int, timeout_s: float = 60.0
) -> Iterator[Done | Failed]:
    """Yield one `Done` or `Failed` per item, in the order of completion; `index` tells which item it was.

    task: picklable and importable (a module-level function or an instance of a module-level class); sent once a worker.
    items: picklable, taken lazily; at most n_workers * 32 are in flight. timeout_s: seconds that one item may take.
    Raises what the task raises, and ImagekitError if workers cannot be started.
    """
    if n_workers < 1:
        raise ImagekitError(f"n_workers is {n_workers}, must be at least 1", fix="give --workers 1 or more")
    pool = _Pool(task, timeout_s=timeout_s)
    try:
        yield from pool.run(_chunks(items), n_workers=n_workers)
    finally:
        pool.close()


def collect_facts(
    task: Callable[[Any], dict[str, Any]],
    items: Sequence[Any],
    *,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    progress: Callable[[int, int], object] | None = None,
    keep: Callable[[int, dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """What the task returns for every item, in their order; for an item that failed, its `reason` and `detail`.

    n_workers: None for one a core. progress: called with how many items are done and how many there are.
    keep: called with the index and facts of each item as it is finished, in the order of completion.
    """
    facts: list[dict[str, Any]] = [{} for _ in items]
    results = run_items(task, items, n_workers=n_workers or count_cores(), timeout_s=timeout_s)
    for n_done, result in enumerate(results, start=1):
        if isinstance(result, Failed):
            facts[result.index] = {"reason": result.reason, "detail": result.detail}
        else:
            facts[result.index] = result.value
        if keep:
            keep(result.index, facts[result.index])
        if progress:
            progress(n_done, len(items))
    return facts


def _chunks(items: Iterable[Any]) -> Iterator[list[tuple[int, Any]]]:
    chunk: list[tuple[int, Any]] = []
    for pair in enumerate(items):
        chunk.append(pair)
        if len(chunk) == CHUNK_ITEMS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Pool:
    """The parent's side: hands out chunks, collects results, buries and replaces workers."""

    def __init__(self, task: Callable[[Any], Any], *, timeout_s: float) -> None:
        self.payload = pickle.dumps(task)
        self.timeout_s = timeout_s
        self.workers: list[_Worker] = []
        self.redo: deque[list[tuple[int, Any]]] = deque()

    def run(self, chunks: Iterator[list[tuple[int, Any]]], *, n_workers: int) -> Iterator[Done | Failed]:
        while self._feed(chunks, n_workers=n_workers):
            ready = wait([worker.pipe for worker in self.workers], timeout=min(1.0, self.timeout_s / 4))
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                yield from self._receive(worker)
            for worker in list(self.workers):
                yield from self._check_time(worker)

    def _feed(self, chunks: Iterator[list[tuple[int, Any]]], *, n_workers: int) -> bool:
        """Top every worker up, starting workers only while there is work; False when all is done."""
        while True:
            free = [worker for worker in self.workers if len(worker.pending) < CHUNKS_AHEAD]
            idle = min(free, key=lambda worker: len(worker.pending), default=None)
            may_start = len(self.workers) < n_workers and (idle is None or idle.pending)
            if idle is None and not may_start:
                return True
            chunk = self.redo.popleft() if self.redo else next(chunks, None)
            if chunk is None:
                return any(worker.pending for worker in self.workers)
            self._send(self._start() if may_start or idle is None else idle, chunk)

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        shared, noise = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed by _close
        shared.write(_INDEX.pack(NOT_STARTED))
        shared.flush()
        fds = (theirs.fileno(), shared.fileno())
        # the child must find the same modules as its parent, wherever they were imported from
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stderr=noise,
            env=env,
        )
        theirs.close()
        worker = _Worker(process, ours, mmap.mmap(shared.fileno(), _INDEX.size), noise)
        shared.close()
        self.workers.append(worker)
        self._try_send(worker, self.payload)
        return worker

    def _send(self, worker: _Worker, chunk: list[tuple[int, Any]]) -> None:
        if not worker.pending:
            worker.seen_at = time.monotonic()
        worker.pending.append(chunk)
        self._try_send(worker, pickle.dumps(chunk))

    def _try_send(self, worker: _Worker, payload: bytes) -> None:
        try:
            worker.pipe.send_bytes(payload)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died; the next receive meets the closed pipe and deals with what was pending

    def _receive(self, worker: _Worker) -> Iterator[Done | Failed]:
        try:
            kind, value = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            yield from self._bury(worker, reason="decoder-crash")
            return
        if kind == "error":
            raise value
        worker.pending.popleft()
        worker.seen_at = time.monotonic()
        yield from value

    def _check_time(self, worker: _Worker) -> Iterator[Done | Failed]:
        current, now = worker.current(), time.monotonic()
        if current != worker.seen_index:
            worker.seen_index, worker.seen_at = current, now
        elif worker.pending and now - worker.seen_at > self.timeout_s and worker in self.workers:
            worker.process.kill()
            yield from self._bury(worker, reason="timeout")

    def _bury(self, worker: _Worker, *, reason: str) -> Iterator[Failed]:
        """Blame the one item that was at work, queue the rest of the worker's chunks again."""
        worker.process.kill()
        code, blamed = worker.process.wait(), worker.current()
        self.workers.remove(worker)
        noise = _close(worker)
        left = [pair for chunk in worker.pending for pair in chunk if pair[0] != blamed]
        if len(left) == sum(map(len, worker.pending)):
            raise ImagekitError(
                f"a worker process ended before it took any work (status {code}): {noise or 'it said nothing'}",
                fix="run imagekit doctor; if memory is short, give fewer --workers",
            )
        if left:
            self.redo.append(left)
        words = (
            f"took longer than {self.timeout_s:g} s" if reason == "timeout" else f"the decoder died ({_status(code)})"
        )
        yield Failed(blamed, reason, f"{words}; it said: {noise}" if noise else words)

    def close(self) -> None:
        """End every worker at once; what they were doing is abandoned."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()
            _close(worker)
        self.workers.clear()


def _close(worker: _Worker) -> str:
    worker.pipe.close()
    worker.page.close()
    worker.noise.seek(0)
    text = worker.noise.read()[-2000:].decode(errors="backslashreplace").strip()
    worker.noise.close()
    return text


def _status(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
