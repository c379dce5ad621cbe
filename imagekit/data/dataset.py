"""A manifest's rows as a map-style dataset of uint8 images and class indices, usable in any training loop.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagekit.data.images import ImageRows
from imagekit.data.order import SampleRef
from imagekit.errors import ImageError, ManifestError
from imagekit.files.names import display_name, path_in
from imagekit.files.read import read_file
from imagekit.manifest.read import Manifest
from imagekit.transforms.order import Transform


class ManifestDataset(ImageRows):
    """The rows of one split. `x, y = dataset[i]` opens, decodes and transforms one image: uint8 [C, H, W], class index.

    An index is an int (draws of epoch 0) or a SampleRef(epoch, row); `samples` makes a whole batch with one call for
    all draws. transforms: item transforms; none leaves every image at its own size, and an image that they leave as
    it is becomes a uint8 tensor. seed: of the random draws. Rows are kept as Arrow buffers, no Python object a row.
    Raises ManifestError for a split that is not there, and for a file that cannot be decoded, whether the manifest
    vouched for it or was built without decoding.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        *,
        transforms: Iterable[Transform] = (),
        root: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(transforms=transforms, seed=seed)
        rows = manifest.rows(split, columns=("file_name", "file_name_bytes", "target"))
        self.split = split
        self.root = Path(root or manifest.root)
        self.vocab = manifest.vocab
        self._where = str(manifest.path)
        self._was_decoded = manifest.metadata.check == "decode"
        self._names = manifest.raw_names(rows)
        self._targets = np.asarray(rows["target"].combine_chunks().fill_null(-1), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int | SampleRef) -> tuple[Tensor, int]:
        ref = index if isinstance(index, SampleRef) else SampleRef(0, self._checked(index))
        sample = self.samples([ref])[0]
        return sample.x, sample.y

    def read(self, row: int) -> bytes:
        """The file of a row."""
        return read_file(path_in(str(self.root), self._names[row].as_py()), follow_symlinks=True)

    def targets_of(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The class indices of these rows, -1 where there is no label."""
        targets_B: npt.NDArray[np.int64] = self._targets[rows_B]
        return targets_B

    def unusable(self, row: int, error: ImageError) -> ManifestError:
        """Which file it is, and whether the manifest had vouched for it."""
        now, how = (" any more", "") if self._was_decoded else ("", " with --check decode")
        return ManifestError(
            f"{self.row_name(row)} cannot be used{now}: {error.what}",
            where=f"{self.root}, row {row} of {self.split} in {self._where}",
            fix=f"restore the file, or build the manifest again{how} so that it is left out",
        )

    def row_name(self, row: int) -> str:
        """The name of a row's file as the manifest shows it."""
        return display_name(self._names[row].as_py())

    def file_names(self) -> list[str]:
        """The names of all rows as the manifest shows them."""
        return [display_name(raw) for raw in self._names.to_pylist()]

    def targets(self) -> Tensor:
        """The class indices of all rows, int64; -1 where there is no label."""
        return torch.from_numpy(self._targets.copy())

    def _checked(self, index: Any) -> int:
        position = operator.index(index)  # a fraction or a slice is a TypeError
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is outside the {len(self)} rows of {self.split}")
        return position % len(self)
