"""Rows of image files as samples: what every dataset of images shares, whatever names its files.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imagekit.data.batches import Sample
from imagekit.data.order import SampleRef, draws_of, draws_of_rows, keys_of
from imagekit.errors import ImageError, ImagekitError, ManifestError, ShapeError, SourceError
from imagekit.pixels.decode import decode_rgb
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.flips import RandomDihedral, RandomFlip
from imagekit.transforms.order import Transform
from imagekit.transforms.resize import Resampling
from imagekit.transforms.tensors import MakeRGB, ToByteTensor, to_byte_tensor

N_CHANNELS = 3  # of what decode_rgb gives
Pixels = npt.NDArray[np.uint8]


class Skipped(NamedTuple):
    """A sample that could not be used: its place in the batch, its row, and why."""

    place: int
    row: int
    error: ImagekitError


class Store(Protocol):
    """Where images are kept that were decoded once; a place is the number of an image in it."""

    def get(self, place: int) -> Pixels | None:
        """The image [H, W, 3], only to be read, or None where it is not there."""
        ...

    def put(self, place: int, image_HWC: Pixels, data: bytes) -> None:
        """Keep the image that was made of the file's bytes. Raises ImageError where it is not the one that belongs."""
        ...


class ImageRows(Dataset[tuple[Tensor, int]]):
    """Images by row number, decoded and transformed: uint8 [C, H, W], or what the last transform makes of it.

    A subclass says how many there are, reads a row's bytes, knows its target, and says what is wrong with a bad one.
    transforms: item transforms; none leaves every image at its own size. seed: of the random draws.
    store: where the images lie as the first, fixed transforms leave them; places: the place of each row in it.
    """

    def __init__(self, *, transforms: Iterable[Transform], seed: int) -> None:
        self.pipeline = ItemPipeline(transforms)
        self.seed = seed
        self.image_size = size_of(self.pipeline.transforms)
        self.store: Store | None = None
        self.places: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        raise NotImplementedError(type(self).__name__)

    def read(self, row: int) -> bytes:
        """The file of a row. Raises ImageError where it cannot be read."""
        raise NotImplementedError(type(self).__name__)

    def unusable(self, row: int, error: ImageError) -> ImagekitError:
        """What is said of a row that cannot be used."""
        raise NotImplementedError(type(self).__name__)

    def targets_of(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The class indices of these rows, -1 where there is none."""
        raise NotImplementedError(type(self).__name__)

    def keep_in(self, store: Store | None, places: npt.NDArray[np.int64]) -> None:
        """Take images from the store and put them there; places: int64, one a row."""
        self.store, self.places = store, places

    def as_kept(self) -> Self:
        """The same rows as the fixed transforms leave them, which is what a store keeps."""
        rows = copy(self)
        rows.pipeline = ItemPipeline(self.pipeline.fixed_transforms)
        rows.image_size = size_of(rows.pipeline.transforms)
        return rows

    def samples(self, refs: Sequence[SampleRef], *, mark: Callable[[int], object] | None = None) -> list[Sample]:
        """The samples of a batch, in the order of the refs. mark: told each row before it is read."""
        keys_B = keys_of(refs, seed=self.seed)
        draws = draws_of(self.pipeline, refs, seed=self.seed).tolist()
        targets = self.targets_of(np.array([ref.row for ref in refs], dtype=np.int64)).tolist()
        made = []
        for ref, row_draws, target, key in zip(refs, draws, targets, keys_B.tolist(), strict=True):
            if mark is not None:
                mark(ref.row)
            made.append(Sample(self.load(ref.row, row_draws), target, key, ref.row))
        return made

    def fill(
        self,
        out_BHWC: Pixels,
        rows_B: npt.NDArray[np.int64],
        copies_B: npt.NDArray[np.int64],
        *,
        epoch: int,
        mark: Callable[[int], object],
        skip: bool,
    ) -> list[Skipped]:
        """Write the images of a batch where they are wanted; where `image_size` says how large they all are.

        mark: told each row before it is read. skip: give back what could not be used instead of raising it; those
        places of the batch hold anything.
        """
        skipped = []
        # copies of their own: in a worker these lie in memory that is soon another job's
        sampled = torch.from_numpy(rows_B.copy()), torch.from_numpy(copies_B.copy())
        draws = draws_of_rows(self.pipeline, *sampled, seed=self.seed, epoch=epoch).tolist()
        for place, (row, row_draws) in enumerate(zip(rows_B.tolist(), draws, strict=True)):
            mark(row)
            try:
                image_HWC = self.fixed(row)
            except (ManifestError, SourceError) as error:
                if not skip:
                    raise
                skipped.append(Skipped(place, row, without_frames(error)))
                continue
            _put(out_BHWC[place], self.pipeline.rest(image_HWC, row_draws))
        return skipped

    def load(self, row: int, draws: Sequence[float]) -> Any:
        """One image, decoded and transformed, nobody else's to write into."""
        image_HWC = self.fixed(row)
        if self.store is not None:
            image_HWC = image_HWC.copy()
        item = self.pipeline.rest(image_HWC, draws)
        return item if isinstance(item, Tensor) else to_byte_tensor(item)

    def fixed(self, row: int) -> Any:
        """The image as the fixed transforms leave it, from the store or from its file; only to be read."""
        place = int(self.places[row]) if self.store is not None else 0
        if self.store is not None and (kept := self.store.get(place)) is not None:
            return kept
        try:
            data = self.read(row)
            # an array from here on: crops are views of it, and torch resizes them 5 times as fast as Pillow
            image_HWC = self.pipeline.fixed(decode_rgb(data))
            if self.store is not None:
                self.store.put(place, image_HWC, data)
        except ImageError as error:
            raise self.unusable(row, error) from error
        return image_HWC


def size_of(transforms: Iterable[Transform]) -> tuple[int, int] | None:
    """(height, width) of every image that these transforms make, where that can be said beforehand."""
    size: tuple[int, int] | None = None
    for transform in transforms:
        if isinstance(transform, Resampling):
            size = transform.out_size[::-1]
        elif isinstance(transform, RandomDihedral):
            size = size if size is not None and size[0] == size[1] else None
        elif not isinstance(transform, (MakeRGB, RandomFlip, ToByteTensor)):
            size = None
    return size


def without_frames(error: ImagekitError) -> ImagekitError:
    """The error alone: where it came from holds the images of its batch, as long as it is kept."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _put(out_HWC: Pixels, item: Any) -> None:
    """Copy what a pipeline made into its place. Raises ShapeError where a transform's `out_size` was not true."""
    pixels_HWC = item.permute(1, 2, 0).numpy() if isinstance(item, Tensor) else np.asarray(item)
    if pixels_HWC.shape != out_HWC.shape:  # which numpy would spread out over the place
        raise ShapeError(
            f"the transforms made {list(pixels_HWC.shape)} of an image, and said {list(out_HWC.shape)}",
            where="ImageRows: transforms",
            fix="let out_size of your transform say (width, height) of what it makes",
        )
    out_HWC[...] = pixels_HWC
