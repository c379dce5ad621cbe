"""A cache that is filled ahead of training: what it holds, what it tells, and who uses it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trees import draw_tree

from imagekit.errors import ManifestError, OutputError, SourceError
from imagekit.files import seam
from imagekit.files.sizes import display_bytes
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.training.config import TrainConfig
from imagekit.training.fill_cache import fill_cache
from imagekit.training.running import Running
from imagekit.training.train import train

QUICK = TrainConfig(model_options={"nfs": [4]}, epochs=1, size=12, batch_size=4, precision="fp32", device="cpu")


@pytest.fixture
def manifest(manifest_path: Path) -> Path:
    """12 train and 6 valid images."""
    return manifest_path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/imagekit"


def test_every_image_is_kept_once_and_the_second_time_nothing_is_new(manifest, folder):
    first = fill_cache(manifest, config=QUICK)
    second = fill_cache(manifest, config=QUICK)

    lines = [report.summary().splitlines() for report in (first, second)]
    assert [each[0] for each in lines] == [
        "18 of 18 images are in the cache, 18 of them new, 7.78 KB",
        "18 of 18 images are in the cache, 0 of them new, 7.78 KB",
    ]
    assert lines[0][1] == f"{first.seconds:.1f} s, in {folder}"
    assert [report.exit_code for report in (first, second)] == [0, 0]
    assert first.n_bytes == 18 * 12 * 12 * 3
    assert first.to_dict() == {
        "manifest": str(manifest), "folder": str(folder), "n_images": 18, "n_there_before": 0, "n_there": 18,
        "n_bytes": 7776, "seconds": round(first.seconds, 3), "skipped": [], "remarks": [], "is_full": False,
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"presize": 16}, {"crop_scale": 0.5}])
def test_a_training_of_the_same_settings_finds_all_of_them(manifest, tmp_path, changes):
    config = replace(QUICK, **changes)
    report = fill_cache(manifest, config=config)

    running = Running(cache="auto")
    train(manifest, output=tmp_path / "run", config=config, running=running, quiet=True)

    assert report.n_there == report.n_images == 18
    log = (tmp_path / "run/run.log").read_text()
    assert f" cache: disk; all 18 images lie decoded on the disk, {display_bytes(report.n_bytes)}\n" in log


def test_progress_ends_at_the_number_of_images(manifest):
    told: list[tuple[int, int]] = []

    fill_cache(manifest, config=QUICK, progress=lambda n_done, n_all: told.append((n_done, n_all)))

    assert told == [(12, 18), (18, 18)]


def test_workers_fill_the_same_cache(manifest, folder):
    fill_cache(manifest, config=QUICK, n_workers=2)
    [path] = folder.glob("*.pixels")
    by_workers = path.read_bytes()
    path.unlink()

    fill_cache(manifest, config=QUICK)

    assert path.read_bytes() == by_workers


def test_images_that_cannot_be_used_are_listed_and_all_others_kept(manifest):
    for number in range(4):
        (manifest.parent / f"train/dog/{number}.JPEG").write_bytes(b"no picture")
    (manifest.parent / "val/cat/0.JPEG").unlink()

    report = fill_cache(manifest, config=QUICK)

    why = "cannot be used any more: unidentified: the content is no known image; it begins with b'no pictu'"
    lines = report.summary().splitlines()
    assert lines[0] == "13 of 18 images are in the cache, 13 of them new, 7.78 KB"
    assert lines[2:] == [
        *(f"train/dog/{number}.JPEG: {why}" for number in range(3)),
        "and 2 more that cannot be used",
    ]
    assert (report.exit_code, len(report.skipped)) == (3, 5)


def test_a_split_of_which_no_image_can_be_used_is_listed_like_any_other(manifest):
    for path in (manifest.parent / "val").rglob("*.JPEG"):
        path.write_bytes(b"no picture")

    report = fill_cache(manifest, config=QUICK)

    assert (report.n_there, len(report.skipped), report.exit_code) == (12, 6, 3)


def test_equal_images_are_counted_once_and_one_that_changed_is_told(tmp_path):
    root = draw_tree(tmp_path / "pictures", n_train=2, n_valid=1)
    twin = root / "train/cat/twin.JPEG"
    twin.write_bytes((root / "train/cat/0.JPEG").read_bytes())
    manifest = Path(build_manifest(root, n_workers=1).output)
    twin.write_bytes((root / "train/dog/0.JPEG").read_bytes())

    report = fill_cache(manifest, config=QUICK)

    # whichever of the two comes first; the other is then taken from the cache
    assert (report.n_images, report.n_there) == (6, 6)
    assert report.skipped == []


def test_the_folds_of_a_manifest_share_one_cache(tmp_path):
    tree = draw_tree(tmp_path / "pictures")
    manifest = Path(build_manifest(tree, options=ManifestOptions(split="kfold:3"), n_workers=1).output)
    fill_cache(manifest, config=QUICK)

    report = fill_cache(manifest, config=replace(QUICK, fold=2))

    assert (report.n_there_before, report.n_images) == (18, 18)


def test_images_that_lay_there_damaged_are_told_and_mended(manifest, folder):
    fill_cache(manifest, config=QUICK)
    [path] = folder.glob("*.pixels")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    report = fill_cache(manifest, config=QUICK)

    assert report.summary().splitlines()[2] == "1 image in the cache was damaged and decoded anew"
    assert path.read_bytes() == whole


def test_a_full_disk_is_told(manifest, monkeypatch):
    def full(fd: int, data: Any, offset: int) -> None:
        if len(data) > 4096:
            return write_at(fd, data, offset)
        raise OSError(28, "No space left on device")

    fill_cache(manifest, config=replace(QUICK, size=11))  # that the folder is there
    write_at = seam.write_at
    monkeypatch.setattr("imagekit.data.store._write_at", full)

    report = fill_cache(manifest, config=QUICK)

    assert report.summary().splitlines()[0] == "0 of 18 images are in the cache, 0 of them new, 7.78 KB"
    assert report.summary().splitlines()[2] == "the disk is full: images that have no room are decoded in every epoch"
    assert report.exit_code == 3


def test_a_limit_that_is_too_small_is_refused_before_anything_is_decoded(manifest, folder):
    with pytest.raises(OutputError) as caught:
        fill_cache(manifest, config=QUICK, limit=7775)

    assert str(caught.value) == (
        f"the cache would take 7.78 KB, the limit is 7.78 KB\n  where: {folder}\n"
        "  fix: give a greater --cache-limit, or use --cache none"
    )
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_told(manifest, folder):
    folder.parent.mkdir()
    folder.write_text("a file")

    with pytest.raises(OutputError) as caught:
        fill_cache(manifest, config=QUICK, limit=10**9)

    assert str(caught.value) == (
        f"the cache cannot be written: File exists\n  where: {folder}\n"
        "  fix: set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"
    )


def test_a_manifest_that_was_built_without_reading_is_refused(tmp_path):
    tree = draw_tree(tmp_path / "pictures")
    manifest = Path(build_manifest(tree, options=ManifestOptions(check="none"), n_workers=1).output)

    with pytest.raises(ManifestError) as caught:
        fill_cache(manifest, config=QUICK)

    assert caught.value.what == "the manifest does not know the sha256 of its images"


def test_files_that_moved_are_noticed_and_found_below_another_root(manifest, tmp_path):
    moved = manifest.rename(tmp_path / "metadata.parquet")

    with pytest.raises(SourceError):
        fill_cache(moved, config=QUICK)
    report = fill_cache(moved, config=QUICK, root=tmp_path / "pictures")

    assert report.n_there == 18


def test_the_next_command_is_the_training_with_the_same_options(manifest):
    report = fill_cache(manifest, config=QUICK, options=["--root", "my images", "--size", "12"])

    assert report.next_command == f"imagekit train {manifest} -o run --root 'my images' --size 12 --cache disk"


def test_what_is_told_is_plain(manifest):
    assert json.loads(json.dumps(fill_cache(manifest, config=QUICK).to_dict()))["n_there"] == 18
