"""A folder in which every example of the help texts and every bad input of docs/bad_inputs.md can be typed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagekit.manifest.build import build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.manifest.schema import METADATA_KEY, Metadata
from imagekit.recipes.load import load_recipes
from imagekit.subset.build import make_subset
from imagekit.training.config import TrainConfig
from imagekit.training.train import train


def draw(path: Path, seed: int) -> None:
    """One small JPEG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw_classes(
    root: Path, names: list[str], *, splits: tuple[str, ...] = ("train", "val"), n_each: int = 2, first_seed: int = 0
) -> None:
    """n_each: images a class and split."""
    seeds = iter(range(first_seed, first_seed + 10_000))
    for split in splits:
        for name in names:
            for number in range(n_each):
                draw(root / split / name / f"{number}.JPEG", next(seeds))


def make_sources(work: Path) -> None:
    """The sources that examples name: SRC, photos, pictures, mine.toml."""
    draw_classes(work / "SRC", list(load_recipes()["imagenette"].classes), n_each=1)
    draw_classes(work / "photos", ["ant", "bee"], splits=("",), first_seed=500)
    for number in range(8):
        draw(work / "photos" / "ant" / f"more{number}.JPEG", 600 + number)
    draw(work / "holiday.jpg", 700)
    for folder in ("pictures", "more/pictures"):
        draw(work / folder / "one.jpg", 701)
    (work / "mine.toml").write_text('[mine]\nlayout = "split/class"\nsplit = "folders"\nsizes = ["full"]\n')


def make_faults(work: Path) -> None:
    """Everything that docs/bad_inputs.md is about."""
    make_sources(work)
    wnids = list(load_recipes()["imagenette"].classes)
    (work / "empty").mkdir()
    (work / "notes.txt").write_text("not images")
    draw_classes(work / "part", wnids[:9], first_seed=1000)
    draw(work / "flat" / "one.jpg", 1)
    draw_classes(work / "unseen", ["ant", "bee"], first_seed=2000)
    draw(work / "unseen/val/wasp/1.JPEG", 3)
    draw_classes(work / "onlytrain", ["ant", "bee"], splits=("train",), first_seed=3000)
    (work / "mine").mkdir()
    (work / "mine/diary.txt").write_text("mine")
    (work / "bad.toml").write_text('[mine]\nlayout = "split/class"\nsplit = "folders"\nqualty = 90\n')
    (work / "escape.toml").write_text('[mine.choose]\ndeny = ["../x.jpg"]\n')
    (work / "lost.toml").write_text('[mine]\nlayout = "list"\nlabel = "table:cases.csv"\n')
    (work / "part.toml").write_text('[[mine.part]]\nrecipe = "imagenett"\nto = "train"\n')
    (work / "few.toml").write_text('[mine.choose]\nclasses = ["tensh"]\n')
    make_subset("imagenette", work / "SRC", output=work / "built", n_workers=1)
    draw_classes(work / "good", ["ant", "bee"], first_seed=4000)
    draw_classes(work / "others", ["cat", "dog"], first_seed=5000)
    for name in ("good", "others"):
        build_manifest(work / name, output=work / f"{name}.parquet", n_workers=1)
    quick = TrainConfig(epochs=1, size=16, batch_size=4, precision="fp32", device="cpu")
    train(work / "good.parquet", output=work / "run", config=quick, quiet=True)
    make_broken_manifests(work)


def make_broken_manifests(work: Path) -> None:
    """A cut file, one from the future, one with changed rows, one whose files are gone, one of another program."""
    whole = (work / "good.parquet").read_bytes()
    (work / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    manifest = read_manifest(work / "good.parquet")
    metadata = json.loads(manifest.metadata.to_json()) | {"format_version": 2}
    write(work / "newer.parquet", manifest.table, json.dumps(metadata).encode())
    changed = manifest.table.set_column(5, "target", pa.array([0] * manifest.table.num_rows, pa.int32()))
    write(work / "changed.parquet", changed, manifest.metadata.to_json())
    write(work / "moved.parquet", manifest.table, moved(manifest.metadata).to_json())
    pq.write_table(pa.table({"x": [1]}), work / "foreign.parquet")


def moved(metadata: Metadata) -> Metadata:
    """The metadata of a manifest whose images are elsewhere now."""
    return replace(metadata, root="gone")


def write(path: Path, table: pa.Table, metadata: bytes) -> None:
    """A manifest with this metadata."""
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), path)
