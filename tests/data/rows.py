"""A dataset of small drawn images that lie in memory, and stores for it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from imagekit.data.batches import Batch
from imagekit.data.cache_files import Room, open_store
from imagekit.data.images import ImageRows, size_of
from imagekit.data.loaders import Loader
from imagekit.data.order import SampleRef
from imagekit.data.store import HEADER_BYTES, Layout, PixelStore, memory_store
from imagekit.errors import ImageError, ImagekitError, ManifestError
from imagekit.files.hashes import sha256_bytes
from imagekit.pixels.decode import decode_rgb
from imagekit.transforms.order import Transform

SIZE = (12, 10)  # width and height


def png(pixels_HWC: np.ndarray) -> bytes:
    """An image file."""
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "PNG", compress_level=0)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


class Rows(ImageRows):
    """`n` images, of one size or of the sizes given in turn; those whose number is in `bad` cannot be decoded.

    on_read: told each row that is read, in the process that reads it.
    """

    def __init__(
        self,
        n: int = 13,
        *,
        transforms: Iterable[Transform] = (),
        seed: int = 0,
        sizes: Sequence[tuple[int, int]] = (SIZE,),
        bad: Iterable[int] = (),
        on_read: Callable[[int], object] = int,
    ) -> None:
        super().__init__(transforms=transforms, seed=seed)
        self.files = [png(noise(row, sizes[row % len(sizes)])) for row in range(n)]
        self.bad, self.on_read = set(bad), on_read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = self.samples([SampleRef(0, index)])[0]
        return sample.x, sample.y

    def read(self, row: int) -> bytes:
        self.on_read(row)
        return b"no picture" if row in self.bad else self.files[row]

    def unusable(self, row: int, error: ImageError) -> ImagekitError:
        return ManifestError(f"{self.row_name(row)}: {error.what}", where=f"row {row}", fix="mend it")

    def targets_of(self, rows_B: np.ndarray) -> np.ndarray:
        return rows_B % 3

    def row_name(self, row: int) -> str:
        return f"{row}.png"

    def layout(self) -> Layout:
        """Of all its images, as the fixed transforms leave them."""
        size = size_of(self.pipeline.fixed_transforms)
        sides = [size or decode_rgb(file).shape[:2] for file in self.files]
        digests = np.array([list(sha256_bytes(file)) for file in self.files], np.uint8).reshape(-1, 32)
        heights_N, widths_N = np.array(sides, np.int64).reshape(-1, 2).T.copy()
        return Layout(heights_N=heights_N, widths_N=widths_N, digests_N=digests)

    def put_all(self, store: PixelStore, rows: Iterable[int]) -> None:
        """Decode these rows into a store."""
        for row in rows:
            store.put(row, self.pipeline.fixed(decode_rgb(self.files[row])), self.files[row])


def store_on_disk(folder: Path, rows: Rows) -> PixelStore:
    """The store of these rows in a folder without a limit."""
    return open_store(Room(folder=folder, limit_bytes=2**40), {"transforms": rows.pipeline.to_dict()}, rows.layout())


def damage(store: PixelStore, places: Iterable[int]) -> None:
    """Change one byte of each of these images behind its back."""
    for place in places:
        at = int(store.layout.offsets_N[place])
        os.pwrite(store.fd, bytes([os.pread(store.fd, 1, at)[0] ^ 1]), at)


def filled(kind: str, rows: Rows, folder: Path) -> PixelStore | None:
    """A store of one of STORES."""
    if kind == "none":
        return None
    if kind == "memory":
        return memory_store(rows.layout())
    store = store_on_disk(folder, rows)
    if kind == "disk":
        return store
    rows.put_all(store, set(range(0, len(rows), 2 if kind == "half-filled" else 1)) - rows.bad)
    if kind == "damaged":
        damage(store, range(0, len(rows), 3))
    if kind in ("cut", "cut header"):
        store.close()  # as another run finds it
        path = next(folder.glob("*.pixels"))
        os.truncate(path, path.stat().st_size - 1 if kind == "cut" else HEADER_BYTES // 2)
    if kind in ("damaged", "cut", "cut header"):
        store.close()
        return store_on_disk(folder, rows)
    return store


STORES = ("none", "memory", "disk", "half-filled", "full", "damaged", "cut", "cut header")


def told(batch: Any) -> tuple[Any, ...]:
    """All that a batch is, to be compared."""
    assert isinstance(batch, Batch)
    x = batch.x
    return x.dtype, x.shape, x.stride(), x.numpy().tobytes(), *(
        part.tolist() for part in (batch.y, batch.keys, batch.rows)
    ), batch.number  # fmt: skip


def epochs(rows: Rows, store: PixelStore | None = None, *, epochs: int = 3, **options: Any) -> list[list[Any]]:
    """What a loader gives in some epochs, each a list of batches as `told` tells them."""
    if store is not None:
        rows.keep_in(store, np.arange(len(rows)))
    with closing(Loader(rows, **{"shuffle": True, "batch_size": 5, "n_workers": 0} | options)) as loader:
        return [[told(batch) for batch in loader] for _ in range(epochs)]
