"""Building a manifest: every row right, the same bytes every time, and what is refused."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest.albums import album, jpeg, photo, pixels, plant, png
from PIL import Image

from imagekit.errors import (
    ImagekitError,
    LabelError,
    LockedError,
    OutputError,
    SourceError,
    SplitError,
    TooManyBadError,
)
from imagekit.files.hashes import sha256_bytes
from imagekit.files.lock import output_lock
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.read import read_manifest, read_metadata
from imagekit.manifest.summary import ManifestReport
from imagekit.pixels.dhash import dhash
from imagekit.rules.splitters import random_splits
from imagekit.rules.tolerance import Tolerance

in_process = pytest.mark.usefixtures("in_process")

RECIPES = """
[tiny]
version = "7"
layout = "split/class"
split = "folders"
[tiny.classes]
ant = "black ant"
bee = "honey bee"
[other]
layout = "split/class"
split = "folders"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", album())


def build(root: Path, **options: Any) -> ManifestReport:
    return build_manifest(root, **options)


def rows_of(root: Path) -> dict[str, dict[str, Any]]:
    return {row["file_name"]: row for row in read_manifest(root / "metadata.parquet").table.to_pylist()}


def refused(call: Callable[[], object], kind: type[ImagekitError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@in_process
def test_columns_types_and_order_are_those_of_the_design_and_file_name_is_first(root: Path) -> None:
    build(root)

    schema = pq.read_schema(root / "metadata.parquet")
    assert schema.names[0] == "file_name"  # what Hugging Face looks for
    assert [(field.name, str(field.type)) for field in schema] == [
        ("file_name", "string"),
        ("file_name_bytes", "binary"),
        ("split", "dictionary<values=string, indices=int8, ordered=0>"),
        ("fold", "int8"),
        ("label", "string"),
        ("target", "int32"),
        ("width", "int32"),
        ("height", "int32"),
        ("format", "string"),
        ("mode", "string"),
        ("n_frames", "int32"),
        ("exif_orientation", "int8"),
        ("size_bytes", "int64"),
        ("sha256", "fixed_size_binary[32]"),
        ("dhash", "int64"),
        ("group", "string"),
    ]
    assert list(schema.metadata) == [b"imagekit"]
    assert pq.ParquetFile(root / "metadata.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


@in_process
def test_a_row_tells_what_the_file_is(root: Path) -> None:
    data = jpeg(3, (16, 8), orientation=6)
    plant(root, {"train/ant/turned.JPEG": data})

    build(root)

    upright = Image.open(root / "train/ant/turned.JPEG").transpose(Image.Transpose.ROTATE_270)
    assert rows_of(root)["train/ant/turned.JPEG"] == {
        "file_name": "train/ant/turned.JPEG",
        "file_name_bytes": None,
        "split": "train",
        "fold": None,
        "label": "ant",
        "target": 0,
        "width": 16,
        "height": 8,
        "format": "JPEG",
        "mode": "RGB",
        "n_frames": 1,
        "exif_orientation": 6,
        "size_bytes": len(data),
        "sha256": sha256_bytes(data),
        "dhash": int(np.uint64(dhash(upright)).astype(np.int64)),
        "group": None,
    }


@in_process
def test_rows_are_sorted_by_file_name_whatever_their_bytes(root: Path) -> None:
    odd = [b"train/ant/\xff.png", b"train/ant/new\nline.png", "train/bee/é.png".encode(), b"train/bee/Z.png"]
    plant(root, {name: png(i + 50) for i, name in enumerate(odd)})

    build(root)

    manifest = read_manifest(root / "metadata.parquet")
    names = manifest.table["file_name"].to_pylist()
    assert names == sorted(names)
    assert set(manifest.raw_names(manifest.table).to_pylist()) == {*odd, *map(os.fsencode, map(str, album()))}
    assert rows_of(root)["train/ant/\\xff.png"]["file_name_bytes"] == odd[0]
    assert rows_of(root)["train/bee/é.png"]["file_name_bytes"] is None
    assert manifest.missing_files() == []


@in_process
def test_the_metadata_says_how_the_rows_came_about(root: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes.toml").write_text(RECIPES)
    plant(root, {"notes.txt": b""})

    build(root, recipe="tiny", recipes=tmp_path / "recipes.toml")

    manifest = read_manifest(root / "metadata.parquet")
    metadata = manifest.metadata
    assert metadata.format_version == 1
    assert metadata.root == "."
    assert metadata.vocab == ("ant", "bee")
    assert metadata.class_names == ("black ant", "honey bee")
    assert metadata.processors == (
        {"name": "CategoryProcessor", "column": "label", "outputs": ["target"], "state": {"vocab": ["ant", "bee"]}},
    )
    assert (metadata.label_rule, metadata.split_rule, metadata.salt, metadata.seed) == ("parent", "folders", "", 0)
    assert metadata.counts == {
        "found": 7,
        "selected": 6,
        "excluded": {},
        "quarantined": {},
        "not_image": 1,
        "per_split": {"train": 4, "valid": 2},
    }
    assert metadata.rows_sha256 == rows_sha256(manifest.table)
    assert metadata.recipe is not None
    assert (metadata.recipe["name"], metadata.recipe["version"]) == ("tiny", "7")
    assert len(metadata.recipe["sha256"]) == 64


@in_process
@pytest.mark.parametrize(("split", "salt"), [("random:0.4", ""), ("hash:0.4", "5"), ("folders", "")])
def test_the_salt_is_recorded_for_a_hash_split_only(root: Path, split: str, salt: str) -> None:
    plant(root, {f"train/ant/x{i}.png": png(i + 20) for i in range(20)})

    build(root, options=ManifestOptions(split=split, seed=5))

    metadata = read_metadata(root / "metadata.parquet")
    assert (metadata.split_rule, metadata.salt, metadata.seed) == (split, salt, 5)


@in_process
def test_the_file_holds_no_absolute_path_and_no_time_stamp(root: Path, tmp_path: Path) -> None:
    before_s = int(time.time())

    build(root, output=tmp_path / "elsewhere" / "m.parquet")

    data = (tmp_path / "elsewhere" / "m.parquet").read_bytes()
    assert os.fsencode(tmp_path) not in data
    assert read_metadata(tmp_path / "elsewhere/m.parquet").root == "../root"
    spans = range(before_s, int(time.time()) + 1)
    assert not any(
        stamp in data
        for second in spans
        for stamp in (str(second).encode(), second.to_bytes(4, "little"), time.strftime("%Y-%m-%d").encode())
    )


def test_the_same_images_give_the_same_bytes_for_any_place_and_number_of_workers(tmp_path: Path) -> None:
    files = album() | {f"train/ant/x{i}.png": png(i + 20) for i in range(40)} | {"train/bee/bad.png": b"no"}
    one = plant(tmp_path / "one", files)
    two = plant(tmp_path / "other" / "two", dict(reversed(files.items())))

    build(one, n_workers=1)
    first = (one / "metadata.parquet").read_bytes()
    build(one, n_workers=2)
    build(two, n_workers=2)

    assert (one / "metadata.parquet").read_bytes() == first == (two / "metadata.parquet").read_bytes()


@in_process
def test_stats_are_the_mean_and_deviation_of_all_train_pixels(root: Path) -> None:
    build(root)

    stats = read_metadata(root / "metadata.parquet").stats
    flat = np.concatenate([
        pixels(seed, (7, 5 + seed)).reshape(-1, 3) for seed, name in enumerate(album()) if str(name).startswith("train")
    ]).astype(np.float64) / 255  # fmt: skip
    assert stats is not None
    assert stats.mean == pytest.approx(flat.mean(axis=0), abs=1e-12, rel=0)
    assert stats.std == pytest.approx(flat.std(axis=0), abs=1e-12, rel=0)
    assert (stats.n_images, stats.n_pixels) == (4, len(flat))


@in_process
def test_stats_and_vocab_come_from_train_alone(root: Path) -> None:
    build(root)
    before = read_metadata(root / "metadata.parquet")

    plant(root, {"val/ant/white.png": png(77, (30, 30))})
    build(root)

    after = read_metadata(root / "metadata.parquet")
    assert (after.stats, after.vocab) == (before.stats, before.vocab)
    assert after.rows_sha256 != before.rows_sha256


@in_process
def test_the_vocab_is_sorted_and_targets_are_its_indices(tmp_path: Path) -> None:
    labels = ["zebra", "Ant", "bee", "10", "9"]
    root = plant(tmp_path, {f"{split}/{label}/{split}.png": png(seed) for seed, (split, label) in enumerate(
        (split, label) for split in ("train", "val") for label in labels)})  # fmt: skip

    build(root)

    vocab = read_metadata(root / "metadata.parquet").vocab
    assert vocab == ("10", "9", "Ant", "bee", "zebra")
    assert all(vocab[row["target"]] == row["label"] for row in rows_of(root).values())


@in_process
def test_labels_that_train_does_not_have_are_all_listed(root: Path) -> None:
    plant(root, {"val/wasp/0.png": png(50), "val/wasp/1.png": png(51), "val/zebra/0.png": png(52)})

    text = refused(lambda: build(root), LabelError)

    assert text == (
        "2 labels are not in train: wasp (2 rows), zebra (1 rows)\n"
        f"  where: {root}\n"
        "  fix: add images of them to train, or take them out; known: ant, bee"
    )
    assert not (root / "metadata.parquet").exists()


@in_process
def test_a_folder_without_valid_names_the_folders_found(tmp_path: Path) -> None:
    root = plant(tmp_path, {"train/ant/0.png": png(), "test/ant/0.png": png(1)})

    text = refused(lambda: build(root), SplitError)

    assert text == (
        "valid would be empty; folders found: test (1), train (1)\n  where: --split folders\n"
        "  fix: use --split random:0.2 or hash:0.2, or name the folders train and valid (or val)"
    )


@in_process
def test_a_valid_split_of_broken_images_only_is_told(tmp_path: Path) -> None:
    root = plant(tmp_path, {"train/ant/0.png": png(), "val/ant/0.png": b"broken"})

    text = refused(lambda: build(root), SplitError)

    assert text == (
        f"no usable image is left in valid; 1 file unidentified: val/ant/0.png\n  where: {root}\n"
        "  fix: mend the files or choose another --split"
    )


@in_process
def test_a_random_split_is_seeded(tmp_path: Path) -> None:
    names = [f"{label}/{i}.png" for label in ("ant", "bee") for i in range(10)]
    root = plant(tmp_path, {name: photo(i) for i, name in enumerate(names)})

    def splits(seed: int) -> list[str]:
        build(root, options=ManifestOptions(split="random:0.2,0.1", seed=seed), overwrite=True)
        return [row["split"] for row in rows_of(root).values()]

    first, again, other = splits(1), splits(1), splits(2)

    assert first == again == random_splits(sorted(names), valid=0.2, test=0.1, seed=1)
    assert other != first
    assert (first.count("valid"), first.count("test")) == (4, 2)


@in_process
def test_a_random_split_keeps_identical_files_together(tmp_path: Path) -> None:
    root = plant(tmp_path, {f"ant/{i:02}.png": png(i // 3) for i in range(30)})

    report = build(root, options=ManifestOptions(split="random:0.3"))

    by_picture: dict[bytes, set[str]] = {}
    for row in rows_of(root).values():
        by_picture.setdefault(row["sha256"], set()).add(row["split"])
    assert len(by_picture) == 10
    assert all(len(splits) == 1 for splits in by_picture.values())
    assert (report.leaks, report.exit_code) == ((), 0)


@in_process
def test_identical_files_share_a_group_and_all_others_have_none(root: Path) -> None:
    plant(root, {"train/ant/again.png": png(40), "train/ant/twice.png": png(40)})

    report = build(root)

    rows = rows_of(root)
    expected = sha256_bytes(png(40)).hex()[:16]
    assert rows["train/ant/again.png"]["group"] == rows["train/ant/twice.png"]["group"] == expected
    assert {row["group"] for name, row in rows.items() if name in album()} == {None}
    assert (report.leaks, report.exit_code) == ((), 0)


@in_process
def test_one_picture_in_train_and_valid_is_a_leak_by_name_with_exit_3(root: Path) -> None:
    plant(root, {f"{split}/ant/leak{i:02}.png": photo(i) for i in range(22) for split in ("train", "val")})

    report = build(root, max_bad=Tolerance.parse("100"))

    assert report.exit_code == 3
    assert [leak.members for leak in report.leaks[:1]] == [
        (("train", "train/ant/leak00.png"), ("valid", "val/ant/leak00.png"))
    ]
    assert report.summary().splitlines()[2:24] == [
        "22 groups of images stand in more than one split (the rows are kept, exit code 3):",
        *[f"  train/ant/leak{i:02}.png (train) = val/ant/leak{i:02}.png (valid)" for i in range(20)],
        "  and 2 more: --json lists all",
    ]
    assert len(rows_of(root)) == 50
    assert report.to_dict()["leaks"][0] == [["train", "train/ant/leak00.png"], ["valid", "val/ant/leak00.png"]]  # type: ignore[index]


@in_process
def test_unsupervised_rows_have_neither_label_nor_target(root: Path) -> None:
    plant(root, {"unsup/wasp/0.png": png(60), "unsup/ant/1.png": png(61)})

    build(root)

    rows = rows_of(root)
    for name in ("unsup/wasp/0.png", "unsup/ant/1.png"):
        assert (rows[name]["split"], rows[name]["label"], rows[name]["target"]) == ("unsup", None, None)
    assert read_metadata(root / "metadata.parquet").vocab == ("ant", "bee")


@in_process
def test_bad_files_go_to_the_quarantine_list_and_a_mended_source_takes_it_away(root: Path) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60], "train/ant/text.jpg": b"text"})
    listed = root / "metadata.parquet.quarantine.jsonl"

    report = build(root)

    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [(line["file_name"], line["reason"]) for line in lines] == [
        ("train/ant/cut.png", "truncated"),
        ("train/ant/text.jpg", "unidentified"),
    ]
    assert lines[0]["sha256"] == sha256_bytes(png(9)[:60]).hex()
    assert report.exit_code == 3
    assert "train/ant/cut.png" not in rows_of(root)
    plant(root, {"train/ant/cut.png": png(9), "train/ant/text.jpg": jpeg(10)})
    assert build(root).exit_code == 0
    assert not listed.exists()


@in_process
def test_our_own_files_are_no_part_of_the_count_but_a_link_to_them_is(root: Path) -> None:
    plant(root, {"train/ant/bad.png": b"", "notes.txt": b""})
    first = build(root)
    data = (root / "metadata.parquet").read_bytes()

    second = build(root)

    assert second.outcomes == first.outcomes
    assert (root / "metadata.parquet").read_bytes() == data
    (root / "link.parquet").symlink_to("metadata.parquet")
    assert build(root).outcomes.excluded == {"symlink": 1}


@in_process
def test_a_dry_run_writes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))

    report = build(root, dry_run=True)

    assert sorted(root.rglob("*")) == before
    assert report.state == "planned"
    assert report.summary() == (
        "2 classes: train 4, valid 2\n"
        "found 6 = selected 6 + excluded by rule 0 + quarantined 0 + not an image 0\n"
        f"would look at every image and write {root}/metadata.parquet; nothing was written"
    )
    assert report.next_command == f"imagekit manifest {root}"


@in_process
def test_the_summary_ends_with_where_it_lies_and_the_next_command(root: Path) -> None:
    report = build(root)

    lines = report.summary().splitlines()
    assert lines[:2] == [
        "2 classes: train 4, valid 2",
        "found 6 = selected 6 + excluded by rule 0 + quarantined 0 + not an image 0",
    ]
    assert lines[2] == "2 pictures are too plain to be told apart: only equal bytes count as duplicates"
    assert lines[3].startswith(f"built: {root}/metadata.parquet in ")
    assert report.next_command == f"imagekit train {root}/metadata.parquet -o RUN"
    assert json.loads(json.dumps(report.to_dict()))["per_split"] == {"train": 4, "valid": 2}


@in_process
@pytest.mark.parametrize(
    ("options", "was", "now"),
    [
        (ManifestOptions(split="random:0.5"), "--split folders", "--split random:0.5"),
        (ManifestOptions(seed=1), "--seed 0", "--seed 1"),
        (ManifestOptions(split="hash:0.5", seed=2), "--seed 0, --split folders", "--seed 2, --split hash:0.5"),
        (ManifestOptions(check="header", leaks="drop"), "--check decode, no --leaks", "--check header, --leaks drop"),
        (ManifestOptions(noise=(1, 50)), "no --noise", "--noise 1,50"),
    ],
)
def test_other_options_need_overwrite(root: Path, options: ManifestOptions, was: str, now: str) -> None:
    build(root)
    before = (root / "metadata.parquet").read_bytes()

    text = refused(lambda: build(root, options=options), OutputError)

    assert text == (
        f"the output was built with {was}; asked for is {now}\n"
        f"  where: {root}/metadata.parquet\n"
        "  fix: give another -o, or --overwrite to build it anew"
    )
    assert (root / "metadata.parquet").read_bytes() == before
    assert build(root, options=options, overwrite=True).state == "built"
    assert read_metadata(root / "metadata.parquet").split_rule == options.split or "folders"


@in_process
def test_another_recipe_needs_overwrite(root: Path, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes.toml"
    recipes.write_text(RECIPES)
    build(root, recipe="tiny", recipes=recipes)

    def said(**options: Any) -> str:
        return refused(lambda: build(root, **options), OutputError)

    rest = f"  where: {root}/metadata.parquet\n  fix: give another -o, or --overwrite to build it anew"
    assert said() == f"the output was built with recipe tiny, not with no recipe\n{rest}"
    assert said(recipe="other", recipes=recipes) == (
        f"the output was built with recipe tiny, not with recipe other\n{rest}"
    )
    recipes.write_text(RECIPES.replace("honey", "bumble"))
    assert said(recipe="tiny", recipes=recipes) == f"the output was built with another text of recipe tiny\n{rest}"
    assert build(root, recipe="tiny", recipes=recipes, overwrite=True).state == "built"
    assert read_metadata(root / "metadata.parquet").class_names == ("black ant", "bumble bee")


@in_process
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_is_no_manifest_is_never_overwritten(root: Path, tmp_path: Path, overwrite: bool) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    before = foreign.read_bytes()

    text = refused(lambda: build(root, output=foreign, overwrite=overwrite), OutputError)

    assert text == (
        "the output exists and is not a manifest that this imagekit can read: "
        "the Parquet file is not a manifest of imagekit\n"
        f"  where: {foreign}\n  fix: give another -o, or move that file away yourself"
    )
    assert foreign.read_bytes() == before


@in_process
def test_an_output_that_is_a_folder_is_refused(root: Path, tmp_path: Path) -> None:
    text = refused(lambda: build(root, output=tmp_path), OutputError)

    assert text.startswith("the output exists and is not a manifest that this imagekit can read: ")


@in_process
def test_an_output_behind_links_still_finds_its_root(root: Path, tmp_path: Path) -> None:
    deep = tmp_path / "disk" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    (tmp_path / "link" / "m.parquet").symlink_to(tmp_path / "nowhere.parquet")

    build(root, output=tmp_path / "link" / "m.parquet")

    manifest = read_manifest(tmp_path / "link" / "m.parquet")
    assert manifest.metadata.root == "../../../root"
    assert manifest.missing_files() == []


@in_process
def test_folders_that_hold_no_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert refused(lambda: build(tmp_path / "empty"), SourceError) == (
        f"the folder holds no images\n  where: {tmp_path}/empty\n  fix: point at the folder that make-subset built"
    )
    assert refused(lambda: build(tmp_path / "nowhere"), SourceError) == (
        f"the source folder does not exist\n  where: {tmp_path}/nowhere\n  fix: check the path for a typing error"
    )


@in_process
def test_a_manifest_that_another_process_writes_is_locked(root: Path) -> None:
    with output_lock(root / "metadata.parquet"):
        text = refused(lambda: build(root), LockedError)

    assert text == (
        f"another process (pid {os.getpid()}) is writing metadata.parquet\n  where: {root}/metadata.parquet\n"
        "  fix: wait until it has ended, or choose another output"
    )
    assert build(root).state == "built"


@in_process
def test_more_bad_images_than_borne_publish_nothing(root: Path) -> None:
    build(root)
    before = (root / "metadata.parquet").read_bytes()
    plant(root, {"train/ant/bad.png": b""})

    text = refused(lambda: build(root, max_bad=Tolerance.parse("10%")), TooManyBadError)

    assert text == (
        "1 of 7 images are unusable, --max-bad allows 10%\n"
        f"  1 file truncated: train/ant/bad.png\n  where: {root}\n"
        "  fix: mend or remove these files, or raise --max-bad; nothing was published"
    )
    assert (root / "metadata.parquet").read_bytes() == before
    assert not (root / "metadata.parquet.quarantine.jsonl").exists()
    assert build(root, max_bad=Tolerance.parse("1")).exit_code == 0


@in_process
def test_what_a_killed_build_left_beside_the_manifest_is_removed(root: Path) -> None:
    plant(root, {".imagekit-tmp-0123456789ab-metadata.parquet": b"half", ".imagekit-tmp-mine": b"mine"})

    build(root)

    assert {path.name for path in root.iterdir()} == {
        *("train", "val", "metadata.parquet", "metadata.parquet.state", ".imagekit-tmp-mine")
    }
