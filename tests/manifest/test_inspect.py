"""Inspect: a manifest told in words and as plain types."""

import json
from pathlib import Path

import pytest
from manifest.albums import album, plant

from imagekit.errors import ManifestError
from imagekit.manifest.build import build_manifest
from imagekit.manifest.inspect import inspect_manifest
from imagekit.manifest.read import read_metadata

pytestmark = pytest.mark.usefixtures("in_process")

RECIPES = """
[tiny]
version = "7"
layout = "split/class"
split = "folders"
[tiny.classes]
ant = "black ant"
bee = "honey bee"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "recipes.toml").write_text(RECIPES)
    root = plant(tmp_path / "root", album())
    build_manifest(root, recipe="tiny", recipes=tmp_path / "recipes.toml")
    return root / "metadata.parquet"


def test_the_summary_tells_everything_in_a_fixed_order(path: Path) -> None:
    stats = read_metadata(path).stats
    assert stats is not None

    inspection = inspect_manifest(path)

    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (stats.mean, stats.std))
    assert inspection.summary().splitlines() == [
        f"{path}: 6 rows, 2 classes, format 1",
        "root .; label parent; split folders, seed 0",
        "recipe tiny version 7",
        "  id class    train    valid",
        "   0 ant          2        1  black ant",
        "   1 bee          2        1  honey bee",
        "     total        4        2",
        f"train mean {mean}, std {std}, from 4 images",
        f"rows_sha256 {read_metadata(path).rows_sha256}",
        "columns: file_name string, file_name_bytes binary (all null), split dictionary<values=string, indices=int8,"
        " ordered=0>, fold int8 (all null), label string, target int32, width int32, height int32, format string,"
        " mode string, n_frames int32, exif_orientation int8, size_bytes int64, sha256 fixed_size_binary[32],"
        " dhash uint64, group string (all null)",
        "first rows:",
        "  train 0 train/ant/0.png",
        "  train 0 train/ant/1.png",
        "  train 1 train/bee/0.png",
    ]
    assert inspection.next_command == f"imagekit train {path} -o RUN"
    assert inspection.exit_code == 0


def test_the_facts_are_plain_types(path: Path) -> None:
    facts = inspect_manifest(path).to_dict()

    metadata = read_metadata(path)
    assert metadata.stats is not None
    assert json.loads(json.dumps(facts)) == {
        "manifest": str(path),
        "format_version": 1,
        "n_rows": 6,
        "vocab": ["ant", "bee"],
        "class_names": ["black ant", "honey bee"],
        "splits": {"train": {"ant": 2, "bee": 2}, "valid": {"ant": 1, "bee": 1}},
        "split_rule": "folders",
        "label_rule": "parent",
        "seed": 0,
        "recipe": dict(metadata.recipe or {}),
        "stats": {"mean": list(metadata.stats.mean), "std": list(metadata.stats.std), "n": 4},
        "columns": inspect_manifest(path).columns(),
        "rows_sha256": metadata.rows_sha256,
    }


def test_a_damaged_manifest_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ManifestError):
        inspect_manifest(path)
