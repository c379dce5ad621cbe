"""Golden: the manifest of version 1 is read by every later version, and the same images give the same rows."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from manifest.albums import album, photo, plant, png

from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.inspect import inspect_manifest
from imagekit.manifest.read import read_manifest
from imagekit.manifest.schema import COLUMNS

GOLDEN = Path(__file__).parent.parent / "golden" / "manifest-v1.parquet"
EARLY = GOLDEN.with_name("manifest-v1-early.parquet")  # before its metadata told checks, groups, options and sizes
ROWS_SHA256 = "4df05eed2fb86aee9972d49a8f99a73516ab44d5a1638c03f6140e7a80be030d"


def golden_root(folder: Path) -> Path:
    """The images that the golden manifest was made of: PNG files written byte by byte, so no encoder's version counts.

    IMAGEKIT_GOLDEN=write pytest tests/manifest/test_golden.py makes the golden file anew.
    """
    more: dict[str | bytes, bytes] = {
        b"train/ant/\xff\n.png": png(40),
        "train/bee/same.png": png(41),
        "train/bee/twin.png": png(41),
        "unsup/any/0.png": png(42),
        "train/bee/broken.png": png(43)[:50],
    }
    return plant(folder, album() | more)


@pytest.mark.usefixtures("in_process")
def test_the_same_images_give_the_rows_of_version_1(tmp_path: Path) -> None:
    root = golden_root(tmp_path / "root")
    build_manifest(root, output=root / GOLDEN.name)
    if os.environ.get("IMAGEKIT_GOLDEN") == "write":
        GOLDEN.write_bytes((root / GOLDEN.name).read_bytes())

    built, golden = read_manifest(root / GOLDEN.name), read_manifest(GOLDEN)

    assert built.metadata.rows_sha256 == golden.metadata.rows_sha256 == ROWS_SHA256
    assert built.table.equals(golden.table)
    assert built.metadata == golden.metadata


def test_the_bytes_of_a_manifest_are_those_of_the_golden_one_where_the_same_pyarrow_writes_it(tmp_path: Path) -> None:
    root = golden_root(tmp_path / "root")
    build_manifest(root, output=root / GOLDEN.name, n_workers=1)

    is_same_writer = pq.read_metadata(GOLDEN).created_by == pq.read_metadata(root / GOLDEN.name).created_by
    same_bytes = (root / GOLDEN.name).read_bytes() == GOLDEN.read_bytes()
    assert same_bytes or not is_same_writer


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("hash:0.3", "---vv-vv-vvv-v--"),
        ("random:0.3", "---vv-v---vv----"),
        ("stratified:0.25,0.25", "---vv-tt-tvv-t--"),
        ("kfold:3", "0201101202112200"),
    ],
)
def test_the_drawn_splits_of_fixed_files_never_change(tmp_path: Path, split: str, expected: str) -> None:
    names = [f"{label}/{i}.png" for label in ("ant", "bee") for i in range(8)]
    root = plant(tmp_path / "root", {name: photo(seed) for seed, name in enumerate(names)})
    options = ManifestOptions(split=split, seed=42, check="header")

    table = read_manifest(build_manifest(root, options=options).output).table

    drawn = table["fold" if split.startswith("kfold") else "split"].to_pylist()
    assert "".join(str(one)[0] if one != "train" else "-" for one in drawn) == expected


@pytest.mark.parametrize("path", [GOLDEN, EARLY])
def test_the_golden_manifest_is_read_by_todays_reader(path: Path) -> None:
    manifest = read_manifest(path)

    assert manifest.metadata.format_version == 1
    assert manifest.table.schema.equals(COLUMNS)  # dhash was unsigned in the early one
    assert manifest.vocab == ("ant", "bee")
    assert manifest.table.num_rows == 10
    assert b"train/ant/\xff\n.png" in manifest.raw_names(manifest.table).to_pylist()
    assert manifest.rows("unsup")["label"].to_pylist() == [None]
    assert manifest.metadata.counts["quarantined"] == {"truncated": 1}


def test_the_early_manifest_has_the_same_rows() -> None:
    assert read_manifest(EARLY).table.equals(read_manifest(GOLDEN).table)


def test_the_golden_manifest_is_inspected_in_the_same_words() -> None:
    found = inspect_manifest(GOLDEN).summary().splitlines()

    assert found[0] == f"{GOLDEN}: 10 rows, 2 classes, format 1"
    assert found[1:8] == [
        "root .; label parent; split folders, seed 0",
        "no recipe recorded",
        "  id class     train    unsup    valid   share",
        "   0 ant           3        0        1  40.00%",
        "   1 bee           4        0        1  50.00%",
        "     (none)        0        1        0  10.00%",
        "     total         7        1        2",
    ]
