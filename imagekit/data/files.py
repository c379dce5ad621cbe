"""Images that no manifest lists, as a source of samples: files below some folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor
from torch.utils.data import Dataset

from imagekit.data.batches import Sample
from imagekit.data.order import SampleRef, keys_of
from imagekit.errors import ImageError, SourceError
from imagekit.files.names import display_name, to_path
from imagekit.files.read import read_file
from imagekit.pixels.decode import decode_rgb
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.order import Transform
from imagekit.transforms.tensors import to_byte_tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileNames:
    """Raw names [N], each below one of the roots; `root_N` says which."""

    roots: tuple[Path, ...]
    root_N: npt.NDArray[np.int64]
    names: pa.LargeBinaryArray

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> Path:
        """Where the file of a row is."""
        return to_path(self.roots[self.root_N[row]], self.names[row].as_py())

    def shown(self, row: int) -> str:
        """The path of a row for people and tables."""
        return display_name(bytes(self.path(row)))

    def take(self, rows: npt.NDArray[np.int64]) -> FileNames:
        """These rows alone."""
        return FileNames(roots=self.roots, root_N=self.root_N[rows], names=self.names.take(pa.array(rows, pa.int64())))


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Samples of image files without a target, which is -1: uint8 [C, H, W], or what the last transform makes of it.

    transforms: item transforms. Raises SourceError for a file that cannot be read or decoded.
    """

    def __init__(self, files: FileNames, *, transforms: Iterable[Transform] = (), seed: int = 0) -> None:
        self.files = files
        self.pipeline = ItemPipeline(transforms)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def samples(self, refs: Sequence[SampleRef]) -> list[Sample]:
        """The samples of a batch, in the order of the refs."""
        keys_B = keys_of(refs, seed=self.seed)
        draws = self.pipeline.draw(keys_B).tolist()
        return [
            Sample(self.load(ref.row, row_draws), -1, key, ref.row)
            for ref, key, row_draws in zip(refs, keys_B.tolist(), draws, strict=True)
        ]

    def load(self, row: int, draws: Sequence[float]) -> Tensor:
        """One image, decoded and transformed."""
        try:
            image_HWC = decode_rgb(read_file(self.files.path(row), follow_symlinks=True))
        except ImageError as error:
            raise SourceError(
                f"the image cannot be used any more: {error.what}",
                where=self.files.shown(row),
                fix="leave it alone while it is looked at, and run the command again",
            ) from error
        item = self.pipeline(image_HWC, draws)
        return item if isinstance(item, Tensor) else to_byte_tensor(item)
