"""Inspect: a manifest told in words and as plain types."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest.albums import album, plant, png
from manifest.handmade import list_of, metadata, row, table, write

from imagekit.errors import ManifestError
from imagekit.files.names import display_name
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.inspect import inspect_manifest
from imagekit.manifest.read import read_metadata
from imagekit.manifest.schema import METADATA_KEY, ChannelStats

RECIPES = """
[tiny]
version = "7"
layout = "split/class"
split = "folders"
[tiny.classes]
ant = "black ant"
bee = "honey bee"
"""
STATS = "null or three numbers for mean and std and two counts"
HALF = ChannelStats(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), n_images=2, n_pixels=70)


@pytest.fixture
def path(tmp_path: Path, in_process: None) -> Path:
    (tmp_path / "recipes.toml").write_text(RECIPES)
    root = plant(tmp_path / "root", album())
    build_manifest(root, recipe="tiny", recipes=tmp_path / "recipes.toml")
    return root / "metadata.parquet"


def lines_of(path: Path) -> list[str]:
    return inspect_manifest(path).summary().splitlines()


def line_of(path: Path, start: str) -> str:
    return next(line for line in lines_of(path) if line.startswith(start))


def test_the_summary_tells_everything_in_a_fixed_order(path: Path) -> None:
    stats = read_metadata(path).stats
    assert stats is not None

    inspection = inspect_manifest(path)

    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (stats.mean, stats.std))
    assert [line for line in inspection.summary().splitlines() if not line.startswith(("sizes", "state"))] == [
        f"{path}: 6 rows, 2 classes, format 1",
        "root .; label parent; split folders, seed 0",
        "recipe tiny version 7",
        "  id class    train    valid   share",
        "   0 ant          2        1  50.00%  black ant",
        "   1 bee          2        1  50.00%  honey bee",
        "     total        4        2",
        f"train mean {mean}, std {std}, from 4 images",
        "processor CategoryProcessor: label -> target; vocab of 2",
        f"rows_sha256 {read_metadata(path).rows_sha256}",
        "columns: file_name string, file_name_bytes binary (null, every name is plain text),"
        " split dictionary<values=string, indices=int8, ordered=0>, fold int8 (null, the split makes no folds),"
        " label string, target int32, width int32, height int32, format string, mode string, n_frames int32,"
        " exif_orientation int8, size_bytes int64, sha256 fixed_size_binary[32], dhash int64,"
        " group string (null, no images belong together)",
        "first rows:",
        "  train 0 train/ant/0.png",
        "  train 0 train/ant/1.png",
        "  train 1 train/bee/0.png",
    ]
    assert inspection.next_command == f"imagekit train {path} -o RUN"
    assert inspection.exit_code == 0


def test_the_facts_are_plain_types(path: Path) -> None:
    facts = json.loads(json.dumps(inspect_manifest(path).to_dict()))

    told = read_metadata(path)
    assert told.stats is not None
    expected = {
        "manifest": str(path),
        "format_version": 1,
        "n_rows": 6,
        "root": ".",
        "vocab": ["ant", "bee"],
        "class_names": ["black ant", "honey bee"],
        "label_columns": [],
        "rows_per_split": {"train": 4, "valid": 2},
        "splits": {"train": {"ant": 2, "bee": 2}, "valid": {"ant": 1, "bee": 1}},
        "shares": {"ant": 0.5, "bee": 0.5},
        "folds": {},
        "groups": {"n_groups": 0, "n_rows": 0, "n_largest": 0, "n_torn": 0},
        "noise": {},
        "split_rule": "folders",
        "label_rule": "parent",
        "salt": "",
        "seed": 0,
        "check": "decode",
        "recipe": dict(told.recipe or {}),
        "counts": dict(told.counts),
        "stats": {"mean": list(told.stats.mean), "std": list(told.stats.std), "n": 4},
        "fold_stats": [],
        "quarantine": None,
        "quarantine_problem": None,
        "rows_sha256": told.rows_sha256,
        "first_rows": [
            {
                "split": "train",
                "fold": None,
                "target": index // 2,
                "label": label,
                "file_name": f"train/{label}/{n}.png",
            }
            for index, (label, n) in enumerate((("ant", 0), ("ant", 1), ("bee", 0)))
        ],
    }
    assert {key: facts[key] for key in expected} == expected
    assert set(facts) - set(expected) == {"columns", "group_rule", "options", "processors", "sizes", "state"}
    assert facts["columns"]["dhash"] == "int64"


def test_a_damaged_manifest_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ManifestError, match=r"^the file is not a readable Parquet file"):
        inspect_manifest(path)


def test_what_was_left_out_is_counted_by_reason(path: Path) -> None:
    plant(path.parent, {"train/bee/cut.png": png(9)[:50], "train/bee/none.png": b"", "train/bee/cut2.png": png(8)[:40]})
    build_manifest(path.parent, recipe="tiny", recipes=path.parent.parent / "recipes.toml")
    listed = path.with_name("metadata.parquet.quarantine.jsonl")
    reasons: dict[str, int] = {}
    for text in listed.read_text().splitlines():
        reasons[json.loads(text)["reason"]] = reasons.get(json.loads(text)["reason"], 0) + 1

    inspection = inspect_manifest(path)
    listed.write_text("nonsense\n")
    damaged = inspect_manifest(path)

    assert inspection.to_dict()["quarantine"] == dict(sorted(reasons.items()))
    each = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    assert f"quarantined: {each}" in inspection.summary().splitlines()
    problem = f"{listed.name}: it does not hold a JSON object with a file_name in each line"
    assert f"the quarantine list cannot be read: {problem}" in damaged.summary().splitlines()
    assert damaged.to_dict()["quarantine_problem"] == problem


def test_the_state_beside_it_is_told(path: Path) -> None:
    state = path.with_name("metadata.parquet.state")
    state.unlink(missing_ok=True)

    without = line_of(path, "state")
    state.write_bytes(b"x" * 1234)

    assert without == "state for fast reruns: none"
    assert line_of(path, "state") == "state for fast reruns: 1,234 bytes"
    assert inspect_manifest(path).to_dict()["state"] == {"file": str(state), "size_bytes": 1234}


# -- hand-made: what small albums do not give ----------------------------------------------------------------------


def test_rules_options_sizes_and_processors_are_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.parquet",
        table([row("a.png"), row("b.png", split="valid")]),
        split_rule="hash:0.2", salt="7", group_rule="similar", stats=HALF, fold_stats=(HALF, HALF),
        options={"leaks": "drop", "noise": [1, 5.5]},
        sizes={"width": [10, 20.5, 30], "height": None},
        processors=(
            {"name": "CategoryProcessor", "column": "label", "outputs": ["target"], "state": {"vocab": ["ant"]}},
            {"name": "Scale", "column": "age", "state": {"median": 3, "mean": 0.12345678, "ids": {"a": 1}, "is": "x"}},
            {"name": "Nothing", "column": "b", "state": {}},
        ),
    )  # fmt: skip

    lines = lines_of(path)

    assert lines[1:4] == [
        "root .; label parent; split hash:0.2, seed 0, salt 7; group similar",
        "no recipe recorded",
        "options: leaks drop; noise [1, 5.5]",
    ]
    assert lines[7:12] == [
        "train mean 0.5000 0.5000 0.5000, std 0.2500 0.2500 0.2500, from 2 images; and outside each of 2 folds",
        "sizes (least / median / greatest): width 10 / 20.5 / 30",
        "processor CategoryProcessor: label -> target; vocab of 1",
        "processor Scale: age; ids of 1, is x, mean 0.123457, median 3",
        "processor Nothing: b",
    ]


def test_folds_and_groups_are_counted(tmp_path: Path) -> None:
    rows = [
        row("a.png", fold=0, group="g"), row("b.png", fold=1), row("c.png", fold=1, group="h"),
        row("d.png", split="valid", group="g"), row("e.png", group="g"), row("f.png", group="h"),
    ]  # fmt: skip
    path = write(tmp_path / "m.parquet", table(rows))

    assert line_of(path, "2 folds") == "2 folds, rows of each: 0: 1, 1: 2"
    assert line_of(path, "2 groups") == "2 groups of 5 rows, the largest 3, 1 in more than one split"
    facts = inspect_manifest(path).to_dict()
    assert facts["folds"] == {"0": 1, "1": 2}
    assert facts["groups"] == {"n_groups": 2, "n_rows": 5, "n_largest": 3, "n_torn": 1}


def test_of_many_folds_the_first_ten_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", table([row(f"{i:02}.png", fold=i) for i in range(12)]))

    each = ", ".join(f"{fold}: 1" for fold in range(10))
    assert line_of(path, "12 folds") == f"12 folds, rows of each: {each}, and 2 more"


@pytest.mark.parametrize(
    ("check", "empty"),
    [
        ("none", ["width", "height", "format", "mode", "n_frames", "exif_orientation", "sha256", "dhash"]),
        ("header", ["dhash"]),
    ],
)
def test_a_column_that_the_check_does_not_fill_is_named_with_the_reason(
    tmp_path: Path, check: str, empty: list[str]
) -> None:
    seen = {"width": 1, "height": 1, "format": "PNG", "mode": "RGB", "n_frames": 1, "exif_orientation": 1}
    one = row("a.png", **({} if check == "none" else seen)) | ({"sha256": None} if check == "none" else {})
    path = write(tmp_path / "m.parquet", table([one]), check=check)

    inspection = inspect_manifest(path)

    reason = f"null, the manifest was built with --check {check}"
    assert [name for name, kind in inspection.overview.columns.items() if reason in kind and name != "group"] == empty
    assert inspection.overview.columns["dhash"] == f"int64 ({reason})"
    assert f"built with --check {check}" in inspection.summary().splitlines()
    assert line_of(path, "no channel") == (
        f"no channel statistics: the manifest was built with --check {check}, train measures a sample"
    )


def test_why_other_columns_are_empty_is_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.parquet", table([row("a.png", None, sha256=None)], more={"age": pa.int8()}), check="none"
    )

    columns = inspect_manifest(path).overview.columns

    assert columns["age"] == "int8 (all null)"
    assert columns["label"] == "string (null, no image has a label)"
    assert columns["group"] == "string (null, the manifest was built with --check none, which tells no two files alike)"


def test_lists_of_labels_are_counted_one_by_one_and_train_is_not_next(tmp_path: Path) -> None:
    rows = [
        row("a.png", None, labels=["red", "round"]), row("b.png", None, labels=["red"]),
        row("c.png", None, "valid", labels=[]), row("d.png", None, "valid", labels=None),
    ]  # fmt: skip
    path = write(
        tmp_path / "m.parquet", table(rows, more={"labels": list_of(pa.string())}), label_columns=("colour", "shape")
    )

    inspection = inspect_manifest(path)

    assert inspection.summary().splitlines()[0] == f"{path}: 4 rows, 2 label columns, format 1"
    assert inspection.summary().splitlines()[3:9] == [
        "label columns: colour, shape",
        "  id label     train    valid   share",
        "     red           2        0  40.00%",
        "     round         1        0  20.00%",
        "     (none)        0        2  40.00%",
        "     total         3        2",
    ]
    assert inspection.overview.columns["label"] == "string (null, the labels stand in labels)"
    assert inspection.next_command == f"imagekit manifest {tmp_path} --label table:FILE:PATH:LABEL"
    assert inspection.to_dict()["rows_per_split"] == {"train": 2, "valid": 2}


@pytest.mark.parametrize("splits", [("train", "train"), ("valid", "test"), ("train", "unsup")])
def test_without_train_or_valid_rows_another_split_is_next(tmp_path: Path, splits: tuple[str, str]) -> None:
    path = write(tmp_path / "m.parquet", table([
        row(f"{i}.png", None if split == "unsup" else "ant", split) for i, split in enumerate(splits)
    ]))  # fmt: skip

    assert inspect_manifest(path).next_command == f"imagekit manifest {tmp_path} --split hash:0.2"


def test_a_named_valid_set_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png"), row("b.png", split="valid:night")]))

    assert inspect_manifest(path).next_command == f"imagekit train {path} -o RUN"


def test_labels_made_wrong_on_purpose_are_counted(tmp_path: Path) -> None:
    rows = [row("a.png", noisy_5="bee"), row("b.png", noisy_5="ant")]
    more = {"noisy_5": pa.string()}
    path = write(tmp_path / "m.parquet", table(rows, more=more), options={"noise": [5]})
    other = write(tmp_path / "n.parquet", table(rows, more=more))

    assert line_of(path, "noise") == "noise noisy_5: 1 of 2 labels changed"
    assert inspect_manifest(path).overview.noise == {"noisy_5": 1}
    assert inspect_manifest(other).overview.noise == {}


@pytest.mark.parametrize(("n_classes", "n_lines"), [(40, 40), (41, 41), (60, 41)])
def test_of_many_classes_both_ends_are_shown(tmp_path: Path, n_classes: int, n_lines: int) -> None:
    path = write(tmp_path / "m.parquet", table([row(f"{i:03}.png", f"c{i:03}") for i in range(n_classes)]))

    lines = lines_of(path)

    head = next(index for index, line in enumerate(lines) if line.startswith("  id"))
    body = lines[head + 1 : head + 1 + n_lines]
    assert lines[head + 1 + n_lines].startswith("     total")
    assert body[0].split()[:2] == ["0", "c000"]
    assert body[-1].split()[:2] == [str(n_classes - 1), f"c{n_classes - 1:03}"]
    if n_classes > 40:
        assert body[20] == f"     ... {n_classes - 40} more between; --json tells all"
    assert len(inspect_manifest(path).to_dict()["splits"]["train"]) == n_classes


@pytest.mark.usefixtures("in_process")
def test_a_label_that_became_other_has_a_line_without_an_id(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", album() | {"train/wasp/0.png": png(50), "train/fly/0.png": png(51)})
    report = build_manifest(root, options=ManifestOptions(other_below=2))

    lines = [line for line in lines_of(report.output) if line.startswith("  ")][:7]

    assert lines == [
        "  id class    train    valid   share",
        "   0 ant          2        1  37.50%",
        "   1 bee          2        1  37.50%",
        "   2 other        0        0   0.00%",
        "     fly          1        0  12.50%",
        "     wasp         1        0  12.50%",
        "     total        6        2",
    ]


def test_a_manifest_without_rows_is_told(tmp_path: Path) -> None:
    lines = lines_of(write(tmp_path / "m.parquet", table([])))

    assert lines[0] == f"{tmp_path / 'm.parquet'}: 0 rows, 0 classes, format 1"
    assert lines[3:5] == ["  id label", "     total"]


def hostile(path: Path, word: str) -> list[str]:
    """The lines about a manifest in which every text that it can choose is `word`."""
    rows = [row("a.png", group=word), row(f"{display_name(word.encode())}.png", word, noisy="a", more="y")]
    rows[1][word] = "y"
    write(
        path, table(rows, more={word: pa.string()}), vocab=("ant", word), class_names=(word, word + word),
        label_rule=word, split_rule=word, salt=word, check=word, group_rule=word, options={word: [word]}, root=word,
        label_columns=(word,), recipe={"name": word, "version": word}, sizes={word: [1, 2, 3]},
        processors=({"name": word, "column": word, "outputs": [word], "state": {word: word}},),
    )  # fmt: skip
    path.with_name(path.name + ".quarantine.jsonl").write_text(json.dumps({"file_name": word, "reason": word}))
    return [*lines_of(path), *inspect_manifest(path).next_command.splitlines()]


def test_nothing_of_a_stranger_makes_a_line_of_its_own_or_steers_a_terminal(tmp_path: Path) -> None:
    calm, wild = hostile(tmp_path / "m.parquet", "x"), hostile(tmp_path / "m.parquet", "x\n\x1b[2J\u202e\x9b")

    assert len(wild) == len(calm)
    assert not any(sign in line for sign in "\x1b\u202e\x9b" for line in wild)
    assert sum("x\\n\\x1b[2J\\u202e\\x9b" in line for line in wild) >= 12


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("root", "/etc", "a relative path"),
        ("root", "a\0", "a relative path"),
        ("root", None, "a relative path"),
        ("label_rule", 1, "text"),
        ("split_rule", [], "text"),
        ("salt", None, "text"),
        ("seed", "0", "a number"),
        ("seed", True, "a number"),
        ("check", None, "text"),
        ("group_rule", 1, "text or null"),
        ("counts", [], "an object"),
        ("options", [], "an object"),
        ("recipe", "tiny", "null or an object with name and version"),
        ("recipe", {"name": "tiny"}, "null or an object with name and version"),
        ("processors", [1], "a list of objects with name, column and state"),
        ("processors", [{"name": "A", "column": "b"}], "a list of objects with name, column and state"),
        (
            "processors",
            [{"name": "A", "column": "b", "state": {}, "outputs": "c"}],
            "a list of objects with name, column and state",
        ),
        ("stats", {"mean": "abc", "std": [1, 1, 1], "n_images": 1, "n_pixels": 1}, STATS),
        ("stats", {"mean": [1, 1], "std": [1, 1], "n_images": 1, "n_pixels": 1}, STATS),
        ("stats", {"mean": [1, 1, 1], "std": [1, 1, 1], "n_images": "1", "n_pixels": 1}, STATS),
        ("fold_stats", [{"mean": [], "std": [], "n_images": 1, "n_pixels": 1}], "a list of statistics"),
        ("sizes", [1], "null or three numbers for each size"),
        ("sizes", {"width": [1, 2]}, "null or three numbers for each size"),
        ("sizes", {"width": [1, 2, "3"]}, "null or three numbers for each size"),
    ],
)
def test_metadata_of_another_kind_is_refused_by_name(tmp_path: Path, key: str, value: Any, kind: str) -> None:
    path = tmp_path / "m.parquet"
    rows = table([])
    text = json.dumps(json.loads(metadata(rows).to_json()) | {key: value}).encode()
    pq.write_table(rows.replace_schema_metadata({METADATA_KEY: text}), path)

    with pytest.raises(ManifestError) as caught:
        inspect_manifest(path)

    assert str(caught.value) == (
        f"the metadata's {key} must be {kind}\n  where: {path}\n"
        "  fix: build it again with imagekit manifest, or restore it from a copy"
    )
