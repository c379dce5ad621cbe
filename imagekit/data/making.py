"""How a batch is made of a job: its images written into one block of bytes, or what a collate function makes of them.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagekit.data.batches import Batch, Collate, Sample, SampleSource, collate
from imagekit.data.images import N_CHANNELS, ImageRows, Pixels, Skipped, without_frames
from imagekit.data.order import SampleRef, keys_of_rows
from imagekit.errors import ImageError, ManifestError, SourceError

_INT64 = np.dtype(np.int64).itemsize


class Job(NamedTuple):
    """The samples of one batch: its place in the epoch, and rows and copies, int64 [B] each."""

    number: int
    epoch: int
    rows_B: npt.NDArray[np.int64]
    copies_B: npt.NDArray[np.int64]


class Made(NamedTuple):
    """What came of a job beside pixels: samples that could not be used, and what a collate function made."""

    skipped: Sequence[Skipped]
    collated: Any


class BatchMaker:
    """Makes batches of a dataset, in this process or in a worker.

    Where all images have one known size, and no collate function of somebody's own waits for them, they are written
    into one block of bytes [B, H, W, C]. Else the samples are collated. skip: leave out what cannot be used.
    """

    def __init__(self, dataset: SampleSource, collate_fn: Collate, *, batch_size: int, skip: bool, pin: bool) -> None:
        self.dataset, self.collate, self.batch_size, self.skip, self.pin = dataset, collate_fn, batch_size, skip, pin
        self._tells_rows = isinstance(dataset, ImageRows) and type(dataset).samples is ImageRows.samples
        # what a subclass makes of a sample itself is asked for sample by sample
        is_plain = self._tells_rows and type(dataset).load is ImageRows.load and collate_fn is collate  # type: ignore[attr-defined]
        self.image_size: tuple[int, int] | None = dataset.image_size if is_plain else None  # type: ignore[attr-defined]
        self._rows_bytes = 2 * batch_size * _INT64

    @property
    def slot_bytes(self) -> int:
        """Room for a job's rows and copies, and its pixels."""
        return self._rows_bytes + self.batch_size * int(np.prod(self.image_size or (0,))) * N_CHANNELS

    def batch(self, job: Job) -> tuple[Any, Sequence[Skipped]]:
        """The batch, made here, and what was left out of it; None for a batch of which nothing is left."""
        with _one_thread():
            if self.image_size is None:
                made = self._collate(job, _nobody)
                return made.collated, made.skipped
            x_BHWC = self._empty(len(job.rows_B))
            skipped = self._fill(x_BHWC.numpy(), job, _nobody)
            return self._batch(job, x_BHWC, skipped), skipped

    def take(self, job: Job, made: Made, slot: memoryview) -> Any:
        """The batch that a worker made; None where nothing is left of it."""
        if self.image_size is None:
            return made.collated
        x_BHWC = self._empty(len(job.rows_B))
        x_BHWC.numpy()[...] = self._pixels(slot, len(job.rows_B))  # the slot is soon another batch's
        return self._batch(job, x_BHWC, made.skipped)

    # -- what Workers asks for ----------------------------------------------------------------------------------------

    def put(self, job: Job, slot: memoryview) -> tuple[int, int, int]:
        """Rows and copies into the slot: as a message those of a large batch would fill a pipe."""
        rows_B, copies_B = self._numbers(slot, len(job.rows_B))
        rows_B[:], copies_B[:] = job.rows_B, job.copies_B
        return job.number, job.epoch, len(job.rows_B)

    def do(self, message: tuple[int, int, int], slot: memoryview, mark: Callable[[int], object]) -> Made:
        """Make the batch in a worker."""
        number, epoch, n = message
        job = Job(number, epoch, *self._numbers(slot, n))
        if self.image_size is None:
            return self._collate(job, mark)
        return Made(self._fill(self._pixels(slot, n), job, mark), None)

    def row_name(self, row: int) -> str:
        """What a row is, for people."""
        name = getattr(self.dataset, "row_name", None)
        known = f"row {row}" if name is None else str(name(row))
        return known if self._tells_rows or self.skip else f"a row of the batch that begins with {known}"

    # -- parts --------------------------------------------------------------------------------------------------------

    def _numbers(self, slot: memoryview, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        both = np.frombuffer(slot[: self._rows_bytes], dtype=np.int64).reshape(2, self.batch_size)
        return both[0, :n], both[1, :n]

    def _pixels(self, slot: memoryview, n: int) -> Pixels:
        height, width = self.image_size or (0, 0)
        pixels_BHWC: Pixels = np.frombuffer(slot[self._rows_bytes :], dtype=np.uint8).reshape(
            self.batch_size, height, width, N_CHANNELS
        )
        return pixels_BHWC[:n]

    def _empty(self, n: int) -> Tensor:
        return torch.empty((n, *(self.image_size or ()), N_CHANNELS), dtype=torch.uint8, pin_memory=self.pin)

    def _fill(self, out_BHWC: Pixels, job: Job, mark: Callable[[int], object]) -> list[Skipped]:
        dataset: Any = self.dataset
        skipped: list[Skipped] = dataset.fill(
            out_BHWC, job.rows_B, job.copies_B, epoch=job.epoch, mark=mark, skip=self.skip
        )
        return skipped

    def _batch(self, job: Job, x_BHWC: Tensor, skipped: Sequence[Skipped]) -> Batch | None:
        dataset: Any = self.dataset
        y_B = torch.from_numpy(dataset.targets_of(job.rows_B))
        rows_B, copies_B = torch.from_numpy(job.rows_B.copy()), torch.from_numpy(job.copies_B)
        keys_B = keys_of_rows(rows_B, copies_B, seed=dataset.seed, epoch=job.epoch)
        if skipped:
            left_B = torch.ones(len(rows_B), dtype=torch.bool)
            left_B[[each.place for each in skipped]] = False
            n_left = len(rows_B) - len(skipped)
            x_BHWC[:n_left] = x_BHWC[left_B]  # moved up where they lie: this memory may be pinned, a copy is not
            x_BHWC, y_B, rows_B, keys_B = x_BHWC[:n_left], y_B[left_B], rows_B[left_B], keys_B[left_B]
        if not len(rows_B):
            return None
        y_B = y_B.pin_memory() if self.pin else y_B
        return Batch(x=x_BHWC.permute(0, 3, 1, 2), y=y_B, keys=keys_B, rows=rows_B, number=job.number)

    def _collate(self, job: Job, mark: Callable[[int], object]) -> Made:
        refs = [
            SampleRef(job.epoch, row, copy)
            for row, copy in zip(job.rows_B.tolist(), job.copies_B.tolist(), strict=True)
        ]
        samples, skipped = self._samples(refs, mark)
        collated = self.collate(samples) if samples else None
        return Made(skipped, _numbered(collated, job.number))

    def _samples(self, refs: Sequence[SampleRef], mark: Callable[[int], object]) -> tuple[list[Sample], list[Skipped]]:
        if not self.skip:
            return self._ask_for(refs, mark), []
        samples: list[Sample] = []
        skipped = []
        for place, ref in enumerate(refs):
            try:
                samples += self._ask_for([ref], mark)
            except (ImageError, ManifestError, SourceError) as error:
                skipped.append(Skipped(place, ref.row, without_frames(error)))
        return samples, skipped

    def _ask_for(self, refs: Sequence[SampleRef], mark: Callable[[int], object]) -> list[Sample]:
        if self._tells_rows:
            dataset: Any = self.dataset
            samples: list[Sample] = dataset.samples(refs, mark=mark)
            return samples
        mark(refs[0].row)
        return self.dataset.samples(refs)


def _numbered(collated: Any, number: int) -> Any:
    if isinstance(collated, Batch):
        return Batch(collated.x, collated.y, collated.keys, collated.rows, number)
    return collated


def _nobody(row: int) -> None:
    """Nobody watches which row this process is at."""


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as a worker does: waking another takes ten times as long as a flip of 128 x 128."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
