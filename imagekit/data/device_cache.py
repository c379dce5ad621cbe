"""A whole set of images on the device: a batch is a gather, and the processor decodes nothing from then on.

Only what gives the very same bytes as a Loader is done there: flips, and crops that are not resized.

Shapes: N rows, B batch, C channels, H height, W width; h, w of the crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagekit.data.batches import Batch
from imagekit.data.images import N_CHANNELS, ImageRows, Skipped, size_of
from imagekit.data.loaders import Loader
from imagekit.data.order import EpochBatches, draws_of_rows, keys_of_rows
from imagekit.errors import ConfigError
from imagekit.transforms.crops import RandomCrop, crop_sides
from imagekit.transforms.flips import AlternatingFlip, RandomFlip
from imagekit.transforms.sending import send
from imagekit.transforms.tensors import ToByteTensor


def why_not(dataset: ImageRows) -> str | None:
    """Why the rest of a dataset's transforms cannot be done by a gather; None where it can."""
    pipeline = dataset.pipeline
    size = size_of(pipeline.fixed_transforms)
    if size is None:
        return "its images have no one size before the random transforms"
    for transform in pipeline.rest_transforms:
        is_plain_crop = (
            type(transform) is RandomCrop
            and isinstance(transform.filter, str)
            and crop_sides(transform.crop_size, size[1], size[0], where="RandomCrop") == transform.out_size
        )
        if is_plain_crop:
            size = size_of([transform]) or size
        elif type(transform) not in (RandomFlip, AlternatingFlip, ToByteTensor):
            return f"{type(transform).__name__} is done on the processor"
    return None


class DeviceLoader:
    """As Loader, with the images of all rows on a device; they are decoded by `fill`, at the latest for a first batch.

    A row that could not be used is left out of every epoch with on_error "skip" of the loader that decodes. Raises
    ConfigError for a dataset whose transforms need the processor (`why_not`), and what the loader raises.
    """

    def __init__(
        self,
        dataset: ImageRows,
        *,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        decoder: Loader[Any],
        balance_by: Tensor | None = None,
    ) -> None:
        if reason := why_not(dataset):
            raise ConfigError(
                f"a cache on the device cannot serve this training: {reason}",
                where="--cache device",
                fix="use --cache ram, or transforms that do not resize at random (crop_scale = 1)",
            )
        self.dataset, self.batch_size, self.device = dataset, batch_size, device
        self.skipped: list[Skipped] = []
        self._decoder, self._shuffle = decoder, shuffle
        self._next_epoch, self._first_batch = 0, 0
        self._batches = EpochBatches(
            len(dataset), batch_size=batch_size, seed=dataset.seed, shuffle=shuffle, balance_by=balance_by
        )
        self._x_NHWC: Tensor | None = None
        self._bad: dict[int, Skipped] = {}
        self._targets_N = torch.from_numpy(dataset.targets_of(np.arange(len(dataset)))).to(device)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def n_samples(self) -> int:
        """Samples of an epoch, those that may be left out among them."""
        return self._batches.n_samples

    def __iter__(self) -> Iterator[Batch]:
        epoch, first_batch = self._next_epoch, self._first_batch
        self._first_batch = 0
        if self._shuffle:
            self._next_epoch += 1
        return self._give(epoch, first_batch)

    def fill(self) -> None:
        """Decode what is not there yet."""
        self._images()

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """As Loader."""
        self._next_epoch, self._first_batch = epoch, first_batch

    def close(self) -> None:
        """Let the images go, and end the workers that decoded them."""
        self._x_NHWC = None
        self._decoder.close()

    def _give(self, epoch: int, first_batch: int) -> Iterator[Batch]:
        x_NHWC = self._images()
        rows_M, copies_M = self._batches.order(epoch)
        self.skipped = []
        for number in range(first_batch, len(self)):
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            rows_B, copies_B = self._usable(rows_M[part], copies_M[part])
            if len(rows_B):
                yield self._batch(x_NHWC, rows_B, copies_B, epoch=epoch, number=number)

    def _images(self) -> Tensor:
        """The images of all rows, decoded in the order of the rows."""
        if self._x_NHWC is not None:
            return self._x_NHWC
        height, width = size_of(self.dataset.pipeline.fixed_transforms) or (0, 0)
        x_NHWC = torch.empty((len(self.dataset), height, width, N_CHANNELS), dtype=torch.uint8, device=self.device)
        with closing(self._decoder):
            for batch in self._decoder:
                x_NHWC[batch.rows.to(self.device)] = batch.x.permute(0, 2, 3, 1).to(self.device)
        self._bad = {each.row: each for each in self._decoder.skipped}
        self._x_NHWC = x_NHWC
        return x_NHWC

    def _usable(self, rows_B: Tensor, copies_B: Tensor) -> tuple[Tensor, Tensor]:
        if not self._bad:
            return rows_B, copies_B
        bad = [(place, row) for place, row in enumerate(rows_B.tolist()) if row in self._bad]
        self.skipped += [Skipped(place, row, self._bad[row].error) for place, row in bad]
        left_B = torch.ones(len(rows_B), dtype=torch.bool)
        left_B[[place for place, _ in bad]] = False
        return rows_B[left_B], copies_B[left_B]

    def _batch(self, x_NHWC: Tensor, rows_B: Tensor, copies_B: Tensor, *, epoch: int, number: int) -> Batch:
        keys_B = keys_of_rows(rows_B, copies_B, seed=self.dataset.seed, epoch=epoch)
        on_device_B = send(rows_B, self.device)
        draws_BN = draws_of_rows(self.dataset.pipeline, rows_B, copies_B, seed=self.dataset.seed, epoch=epoch)
        taken = self._taken(draws_BN, x_NHWC.shape[1], x_NHWC.shape[2])
        if taken is None:
            x_BHWC = x_NHWC[on_device_B]
        else:
            ys_Bh, xs_Bw = (send(part, self.device) for part in taken)
            x_BHWC = x_NHWC[on_device_B[:, None, None], ys_Bh[:, :, None], xs_Bw[:, None, :]]
        return Batch(
            x=x_BHWC.permute(0, 3, 1, 2), y=self._targets_N[on_device_B], keys=keys_B, rows=rows_B, number=number
        )

    def _taken(self, draws_BN: Tensor, height: int, width: int) -> tuple[Tensor, Tensor] | None:
        """Which rows and columns of each image its draws take, int64 [B, h] and [B, w]; None for all as they are."""
        pipeline = self.dataset.pipeline
        drawing = [(each, part) for each, part in pipeline.drawing() if isinstance(each, RandomFlip | RandomCrop)]
        if not drawing:
            return None
        ys_Bh, xs_Bw = (torch.arange(side).expand(len(draws_BN), side) for side in (height, width))
        for transform, part in drawing:
            draws = draws_BN[:, part]
            if isinstance(transform, RandomFlip):
                xs_Bw = torch.where(draws[:, :1] < transform.p, xs_Bw.flip(1), xs_Bw)
            else:
                crop_width, crop_height = transform.out_size
                xs_Bw, ys_Bh = _crop(xs_Bw, draws[:, 0], crop_width), _crop(ys_Bh, draws[:, 1], crop_height)
        return ys_Bh, xs_Bw


def _crop(places_Bn: Tensor, draws_B: Tensor, n_kept: int) -> Tensor:
    """`n_kept` neighbours of each row, from where a crop of one image begins: the whole part of draw * (room + 1)."""
    starts_B = (draws_B * (places_Bn.shape[1] - n_kept + 1)).to(torch.int64)
    return places_Bn.gather(1, starts_B[:, None] + torch.arange(n_kept))


def total_bytes(datasets: Sequence[ImageRows]) -> int:
    """What the images of these datasets take on a device."""
    sizes = [size_of(dataset.pipeline.fixed_transforms) or (0, 0) for dataset in datasets]
    return sum(
        len(dataset) * height * width * N_CHANNELS for dataset, (height, width) in zip(datasets, sizes, strict=True)
    )
