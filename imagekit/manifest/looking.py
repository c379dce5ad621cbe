"""Look into the files: take over what an earlier run knows of unchanged ones, read the rest in worker processes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.engine.facts import FactTable
from imagekit.engine.pool import Failed, run_items
from imagekit.files.stamps import stat_all
from imagekit.manifest.image import LAYOUT, DescribeImage
from imagekit.manifest.state import Known

SAVE_SECONDS = 120.0  # a crash of the machine costs no more work than this
SCAN_BATCH = 64  # files that a thread takes at once
TAKE_ROWS = 4_096

Found = tuple[int, dict[str, Any]]

Progress = Callable[[int, int], object]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looking:
    """How to look. check: none, header or decode. timeout_s, memory_limit_bytes: what one image may take a worker."""

    root: Path
    check: str
    n_workers: int
    timeout_s: float
    memory_limit_bytes: int | None
    progress: Progress | None = None

    def look(
        self,
        names: pa.LargeBinaryArray,
        rows: npt.NDArray[np.int64],
        *,
        known: Known | None,
        save: Callable[[FactTable], None],
    ) -> tuple[FactTable, int]:
        """The facts of `rows`, and how many files were read for them. save: called every SAVE_SECONDS and when stopped.

        An unusable file has a `reason` and a `detail`.
        """
        facts = FactTable(len(names), LAYOUT)
        if self.check == "none":
            self._measure(names, rows, facts)
            return facts, 0
        if known is not None:
            known.load(facts, rows)
        left = rows[~facts.is_done[rows]]
        if len(left):
            try:
                self._read(names, left, facts, n_all=len(rows), save=save)
            except BaseException:  # Ctrl-C above all: what was read need not be read again
                save(facts)
                raise
        return facts, len(left)

    def _measure(self, names: pa.LargeBinaryArray, rows: npt.NDArray[np.int64], facts: FactTable) -> None:
        """Sizes alone, of files that are not opened."""
        numbers, sizes, _ = stat_all(self.root, names.take(pa.array(rows)))
        facts.put_columns(rows, "size_bytes", pa.array(sizes, mask=numbers == 0))
        for row in rows[numbers == 0].tolist():
            facts.put(row, {"reason": "vanished", "detail": "the file went away after it was listed"})

    def _read(
        self,
        names: pa.LargeBinaryArray,
        rows: npt.NDArray[np.int64],
        facts: FactTable,
        *,
        n_all: int,
        save: Callable[[FactTable], None],
    ) -> None:
        """Read `rows`, changing `facts`."""
        task = DescribeImage(root=str(self.root), check=self.check)
        done, saved = n_all - len(rows), time.monotonic()
        passes = (self._scan, self._decode) if self.check == "header" else (self._decode,)
        for one in passes:
            for row, found in one(task, names, rows[~facts.is_done[rows]]):
                facts.put(row, found)
                done += 1
                if self.progress:
                    self.progress(done, n_all)
                if time.monotonic() - saved > SAVE_SECONDS:
                    save(facts)
                    saved = time.monotonic()

    def _scan(self, task: DescribeImage, names: pa.LargeBinaryArray, rows: npt.NDArray[np.int64]) -> Iterator[Found]:
        """Headers that need no decoder, in threads of this process: starting workers takes longer than 20,000 files."""

        def scan(batch: npt.NDArray[np.int64]) -> list[Found]:
            found = zip(batch.tolist(), map(task.scan, names.take(pa.array(batch)).to_pylist()), strict=True)
            return [(row, fact) for row, fact in found if fact is not None]

        batches = np.split(rows, range(SCAN_BATCH, len(rows), SCAN_BATCH))
        with ThreadPoolExecutor(self.n_workers) as threads:
            waiting: deque[Future[list[Found]]] = deque()
            for batch in batches:
                waiting.append(threads.submit(scan, batch))
                if len(waiting) > 2 * self.n_workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def _decode(self, task: DescribeImage, names: pa.LargeBinaryArray, rows: npt.NDArray[np.int64]) -> Iterator[Found]:
        """Everything else, in worker processes: a decoder may crash or hang."""
        if not len(rows):
            return
        results = run_items(
            task,
            _each(names.take(pa.array(rows))),
            n_workers=min(self.n_workers, len(rows)),
            timeout_s=self.timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
        )
        for result in results:
            row = int(rows[result.index])
            if isinstance(result, Failed):
                yield row, {"reason": result.reason, "detail": result.detail}
            elif result.noise and "reason" in result.value:
                yield row, result.value | {"decoder_said": result.noise}
            else:
                yield row, result.value


def _each(names: pa.LargeBinaryArray) -> Iterator[bytes]:
    for start in range(0, len(names), TAKE_ROWS):
        yield from names.slice(start, TAKE_ROWS).to_pylist()
