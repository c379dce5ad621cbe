"""Look into the files: take over what an earlier run knows of unchanged ones, read the rest in worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
# so many headers are scanned in the second that starting two workers takes. Threads are no way to scan faster: they
# wait for each other's lock at every system call, 60 us a file instead of 42
SCAN_FILES = 20_000
TAKE_ROWS = 4_096

Found = tuple[int, dict[str, Any]]

Progress = Callable[[int, int], object]


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
        if known is not None and not known.load(facts, rows):
            facts = FactTable(len(names), LAYOUT)
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
        is_short = self.check == "header" and len(rows) <= SCAN_FILES
        passes = (self._scan, self._decode) if is_short else (self._decode,)
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
        """Headers that need no decoder, in this process: starting workers takes longer."""
        for row, name in zip(rows.tolist(), _each(names.take(pa.array(rows))), strict=True):
            found = task.scan(name)
            if found is not None:
                yield row, found

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
