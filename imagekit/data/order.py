"""The order of an epoch: a pure function of the number of rows, the seed and the epoch.

Shapes: N rows, B batch, K classes, M samples of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from imagekit.errors import ConfigError
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.draws import make_keys, uniform

_COPY_BITS = 40  # above every row's number


class SampleRef(NamedTuple):
    """Which row, in which epoch: all that a worker needs to make a sample.

    copy: tells apart the times that the row comes in this epoch, each with draws of its own.
    """

    epoch: int
    row: int
    copy: int = 0


def keys_of(refs: Sequence[SampleRef], *, seed: int) -> Tensor:
    """The keys of all random draws for these samples, int64 [B]; refs of one batch share an epoch."""
    return keys_of_rows(*_rows_and_copies(refs), seed=seed, epoch=refs[0].epoch if refs else 0)


def keys_of_rows(rows_B: Tensor, copies_B: Tensor, *, seed: int, epoch: int) -> Tensor:
    """As `keys_of`, of rows and copies as int64 [B] each: no object a row."""
    return make_keys(seed=seed, epoch=epoch, ids_B=rows_B + (copies_B << _COPY_BITS))


def draws_of_rows(pipeline: ItemPipeline, rows_B: Tensor, copies_B: Tensor, *, seed: int, epoch: int) -> Tensor:
    """The draws of a pipeline for these samples: float64 [B, N], N = n_draws."""
    keys_B = keys_of_rows(rows_B, copies_B, seed=seed, epoch=epoch)
    if not pipeline.has_turns:
        return pipeline.draw(keys_B)
    lasting_B = keys_of_rows(rows_B, copies_B, seed=seed, epoch=0)
    return pipeline.draw_in_epoch(keys_B, lasting_B=lasting_B, epoch=epoch)


def draws_of(pipeline: ItemPipeline, refs: Sequence[SampleRef], *, seed: int) -> Tensor:
    """As `draws_of_rows`; refs of one batch share an epoch."""
    return draws_of_rows(pipeline, *_rows_and_copies(refs), seed=seed, epoch=refs[0].epoch if refs else 0)


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of range(n_rows) as int64 [N]: the rows sorted by a keyed draw.

    Equal on every machine and device; another seed or epoch gives another order.
    """
    keys_N = make_keys(seed=seed, epoch=epoch, ids_B=torch.arange(n_rows))
    return uniform(keys_N, stream="order")[:, 0].argsort(stable=True)


def balanced_order(targets_N: Tensor, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Rows and copies, int64 [M] each, of an epoch in which every class comes equally often, N / K times rounded up.

    targets_N: class ids; rows with an id below 0 are left out. Each class goes round and round through its rows, in
    another order each time and on from one epoch to the next, so none comes again before all others have come.
    copies: numbers that tell apart the times that a row comes. Raises ConfigError where no row has a class.
    """
    classes = torch.unique(targets_N[targets_N >= 0]).tolist()
    if not classes:
        raise ConfigError(
            "no row has a class to balance by", where="balanced_order", fix="balance a set whose rows have labels"
        )
    quota = -(-int((targets_N >= 0).sum()) // len(classes))
    parts = [_go_round(torch.nonzero(targets_N == k)[:, 0], quota, seed=seed, epoch=epoch) for k in classes]
    rows_M, copies_M = (torch.cat(column) for column in zip(*parts, strict=True))
    order_M = epoch_order(len(rows_M), seed=seed, epoch=epoch)
    return rows_M[order_M], copies_M[order_M]


def _go_round(rows_N: Tensor, quota: int, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """The next `quota` rows of one class, which is gone through again and again, and which time round each is."""
    n, start = len(rows_N), epoch * quota
    first, last = start // n, (start + quota - 1) // n
    rounds = [rows_N[_round_order(rows_N, seed=seed, number=number)] for number in range(first, last + 1)]
    places = torch.arange(start - first * n, start - first * n + quota)
    return torch.cat(rounds)[places], places // n


def _round_order(rows_N: Tensor, *, seed: int, number: int) -> Tensor:
    keys_N = make_keys(seed=seed, epoch=number, ids_B=rows_N)
    return uniform(keys_N, stream="balanced order")[:, 0].argsort(stable=True)


class EpochBatches(Sampler[list[SampleRef]]):
    """Batches of SampleRefs of the epoch that `epoch` says; the last batch may be smaller, no row is dropped.

    An iteration keeps the epoch that it began with. Without `shuffle` the order is that of the rows. balance_by: class
    ids [N]: with them and `shuffle` an epoch is that of `balanced_order`. n_samples: of an epoch.
    """

    def __init__(
        self, n_rows: int, *, batch_size: int, seed: int, shuffle: bool, balance_by: Tensor | None = None
    ) -> None:
        self.n_rows = n_rows
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.balance_by = balance_by if shuffle else None
        self.epoch = 0
        self.n_samples = n_rows
        if self.balance_by is not None:
            self.n_samples = len(balanced_order(self.balance_by, seed=seed, epoch=0)[0])

    def __len__(self) -> int:
        return -(-self.n_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleRef]]:
        return self._of_epoch(self.epoch)

    def _of_epoch(self, epoch: int) -> Iterator[list[SampleRef]]:
        rows_M, copies_M = self.order(epoch)
        for rows, copies in zip(*(torch.split(each, self.batch_size) for each in (rows_M, copies_M)), strict=True):
            yield [SampleRef(epoch, row, copy) for row, copy in zip(rows.tolist(), copies.tolist(), strict=True)]

    def order(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Rows and copies of a whole epoch, int64 [M] each; batches are slices of them."""
        if self.balance_by is not None:
            return balanced_order(self.balance_by, seed=self.seed, epoch=epoch)
        rows_N = epoch_order(self.n_rows, seed=self.seed, epoch=epoch) if self.shuffle else torch.arange(self.n_rows)
        return rows_N, torch.zeros_like(rows_N)


def _rows_and_copies(refs: Sequence[SampleRef]) -> tuple[Tensor, Tensor]:
    rows, copies = [ref.row for ref in refs], [ref.copy for ref in refs]
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(copies, dtype=torch.int64)
