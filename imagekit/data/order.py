"""The order of an epoch: a pure function of the number of rows, the seed and the epoch.

Shapes: N rows, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from imagekit.transforms.draws import make_keys, uniform


class SampleRef(NamedTuple):
    """Which row, in which epoch: all that a worker needs to make a sample."""

    epoch: int
    row: int


def keys_of(refs: Sequence[SampleRef], *, seed: int) -> Tensor:
    """The keys of all random draws for these samples, int64 [B]; refs of one batch share an epoch."""
    ids_B = torch.tensor([ref.row for ref in refs], dtype=torch.int64)
    return make_keys(seed=seed, epoch=refs[0].epoch if refs else 0, ids_B=ids_B)


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of range(n_rows) as int64 [N]: the rows sorted by a keyed draw.

    Equal on every machine and device; another seed or epoch gives another order.
    """
    keys_N = make_keys(seed=seed, epoch=epoch, ids_B=torch.arange(n_rows))
    return uniform(keys_N, stream="order")[:, 0].argsort(stable=True)


class EpochBatches(Sampler[list[SampleRef]]):
    """Batches of SampleRefs of the epoch that `epoch` says; the last batch may be smaller, no row is dropped.

    An iteration keeps the epoch that it began with. Without `shuffle` the order is that of the rows.
    """

    def __init__(self, n_rows: int, *, batch_size: int, seed: int, shuffle: bool) -> None:
        self.n_rows = n_rows
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleRef]]:
        return self._of_epoch(self.epoch)

    def _of_epoch(self, epoch: int) -> Iterator[list[SampleRef]]:
        order = epoch_order(self.n_rows, seed=self.seed, epoch=epoch) if self.shuffle else torch.arange(self.n_rows)
        rows = order.tolist()
        for start in range(0, len(rows), self.batch_size):
            yield [SampleRef(epoch, row) for row in rows[start : start + self.batch_size]]
