"""Fill a cache on disk ahead of training, so that the first epoch decodes nothing either."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagekit.data.batches import Sample
from imagekit.data.bunch import DataBunch
from imagekit.data.caching import join, room_of, share_images
from imagekit.data.loaders import Loader
from imagekit.data.store import PixelStore
from imagekit.errors import ManifestError
from imagekit.files.sizes import display_bytes
from imagekit.manifest.read import read_manifest
from imagekit.manifest.views import view
from imagekit.training.assemble import make_loaders
from imagekit.training.caches import damage
from imagekit.training.checks import require_files
from imagekit.training.config import TrainConfig

N_SHOWN = 3
BATCH = 32  # images a task: progress moves, and a worker that dies loses little


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheReport:
    """What a cache holds after it was filled. n_images: that are wanted, equal ones counted once; n_there: of these,
    now; n_bytes: of all that are wanted; folder: where; options: of the command line; skipped: (file, why);
    remarks: on images that lay there damaged.
    """

    manifest: Path
    folder: Path
    n_images: int
    n_there_before: int
    n_there: int
    n_bytes: int
    seconds: float
    options: Sequence[str]
    skipped: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    is_full: bool

    @property
    def exit_code(self) -> int:
        """3 where an image could not be used or had no room, else 0."""
        return 3 if self.skipped or self.is_full else 0

    @property
    def next_command(self) -> str:
        """The training that uses it."""
        return shlex.join(["imagekit", "train", str(self.manifest), "-o", "run", *self.options, "--cache", "disk"])

    def summary(self) -> str:
        """The result as text."""
        lines = [
            f"{self.n_there:,} of {self.n_images:,} images are in the cache,"
            f" {self.n_there - self.n_there_before:,} of them new, {display_bytes(self.n_bytes)}",
            f"{self.seconds:.1f} s, in {self.folder}",
        ]
        lines += self.remarks
        if self.is_full:
            lines.append("the disk is full: images that have no room are decoded in every epoch")
        lines += [f"{name}: {why}" for name, why in self.skipped[:N_SHOWN]]
        n_more = len(self.skipped) - N_SHOWN
        return "\n".join([*lines, *([f"and {n_more:,} more that cannot be used"] if n_more > 0 else [])])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "manifest": str(self.manifest),
            "folder": str(self.folder),
            "n_images": self.n_images,
            "n_there_before": self.n_there_before,
            "n_there": self.n_there,
            "n_bytes": self.n_bytes,
            "seconds": round(self.seconds, 3),
            "skipped": [{"file": name, "why": why} for name, why in self.skipped],
            "remarks": list(self.remarks),
            "is_full": self.is_full,
        }


def fill_cache(
    manifest: Path | str,
    *,
    config: TrainConfig | None = None,
    root: Path | None = None,
    n_workers: int = 0,
    limit: int | None = None,
    options: Sequence[str] = (),
    progress: Callable[[int, int], object] = lambda n_done, n_all: None,
) -> CacheReport:
    """Decode the train and valid images of a manifest into the cache that trainings with this config use.

    limit: the most bytes that the cache folder may hold; None for half of what is free. options: of the command line,
    for the report. An image that cannot be used is listed, and left out. Raises ManifestError for a manifest that does
    not know its images, SourceError where they are elsewhere, OutputError where there is no room.
    """
    begun, config = time.monotonic(), config or TrainConfig()
    content = view(read_manifest(Path(manifest)), target_column=config.target_column, fold=config.fold)
    require_files(content, root=root, may_miss=True)
    data = make_loaders(content, config, root=root, n_workers=0, pin=False)
    room, shares = room_of(limit), share_images(content, [data.train_ds, data.valid_ds])
    stores = join(shares, "disk", room)
    try:
        places = [
            (store, np.unique(np.concatenate(list(share.places)))) for store, share in zip(stores, shares, strict=True)
        ]
        n_before = _n_there(places)
        skipped = _decode_all(data, n_workers=n_workers, progress=progress)
        return CacheReport(
            manifest=Path(manifest),
            folder=room.folder,
            n_images=sum(len(places_N) for _, places_N in places),
            n_there_before=n_before,
            n_there=_n_there(places),
            n_bytes=sum(share.n_bytes for share in shares),
            seconds=time.monotonic() - begun,
            options=options,
            skipped=skipped,
            remarks=damage(stores),
            is_full=any(store.is_full for store in stores),
        )
    finally:
        for store in stores:
            store.close()


def _n_there(places: Sequence[tuple[PixelStore, npt.NDArray[np.int64]]]) -> int:
    return sum(store.n_there(places_N) for store, places_N in places)


def _decode_all(data: DataBunch, *, n_workers: int, progress: Callable[[int, int], object]) -> list[tuple[str, str]]:
    """Make every image of both datasets once; names and reasons of those that cannot be."""
    skipped: dict[str, str] = {}
    n_done, n_all = 0, len(data.train_ds) + len(data.valid_ds)
    for dataset in (data.train_ds, data.valid_ds):
        fixed = dataset.as_kept()
        loader = Loader(
            fixed, batch_size=BATCH, shuffle=False, n_workers=n_workers, collate=count_samples, on_error="skip"
        )
        with closing(loader):
            try:
                for n_made in loader:
                    n_done += n_made
                    progress(n_done, n_all)
            except ManifestError:  # of a set of which not one image can be used; each is listed
                if not loader.skipped:
                    raise
        for each in loader.skipped:
            name = fixed.row_name(each.row)
            skipped[name] = each.error.what.removeprefix(f"{name} ")
    return list(skipped.items())


def count_samples(samples: Sequence[Sample]) -> int:
    """A batch of which nothing is wanted but that it was made."""
    return len(samples)
