"""Which images a cache would hold, whether one is worth while, and the loaders' datasets joined to it.

Shapes: N rows.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.data.cache_files import Room, default_folder, entries, look_into, open_store
from imagekit.data.dataset import ManifestDataset
from imagekit.data.images import N_CHANNELS, size_of
from imagekit.data.store import Layout, PixelStore, memory_store
from imagekit.errors import ConfigError, ManifestError, OutputError, did_you_mean
from imagekit.files.sizes import display_bytes
from imagekit.manifest.read import Manifest
from imagekit.pixels.turbo import load_turbo
from imagekit.transforms.resize import Resampling

CacheKind = Literal["auto", "none", "ram", "disk", "device"]
KINDS: tuple[str, ...] = get_args(CacheKind)
FORMAT = 1  # raise it where decoding or resizing here comes to give other pixels
_TURNED = 5  # EXIF orientations from here on swap the sides
SHARE_OF_FREE = 0.5
_MOST_OF_DEVICE = 0.9  # however large a limit is told
_N_TRIED, _SECONDS_TRIED = 32, 0.25
_LEAST_SAVED_S = 1.0  # of decoding: less is not worth a thought
_ELSEWHERE = "set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What becomes of the images, and why, in one line. n_bytes: what the cache takes when it is full."""

    kind: str
    why: str
    n_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the choice goes by. Bytes; images a second of all workers together; n_images: of one pass over all.

    impossible: why these images cannot be kept, or None. there: whether a store on disk, which may be used, holds all
    of them already.
    on_device: None where the rest of the work cannot be done there, else the bytes that are free on it.
    """

    n_bytes: int
    n_images: int
    n_epochs: int
    images_per_s: float
    free_memory: int
    limit: int | None
    there: bool
    device_bytes: int
    on_device: int | None
    impossible: str | None


def choose_cache(facts: Facts) -> Plan:
    """What `auto` comes to: the device's memory, a store on disk that is full, the machine's memory, else none."""
    size, free = display_bytes(facts.n_bytes), display_bytes(facts.free_memory)

    def plan(kind: str, why: str) -> Plan:
        return Plan(kind=kind, why=why, n_bytes=facts.n_bytes)

    if facts.impossible:
        return plan("none", facts.impossible)
    saved_s = (facts.n_epochs - 1) * facts.n_images / facts.images_per_s
    gain = f"decoding {facts.images_per_s:,.0f} images/s would take {saved_s:,.0f} s in the epochs after the first"
    most = int(facts.free_memory * SHARE_OF_FREE) if facts.limit is None else facts.limit
    if (
        facts.on_device is not None
        and facts.device_bytes <= most_on_device(facts.on_device, facts.limit)
        and facts.n_epochs > 1
    ):
        free_there = display_bytes(facts.on_device)
        return plan("device", f"{display_bytes(facts.device_bytes)} of {free_there} free on the device; {gain}")
    if facts.there:
        return plan("disk", f"all {facts.n_images:,} images lie decoded on the disk, {size}")
    if facts.n_epochs < 2:
        return plan("none", "one epoch looks at every image once")
    if saved_s < _LEAST_SAVED_S:
        return plan("none", f"decoding is no matter here, {saved_s:.1f} s in all epochs after the first")
    if facts.n_bytes <= most:
        return plan("ram", f"{size} of {free} free memory; {gain}")
    whose = "--cache-limit" if facts.limit is not None else f"half of the {free} free memory"
    return plan("none", f"{size} are more than {whose}; images of a smaller subset would fit")


def most_on_device(free: int, limit: int | None) -> int:
    """Bytes that a cache may take of what is free on a device, where the model and its activations come to lie too."""
    return int(free * SHARE_OF_FREE) if limit is None else min(limit, int(free * _MOST_OF_DEVICE))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Share:
    """The images that datasets with equal fixed transforms have in common: one store serves them all.

    places: for each dataset the place of each row.
    """

    datasets: Sequence[ManifestDataset]
    places: Sequence[npt.NDArray[np.int64]]
    layout: Layout
    what: Mapping[str, object]

    @property
    def n_bytes(self) -> int:
        """What it takes when every image of the datasets is there: others of the manifest stay holes."""
        used_N = np.unique(np.concatenate(list(self.places)))
        return int((self.layout.heights_N * self.layout.widths_N)[used_N].sum()) * N_CHANNELS


def share_images(manifest: Manifest, datasets: Sequence[ManifestDataset]) -> list[Share]:
    """What would be kept for these datasets of one manifest.

    Every image of the manifest has a place, by its sha256, so other splits and folds of it share a store.
    Raises ManifestError where the manifest does not know the images' sha256, or sides that are needed; ConfigError for
    a fixed transform of somebody's own, whose code may change while its name stays.
    """
    for dataset in datasets:
        _require_ours(dataset)
    digests, order, place_of = _digests(manifest)
    groups: dict[str, list[ManifestDataset]] = {}
    for dataset in datasets:
        groups.setdefault(repr(_fixed(dataset)), []).append(dataset)
    shares = []
    for members in groups.values():
        heights_N, widths_N = _sides(manifest, members[0])
        layout = Layout(heights_N=heights_N[order], widths_N=widths_N[order], digests_N=digests)
        places = [place_of[_positions(manifest, member.split)] for member in members]
        shares.append(Share(datasets=members, places=places, layout=layout, what=describe_pixels(members[0])))
    return shares


def describe_pixels(dataset: ManifestDataset) -> dict[str, object]:
    """All that decides the pixels that a dataset's fixed transforms make of a file, in plain types."""
    names = ["pillow", *(["simplejpeg"] if load_turbo() is not None else [])]
    fixed = dataset.pipeline.fixed_transforms
    names += ["torch"] if any(isinstance(transform, Resampling) for transform in fixed) else []
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"format": FORMAT, "transforms": _fixed(dataset), "versions": versions}


def join(shares: Sequence[Share], kind: str, room: Room | None = None) -> list[PixelStore]:
    """Make or open the stores, and let every dataset use its own. kind: ram or disk; room: of those on disk, None for
    what `room_of(None)` gives.

    Raises OutputError where the room is not enough for all of them, and what opening one does; none is open then.
    """
    place = (room or room_of(None)) if kind == "disk" else None
    if place is not None:
        _require_room(sum(share.n_bytes for share in shares), place)
    stores: list[PixelStore] = []
    with contextlib.ExitStack() as opened:
        for share in shares:
            stores.append(opened.enter_context(contextlib.closing(_store_of(share, place))))
            place = _less(place, share)
        opened.pop_all()  # all are open
    for share, store in zip(shares, stores, strict=True):
        for dataset, places_N in zip(share.datasets, share.places, strict=True):
            dataset.keep_in(store, places_N)
    return stores


def _store_of(share: Share, room: Room | None) -> PixelStore:
    if room is None:
        return memory_store(share.layout)
    return open_store(room, share.what, share.layout, n_bytes=share.n_bytes)


def _less(room: Room | None, share: Share) -> Room | None:
    """The room where this share's store, which is in use now, counts by its images that are wanted."""
    if room is None:
        return None
    return Room(folder=room.folder, limit_bytes=room.limit_bytes + share.layout.n_bytes - share.n_bytes)


def _require_room(n_bytes: int, room: Room) -> None:
    if n_bytes > room.limit_bytes:
        raise OutputError(
            f"the cache would take {display_bytes(n_bytes)}, the limit is {display_bytes(room.limit_bytes)}",
            where=str(room.folder),
            fix="give a greater --cache-limit, or use --cache none",
        )


def is_there(shares: Sequence[Share], folder: Path) -> bool:
    """Whether stores on disk that may be read hold every image of the datasets already."""
    try:
        return all(_holds_all(share, folder) for share in shares)
    except OSError:  # another user's, say
        return False


def _holds_all(share: Share, folder: Path) -> bool:
    with look_into(folder, share.what, share.layout) as store:
        return store is not None and all(store.n_there(places_N) == len(places_N) for places_N in share.places)


def decode_rate(dataset: ManifestDataset) -> float:
    """Images a second that this process reads, decodes and transforms; of a few spread over the rows.

    One that cannot be used counts as any other: whoever needs it says so.
    """
    tried = np.unique(np.linspace(0, len(dataset) - 1, _N_TRIED).round().astype(np.int64))
    n_done, begun = 0, time.perf_counter()
    for row in np.random.default_rng(0).permutation(tried).tolist():
        with contextlib.suppress(ManifestError):
            dataset.fixed(row)
        n_done += 1
        if time.perf_counter() - begun > _SECONDS_TRIED:
            break
    return n_done / (time.perf_counter() - begun)


def check_kind(kind: str) -> None:
    """Raises ConfigError for a word that is no kind of cache."""
    if kind not in KINDS:
        raise ConfigError(f'cache is "{kind}", which is not known', where="--cache", fix=did_you_mean(kind, KINDS))


def room_of(limit: int | None, folder: Path | None = None) -> Room:
    """The cache folder, and by default half of what the disk has free and the cache has taken as its limit.

    Raises OutputError where there is no such folder, or it may not be looked into.
    """
    try:
        place = folder or default_folder()
        return Room(folder=place, limit_bytes=_half_of_free(place) if limit is None else limit)
    except RuntimeError as error:  # a user without a home
        raise OutputError("there is no home folder to keep a cache in", where="$HOME", fix=_ELSEWHERE) from error
    except OSError as error:
        raise OutputError(
            f"the cache cannot be looked into: {error.strerror}", where=str(error.filename), fix=_ELSEWHERE
        ) from error


def _half_of_free(place: Path) -> int:
    there = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir())
    status = os.statvfs(there)
    taken = sum(entry.n_bytes for entry in entries(place))
    return int((status.f_bavail * status.f_frsize + taken) * SHARE_OF_FREE)


def _require_ours(dataset: ManifestDataset) -> None:
    for transform in dataset.pipeline.fixed_transforms:
        if not type(transform).__module__.startswith("imagekit."):
            raise ConfigError(
                f"what {type(transform).__name__} makes cannot be kept: its code may change while its name stays",
                where="share_images",
                fix="set keeps_kind = False in the class, and it and all behind it are done anew each time",
            )


def _fixed(dataset: ManifestDataset) -> list[dict[str, object]]:
    return dataset.pipeline.to_dict()[: len(dataset.pipeline.fixed_transforms)]


def _positions(manifest: Manifest, split: str) -> npt.NDArray[np.int64]:
    """The places in the table of a split's rows."""
    return np.flatnonzero(np.asarray(pc.equal(manifest.table["split"].cast(pa.string()), split)))


def _digests(
    manifest: Manifest,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct sha256 in order [N, 32], a row that has each, and for each row the place of its own."""
    column = manifest.table["sha256"].combine_chunks()
    if column.null_count:
        raise ManifestError(
            "the manifest does not know the sha256 of its images",
            where=str(manifest.path),
            fix="build it again with --check header or decode, or use --cache none",
        )
    raw = np.frombuffer(column.buffers()[1], dtype="S32", count=len(column), offset=32 * column.offset)
    distinct, order, place_of = np.unique(raw, return_index=True, return_inverse=True)
    digests = np.frombuffer(distinct.tobytes(), dtype=np.uint8).reshape(-1, 32)
    return digests, order.astype(np.int64), place_of.astype(np.int64)


def _sides(manifest: Manifest, dataset: ManifestDataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Height and width of each row's image as the fixed transforms leave it, int64 [N] each."""
    n_rows = manifest.table.num_rows
    size = size_of(dataset.pipeline.fixed_transforms)
    if size is not None:
        return np.full(n_rows, size[0], np.int64), np.full(n_rows, size[1], np.int64)
    columns = [manifest.table[name] for name in ("height", "width", "exif_orientation")]
    if any(column.null_count for column in columns[:2]):
        raise ManifestError(
            "the manifest does not know the sides of its images",
            where=str(manifest.path),
            fix="build it again with --check header or decode, or use --cache none",
        )
    heights_N, widths_N, turns_N = (np.asarray(pc.fill_null(column, 1), dtype=np.int64) for column in columns)
    is_turned_N = turns_N >= _TURNED
    return np.where(is_turned_N, widths_N, heights_N), np.where(is_turned_N, heights_N, widths_N)
