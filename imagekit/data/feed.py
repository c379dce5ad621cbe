"""Batches on their way to a CUDA device while the one before them is computed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from imagekit.data.batches import Batch
from imagekit.data.images import Skipped
from imagekit.data.loaders import Loader


class DeviceFeed:
    """As the loader, with x and y of each batch on a CUDA device, sent one batch ahead by a stream of their own.

    The loader should pin its batches, or nothing is gained. What is no Batch comes as it is. `skipped` is of the
    batches that were handed out. cuda: torch.cuda, or what stands for it.
    """

    def __init__(self, loader: Loader[Any], device: torch.device, *, cuda: Any = torch.cuda) -> None:
        self.loader, self.device, self._cuda = loader, device, cuda
        self.skipped: list[Skipped] = []
        self._stream: Any = None  # one for all iterations: what one stream has freed, no other can use

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return self._one_ahead(iter(self.loader))

    @property
    def dataset(self) -> Any:
        """The loader's."""
        return self.loader.dataset

    @property
    def batch_size(self) -> int:
        """The loader's."""
        return self.loader.batch_size

    @property
    def n_samples(self) -> int:
        """The loader's."""
        return self.loader.n_samples

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """As Loader."""
        self.loader.set_epoch(epoch, first_batch)

    def close(self) -> None:
        """As Loader."""
        self.loader.close()

    def _one_ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        if self._stream is None:
            self._stream = self._cuda.Stream(self.device)
        ahead = None
        self.skipped = []
        for batch in batches:
            sent = *self._send(batch), len(self.loader.skipped)
            if ahead is not None:
                yield self._arrived(*ahead)
            ahead = sent
        if ahead is not None:
            yield self._arrived(*ahead)
        self.skipped = list(self.loader.skipped)

    def _send(self, batch: Any) -> tuple[Any, Any]:
        """The batch on its way, and the event behind its copy."""
        if not isinstance(batch, Batch):
            return batch, None
        with self._cuda.stream(self._stream):
            x, y = (self._moved(part) for part in batch)
        return replace(batch, x=x, y=y), self._stream.record_event()

    def _moved(self, part: Any) -> Any:
        return part.to(self.device, non_blocking=True) if isinstance(part, Tensor) else part

    def _arrived(self, batch: Any, copied: Any, n_skipped: int) -> Any:
        """The batch, safe to compute with: the computing stream waits for its copy alone, the host does not."""
        self.skipped = list(self.loader.skipped[:n_skipped])
        computing = self._cuda.current_stream(self.device)
        if copied is not None:
            computing.wait_event(copied)
        for part in batch if isinstance(batch, Batch) else ():
            if isinstance(part, Tensor):
                part.record_stream(computing)  # or its memory could be another batch's while it is still read
        return batch
