"""Images that no manifest lists, as a source of samples: files below some folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.data.images import ImageRows
from imagekit.errors import ImageError, SourceError
from imagekit.files.names import display_name, to_path
from imagekit.files.read import read_file
from imagekit.transforms.order import Transform


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


class ImageFiles(ImageRows):
    """Samples of image files without a target, which is -1: uint8 [C, H, W], or what the last transform makes of it.

    transforms: item transforms. Raises SourceError for a file that cannot be read or decoded.
    """

    def __init__(self, files: FileNames, *, transforms: Iterable[Transform] = (), seed: int = 0) -> None:
        super().__init__(transforms=transforms, seed=seed)
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def read(self, row: int) -> bytes:
        """The file of a row."""
        return read_file(self.files.path(row), follow_symlinks=True)

    def targets_of(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """No target."""
        return np.full(len(rows_B), -1, dtype=np.int64)

    def row_name(self, row: int) -> str:
        """The path of a row's file."""
        return self.files.shown(row)

    def unusable(self, row: int, error: ImageError) -> SourceError:
        """Which file it is."""
        return SourceError(
            f"the image cannot be used any more: {error.what}",
            where=self.files.shown(row),
            fix="leave it alone while it is looked at, and run the command again",
        )
