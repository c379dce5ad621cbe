"""The cache of a training: chosen or asked for, and never to be seen in what is learnt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trees import draw_tree

from imagekit.errors import ConfigError, ManifestError, OutputError
from imagekit.files import seam
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training import caches
from imagekit.training.assemble import make_loaders
from imagekit.training.caches import Cached, with_cache
from imagekit.training.config import TrainConfig
from imagekit.training.running import Running
from imagekit.training.train import train

QUICK = TrainConfig(model_options={"nfs": [4]}, epochs=3, size=12, batch_size=4, precision="fp32", device="cpu")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 train and 4 valid images."""
    return Path(
        build_manifest(draw_tree(tmp_path_factory.mktemp("caches") / "pictures", n_valid=2), n_workers=1).output
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("imagekit.data.caching._LEAST_SAVED_S", 0.0)  # as if the images were many
    return tmp_path / "cache/imagekit"


@contextmanager
def cached(manifest: Path, running: Running, config: TrainConfig = QUICK) -> Iterator[Cached]:
    content = read_manifest(manifest)
    data = make_loaders(content, config, root=None, n_workers=running.n_workers, pin=False, on_error=running.on_error)
    made = with_cache(content, data, config, running, n_epochs=config.epochs, device=CPU)
    try:
        yield made
    finally:
        made.close()


def go_through(made: Cached) -> list[tuple[torch.Tensor, ...]]:
    """The batches of both loaders."""
    return [
        (batch.x.clone(), batch.y.clone()) for loader in (made.data.train_dl, made.data.valid_dl) for batch in loader
    ]


def refusal(kind: type[Exception], manifest: Path, running: Running, config: TrainConfig = QUICK) -> str:
    with pytest.raises(kind) as caught, cached(manifest, running, config):
        pass
    return str(caught.value)


# -- the same weights --------------------------------------------------------------------------------------------------

PRESIZED = replace(QUICK, presize=16)  # training and validation look at other pixels of an image


@pytest.fixture(scope="module")
def plain(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights that a training without cache and workers ends in."""
    running = Running(cache="none")
    report = train(
        manifest, output=tmp_path_factory.mktemp("plain") / "run", config=PRESIZED, running=running, quiet=True
    )
    return dict(load_checkpoint(RunLayout(report.run).last)["model"])


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("cache", ["none", "ram", "disk", "device", "auto"])
def test_no_bit_of_the_weights_depends_on_cache_or_workers(manifest, plain, tmp_path, cache, n_workers):
    running = Running(cache=cache, n_workers=n_workers)

    report = train(manifest, output=tmp_path / "run", config=PRESIZED, running=running, quiet=True)

    layout = RunLayout(report.run)
    weights = load_checkpoint(layout.last)["model"]
    assert all(weights[name].equal(plain[name]) for name in plain)
    timing = json.loads(layout.timing.read_text())
    assert (timing["cache"], timing["workers"]) == ("ram" if cache == "auto" else cache, n_workers)
    assert ("cache: " in layout.log.read_text()) == (cache != "none")


def test_from_a_full_cache_no_file_is_read(tmp_path):
    manifest = Path(build_manifest(draw_tree(tmp_path / "pictures"), n_workers=1).output)
    running = Running(cache="disk")
    first = train(manifest, output=tmp_path / "first", config=PRESIZED, running=running, quiet=True)
    for path in manifest.parent.rglob("*.JPEG"):
        path.write_bytes(b"")

    second = train(manifest, output=tmp_path / "second", config=PRESIZED, running=running, quiet=True)

    one, other = (load_checkpoint(RunLayout(each.run).last)["model"] for each in (first, second))
    assert all(one[name].equal(other[name]) for name in one)


# -- what is chosen ----------------------------------------------------------------------------------------------------


def test_auto_takes_memory_and_later_what_lies_full_on_the_disk(manifest):
    with cached(manifest, Running(cache="auto")) as made:
        lines = [made.line]
    with cached(manifest, Running(cache="disk")) as made:
        lines.append(made.line)
        go_through(made)
    with cached(manifest, Running(cache="auto")) as made:
        lines.append(made.line)

    assert str(lines[0]).startswith("cache: ram; 6.91 KB of ")
    assert lines[1:] == [
        "cache: disk; as asked for, 6.91 KB",
        "cache: disk; all 16 images lie decoded on the disk, 6.91 KB",
    ]


def test_without_a_cache_nothing_is_said(manifest):
    with cached(manifest, Running(cache="none")) as made:
        assert (made.line, made.plan.kind, made.data.train_ds.store) == (None, "none", None)


@pytest.mark.parametrize(("limit", "told"), [(0, "0 KB"), (16 * 12 * 12 * 3 - 1, "6.91 KB")])
def test_auto_does_without_a_store_on_the_disk_for_which_there_is_no_room(manifest, limit, told):
    with cached(manifest, Running(cache="disk")) as made:
        go_through(made)

    with cached(manifest, Running(cache="auto", cache_limit=limit)) as made:
        assert made.line == (
            "cache: none; 6.91 KB are more than --cache-limit; images of a smaller subset would fit;"
            f" of one on the disk: the cache would take 6.91 KB, the limit is {told}"
        )


def test_auto_does_without_a_store_on_the_disk_that_may_not_be_written(manifest, monkeypatch):
    def refuse(shares: Any, kind: str, room: Any = None) -> Any:
        if kind == "disk":
            raise OutputError("the cache cannot be written: Permission denied")
        return join(shares, kind, room)

    with cached(manifest, Running(cache="disk")) as made:
        go_through(made)
    join = caches.join
    monkeypatch.setattr(caches, "join", refuse)

    with cached(manifest, Running(cache="auto")) as made:
        assert made.plan.kind == "ram"
        assert made.plan.why.endswith("; of one on the disk: the cache cannot be written: Permission denied")


def test_auto_needs_no_home(manifest, monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)

    with cached(manifest, Running(cache="auto")) as made:
        assert made.plan.kind == "ram"


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_image_that_cannot_be_used_does_not_keep_auto_from_choosing(tmp_path, on_error):
    manifest = Path(build_manifest(draw_tree(tmp_path / "pictures"), n_workers=1).output)
    (manifest.parent / "train/cat/0.JPEG").write_bytes(b"no picture")

    with cached(manifest, Running(cache="auto", on_error=on_error)) as made:
        assert made.plan.kind == "ram"


def test_auto_on_a_manifest_that_was_built_without_reading_says_why_there_is_none(tmp_path):
    tree = draw_tree(tmp_path / "pictures")
    manifest = Path(build_manifest(tree, options=ManifestOptions(check="none"), n_workers=1).output)

    with cached(manifest, Running(cache="auto")) as made:
        assert made.line == "cache: none; the manifest does not know the sha256 of its images"
        assert made.can_cache() is None
    text = refusal(ManifestError, manifest, Running(cache="ram"))
    assert text.startswith("the manifest does not know the sha256 of its images\n")


def test_the_bytes_that_a_cache_would_need_are_known_to_one_that_has_none(manifest, monkeypatch):
    monkeypatch.setattr(caches, "free_memory", lambda: 5)

    with cached(manifest, Running(cache="none")) as made:
        assert made.can_cache() == (16 * 12 * 12 * 3, 5)


# -- what was asked for and cannot be ----------------------------------------------------------------------------------


def test_a_cache_in_memory_beyond_its_limit_is_refused(manifest):
    running = Running(cache="ram", cache_limit=1000)

    assert refusal(ConfigError, manifest, running) == (
        "the cache would take 6.91 KB of memory, and the limit is 1 KB\n  where: --cache ram\n"
        "  fix: use --cache disk or none, a smaller presize or subset, or where more is free a greater --cache-limit"
    )


def test_a_cache_beyond_what_memory_is_free_is_refused(manifest, monkeypatch):
    monkeypatch.setattr(caches, "free_memory", lambda: 5)

    assert refusal(ConfigError, manifest, Running(cache="ram")) == (
        "the cache would take 6.91 KB of memory, and may take 0.002 KB\n  where: --cache ram\n"
        "  fix: use --cache disk or none, a smaller presize or subset, or where more is free a greater --cache-limit"
    )


def test_a_cache_on_disk_beyond_its_limit_is_refused(manifest, folder):
    assert refusal(OutputError, manifest, Running(cache="disk", cache_limit=1000)) == (
        f"the cache would take 6.91 KB, the limit is 1 KB\n  where: {folder}\n"
        "  fix: give a greater --cache-limit, or use --cache none"
    )


@pytest.mark.parametrize(
    ("limit", "told"), [(1000, "the limit is 1 KB"), (None, "may take 1 KB"), (9000, "may take 1.8 KB")]
)
def test_a_cache_beyond_the_memory_of_the_device_is_refused(manifest, monkeypatch, limit, told):
    monkeypatch.setattr(caches, "_free_on", lambda device: 2000)

    assert refusal(ConfigError, manifest, Running(cache="device", cache_limit=limit)) == (
        f"the cache would take 6.91 KB on the device, and {told}\n  where: --cache device\n"
        "  fix: use --cache disk or none, a smaller presize or subset, or where more is free a greater --cache-limit"
    )


def test_the_batches_of_workers_are_memory_that_a_cache_cannot_have(manifest, monkeypatch):
    slots = 2 * 3 * (QUICK.batch_size * (1 + 2)) * (16 + 12 * 12 * 3)  # of both loaders, rows and pixels
    monkeypatch.setattr(caches, "free_memory", lambda: slots + 2 * 6912 - 1)

    assert refusal(ConfigError, manifest, Running(cache="ram", n_workers=2)).startswith(
        "the cache would take 6.91 KB of memory, and may take 6.91 KB\n"
    )
    monkeypatch.setattr(caches, "free_memory", lambda: slots + 2 * 6912)
    with cached(manifest, Running(cache="ram", n_workers=2)) as made:
        assert made.plan.kind == "ram"


def test_a_cache_on_the_device_of_what_the_processor_has_to_do_is_refused(manifest):
    config = replace(QUICK, crop_scale=0.5)

    assert refusal(ConfigError, manifest, Running(cache="device"), config) == (
        "a cache on the device cannot serve this training: its images have no one size before the random transforms\n"
        "  where: --cache device\n"
        "  fix: use --cache ram, or transforms that do not resize at random (crop_scale = 1)"
    )


# -- what goes wrong with one ------------------------------------------------------------------------------------------


def test_damaged_images_are_decoded_anew_and_told(manifest, folder):
    with cached(manifest, Running(cache="disk")) as made:
        before, store = go_through(made), made.stores[0]
        first = int(store.layout.offsets_N[0])
    [path] = folder.glob("*.pixels")
    with path.open("r+b") as file:
        file.seek(first)
        file.write(bytes([file.read(1)[0] ^ 1]))

    with cached(manifest, Running(cache="disk")) as made:
        made.data.set_epoch(0)
        after, remarks = go_through(made), made.remarks()

    assert all(a.equal(b) for one, other in zip(before, after, strict=True) for a, b in zip(one, other, strict=True))
    assert remarks == ["1 image in the cache was damaged and decoded anew"]


def test_a_full_disk_is_told_and_costs_speed_alone(manifest, monkeypatch):
    def full(fd: int, data: object, offset: int) -> None:
        raise OSError(28, "No space left on device")

    with cached(manifest, Running(cache="disk")) as made:
        monkeypatch.setattr(seam, "write_at", full)
        n_batches = len(go_through(made))

        assert (n_batches, made.remarks()) == (
            4,
            ["the disk of the cache is full: the images that have no room are decoded in every epoch"],
        )


def test_workers_end_and_stores_are_given_back(manifest):
    with cached(manifest, Running(cache="ram", n_workers=1)) as made:
        go_through(made)

    assert [store.fd for store in made.stores] == [-1]
    assert made.remarks() == []
