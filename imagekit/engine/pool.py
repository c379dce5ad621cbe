"""Call one task on many items in worker processes that may crash or hang without taking the rest along.

Workers are started as fresh interpreters (no fork of a threaded parent, no re-import of the caller's main script).
A worker writes the index it is working on into a shared page before it starts, so that after a crash or a time-out
exactly one item is to blame; the others of its chunk are done again elsewhere, so a task must bear being repeated.
Items and results are small (names in, facts out): they are pickled, and a message must fit a socket's buffer.
"""

from __future__ import annotations

import itertools
import pickle
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from imagekit.engine.channel import NOBODY, WAITING
from imagekit.engine.process import Worker, status_words
from imagekit.environment import count_cores
from imagekit.errors import ImagekitError

CHUNK_SECONDS = 0.02  # a message costs about 0.1 ms, a kill repeats little, and at the end no worker has much more
CHUNK_ITEMS = 32  # at most
CHUNKS_AHEAD = 2  # one at work, one waiting, so that a worker never waits for the parent
START_SECONDS = 120.0  # importing torch from a slow disk takes many seconds; a start that hangs must end all the same
ORPHAN_SECONDS = 30.0  # so much later than its parent would, a worker without parent ends itself


@dataclass(frozen=True, slots=True)
class Done:
    """One finished item: its index, what the task returned, and what libraries wrote to stderr meanwhile."""

    index: int
    value: Any
    noise: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """One item that its worker did not survive, or bear: `reason` is `timeout`, `decoder-crash` or `bomb` (memory)."""

    index: int
    reason: str
    detail: str


def run_items(
    task: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    n_workers: int,
    timeout_s: float = 60.0,
    memory_limit_bytes: int | None = None,
) -> Iterator[Done | Failed]:
    """Yield one `Done` or `Failed` per item, in the order of completion; `index` tells which item it was.

    task, timeout_s, memory_limit_bytes: as `Workers` takes them. items: picklable, taken lazily; at most
    n_workers * 64 are in flight. Raises what the task raises, and ImagekitError if workers cannot be started.
    """
    with Workers(task, n_workers=n_workers, timeout_s=timeout_s, memory_limit_bytes=memory_limit_bytes) as workers:
        yield from workers.run(items)


def collect_facts(
    task: Callable[[Any], dict[str, Any]],
    items: Sequence[Any],
    *,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    memory_limit_bytes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    keep: Callable[[int, dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """What the task returns for every item, in their order; for an item that failed, its `reason` and `detail`.

    n_workers: None for one a core. progress: called with how many items are done and how many there are.
    keep: called with the index and facts of each item as it is finished, in the order of completion.
    """
    facts: list[dict[str, Any]] = [{} for _ in items]
    n_workers = n_workers or count_cores()
    results = run_items(task, items, n_workers=n_workers, timeout_s=timeout_s, memory_limit_bytes=memory_limit_bytes)
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


class Workers:
    """The parent's side: hands out chunks, collects results, buries and replaces workers. For one `run`, in a `with`.

    task: picklable and importable (a module-level function or an instance of a module-level class); sent once a worker.
    A method `warm_up()` of it is called once a worker before its first item; what it raises is raised by `run`.
    timeout_s: seconds that one item may take. memory_limit_bytes: how much address space a worker may take beyond what
    it has when it is warm (Linux only; a thread it starts costs 72 MB of it). The task sees MemoryError; where it lets
    it through, or dies of it, that costs one item.
    """

    def __init__(
        self,
        task: Callable[[Any], Any],
        *,
        n_workers: int,
        timeout_s: float = 60.0,
        memory_limit_bytes: int | None = None,
    ) -> None:
        if n_workers < 1:
            raise ImagekitError(f"n_workers is {n_workers}, must be at least 1", fix="give --workers 1 or more")
        settings = (START_SECONDS + ORPHAN_SECONDS, timeout_s + ORPHAN_SECONDS, memory_limit_bytes)
        self.greeting = (pickle.dumps(settings), pickle.dumps(task))
        self.n_workers = n_workers
        self.timeout_s = timeout_s
        self.workers: list[Worker] = []
        self.redo: deque[list[tuple[int, Any]]] = deque()
        self.items: Iterator[tuple[int, Any]] = iter(())
        self.item_seconds: float | None = None
        self.selector = selectors.DefaultSelector()

    def start(self) -> None:
        """Start every worker now, so that they load what they need while the caller still looks for the items."""
        while len(self.workers) < self.n_workers:
            self._start()

    def run(self, items: Iterable[Any]) -> Iterator[Done | Failed]:
        """Yield one `Done` or `Failed` per item, in the order of completion; workers are started as there is work."""
        self.items = iter(enumerate(items))
        while self._feed():
            for key, _ in self.selector.select(min(1.0, self.timeout_s / 4)):
                yield from self._receive(key.data)
            for worker in list(self.workers):
                yield from self._check_time(worker)

    def close(self) -> None:
        """End every worker at once; what they were doing is abandoned."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.bury()
        self.workers.clear()
        self.selector.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _feed(self) -> bool:
        """Top every worker up; False when all is done."""
        while True:
            idle = min(self.workers, key=lambda worker: len(worker.pending), default=None)
            may_start = len(self.workers) < self.n_workers and (idle is None or idle.pending)
            if not may_start and (idle is None or len(idle.pending) >= CHUNKS_AHEAD):
                return True
            chunk = self._next_chunk()
            if not chunk:
                return any(worker.pending for worker in self.workers)
            worker = self._start() if may_start or idle is None else idle
            worker.pending.append(chunk)
            worker.send(pickle.dumps(chunk))

    def _next_chunk(self) -> list[tuple[int, Any]]:
        if self.redo:
            return self.redo.popleft()
        # one item until it is known how long they take: 16 pictures of 12 megapixels are seconds of work
        n_items = 1 if self.item_seconds is None else int(CHUNK_SECONDS / max(self.item_seconds, 1e-6))
        return list(itertools.islice(self.items, max(1, min(n_items, CHUNK_ITEMS))))

    def _start(self) -> Worker:
        worker = Worker()
        self.workers.append(worker)
        self.selector.register(worker.fd, selectors.EVENT_READ, worker)
        for message in self.greeting:
            worker.send(message)
        return worker

    def _receive(self, worker: Worker) -> Iterator[Done | Failed]:
        try:
            kind, value = pickle.loads(worker.receive())
        except EOFError:
            yield from self._bury(worker, blamed=worker.now()[0], reason="decoder-crash")
            return
        if kind == "error":
            raise value
        seconds, results = value
        mean = seconds / len(worker.pending.popleft())
        self.item_seconds = mean if self.item_seconds is None else 0.7 * self.item_seconds + 0.3 * mean
        worker.n_answers += 1
        for index, result, noise, failure in results:
            yield Done(index, result, noise) if failure is None else Failed(index, "bomb", _told(failure, noise))

    def _check_time(self, worker: Worker) -> Iterator[Failed]:
        index, begun_ns = worker.now()
        if begun_ns == WAITING or (time.monotonic_ns() - begun_ns) / 1e9 <= self._limit_s(index):
            return
        if index == NOBODY:
            raise ImagekitError(
                f"a worker process was not ready after {START_SECONDS:g} s",
                fix="run imagekit doctor; if the machine is busy, run the same command again",
            )
        yield from self._bury(worker, blamed=index, reason="timeout")

    def _limit_s(self, index: int) -> float:
        return START_SECONDS if index == NOBODY else self.timeout_s

    def _bury(self, worker: Worker, *, blamed: int, reason: str) -> Iterator[Failed]:
        """Blame the one item that was at work, queue the rest of the worker's chunks again."""
        self.selector.unregister(worker.fd)
        self.workers.remove(worker)
        code, noise = worker.bury()
        pending = [pair for chunk in worker.pending for pair in chunk]
        left = [pair for pair in pending if pair[0] != blamed]
        if len(left) == len(pending) and not worker.n_answers:
            raise ImagekitError(
                f"a worker process ended before it took any work ({status_words(code)}): {noise or 'it said nothing'}",
                fix="run imagekit doctor; if memory is short, give fewer --workers",
            )
        if left:
            self.redo.append(left)
        if len(left) == len(pending):
            return  # it was ended between two chunks, by the system say: no item is to blame
        died = f"the decoder died ({status_words(code)})"
        words = f"took longer than {self.timeout_s:g} s" if reason == "timeout" else died
        yield Failed(blamed, reason, _told(words, noise))


def _told(words: str, noise: str) -> str:
    return f"{words}; it said: {noise}" if noise else words
