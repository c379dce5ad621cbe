"""Hugging Face datasets: our exports, and a tree with our manifest in it as it lies there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from interop.manifests import PETS, lists, make_manifest
from trees import draw_image, draw_tree

from imagekit.cli.main import cli
from imagekit.manifest.build import build_manifest
from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.read import read_manifest

NAMES = {"train": "train", "valid": "validation", "test": "test", "unsup": "unsup"}


def load(*args: str, tmp_path: Path, **options: Any) -> dict[str, Any]:
    """All splits, images left undecoded: {"bytes": None, "path": ...}."""
    import datasets

    loaded = datasets.load_dataset(*args, cache_dir=str(tmp_path / "cache"), **options)
    assert isinstance(loaded, datasets.DatasetDict)
    return {name: rows.cast_column("image", datasets.Image(decode=False)) for name, rows in loaded.items()}


def expected(path: Path, split: str) -> list[dict[str, Any]]:
    """The rows of our manifest, without the name: datasets puts the image in its place."""
    table = plain_table(read_manifest(path).table).drop_columns(["file_name"])
    return [row for row in table.to_pylist() if row["split"] == split]


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    """Rows without the image, which must be the one that the row is about."""
    rows = list(dataset)
    for row in rows:
        image = Path(row.pop("image")["path"]).read_bytes()
        assert hashlib.sha256(image).hexdigest() == row["sha256"]
    return rows


def test_every_split_of_an_export_loads_with_every_column(tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "pets")
    export_manifest(path, to="hf", output=tmp_path / "o")

    loaded = load(str(tmp_path / "o"), tmp_path=tmp_path)

    assert sorted(loaded) == sorted(NAMES.values())
    for ours, theirs in NAMES.items():
        assert rows_of(loaded[theirs]) == expected(path, ours)


def test_the_images_of_an_export_decode(tmp_path: Path) -> None:
    import datasets

    export_manifest(make_manifest(tmp_path / "pets"), to="hf", output=tmp_path / "o")

    train = datasets.load_dataset(str(tmp_path / "o"), split="train", cache_dir=str(tmp_path / "cache"))

    assert [row["image"].size for row in train] == [(row["width"], row["height"]) for row in train]


def test_an_export_loads_as_imagefolder_too(tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "pets")
    export_manifest(path, to="hf", output=tmp_path / "o")

    loaded = load("imagefolder", data_dir=str(tmp_path / "o"), tmp_path=tmp_path)

    assert sorted(loaded) == ["test", "train", "validation"]  # it knows no other names, and no page
    for ours in ("train", "valid", "test"):
        assert rows_of(loaded[NAMES[ours]]) == expected(path, ours)


def test_folders_called_like_splits_and_odd_names_and_named_valid_splits_and_lists(tmp_path: Path) -> None:
    names = ["test/dev/1.png", "my-eval 2/1.png", "valid/1.png", b"a\xff.png", "b\\c.png", "d:/e.png", "__f/1.png"]
    names += [".g/1.png", "[h]*?.png", "ü#%20.png", "test.png", "x/eval/y/validation_1/1.png", "i&j.png"]
    rows = [(name, "train", "cat") for name in names] + [
        ("k.png", "valid:night", "dog"),
        ("l.png", "valid:test", "dog"),
    ]
    tags = lists([["a", None], [], None] + [["b"]] * (len(rows) - 3))
    path = make_manifest(tmp_path / "pets", rows, columns={"tags": tags, "image": pa.array(range(len(rows)))})
    export_manifest(path, to="hf", output=tmp_path / "o")

    every = load(str(tmp_path / "o"), tmp_path=tmp_path)
    three = load("imagefolder", data_dir=str(tmp_path / "o"), tmp_path=tmp_path)

    assert sorted(every) == ["train", "valid_night", "valid_test"]
    assert sorted(three) == ["train"]
    for loaded in (every["train"], three["train"]):
        shown = [{("image" if k == "image_column" else k): v for k, v in row.items()} for row in rows_of(loaded)]
        assert shown == expected(path, "train")
    assert [row["label"] for row in every["valid_test"]] == ["dog"]


def test_a_tree_of_split_folders_loads_in_place_with_our_labels(tmp_path: Path) -> None:
    root = draw_tree(tmp_path / "nette", classes=("cat", "dog", "emu"), n_train=4, n_valid=2)
    manifest = read_manifest(build_manifest(root, n_workers=1).output)

    loaded = load("imagefolder", data_dir=str(root), tmp_path=tmp_path)

    assert sorted(loaded) == ["train", "validation"]
    names = loaded["train"].features["label"].names
    found = {
        str(Path(row["image"]["path"]).relative_to(root)): (split, names[row["label"]], row["label"])
        for split, rows in loaded.items()
        for row in rows
    }
    assert found == {
        row["file_name"]: (NAMES[row["split"]], row["label"], row["target"]) for row in manifest.table.to_pylist()
    }


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Our manifest in a tree without split folders: there datasets reads every metadata.parquet that it finds."""
    for number in range(12):
        for name in ("cat", "dog"):
            draw_image(tmp_path / "photos" / name / f"{number}.jpg", name, seed=number)
    result = CliRunner().invoke(cli, ["manifest", str(tmp_path / "photos"), "--split", "random:0.25", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return tmp_path / "photos/metadata.parquet"


def test_a_tree_of_class_folders_loads_in_place_with_our_columns(tmp_path: Path, flat: Path) -> None:
    loaded = load("imagefolder", data_dir=str(flat.parent), tmp_path=tmp_path)

    wanted = [(row["label"], row["split"]) for row in read_manifest(flat).table.to_pylist()]
    assert [(row["label"], row["split"]) for row in loaded["train"]] == wanted


def test_a_manifest_loads_as_a_table(tmp_path: Path) -> None:
    import datasets

    path = make_manifest(tmp_path / "pets")

    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    assert rows.to_list() == pq.read_table(path).to_pylist()
    assert [row["label"] for row in rows] == [label for _, _, label in PETS]
