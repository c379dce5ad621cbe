"""Train and valid loaders over any source of samples: batches of uint8 images, made in worker processes.

Shapes: B batch, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from imagekit.data.batches import Collate, SampleSource, collate
from imagekit.data.order import EpochBatches, SampleRef
from imagekit.errors import ConfigError, ImagekitError, ManifestError
from imagekit.manifest.read import Manifest
from imagekit.rules.splitters import is_valid

D = TypeVar("D", bound=SampleSource)

N_LISTED = 20  # names in an error, as many as did_you_mean gives


class _Batches(Dataset[Any]):
    """A dataset whose items are whole batches.

    An error of a sample is returned, and raised by the Loader: torch would send it on from a worker process as the text
    of its traceback, without where and fix.
    """

    def __init__(self, dataset: SampleSource, collate: Collate) -> None:
        self.dataset = dataset
        self.collate = collate

    def __getitems__(self, refs: Sequence[SampleRef]) -> Any:
        try:
            return self.collate(self.dataset.samples(refs))
        except ImagekitError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    """What torch should do with a batch that was made already."""
    return batch


def _give_way(worker: int) -> None:
    """Let a decoding worker yield to training, which all cores do together: preempting one of them stalls them all."""
    os.nice(10)


class Loader(Generic[D]):
    """Batches of one dataset. With shuffle each iteration is the next epoch, from 0; `set_epoch` chooses another.

    n_workers 0 makes batches in this process. Workers stay between epochs with the transforms that they began with;
    `close` ends them. balance_by: class ids of the rows: with shuffle, every class comes equally often (order.py).
    Raises ConfigError for a batch size below 1, and where a second iteration is begun while workers
    serve the first; what the dataset and collate raise comes as it is, wherever it was raised.
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
    ) -> None:
        if batch_size < 1:
            raise ConfigError(
                f"batch_size is {batch_size}, must be at least 1", where="Loader: batch_size", fix="give 64, say"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self._shuffle, self._n_workers = shuffle, n_workers
        self._next_epoch, self._is_under_way = 0, False
        self._batches = EpochBatches(
            len(dataset), batch_size=batch_size, seed=dataset.seed, shuffle=shuffle, balance_by=balance_by
        )
        self._loader: DataLoader[Any] = DataLoader(
            _Batches(dataset, collate),
            batch_sampler=self._batches,
            num_workers=n_workers,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            persistent_workers=n_workers > 0,
            worker_init_fn=_give_way,
            # torch seeds workers from a generator, and would else take numbers from everybody's
            generator=torch.Generator().manual_seed(2 * dataset.seed + shuffle),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        epoch = self._next_epoch
        if self._shuffle:
            self._next_epoch += 1
        return self._give(epoch)

    def _give(self, epoch: int) -> Iterator[Any]:
        if self._n_workers and self._is_under_way:
            raise ConfigError(
                "the loader is gone through already, and its workers serve one iteration at a time",
                where="Loader",
                fix="make a second loader, or one with n_workers 0",
            )
        self._is_under_way = True
        try:
            self._batches.epoch = epoch
            for batch in self._loader:
                if isinstance(batch, ImagekitError):
                    raise batch
                yield batch
        finally:
            self._is_under_way = False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and draws the next iteration gives."""
        self._next_epoch = epoch

    def close(self) -> None:
        """End the worker processes; another iteration would start new ones.

        Where a cycle of references leaves that to the garbage collector, each worker is waited for 5 s, because the
        queue may be closed before the worker is told to end through it.
        """
        iterator: Any = self._loader._iterator  # torch has no public way to end workers that stay
        self._loader._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()


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
