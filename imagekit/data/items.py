"""Items that are loaded when they are asked for, and transformed: of any kind, or images.

Shapes: B batch.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from PIL import Image
from torch import Tensor

from imagekit.data.batches import Sample
from imagekit.data.lists import ListContainer
from imagekit.data.order import SampleRef, draws_of, keys_of
from imagekit.errors import ImagekitError, ShapeError, SourceError
from imagekit.files.discover import Discovery, discover
from imagekit.files.names import display_name, to_path
from imagekit.files.read import read_file
from imagekit.manifest.read import Manifest
from imagekit.pixels.open import open_image
from imagekit.pixels.upright import upright
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.order import Transform

_N_LISTED = 3

Transforms = Transform | Iterable[Transform] | None
# the usual extensions of the formats that are decoded: a drawing (.svg) found would only fail in the middle of an epoch
READABLE = (".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class ItemList(ListContainer):
    """Items, the path that they came from, and the transforms that each goes through whenever it is asked for.

    Indexing and iterating give what `get` makes of an item, transformed; `items` holds what was put in. tfms: item
    transforms and plain functions, run by their `_order`. seed: of the random draws; those of an item are keyed by its
    position in this list and, in a loader, by the epoch. Source: fast.ai course v3, lesson 11.
    """

    def __init__(
        self, items: Any, path: str | os.PathLike[str] = ".", tfms: Transforms = None, *, seed: int = 0
    ) -> None:
        super().__init__(items)
        self.path = Path(path)
        self.seed = seed
        self.pipeline = ItemPipeline(tfms)

    @property
    def tfms(self) -> tuple[Transform, ...]:
        """The transforms in the order in which they run; give others and later items go through these. Workers of a
        loader that was gone through keep those that they began with, until its `close`.
        """
        return self.pipeline.transforms

    @tfms.setter
    def tfms(self, tfms: Transforms) -> None:
        self.pipeline = ItemPipeline(tfms)

    def __repr__(self) -> str:
        return f"{super().__repr__()}\nPath: {self.path}"

    def new(self, items: Any, cls: type[ItemList] | None = None) -> ItemList:
        """A list like this one with other items: of the same class with all it has, or of `cls` with path, transforms
        and seed.
        """
        if cls is not None:
            return cls(items, self.path, tfms=self.tfms, seed=self.seed)
        made = copy.copy(self)  # keeps what a subclass added, however it is made
        made.items = ListContainer(items).items
        return made

    def get(self, item: Any) -> Any:
        """What an item stands for: itself, until a subclass loads something."""
        return item

    def pick(self, positions: Sequence[int]) -> list[Any]:
        """The transformed items at these positions, with the draws of epoch 0."""
        return self.load([SampleRef(0, position) for position in positions])[0]

    def load(self, refs: Sequence[SampleRef]) -> tuple[list[Any], Tensor]:
        """The transformed items of a batch, with one call for all draws, and the int64 [B] keys of these draws.

        refs: of one epoch; the row is the position in this list.
        """
        keys_B = keys_of(refs, seed=self.seed)
        draws = draws_of(self.pipeline, refs, seed=self.seed).tolist()
        return [self._get(self.items[ref.row], row) for ref, row in zip(refs, draws, strict=True)], keys_B

    def samples(self, refs: Sequence[SampleRef]) -> list[Sample]:
        """The samples of a batch, without targets: a Loader takes such a list as it is."""
        items, keys_B = self.load(refs)
        return [Sample(x, None, key, ref.row) for x, key, ref in zip(items, keys_B.tolist(), refs, strict=True)]

    def _get(self, item: Any, draws: Sequence[float]) -> Any:
        return self.pipeline(self.get(item), draws)


class ImageList(ItemList):
    """Image files, each read and decoded when it is asked for: PIL images of the mode they are stored in, upright.

    Give `make_rgb` as the first transform: nothing can be made of a batch of several modes. Raises ImageError where a
    file cannot be decoded, and what a transform raises; either names the file. A list holds a Path for each image: for
    a million of them ManifestDataset takes far less memory. Source: fast.ai course v3, lesson 11.
    """

    @classmethod
    def from_files(
        cls,
        path: str | os.PathLike[str],
        extensions: Iterable[str] | None = None,
        recurse: bool = True,
        include: Iterable[str] | None = None,
        tfms: Transforms = None,
        **options: Any,
    ) -> Self:
        """The image files below a folder, sorted by their path as bytes; hidden ones and symlinks are left out.

        extensions: by default those of the formats that are decoded, READABLE; recurse, include: as
        `files.discover.discover` takes them. options: what else the class takes.
        Raises SourceError where no image is found or a folder cannot be read, and what `discover` raises.
        """
        chosen = READABLE if extensions is None else extensions
        discovery = discover(path, extensions=chosen, recurse=recurse, include=include)
        _check_found(discovery)
        names = discovery.names.to_pylist()
        return cls([to_path(discovery.root, raw) for raw in names], path, tfms=tfms, **options)

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        split: str | None = None,
        *,
        tfms: Transforms = None,
        root: Path | None = None,
        seed: int = 0,
    ) -> Self:
        """The images of a manifest's split in file order, or of all its rows; root: where they lie, if not there.

        Raises ManifestError for a split that is not there.
        """
        columns = ("file_name", "file_name_bytes")
        rows = manifest.table.select(list(columns)) if split is None else manifest.rows(split, columns=columns)
        folder = Path(root or manifest.root)
        return cls([to_path(folder, raw) for raw in manifest.raw_names(rows).to_pylist()], folder, tfms=tfms, seed=seed)

    def get(self, item: str | os.PathLike[str]) -> Image.Image:
        """The image in a file, decoded completely: no file stays open. Raises ImageError."""
        with _naming(item):
            return upright(open_image(read_file(item, follow_symlinks=True)))

    def _get(self, item: Any, draws: Sequence[float]) -> Any:
        with _naming(item):  # a transform sees the image only, and may refuse its mode
            return super()._get(item, draws)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except ImagekitError as error:
        name = display_name(os.fsencode(path))
        error.where = f"{name}, {error.where}" if error.where and name not in error.where else error.where or name
        if isinstance(error, ShapeError):  # the likeliest of all mistakes here
            error.fix = "put make_rgb before the other transforms"
        raise


def _check_found(discovery: Discovery) -> None:
    if discovery.unreadable:
        n_folders = len(discovery.unreadable)
        listed = ", ".join(f"{folder} ({reason})" for folder, reason in discovery.unreadable[:_N_LISTED])
        raise SourceError(
            f"{n_folders} folder{'s' * (n_folders != 1)} cannot be read: "
            f"{listed}{', ...' if n_folders > _N_LISTED else ''}",
            where=str(discovery.root),
            fix="give them read permission, or name the folders to list: include=[...]",
        )
    if not len(discovery):
        n_others = len(discovery.others)
        raise SourceError(
            f"no image is found; files that are no images, and symlinks: {n_others}",
            where=str(discovery.root),
            fix="give the folder that holds the images; extensions, recurse and include say what counts",
        )
