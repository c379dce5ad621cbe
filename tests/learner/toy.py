"""Small models and data for tests of the loop; everything is a function of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy


class Batch(tuple[Tensor, ...]):
    """(x, y), and `keys` where they were asked for."""

    keys: Tensor


@dataclass
class Loaders:
    train_dl: list[Batch]
    valid_dl: list[Batch]


def blobs(sizes: list[int], *, seed: int, with_keys: bool = False) -> list[Batch]:
    """Batches of 2-D points of two classes that a line separates, one batch for each size."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in sizes:
        y = torch.randint(0, 2, (size,), generator=generator)
        x = torch.randn(size, 2, generator=generator) * 0.3 + (y[:, None] * 2.0 - 1.0)
        batches.append(Batch((x, y)))
        if with_keys:
            batches[-1].keys = torch.arange(size)
    return batches


def images(sizes: list[int], *, seed: int) -> list[Batch]:
    """Batches of 3x8x8 images of two classes: one is brighter above, the other below."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in sizes:
        y = torch.randint(0, 2, (size,), generator=generator)
        x = torch.randn(size, 3, 8, 8, generator=generator) * 0.5
        x[:, :, :4] += (y * 2.0 - 1.0)[:, None, None, None]
        batches.append(Batch((x, y)))
    return batches


def loaders(train: list[int], valid: list[int], *, with_keys: bool = False) -> Loaders:
    return Loaders(blobs(train, seed=1, with_keys=with_keys), blobs(valid, seed=2, with_keys=with_keys))


class _Epoch:
    """The rows of one batch in batches of `size`, in an order of the epoch, from any batch on."""

    def __init__(self, rows: Batch, size: int) -> None:
        self.rows, self.size = rows, size
        self.epoch = self.first_batch = 0

    def __len__(self) -> int:
        return -(-len(self.rows[1]) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.rows[1]), generator=torch.Generator().manual_seed(self.epoch))
        left = order.split(self.size)[self.first_batch :]
        self.first_batch = 0
        return iter([Batch(part[rows] for part in self.rows) for rows in left])


class ShuffledLoaders:
    """Loaders that can begin an epoch at any batch, as a DataBunch can."""

    def __init__(self, rows: Batch, valid_dl: list[Batch], *, size: int) -> None:
        self.train_dl, self.valid_dl = _Epoch(rows, size), valid_dl
        self.told: list[tuple[int, int]] = []

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.told.append((epoch, first_batch))
        self.train_dl.epoch, self.train_dl.first_batch = epoch, first_batch


def linear(*, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


def conv_net(*, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(128, 2),
    )


def make_learner(
    dls: Any = None, *callbacks: Callback, model: nn.Module | None = None, lr: float = 0.1, **options: Any
) -> Learner:
    settings: dict[str, Any] = {
        "loss_func": cross_entropy,
        "opt_func": partial(torch.optim.SGD, momentum=0.9),
        "lr": lr,
        "callbacks": callbacks,
    }
    return Learner(model or linear(), dls or loaders([4, 4], [4]), **settings | options)


def _handler(event: str) -> Any:
    def handle(self: Any) -> None:
        self.log.append(event)
        self.seen[event] = self.seen.get(event, 0) + 1
        if event == self.event and self.seen[event] == self.nth:
            raise self.error

    return handle


class _Log(Callback):
    def __init__(self, event: str = "", error: BaseException | None = None, *, nth: int = 1) -> None:
        self.log: list[str] = []
        self.seen: dict[str, int] = {}
        self.event, self.error, self.nth = event, error, nth


# a callback that writes down every event, and raises `error` at the nth `event`
EventLog: Any = type("EventLog", (_Log,), {event: _handler(event) for event in EVENTS})
