"""Which images a cache holds, what `auto` comes to, and stores behind datasets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from trees import draw_image, draw_tree

from imagekit.data import caching
from imagekit.data.cache_files import Room, store_path
from imagekit.data.caching import Facts, choose_cache, decode_rate, is_there, join, room_of, share_images
from imagekit.data.dataset import ManifestDataset
from imagekit.errors import ConfigError, ManifestError, OutputError
from imagekit.files.sizes import display_bytes
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.views import view
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB

WHOLE = (MakeRGB(), CenterCrop(12, scale=1.0), RandomFlip())
RAGGED = (MakeRGB(), RandomResizedCrop(8), RandomFlip())
GB = 10**9
FACTS = Facts(
    n_bytes=2 * GB,
    n_images=10_000,
    n_epochs=5,
    images_per_s=500.0,
    free_memory=20 * GB,
    limit=None,
    there=False,
    device_bytes=2 * GB,
    on_device=None,
    impossible=None,
)


def room(folder: Path, limit_bytes: int = GB) -> Room:
    return Room(folder=folder, limit_bytes=limit_bytes)


def pair(manifest: Manifest, transforms: Any = WHOLE) -> list[ManifestDataset]:
    return [ManifestDataset(manifest, split, transforms=transforms) for split in ("train", "valid")]


def pixels(dataset: ManifestDataset) -> list[torch.Tensor]:
    return [dataset[row][0] for row in range(len(dataset))]


def assert_same_pixels(one: ManifestDataset, other: ManifestDataset) -> None:
    assert all(a.equal(b) for a, b in zip(pixels(one), pixels(other), strict=True))


# -- what auto comes to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "why"),
    [
        (
            {},
            "ram",
            "2 GB of 20 GB free memory; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        ({"impossible": "they are secret"}, "none", "they are secret"),
        ({"there": True}, "disk", "all 10,000 images lie decoded on the disk, 2 GB"),
        ({"there": True, "n_epochs": 1}, "disk", "all 10,000 images lie decoded on the disk, 2 GB"),
        ({"n_epochs": 1}, "none", "one epoch looks at every image once"),
        ({"n_images": 100}, "none", "decoding is no matter here, 0.8 s in all epochs after the first"),
        (
            {"n_bytes": 11 * GB},
            "none",
            "11 GB are more than half of the 20 GB free memory; images of a smaller subset would fit",
        ),
        ({"limit": GB}, "none", "2 GB are more than --cache-limit; images of a smaller subset would fit"),
        (
            {"limit": 12 * GB, "n_bytes": 11 * GB},
            "ram",
            "11 GB of 20 GB free memory; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        (
            {"on_device": 6 * GB},
            "device",
            "2 GB of 6 GB free on the device; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        (
            {"on_device": 3 * GB},
            "ram",
            "2 GB of 20 GB free memory; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        (
            {"on_device": 6 * GB, "device_bytes": 4 * GB},  # rows that share an image lie there apart
            "ram",
            "2 GB of 20 GB free memory; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        (
            {"on_device": 6 * GB, "device_bytes": 4 * GB, "limit": 5 * GB},
            "device",
            "4 GB of 6 GB free on the device; decoding 500 images/s would take 80 s in the epochs after the first",
        ),
        (
            {"on_device": 6 * GB, "limit": GB},
            "none",
            "2 GB are more than --cache-limit; images of a smaller subset would fit",
        ),
        ({"on_device": 6 * GB, "n_epochs": 1}, "none", "one epoch looks at every image once"),
    ],
)  # fmt: skip
def test_auto_says_what_it_chose_and_why(changes: dict[str, Any], kind: str, why: str):
    facts = replace(FACTS, **changes)

    plan = choose_cache(facts)

    assert (plan.kind, plan.why, plan.n_bytes) == (kind, why, facts.n_bytes)


def test_the_rate_of_decoding_counts_images_that_cannot_be_used(manifest_path: Path):
    for path in manifest_path.parent.rglob("*.JPEG"):
        path.write_bytes(b"no picture")

    assert 0 < decode_rate(pair(read_manifest(manifest_path))[0]) < float("inf")


# -- which images ------------------------------------------------------------------------------------------------------


def test_datasets_with_the_same_fixed_transforms_share_a_store_and_others_have_their_own(manifest_path: Path):
    manifest = read_manifest(manifest_path)
    alone = ManifestDataset(manifest, "valid", transforms=[MakeRGB(), ResizeFixed(10)])

    shares = share_images(manifest, [*pair(manifest), alone])

    assert [len(share.datasets) for share in shares] == [2, 1]
    assert [share.n_bytes for share in shares] == [18 * 12 * 12 * 3, 6 * 10 * 10 * 3]
    assert [len(np.unique(np.concatenate(list(share.places)))) for share in shares] == [18, 6]


@pytest.mark.parametrize("kind", ["ram", "disk"])
@pytest.mark.parametrize("transforms", [WHOLE, RAGGED], ids=["one size", "ragged"])
def test_what_comes_out_of_a_store_is_what_comes_out_of_the_files(tmp_path: Path, kind: str, transforms: Any):
    root = draw_tree(tmp_path / "pictures", n_train=2, n_valid=1)
    for number, size in enumerate([(17, 30), (30, 17), (9, 8)]):
        draw_image(root / f"train/cat/other{number}.JPEG", "cat", seed=50 + number, size=size)
    for orientation in (3, 6, 8):  # turned by a half, and by a quarter: the sides change places
        image = Image.open(root / "train/cat/0.JPEG").resize((20, 14))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(root / f"train/dog/turned{orientation}.JPEG", exif=exif)
    manifest = read_manifest(Path(build_manifest(root, n_workers=1).output))
    plain, kept = pair(manifest, transforms), pair(manifest, transforms)

    [store] = join(share_images(manifest, kept), kind, room(tmp_path / "cache"))
    for path in (*root.rglob("*.JPEG"), None):
        for one, other in zip(plain, kept, strict=True) if path is None else ():
            assert_same_pixels(one, other)
    n_there = store.n_there()
    for path in root.rglob("*.JPEG"):
        path.unlink()

    assert n_there == len(manifest.table) == store.layout.heights_N.size
    assert [len(pixels(dataset)) for dataset in kept] == [10, 2]
    store.close()


def test_equal_images_have_one_place_and_the_folds_of_a_manifest_one_store(tmp_path: Path):
    root = draw_tree(tmp_path / "pictures")
    (root / "train/cat/twin.JPEG").write_bytes((root / "train/cat/0.JPEG").read_bytes())
    whole = read_manifest(Path(build_manifest(root, options=ManifestOptions(split="kfold:3"), n_workers=1).output))
    folds = [view(whole, fold=fold) for fold in range(3)]

    shares = [share_images(fold, pair(fold))[0] for fold in folds]
    first = join([shares[0]], "disk", room(tmp_path / "cache"))
    for dataset in shares[0].datasets:
        pixels(dataset)
    second = join([shares[1]], "disk", room(tmp_path / "cache"))

    assert [len(share.layout) for share in shares] == [len(whole.table) - 1] * 3
    assert second[0].n_there() == len(whole.table) - 1
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 1
    for store in (*first, *second):
        store.close()


def test_a_manifest_that_was_built_without_reading_has_no_cache(tmp_path: Path):
    root = draw_tree(tmp_path / "pictures")
    manifest = read_manifest(build_manifest(root, options=ManifestOptions(check="none"), n_workers=1).output)

    with pytest.raises(ManifestError) as caught:
        share_images(manifest, pair(manifest))

    assert str(caught.value) == (
        f"the manifest does not know the sha256 of its images\n  where: {manifest.path}\n"
        "  fix: build it again with --check header or decode, or use --cache none"
    )


def test_a_manifest_that_was_built_from_headers_has_one(tmp_path: Path):
    root = draw_tree(tmp_path / "pictures")
    manifest = read_manifest(build_manifest(root, options=ManifestOptions(check="header"), n_workers=1).output)

    [share] = share_images(manifest, pair(manifest, RAGGED))

    assert share.n_bytes == 18 * 40 * 32 * 3


def test_sides_are_asked_for_only_where_images_have_no_one_size(manifest_path: Path):
    known = read_manifest(manifest_path)
    nothing = pa.nulls(known.table.num_rows, pa.int32())
    names = known.table.column_names
    manifest = replace(known, table=known.table.set_column(names.index("width"), "width", nothing))

    with pytest.raises(ManifestError) as caught:
        share_images(manifest, pair(manifest, RAGGED))

    assert len(share_images(manifest, pair(manifest))) == 1
    assert str(caught.value) == (
        f"the manifest does not know the sides of its images\n  where: {manifest.path}\n"
        "  fix: build it again with --check header or decode, or use --cache none"
    )


def test_a_file_that_is_another_image_now_is_noticed(manifest_path: Path):
    manifest = read_manifest(manifest_path)
    train, _ = pair(manifest)
    [store] = join(share_images(manifest, pair(manifest) and [train]), "ram")
    draw_image(manifest_path.parent / "train/cat/0.JPEG", "cat", seed=99)

    with pytest.raises(ManifestError) as caught:
        train[0]

    assert str(caught.value) == (
        "train/cat/0.JPEG cannot be used any more: corrupt: the bytes are not those that the manifest lists:"
        f" their sha256 differs\n  where: {manifest_path.parent}, row 0 of train in {manifest_path}\n"
        "  fix: restore the file, or build the manifest again so that it is left out"
    )
    store.close()


# -- stores on disk ----------------------------------------------------------------------------------------------------


def test_a_store_is_there_when_it_holds_every_image_that_is_wanted(manifest_path: Path, tmp_path: Path):
    manifest = read_manifest(manifest_path)
    datasets, place = pair(manifest), room(tmp_path / "cache")
    shares = share_images(manifest, datasets)
    found = [is_there(shares, place.folder)]
    [store] = join(shares, "disk", place)

    for dataset in datasets:
        found.append(is_there(shares, place.folder))
        pixels(dataset)
    found.append(is_there(shares, place.folder))
    store.close()

    assert found == [False, False, False, True]
    assert is_there(share_images(manifest, pair(manifest)), place.folder)
    assert not is_there(share_images(manifest, pair(manifest, RAGGED)), place.folder)


def test_a_store_that_was_cut_is_not_there(manifest_path: Path, tmp_path: Path):
    manifest = read_manifest(manifest_path)
    datasets = pair(manifest)
    shares = share_images(manifest, datasets)
    [store] = join(shares, "disk", room(tmp_path / "cache"))
    for dataset in datasets:
        pixels(dataset)
    store.close()
    [path] = (tmp_path / "cache").glob("*.pixels")
    os.truncate(path, path.stat().st_size - 1)

    assert not is_there(shares, tmp_path / "cache")


def test_a_store_that_may_not_be_read_is_not_there(manifest_path: Path, tmp_path: Path, monkeypatch):
    def refuse(share: object, folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    manifest = read_manifest(manifest_path)
    monkeypatch.setattr(caching, "_holds_all", refuse)

    assert not is_there(share_images(manifest, pair(manifest)), tmp_path)


def test_room_is_wanted_for_all_stores_together_and_for_the_images_that_are_used_alone(
    manifest_path: Path, tmp_path: Path
):
    manifest = read_manifest(manifest_path)
    train, valid = pair(manifest)[0], ManifestDataset(manifest, "valid", transforms=[MakeRGB(), ResizeFixed(10)])
    shares = share_images(manifest, [train, valid])
    n_bytes = 12 * 12 * 12 * 3 + 6 * 10 * 10 * 3

    with pytest.raises(OutputError) as caught:
        join(shares, "disk", room(tmp_path / "cache", n_bytes - 1))
    stores = join(shares, "disk", room(tmp_path / "cache", n_bytes))

    assert str(caught.value) == (
        f"the cache would take {display_bytes(n_bytes)}, the limit is {display_bytes(n_bytes - 1)}\n"
        f"  where: {tmp_path / 'cache'}\n"
        "  fix: give a greater --cache-limit, or use --cache none"
    )
    assert [store.n_there() for store in stores] == [0, 0]
    for store in stores:
        store.close()


def test_where_a_second_store_cannot_be_opened_the_first_one_is_closed(
    manifest_path: Path, tmp_path: Path, monkeypatch
):
    manifest = read_manifest(manifest_path)
    train, valid = pair(manifest)[0], ManifestDataset(manifest, "valid", transforms=[MakeRGB(), ResizeFixed(10)])
    opened: list[Any] = []
    open_store = caching.open_store

    def once(*args: Any, **options: Any) -> Any:
        if opened:
            raise OutputError("no")
        opened.append(open_store(*args, **options))
        return opened[0]

    monkeypatch.setattr(caching, "open_store", once)

    with pytest.raises(OutputError, match=r"^no$"):
        join(share_images(manifest, [train, valid]), "disk", room(tmp_path / "cache"))

    assert (opened[0].fd, train.store) == (-1, None)


def test_without_a_limit_half_of_what_is_free_and_taken_may_be_used(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    status = os.statvfs(tmp_path)

    place = room_of(None)

    assert place.folder == tmp_path / "cache/imagekit"
    assert place.limit_bytes == pytest.approx(status.f_bavail * status.f_frsize / 2, rel=0.05)
    assert room_of(7) == Room(folder=tmp_path / "cache/imagekit", limit_bytes=7)
    assert not place.folder.exists()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)

    with pytest.raises(OutputError) as caught:
        room_of(None)

    assert str(caught.value) == (
        "there is no home folder to keep a cache in\n  where: $HOME\n"
        "  fix: set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"
    )


def test_a_cache_folder_that_may_not_be_looked_into_is_told(tmp_path: Path, monkeypatch):
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "statvfs", refuse)

    with pytest.raises(OutputError) as caught:
        room_of(None, tmp_path)

    assert str(caught.value) == (
        f"the cache cannot be looked into: Permission denied\n  where: {tmp_path}\n"
        "  fix: set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"
    )


class Halved(ItemTransform):
    """A transform of somebody's own that draws nothing."""

    _order = 12

    def apply(self, image: Any, draws: Any) -> Any:
        return image // 2


class HalvedAnew(Halved):
    """The same, done each time."""

    keeps_kind = False


def test_what_a_transform_of_ones_own_makes_is_not_kept(manifest_path: Path) -> None:
    manifest = read_manifest(manifest_path)

    with pytest.raises(ConfigError) as caught:
        share_images(manifest, pair(manifest, (*WHOLE[:2], Halved())))

    assert str(caught.value) == (
        "what Halved makes cannot be kept: its code may change while its name stays\n"
        "  where: share_images\n"
        "  fix: set keeps_kind = False in the class, and it and all behind it are done anew each time"
    )
    kept = pair(manifest, (*WHOLE[:2], HalvedAnew()))
    join(share_images(manifest, kept), "ram")
    assert_same_pixels(kept[0], pair(manifest, (*WHOLE[:2], HalvedAnew()))[0])


def test_the_same_images_under_other_names_and_splits_have_the_same_store(manifest_path: Path) -> None:
    manifest = read_manifest(manifest_path)
    table = manifest.table
    names = pa.array([f"moved/{number:03}.jpg" for number in range(table.num_rows)])
    moved = replace(manifest, table=table.set_column(table.schema.get_field_index("file_name"), "file_name", names))

    one, other = (share_images(each, pair(each))[0] for each in (manifest, moved))

    folder = Path("cache")
    assert store_path(folder, one.what, one.layout) == store_path(folder, other.what, other.layout)
