"""Train and valid loaders over a manifest: batches of uint8 images, made in worker processes.

Shapes: B batch, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from imagekit.data.dataset import ManifestDataset, Sample
from imagekit.data.order import EpochBatches
from imagekit.errors import ShapeError
from imagekit.manifest.read import Manifest
from imagekit.transforms.items import ItemTransform


class Batch(NamedTuple):
    """x uint8 [B, H, W, 3]; y, keys, rows int64 [B]. Keys seed batch transforms, rows lead back to the manifest."""

    x: Tensor
    y: Tensor
    keys: Tensor
    rows: Tensor


Collate = Callable[[Sequence[Sample]], Any]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size. Raises ShapeError where sizes differ: give a transform that makes one size."""
    sizes = {tuple(sample.image.shape) for sample in samples}
    if len(sizes) > 1:
        listed = ", ".join(f"{width} x {height}" for height, width, _ in sorted(sizes)[:3])
        raise ShapeError(
            f"images of {len(sizes)} sizes cannot be stacked: {listed}",
            where="collate",
            fix="add ResizeFixed, CenterCrop or RandomResizedCrop to the transforms, or give your own collate",
        )
    return Batch(
        x=torch.stack([sample.image for sample in samples]),
        y=torch.tensor([sample.target for sample in samples]),
        keys=torch.tensor([sample.key for sample in samples]),
        rows=torch.tensor([sample.row for sample in samples]),
    )


def _give_way(worker: int) -> None:
    """Let a decoding worker yield to training, which all cores do together: preempting one of them stalls them all."""
    os.nice(10)


class Loader:
    """Batches of one dataset, epoch by epoch. Iterating twice in one epoch gives the same batches twice.

    n_workers 0 decodes in this process. Workers stay between epochs; `close` ends them.
    """

    def __init__(
        self,
        dataset: ManifestDataset,
        *,
        batch_size: int,
        shuffle: bool,
        n_workers: int,
        collate: Collate = collate,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._batches = EpochBatches(len(dataset), batch_size=batch_size, seed=dataset.seed, shuffle=shuffle)
        self._loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=self._batches,
            num_workers=n_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            persistent_workers=n_workers > 0,
            worker_init_fn=_give_way,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and draws the next iteration gives."""
        self._batches.epoch = epoch


class DataLoaders:
    """A train and a valid loader; the valid batch is twice as large, for no gradients are kept there."""

    def __init__(self, train: Loader, valid: Loader) -> None:
        self.train = train
        self.valid = valid

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        *,
        train_transforms: Iterable[ItemTransform],
        valid_transforms: Iterable[ItemTransform],
        batch_size: int = 64,
        n_workers: int = 0,
        seed: int = 0,
        root: Path | None = None,
        collate: Collate = collate,
        pin_memory: bool = False,
    ) -> DataLoaders:
        """Loaders over the manifest's train and valid rows. Raises ManifestError when a split is empty."""
        train = ManifestDataset(manifest, "train", transforms=train_transforms, root=root, seed=seed)
        valid = ManifestDataset(manifest, "valid", transforms=valid_transforms, root=root, seed=seed)
        load = partial(Loader, n_workers=n_workers, collate=collate, pin_memory=pin_memory)
        return cls(
            load(train, batch_size=batch_size, shuffle=True), load(valid, batch_size=2 * batch_size, shuffle=False)
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the train loader; the valid loader never changes."""
        self.train.set_epoch(epoch)
