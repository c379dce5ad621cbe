"""Train and valid loaders over any source of samples: batches of uint8 images, made in worker processes.

Shapes: B batch, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from imagekit.data.batches import Batch, Collate, SampleSource, collate
from imagekit.data.images import Skipped
from imagekit.data.making import BatchMaker, Job
from imagekit.data.order import EpochBatches
from imagekit.data.workers import Workers
from imagekit.errors import ConfigError, ManifestError
from imagekit.manifest.read import Manifest
from imagekit.rules.splitters import is_valid

D = TypeVar("D", bound=SampleSource)
OnError = Literal["stop", "skip"]

N_LISTED = 20  # names in an error, as many as did_you_mean gives


class Loader(Generic[D]):
    """Batches of one dataset. With shuffle each iteration is the next epoch, from 0; `set_epoch` chooses another.

    n_workers 0 makes batches in this process. Workers stay between epochs with the transforms that they began with;
    `close` ends them. They are at most three batches ahead, each.
    balance_by: class ids of the rows: with shuffle, every class comes equally often (order.py).
    on_error: what becomes of a sample that cannot be used: "stop" raises, "skip" leaves it out of its batch, puts
    nothing in its place, and adds it to `skipped`, which an iteration empties when it begins. A batch of which nothing
    is left does not come; `number` of the others stays what it was.
    Raises ConfigError for a batch size below 1, and where a second iteration is begun while workers
    serve the first; WorkerError where a worker dies; what the dataset and collate raise comes as it is, wherever it was
    raised. Where every sample of an epoch had to be left out, what was wrong with the first one is raised.
    """

    def __init__(
        self,
        dataset: D,
        *,
        batch_size: int,
        shuffle: bool,
        n_workers: int,
        collate: Collate = collate,
        pin_memory: bool = False,
        balance_by: Tensor | None = None,
        on_error: OnError = "stop",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(
                f"batch_size is {batch_size}, must be at least 1", where="Loader: batch_size", fix="give 64, say"
            )
        if on_error not in ("stop", "skip"):
            raise ConfigError(
                f'on_error is "{on_error}", must be "stop" or "skip"',
                where="Loader: on_error",
                fix="leave it out to stop",
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.skipped: list[Skipped] = []
        self._shuffle, self._n_workers, self._pin = shuffle, n_workers, pin_memory
        self._next_epoch, self._first_batch, self._is_under_way = 0, 0, False
        self._batches = EpochBatches(
            len(dataset), batch_size=batch_size, seed=dataset.seed, shuffle=shuffle, balance_by=balance_by
        )
        self._maker = BatchMaker(dataset, collate, batch_size=batch_size, skip=on_error == "skip", pin=pin_memory)
        self._workers = Workers(self._maker, n_workers=n_workers, slot_bytes=self._maker.slot_bytes)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def slots_bytes(self) -> int:
        """Memory that the workers' batches lie in while they are made and wait, at most."""
        return self._workers.n_slots * self._maker.slot_bytes if self._n_workers else 0

    @property
    def n_samples(self) -> int:
        """Samples of an epoch, those that may be left out among them."""
        return self._batches.n_samples

    def __iter__(self) -> Iterator[Any]:
        epoch, first_batch = self._next_epoch, self._first_batch
        self._first_batch = 0
        if self._shuffle:
            self._next_epoch += 1
        return self._give(epoch, first_batch)

    def _give(self, epoch: int, first_batch: int) -> Iterator[Any]:
        if self._n_workers and self._is_under_way:
            raise ConfigError(
                "the loader is gone through already, and its workers serve one iteration at a time",
                where="Loader",
                fix="make a second loader, or one with n_workers 0",
            )
        self._is_under_way, self.skipped, n_given = True, [], 0
        try:
            jobs = self._jobs(epoch, first_batch)
            for batch, skipped in self._made_by_workers(jobs) if self._n_workers else map(self._maker.batch, jobs):
                self.skipped += skipped
                if batch is not None:
                    n_given += 1
                    yield self._pinned(batch)
            if self.skipped and not n_given and not first_batch:
                raise self.skipped[0].error
        finally:
            self._is_under_way = False

    def _jobs(self, epoch: int, first_batch: int) -> Iterator[Job]:
        rows_M, copies_M = (part.numpy() for part in self._batches.order(epoch))
        for number in range(first_batch, len(self)):
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            yield Job(number, epoch, rows_M[part], copies_M[part])

    def _made_by_workers(self, jobs: Iterator[Job]) -> Iterator[tuple[Any, list[Skipped]]]:
        asked: list[Job] = []

        def remember(jobs: Iterator[Job]) -> Iterator[Job]:
            for job in jobs:
                asked.append(job)
                yield job

        for made, slot in self._workers.run(remember(jobs)):
            yield self._maker.take(asked.pop(0), made, slot), list(made.skipped)

    def _pinned(self, batch: Any) -> Any:
        """A batch that a collate function made; the others were pinned from the beginning."""
        is_to_pin = self._pin and self._maker.image_size is None and isinstance(batch, Batch)
        return batch.pin_memory() if is_to_pin else batch

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch whose order and draws the next iteration gives, and with which of its batches it begins."""
        self._next_epoch, self._first_batch = epoch, first_batch

    def close(self) -> None:
        """End the worker processes; another iteration would start new ones."""
        self._workers.close()


def valid_split(manifest: Manifest) -> str:
    """The split to validate on: `valid`, or where no row has it the first `valid:<name>` by name."""
    splits = pc.unique(manifest.table["split"].cast(pa.string())).to_pylist()
    return min(filter(is_valid, splits), default="valid")  # "valid" itself sorts before every other


def check_one_label(manifest: Manifest) -> None:
    """Raise ManifestError for a manifest with several label columns: a loader gives one target an image."""
    columns = manifest.metadata.label_columns
    if not columns:
        return
    listed = ", ".join(columns[:N_LISTED]) + (", ..." if len(columns) > N_LISTED else "")
    raise ManifestError(
        f"the manifest has {len(columns)} label columns, and a model learns one: {listed}",
        where=str(manifest.path),
        fix=f"choose one with --target-column {columns[0]}, say",
    )
