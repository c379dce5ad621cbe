"""Whole builds: where labels and splits come from, how far files are looked into, what is joined, fitted and kept."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest.albums import album, photo, plant, png

from imagekit.errors import ImagekitError, LabelError, ManifestError, OutputError, SplitError, UsageError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import Manifest, read_manifest, read_metadata
from imagekit.manifest.summary import ManifestReport

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", album())


def pictures(n: int, *, labels: tuple[str, ...] = ("ant", "bee"), start: int = 0) -> dict[str | bytes, bytes]:
    """n pictures that are like no other, a folder a label."""
    return {f"{labels[i % len(labels)]}/{i:03}.png": photo(start + i) for i in range(n)}


def build(root: Path, *, output: Path | None = None, **options: Any) -> tuple[ManifestReport, Manifest]:
    report = build_manifest(root, output=output, options=ManifestOptions(**options), overwrite=True)
    return report, read_manifest(report.output)


def column(manifest: Manifest, name: str) -> dict[str, Any]:
    return dict(zip(manifest.table["file_name"].to_pylist(), manifest.table[name].to_pylist(), strict=True))


def refused(call: Callable[[], object], kind: type[ImagekitError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# -- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "label"),
    [
        (["train/ant/x/0.png", "val/bee/y/1.png", "train/bee/z/2.png", "val/ant/3.png"], "folder:2"),
        (["train/ant_0.png", "val/bee_1.png", "train/bee_2.png", "val/ant_3.png"], "name:^([a-z]+)_"),
        (["train/0-ant.png", "val/1-bee.png", "train/2-bee.png", "val/3-ant.png"], r"name:-(?P<label>\w+)"),
    ],
)
def test_names_hold_labels_in_several_ways(tmp_path: Path, files: list[str], label: str) -> None:
    root = plant(tmp_path / "root", {name: png(i) for i, name in enumerate(files)})

    _, manifest = build(root, label=label)

    assert [column(manifest, "label")[name] for name in files] == ["ant", "bee", "bee", "ant"]
    assert manifest.metadata.label_rule == label


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("path,kind\ntrain/0.png,ant\nval/1.png,bee\ntrain/2.png,bee\n", "table:labels.csv"),
        ("kind\tpath\nant\ttrain/0.png\nbee\tval/1.png\nbee\ttrain/2.png\n", "table:labels.csv:path:kind"),
    ],
)
def test_a_table_gives_labels_and_what_it_does_not_list_is_left_out_by_rule(
    tmp_path: Path, text: str, rule: str
) -> None:
    files: dict[str | bytes, bytes] = {f"{split}/{i}.png": png(i) for i, split in enumerate(("train", "val") * 2)}
    root = plant(tmp_path / "root", files | {"labels.csv": text.encode()})

    report, manifest = build(root, label=rule)

    assert column(manifest, "label") == {"train/0.png": "ant", "train/2.png": "bee", "val/1.png": "bee"}
    assert report.outcomes.to_dict() == {
        "found": 5, "selected": 3, "excluded": {"not-in-list": 1}, "quarantined": {}, "not_image": 1,
    }  # fmt: skip
    assert list(manifest.metadata.options["tables"]) == ["labels.csv"]


def test_a_parquet_table_is_read_from_the_current_folder_too_and_lines_without_an_image_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant(tmp_path / "root", {f"{split}/{i}.png": png(i) for i, split in enumerate(("train", "val"))})
    table = pa.table({"file": ["train/0.png", "val/1.png", "gone.png"], "label": ["ant", "ant", "bee"]})
    pq.write_table(table, tmp_path / "labels.parquet")
    monkeypatch.chdir(tmp_path)

    report, manifest = build(root, label="table:labels.parquet:file:label")

    assert column(manifest, "label") == {"train/0.png": "ant", "val/1.png": "ant"}
    assert [(bad.file_name, bad.reason) for bad in report.bad_files] == [("gone.png", "vanished")]
    assert report.exit_code == 3


def test_functions_give_labels_and_splits_and_none_leaves_an_image_out(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"{i}.png": png(i) for i in range(6)})

    report, manifest = build(
        root,
        label=lambda name: None if name == "5.png" else f"class {int(name[0]) % 2}",
        split=lambda name: {"4.png": None, "3.png": True, "2.png": "val"}.get(name, False),
    )

    assert column(manifest, "label") == {"0.png": "class 0", "1.png": "class 1", "2.png": "class 0", "3.png": "class 1"}
    assert column(manifest, "split") == {"0.png": "train", "1.png": "train", "2.png": "valid", "3.png": "valid"}
    assert report.outcomes.excluded == {"no-label": 1, "no-split": 1}
    assert manifest.metadata.label_rule.startswith("function ")
    assert manifest.metadata.label_rule.endswith(".<lambda>")
    text = refused(
        lambda: build_manifest(root, output=tmp_path / "o.parquet", options=ManifestOptions(like=report.output)),
        UsageError,
    )
    assert text == (
        f"the older manifest was built with the {manifest.metadata.label_rule}, which no option can name\n"
        "  where: --like\n  fix: give a rule of your own, or pass the function again"
    )


@pytest.mark.parametrize(("answer", "shown"), [(3, "3"), ("", "''"), (b"a", "b'a'")])
def test_a_label_function_that_returns_no_label_is_told(root: Path, answer: Any, shown: str) -> None:
    text = refused(lambda: build(root, label=lambda name: answer), LabelError)

    assert text == (
        f"the label function returned {shown} for train/ant/0.png\n  where: label function\n"
        "  fix: return a text that is not empty, or None to leave the image out"
    )


def test_images_that_nothing_gives_a_label_are_named(root: Path) -> None:
    plant(root, {"train/loose.png": png(50), "val/loose.png": png(51), "unsup/loose.png": png(52)})

    assert refused(lambda: build(root, label="folder:2"), LabelError) == (
        "nothing gives 2 images a label, they lie too few folders deep: train/loose.png, val/loose.png\n"
        "  where: --label folder:2\n"
        "  fix: give the number of the folder that is the class, 1 being the first, or move the files"
    )
    assert refused(lambda: build(root, label="name:^([01])"), LabelError) == (
        "nothing gives 2 images a label, their names do not match: train/loose.png, val/loose.png\n"
        "  where: --label name:^([01])\n"
        "  fix: widen the regular expression, which is searched in the file name without its folders"
    )


def test_a_folder_that_is_not_utf8_is_one_label_whatever_its_files_are_called(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {b"train/a\xff/0.png": png(0), b"train/a\xff/new\nline.png": png(1)}
    root = plant(tmp_path / "root", files | {b"val/a\xff/0.png": png(2)})

    _, manifest = build(root)

    assert manifest.vocab == (r"a\xff",)


TWO = "path,kind,hue\ntrain/0.png,ant,red\ntrain/1.png,bee,\nval/2.png,ant,red\nval/3.png,,\n"


def test_several_label_columns_travel_as_lists_each_with_a_vocab_of_its_own(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"{'train' if i < 2 else 'val'}/{i}.png": png(i) for i in range(4)})
    (tmp_path / "root/labels.csv").write_text(TWO)

    report, manifest = build(root, label="table:labels.csv:path:kind,hue")

    assert manifest.metadata.label_columns == ("kind", "hue")
    assert manifest.vocab == ()
    assert column(manifest, "labels") == {
        "train/0.png": ["ant", "red"], "train/1.png": ["bee", None], "val/2.png": ["ant", "red"],
    }  # fmt: skip
    assert column(manifest, "targets") == {"train/0.png": [0, 0], "train/1.png": [1, None], "val/2.png": [0, 0]}
    assert set(column(manifest, "label").values()) == {None}
    assert [(one["column"], one["outputs"], one["state"]) for one in manifest.metadata.processors] == [
        ("kind", ["targets"], {"vocab": ["ant", "bee"]}),
        ("hue", ["targets"], {"vocab": ["red"]}),
    ]
    assert report.outcomes.excluded == {"no-label": 1}
    assert report.n_classes == 2


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"label": "table:labels.csv:path:kind,kind"},
         'the label rule "table:labels.csv:path:kind,kind" must name each label column once\n'
         "  where: --label\n  fix: write table:FILE:PATH:A,B with the names of the columns"),
        ({"noise": (5,)}, "there are 2 label columns, and noise is made of one\n"
         "  where: --noise\n  fix: name one label column, or leave this out"),
        ({"split": "kfold:2"}, "there are 2 label columns, and kfold tells classes apart by one\n"
         "  where: --split\n  fix: name one label column, or leave this out"),
    ],
)  # fmt: skip
def test_what_several_label_columns_cannot_have_is_told(tmp_path: Path, more: dict[str, Any], text: str) -> None:
    root = plant(tmp_path / "root", {f"{'train' if i < 2 else 'val'}/{i}.png": png(i) for i in range(4)})
    (tmp_path / "root/labels.csv").write_text(TWO)

    assert refused(lambda: build(root, **({"label": "table:labels.csv:path:kind,hue"} | more)), LabelError) == text


def test_a_label_column_without_a_label_in_train_is_told(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"{'train' if i < 2 else 'val'}/{i}.png": png(i) for i in range(4)})
    (tmp_path / "root/labels.csv").write_text(TWO.replace("red\ntrain", "\ntrain"))

    text = refused(lambda: build(root, label="table:labels.csv:path:kind,hue"), LabelError)

    assert text == "no train row has a label in column hue\n  where: --label\n  fix: name another column"


def test_rare_labels_become_other_and_so_do_labels_that_train_does_not_have(root: Path) -> None:
    plant(root, {"train/wasp/0.png": png(50), "val/fly/0.png": png(51)})

    report, manifest = build(root, other_below=2)

    assert manifest.vocab == ("ant", "bee", "other")
    assert [column(manifest, name)["train/wasp/0.png"] for name in ("label", "target")] == ["wasp", 2]
    assert [column(manifest, name)["val/fly/0.png"] for name in ("label", "target")] == ["fly", 2]
    assert manifest.metadata.processors[0]["state"] == {"vocab": ["ant", "bee", "other"], "other_below": 2}
    assert report.n_classes == 3


# -- splits --------------------------------------------------------------------------------------------------------


def test_several_validation_sets_have_names(root: Path) -> None:
    plant(root, {"val_night/ant/0.png": png(50), "validation-fog/bee/0.png": png(51)})

    report, _ = build(root)

    assert report.per_split == {"train": 4, "valid": 2, "valid:fog": 1, "valid:night": 1}


def test_a_stratified_split_reaches_each_class_and_says_so(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(40) | pictures(10, labels=("cow",), start=900))

    report, manifest = build(root, split="stratified:0.2,0.1", seed=4)

    assert report.per_class == {
        "ant": {"test": 2, "train": 14, "valid": 4},
        "bee": {"test": 2, "train": 14, "valid": 4},
        "cow": {"test": 1, "train": 7, "valid": 2},
    }
    assert report.summary().splitlines()[:5] == [
        "3 classes: test 5, train 35, valid 10",
        "valid asked 0.2, reached 0.2000 (10 of 50); test asked 0.1, reached 0.1000 (5 of 50)",
        "  ant: valid 0.2000 (4 of 20), test 0.1000 (2 of 20)",
        "  bee: valid 0.2000 (4 of 20), test 0.1000 (2 of 20)",
        "  cow: valid 0.2000 (2 of 10), test 0.1000 (1 of 10)",
    ]
    assert report.to_dict()["asked"] == {"valid": 0.2, "test": 0.1}
    assert manifest.metadata.seed == 4


def test_of_many_classes_the_first_ten_are_printed(tmp_path: Path) -> None:
    labels = tuple(f"c{i:02}" for i in range(12))
    root = plant(tmp_path / "root", pictures(36, labels=labels))

    report, _ = build(root, split="stratified:0.34")

    assert report.summary().splitlines()[12] == "  and 2 more classes: imagekit inspect shows all"


def test_folds_are_a_column_with_statistics_of_the_rows_outside_each(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(12))

    _, manifest = build(root, split="kfold:3")

    folds, splits = column(manifest, "fold"), column(manifest, "split")
    assert Counter((name[:3], fold) for name, fold in folds.items()) == {
        (label, fold): 2 for label in ("ant", "bee") for fold in range(3)
    }
    assert splits == {name: "train" if fold else "valid" for name, fold in folds.items()}
    assert [stats.n_images for stats in manifest.metadata.fold_stats] == [8, 8, 8]
    assert manifest.metadata.fold_stats[0] == manifest.metadata.stats


def test_a_table_gives_splits(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {f"ant/{i}.png": png(i) for i in range(5)}
    text = "file,set\nant/0.png,train\nant/1.png,val\nant/2.png,val_night\nant/3.png,test\n"
    root = plant(tmp_path / "root", files | {"splits.csv": text.encode()})

    report, manifest = build(root, split="table:splits.csv")

    assert column(manifest, "split") == {
        "ant/0.png": "train", "ant/1.png": "valid", "ant/2.png": "valid:night", "ant/3.png": "test",
    }  # fmt: skip
    assert report.outcomes.excluded == {"not-in-list": 1}


def test_lists_give_splits_and_the_rest_is_train(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {f"ant/{i}.png": png(i) for i in range(4)}
    lists: dict[str | bytes, bytes] = {"v.txt": b"ant/1.png\n", "t.txt": b"ant/2.png\n"}
    root = plant(tmp_path / "root", files | lists)

    _, manifest = build(root, split="list:val=v.txt,test=t.txt")

    assert list(column(manifest, "split").values()) == ["train", "valid", "test", "train"]


@pytest.mark.parametrize("folder", ["test", "val_night"])
def test_a_split_whose_images_are_all_broken_is_an_error(root: Path, folder: str) -> None:
    plant(root, {f"{folder}/ant/0.png": b"broken"})

    text = refused(lambda: build(root), SplitError)

    split = {"test": "test", "val_night": "valid:night"}[folder]
    assert text == (
        f"no usable image is left in {split}; 1 file unidentified: {folder}/ant/0.png\n"
        f"  where: {root}\n  fix: mend the files or choose another --split"
    )


def test_noise_under_kfold_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(12))

    assert refused(lambda: build(root, split="kfold:3", noise=(5,)), UsageError) == (
        "noise is of train labels, and under kfold every image is valid once\n"
        "  where: --noise\n  fix: leave --noise out, or give another --split"
    )


def test_what_is_processed_under_kfold_says_on_what_it_is_fitted(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(12))

    report, _ = build(root, split="kfold:3", process=("size_bytes:median",))

    assert "what --process fits is fitted on the rows outside fold 0 alone" in report.remarks


def test_an_output_of_another_folder_needs_overwrite(tmp_path: Path) -> None:
    one, two = (plant(tmp_path / name, pictures(20, start=start)) for name, start in (("one", 0), ("two", 50)))
    options = ManifestOptions(split="random:0.3")
    build_manifest(one, output=tmp_path / "m.parquet", options=options)

    text = refused(lambda: build_manifest(two, output=tmp_path / "m.parquet", options=options), OutputError)

    assert text == (
        "the output was built with the images of one, not with those of two\n"
        f"  where: {tmp_path}/m.parquet\n  fix: give another -o, or --overwrite to build it anew"
    )


def test_a_split_that_would_be_empty_says_what_was_found(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(3))

    text = refused(lambda: build(root, split="random:0.1"), SplitError)

    assert text == (
        "valid would be empty with fractions 0.1 for valid and 0 for test; found: train (3)\n"
        "  where: --split random\n  fix: add images, or change the fractions"
    )


@pytest.mark.parametrize("split", ["random:0.3", "stratified:0.3", "hash:0.3"])
def test_a_folder_of_broken_images_only_says_why(tmp_path: Path, split: str) -> None:
    root = plant(tmp_path / "root", {"ant/0.png": b"x", "bee/1.png": b"x"})

    text = refused(lambda: build(root, split=split), SplitError)

    assert text.startswith("no usable image is left in train; 2 files unidentified: ant/0.png, bee/1.png\n")


def test_a_class_that_no_draw_left_in_train_is_told(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(8) | {"cow/0.png": photo(99)})

    def valid_of(seed: int) -> bool:
        _, manifest = build(root, split="hash:0.4", seed=seed, label=lambda name: "one")
        return bool(column(manifest, "split")["cow/0.png"] == "valid")

    seed = next(seed for seed in range(50) if valid_of(seed))
    text = refused(lambda: build(root, split="hash:0.4", seed=seed), LabelError)

    assert text.startswith("1 label is not in train: cow (1 rows)\n")


def test_a_group_by_name_stays_in_one_split_and_is_named(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {f"ant/p{i // 4}_{i}.png": photo(i) for i in range(24)}
    root = plant(tmp_path / "root", files)

    for split in ("random:0.3", "hash:0.3", "stratified:0.3"):
        _, manifest = build(root, split=split, group=r"name:^(p\d+)_", seed=1)

        pairs = set(zip(column(manifest, "group").values(), column(manifest, "split").values(), strict=True))
        assert len(pairs) == 6
    assert manifest.metadata.group_rule == r"name:^(p\d+)_"


def test_a_group_by_name_may_hold_any_bytes(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {f"ant/{i}.png": photo(i) for i in range(6)}
    root = plant(tmp_path / "root", files | {b"ant/p\xff_1.png": photo(7), b"ant/p\xff_2.png": photo(8)})

    _, manifest = build(root, split="random:0.5", group="name:^(.+)_")

    assert set(column(manifest, "group").values()) == {None, r"p\xff"}


def test_a_group_by_column_needs_the_column(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(12) | {"meta.csv": b"file_name,who\nant/000.png,p1\nbee/001.png,p1\n"})

    _, manifest = build(root, split="random:0.5", group="column:who", columns=Path("meta.csv"))

    assert column(manifest, "group")["ant/000.png"] == "p1"
    assert refused(lambda: build(root, group="column:who", split="random:0.5"), UsageError) == (
        "--group column:who names a column, and no table of columns is joined\n"
        "  where: --group\n  fix: give the table, too: --columns meta.csv"
    )
    text = refused(lambda: build(root, group="column:whom", split="random:0.5", columns=Path("meta.csv")), SplitError)
    assert text == (
        "--group column:whom names a column that is not joined\n"
        '  where: --columns meta.csv\n  fix: did you mean "who"? known: who'
    )


@pytest.mark.parametrize(
    ("leaks", "code", "said"),
    [
        ("keep", 3, "1 group of images stands in more than one split (the rows are kept, exit code 3):"),
        ("drop", 3, "1 group of images stands in more than one split"
         " (left out where they were not in the first of test, valid and train):"),
        ("move", 0, "1 group of images stands in more than one split (moved to the first of test, valid and train):"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_leak_is_as_asked_and_it_is_listed_each_time(
    root: Path, leaks: str, code: int, said: str
) -> None:
    plant(root, {"train/ant/leak.png": photo(7), "val/ant/leak.png": photo(7, altered=2)})

    report, manifest = build(root, leaks=leaks)

    lines = report.summary().splitlines()
    at = lines.index(said)
    assert lines[at + 1] == "  train/ant/leak.png (train) = val/ant/leak.png (valid)"
    assert report.exit_code == code
    splits = column(manifest, "split")
    assert splits.get("train/ant/leak.png") == {"keep": "train", "drop": None, "move": "valid"}[leaks]
    assert splits["val/ant/leak.png"] == "valid"
    assert manifest.metadata.options["leaks"] == leaks
    if leaks == "drop":
        (line,) = map(json.loads, (root / "metadata.parquet.quarantine.jsonl").read_text().splitlines())
        assert (line["file_name"], line["reason"]) == ("train/ant/leak.png", "leak")
        assert report.outcomes.quarantined == {"leak": 1}


def test_under_hash_what_leaks_is_left_out_by_default(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"ant/{i:02}.png": photo(i // 2) for i in range(40)})

    report, manifest = build(root, split="hash:0.5")

    assert report.leak_rule == "drop"
    assert report.outcomes.quarantined == {"leak": len(report.leaks)}
    assert len(report.leaks) > 3
    groups = dict(zip(column(manifest, "group"), column(manifest, "split").values(), strict=True))
    assert len(groups) == 40 - len(report.leaks)


def test_pictures_of_two_labels_and_classes_without_valid_are_remarked(root: Path) -> None:
    plant(root, {"train/ant/same.png": photo(7), "train/bee/same.png": photo(7), "train/cow/0.png": photo(8)})

    report, _ = build(root)

    assert report.remarks[-3:] == (
        "valid has no image of 1 of 3 classes: cow",
        "1 picture has more than one label:",
        "  train/ant/same.png (ant) = train/bee/same.png (bee)",
    )


# -- checks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "empty"),
    [
        ("none", {"width", "height", "format", "mode", "n_frames", "exif_orientation", "sha256", "dhash"}),
        ("header", {"dhash"}),
        ("decode", set()),
    ],
)
def test_a_check_fills_what_it_looks_at_and_leaves_the_rest_null(root: Path, check: str, empty: set[str]) -> None:
    report, manifest = build(root, check=check)

    always = {"file_name_bytes", "fold", "group"}
    nulls = {name for name in manifest.table.column_names if manifest.table[name].null_count == 6}
    assert nulls - always == empty
    assert manifest.metadata.check == check
    assert (manifest.metadata.stats is None) == (check != "decode")
    assert (manifest.metadata.sizes is None) == (check == "none")
    assert column(manifest, "size_bytes")["train/ant/0.png"] == len(png(0, (7, 5)))
    assert bool(report.remarks) == (check != "decode") or "plain" in report.remarks[0]


def test_a_check_finds_the_faults_that_it_looks_for(root: Path) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60], "train/ant/text.jpg": b"text"})

    found = {check: build(root, check=check)[0].outcomes.quarantined for check in ("none", "header", "decode")}

    assert found == {"none": {}, "header": {"unidentified": 1}, "decode": {"truncated": 1, "unidentified": 1}}


def test_sizes_are_of_the_upright_images(root: Path) -> None:
    _, manifest = build(root)

    assert manifest.metadata.sizes == {
        "width": [7, 7, 7],
        "height": [5, 7.5, 10],
        "aspect": [0.7, 0.9375, 1.4],
    }


# -- more columns --------------------------------------------------------------------------------------------------

META = (
    "file_name,caption,age\n"
    "train/ant/0.png,My ant,3\ntrain/ant/1.png,my red ant,\ntrain/bee/0.png,my bee,5\nval/ant/0.png,an ant,100\n"
    "nowhere.png,lost,1\n"
)


def test_joined_and_processed_columns_stand_behind_the_usual_ones(root: Path) -> None:
    (root / "meta.csv").write_text(META)

    report, manifest = build(
        root, columns=Path("meta.csv"), process=("caption:numericalize", "age:median", "age:normalize"), noise=(50,)
    )

    assert manifest.table.column_names[16:] == [
        *("noisy_50", "caption", "age", "caption_tokens", "caption_ids"),
        *("age_filled", "age_was_missing", "age_normalized"),
    ]
    assert column(manifest, "age_filled") == {
        "train/ant/0.png": 3, "train/ant/1.png": 4, "train/bee/0.png": 5, "train/bee/1.png": 4,
        "val/ant/0.png": 100, "val/bee/0.png": 4,
    }  # fmt: skip
    assert [entry["name"] for entry in manifest.metadata.processors] == [
        *("CategoryProcessor", "TokenizeProcessor", "NumericalizeProcessor", "MedianFillProcessor"),
        "NormalizeProcessor",
    ]
    assert report.remarks[1:] == (
        "meta.csv does not list 2 images: their columns are null",
        "meta.csv lists 1 files that are not there: nowhere.png",
    )
    assert manifest.metadata.options["process"] == ["caption:numericalize", "age:median", "age:normalize"]


def test_noise_turns_train_labels_and_leaves_valid_alone(tmp_path: Path) -> None:
    folders = ("train/ant", "train/bee", "val/ant", "val/bee")
    files = {f"{folder}/{i}.png": png(i, (5, 5 + n)) for n, folder in enumerate(folders) for i in range(10)}
    root = plant(tmp_path / "root", files)

    _, manifest = build(root, noise=(10, 50), seed=2)

    labels, few, many = (column(manifest, name) for name in ("label", "noisy_10", "noisy_50"))
    turned = [{name for name in labels if labels[name] != noisy[name]} for noisy in (few, many)]
    assert list(map(len, turned)) == [2, 10]
    assert turned[0] < turned[1]
    assert all(name.startswith("train") for name in turned[1])


@pytest.mark.parametrize(
    "options", [{"noise": (120,)}, {"process": ("age",)}, {"split": "hsh:0.2"}, {"group": "names"}, {"check": "deep"}]
)
def test_options_that_cannot_be_are_told_before_any_image_is_looked_for(tmp_path: Path, options: Any) -> None:
    with pytest.raises(UsageError):
        build(tmp_path / "nowhere", **options)


def test_a_column_that_is_not_there_to_process_is_told_before_any_image_is_read(root: Path) -> None:
    (root / "meta.csv").write_text(META)

    text = refused(lambda: build(root, columns=Path("meta.csv"), process=("agee:median",)), UsageError)

    assert text.startswith(
        f'there is no column "agee" to process\n  where: {root}: agee:median\n  fix: did you mean "age"?'
    )
    assert not (root / "metadata.parquet.state").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"check": "deep"}, 'check is "deep"\n  where: --check\n'
         '  fix: did you mean "decode"? known: decode, header, none'),
        ({"leaks": "kep"}, 'leaks is "kep"\n  where: --leaks\n  fix: did you mean "keep"? known: drop, keep, move'),
        ({"other_below": -1}, "other_below is -1, must be at least 0\n  where: --other-below\n"
         "  fix: give the least number of train images that a class of its own must have"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_told(options: dict[str, Any], text: str) -> None:
    assert refused(lambda: ManifestOptions(**options), UsageError) == text


# -- like an older manifest ----------------------------------------------------------------------------------------


def test_like_an_older_manifest_splits_vocab_statistics_and_processors_stay(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(20))
    meta = "file_name,age\n" + "".join(f"{name},{i}\n" for i, name in enumerate(pictures(20)))
    (root / "meta.csv").write_text(meta)
    options: Mapping[str, Any] = {"columns": Path("meta.csv"), "process": ("age:median",)}
    _, old = build(root, output=tmp_path / "old.parquet", split="stratified:0.3", seed=5, **options)
    plant(root, {f"{label}/new{i}.png": photo(900 + i) for i in range(10) for label in ("ant",)})
    plant(root, {"ant/000.png": photo(800)})
    (root / "meta.csv").write_text(meta.replace(",19\n", ",1000\n"))

    report, new = build(root, output=tmp_path / "new.parquet", like=tmp_path / "old.parquet", **options)

    before, after = column(old, "split"), column(new, "split")
    unchanged = {name for name, digest in column(old, "sha256").items() if column(new, "sha256").get(name) == digest}
    assert {name: after[name] for name in before} == before
    assert unchanged < set(before)
    assert new.vocab == old.vocab
    assert new.metadata.stats == old.metadata.stats
    assert new.metadata.processors == old.metadata.processors
    assert (new.metadata.split_rule, new.metadata.seed) == ("stratified:0.3", 5)
    assert new.metadata.options["like"] == old.metadata.rows_sha256
    assert report.per_split["valid"] > 6


def test_a_key_whose_files_are_all_gone_still_decides_where_its_new_files_go(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"ant/p{i // 4}_{i:02}.png": photo(i) for i in range(40)})
    _, old = build(root, output=tmp_path / "old.parquet", split="random:0.3", group=r"name:^(p\d)_")
    before = {name[4:6]: split for name, split in column(old, "split").items()}
    for path in [*root.glob("ant/p2_*"), *root.glob("ant/p3_*"), *root.glob("ant/p7_*")]:
        path.unlink()
    plant(root, {f"ant/p{i}_new{j}.png": photo(900 + 10 * i + j) for i in (2, 3, 7) for j in range(3)})

    report, new = build(root, output=tmp_path / "new.parquet", like=tmp_path / "old.parquet")

    assert {name[4:6]: split for name, split in column(new, "split").items()} == before
    assert report.remarks[-1] == (
        "12 rows of the older manifest have no usable image today: ant/p2_08.png, ant/p2_09.png, ant/p2_10.png, ..."
    )


def test_a_new_image_that_joins_two_old_splits_of_folders_goes_and_the_old_rows_stay(tmp_path: Path) -> None:
    files: dict[str | bytes, bytes] = {
        "val/cat/p1_a.png": photo(1), "train/cat/p2_b.png": photo(2), "train/cat/p3_c.png": photo(3),
    }  # fmt: skip
    root = plant(tmp_path / "root", files)
    rules: Mapping[str, Any] = {"group": r"name:^(p\d)_", "leaks": "drop"}
    _, old = build(root, output=tmp_path / "old.parquet", **rules)
    plant(root, {"train/cat/p1_new.png": photo(2)})

    report, new = build(root, output=tmp_path / "new.parquet", like=tmp_path / "old.parquet", **rules)

    assert column(new, "split") == column(old, "split")
    (bad,) = report.bad_files
    assert (bad.file_name, bad.reason) == ("train/cat/p1_new.png", "leak")
    assert bad.detail == "belongs to images of more than one split of the older manifest"


def test_what_was_without_labels_stays_so_under_another_split(root: Path, tmp_path: Path) -> None:
    plant(root, {f"unsup/ant/{i}.png": photo(i) for i in range(3)})
    build(root, output=tmp_path / "old.parquet")

    for label in ("parent", "folder:2", "folder:1"):
        if label == "folder:1":
            text = refused(
                lambda: build(root, output=tmp_path / "n.parquet", like=tmp_path / "old.parquet", label="folder:1"),
                LabelError,
            )
            assert "unsup" not in text.splitlines()[0]
            continue
        _, new = build(
            root, output=tmp_path / "n.parquet", like=tmp_path / "old.parquet", split="random:0.3", label=label
        )
        assert {column(new, name)["unsup/ant/0.png"] for name in ("label", "target")} == {None}


def test_classes_cannot_be_fitted_anew_like_an_older_manifest(root: Path, tmp_path: Path) -> None:
    plant(root, {"train/wasp/0.png": png(50)})
    build(root, output=tmp_path / "old.parquet", other_below=2)
    like = tmp_path / "old.parquet"

    _, new = build(root, output=tmp_path / "new.parquet", like=like)

    assert new.metadata.options["other_below"] == 2
    assert refused(lambda: build(root, output=tmp_path / "n.parquet", like=like, other_below=3), UsageError) == (
        "--other-below 3 would fit the classes anew, and --like keeps the older ones\n"
        "  where: --other-below\n  fix: leave it out, or leave --like out"
    )


def test_columns_that_the_older_manifest_had_and_this_one_has_not_are_remarked(root: Path, tmp_path: Path) -> None:
    (root / "meta.csv").write_text(META)
    build(root, output=tmp_path / "old.parquet", columns=Path("meta.csv"), process=("age:median",))

    report, _ = build(root, output=tmp_path / "new.parquet", like=tmp_path / "old.parquet")

    assert report.remarks[1:] == (
        "the older manifest was built with --columns, this one is not: give it again to have its columns",
        "the older manifest was built with --process, this one is not: give it again to have its columns",
    )


def test_folds_keep_no_statistics_of_an_older_manifest_of_folds(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(12))
    build(root, output=tmp_path / "old.parquet", split="kfold:3")

    _, new = build(root, output=tmp_path / "new.parquet", like=tmp_path / "old.parquet", split="random:0.3")

    assert new.metadata.fold_stats == ()


def test_an_older_manifest_that_does_not_say_how_labels_were_encoded_is_told(root: Path, tmp_path: Path) -> None:
    report, old = build(root, output=tmp_path / "old.parquet")
    text = json.loads(old.metadata.to_json()) | {"processors": []}
    table = pq.read_table(report.output).replace_schema_metadata({b"imagekit": json.dumps(text).encode()})
    pq.write_table(table, report.output)

    said = refused(lambda: build(root, output=tmp_path / "n.parquet", like=report.output), ManifestError)

    assert said == (
        f"nothing says how label was encoded\n  where: {report.output}\n"
        "  fix: build it again with imagekit manifest, or restore it from a copy"
    )


def test_a_manifest_can_be_kept_like_itself(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(20))
    path = build_manifest(root, options=ManifestOptions(split="random:0.3")).output
    before = column(read_manifest(path), "split")
    plant(root, {f"ant/new{i}.png": photo(700 + i) for i in range(10)})
    like = ManifestOptions(like=path)

    first = build_manifest(root, options=like)
    after = column(read_manifest(path), "split")
    data = path.read_bytes()
    again = build_manifest(root, options=like)

    assert {name: after[name] for name in before} == before
    assert (first.outcomes.selected, again.outcomes.selected) == (30, 30)
    assert path.read_bytes() == data
    assert read_metadata(path).options["like"] == "itself"
    text = refused(lambda: build_manifest(root, options=ManifestOptions(split="random:0.3")), OutputError)
    assert text.startswith("the output was built with --like itself; asked for is no --like\n")


def test_labels_that_the_older_manifest_does_not_know_are_listed(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", pictures(10))
    build(root, output=tmp_path / "old.parquet", split="random:0.3")
    plant(root, {"cow/0.png": photo(99)})

    text = refused(lambda: build(root, output=tmp_path / "n.parquet", like=tmp_path / "old.parquet"), LabelError)

    assert text == (
        f"1 label is not in train: cow (1 rows)\n  where: {root}\n"
        "  fix: add images of them to train, or take them out; known: ant, bee"
    )


@pytest.mark.parametrize("split", ["folders", "random:0.3"])
def test_moving_leaks_like_an_older_manifest_is_refused(root: Path, tmp_path: Path, split: str) -> None:
    build(root, output=tmp_path / "old.parquet", split=split, label="folder:2")

    text = refused(lambda: build(root, like=tmp_path / "old.parquet", leaks="move"), UsageError)

    assert text == (
        "--leaks move would move rows that --like keeps where they are\n"
        "  where: --leaks\n  fix: give --leaks drop or keep"
    )


def test_an_older_manifest_of_other_label_columns_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"{'train' if i < 2 else 'val'}/a/{i}.png": png(i) for i in range(4)})
    (root / "labels.csv").write_text(TWO.replace("train/", "train/a/").replace("val/", "val/a/"))
    build(root, output=tmp_path / "old.parquet", label="table:labels.csv:path:kind,hue")

    text = refused(
        lambda: build(root, output=tmp_path / "n.parquet", label="parent", like=tmp_path / "old.parquet"), SplitError
    )

    assert text == (
        f"the older manifest has kind, hue, this one one label\n  where: --like {tmp_path / 'old.parquet'}\n"
        "  fix: give the --label that the older one was built with"
    )


# -- the order of the file system ----------------------------------------------------------------------------------


class Shuffled:
    """os.scandir in an order of one's own."""

    def __init__(self, entries: Any, generator: Random) -> None:
        self.entries, self.generator = entries, generator

    def __enter__(self) -> list[Any]:
        found = list(self.entries.__enter__())
        self.generator.shuffle(found)
        return found

    def __exit__(self, *stop: Any) -> None:
        self.entries.__exit__(*stop)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    split=st.sampled_from(["folders", "random:0.3", "stratified:0.3", "hash:0.4", "kfold:2"]),
    leaks=st.sampled_from([None, "drop"]),
)
def test_two_builds_in_any_order_of_the_file_system_are_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, split: str, leaks: str | None
) -> None:
    folders = [f"{split}/{label}" for split in ("train", "val") for label in ("ant", "bee")]
    files: dict[str | bytes, bytes] = {f"{folder}/{i}.png": photo(i + 9 * n) for n, folder in enumerate(folders)
        for i in range(6)}  # fmt: skip
    root = plant(tmp_path_factory.mktemp("order") / "root", files | {"val/ant/leak.png": photo(0, altered=1)})
    options = ManifestOptions(split=split, label="folder:2", leaks=leaks)
    scandir, generator = os.scandir, Random(seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imagekit.files.walk.os.scandir", lambda fd: Shuffled(scandir(fd), generator))
        first = build_manifest(root, output=root.parent / "one.parquet", options=options)
        second = build_manifest(root, output=root.parent / "two.parquet", options=options)

    assert first.output.read_bytes() == second.output.read_bytes()
