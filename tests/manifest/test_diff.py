"""diff: what changed between two manifests, told and enough to make the new rows from the old."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest.albums import album, plant, png
from manifest.handmade import content, list_of, row, table, write

from imagekit.errors import ManifestError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.diff import ManifestDiff, apply_diff, diff_manifests
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.read import read_manifest
from imagekit.manifest.schema import ChannelStats

HALF = ChannelStats(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), n_images=2, n_pixels=70)
MORE = ChannelStats(mean=(0.5, 0.5, 0.625), std=(0.25, 0.25, 0.25), n_images=3, n_pixels=105)


def diff_of(folder: Path, old: list[Any], new: list[Any], *, more: Any = None, was: Any = None, now: Any = None) -> Any:
    """The differences between two hand-made manifests, checked against the law."""
    one = write(folder / "old.parquet", table(old, more=more), **(was or {}))
    other = write(folder / "new.parquet", table(new, more=more), **(now or {}))
    diff = diff_manifests(one, other)
    assert_law(diff)
    return diff


def assert_law(diff: ManifestDiff) -> None:
    old, new = read_manifest(diff.old).table, read_manifest(diff.new).table

    made = apply_diff(diff, old)

    assert made.schema.equals(new.schema)
    assert rows_sha256(made) == rows_sha256(new)
    json.dumps(diff.to_dict())


@pytest.mark.usefixtures("in_process")
def test_an_album_that_changed_is_told_in_full(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", album() | {"train/ant/9.png": png(60)})
    build_manifest(root, output=tmp_path / "old.parquet")
    (root / "train/ant/9.png").rename(root / "train/bee/9.png")  # relabelled, by way of a new name
    (root / "train/ant/1.png").unlink()
    plant(root, {"train/ant/0.png": png(50), "train/cat/0.png": png(51), "train/bat/0.png": png(52)})
    build_manifest(root, output=tmp_path / "new.parquet")

    diff = diff_manifests(tmp_path / "old.parquet", tmp_path / "new.parquet")

    assert_law(diff)
    assert diff.exit_code == 0
    assert diff.next_command is None
    lines = diff.summary().splitlines()
    assert lines[:10] == [
        f"{tmp_path / 'old.parquet'}: 7 rows; {tmp_path / 'new.parquet'}: 8 rows",
        "1 class id moved, a model of OLD names other classes: bee was 1, is 2",
        "2 classes added: bat (1); cat (3)",
        "2 rows added: train/bat/0.png; train/cat/0.png",
        "1 row removed: train/ant/1.png",
        "1 row renamed: train/ant/9.png -> train/bee/9.png",
        "1 row changed: train/ant/0.png",
        "1 row relabelled: train/ant/9.png -> train/bee/9.png was ant, is bee",
        "rows that differ in other columns: target 3, dhash 1",
        lines[9],
    ]
    assert lines[9].startswith("train mean was ")
    assert lines[-1] == "processor CategoryProcessor of label: vocab changed"
    facts = diff.to_dict()
    assert {key: facts[key] for key in ("added", "removed", "renamed", "changed", "relabelled", "resplit")} == {
        "added": ["train/bat/0.png", "train/cat/0.png"],
        "removed": ["train/ant/1.png"],
        "renamed": [{"from": "train/ant/9.png", "to": "train/bee/9.png"}],
        "changed": ["train/ant/0.png"],
        "relabelled": [
            {"file_name": "train/bee/9.png", "from": "ant", "to": "bee", "old_file_name": "train/ant/9.png"}
        ],
        "resplit": [],
    }


@pytest.mark.usefixtures("in_process")
def test_the_same_images_say_the_same_wherever_the_manifest_lies(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", album())
    one, other = tmp_path / "one.parquet", tmp_path / "more/other.parquet"
    other.parent.mkdir()
    for path in (one, other):
        build_manifest(root, output=path)

    diff = diff_manifests(one, other, code=3)

    assert not diff.differs
    assert diff.exit_code == 0
    assert diff.summary() == f"{one}: 6 rows; {other}: 6 rows; they say the same"


@pytest.mark.usefixtures("in_process")
def test_another_split_is_told_row_by_row_and_as_a_rule(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {f"{label}/{i}.png": png(i) for i in range(8) for label in ("ant",)})
    for seed in (0, 1):
        build_manifest(
            root, output=tmp_path / f"{seed}.parquet", options=ManifestOptions(split="random:0.5", seed=seed)
        )

    diff = diff_manifests(tmp_path / "0.parquet", tmp_path / "1.parquet", code=3)

    assert_law(diff)
    assert diff.exit_code == 3
    assert diff.rows.resplit.num_rows > 0
    assert "seed was 0, is 1" in diff.summary().splitlines()


# -- rows ----------------------------------------------------------------------------------------------------------


def test_folds_count_as_splits(tmp_path: Path) -> None:
    old = [row("a.png", fold=0), row("b.png", fold=1), row("c.png", split="valid")]
    new = [row("a.png", fold=1), row("b.png", split="valid"), row("c.png", split="valid")]

    diff = diff_of(tmp_path, old, new)

    assert diff.summary().splitlines()[1:] == [
        "2 rows resplit: a.png was train fold 0, is train fold 1; b.png was train fold 1, is valid"
    ]
    assert diff.to_dict()["resplit"] == [
        {"file_name": "a.png", "from": "train fold 0", "to": "train fold 1"},
        {"file_name": "b.png", "from": "train fold 1", "to": "valid"},
    ]


def test_without_a_digest_the_size_tells_whether_a_file_changed(tmp_path: Path) -> None:
    old = [row("a.png", sha256=None), row("b.png", sha256=None), row("c.png")]
    new = [row("a.png"), row("b.png", sha256=None, size_bytes=10), row("c.png", sha256=content("other"))]

    diff = diff_of(tmp_path, old, new)

    assert diff.rows.altered.to_pylist() == ["b.png", "c.png"]
    assert diff.summary().splitlines()[1:] == [
        "2 rows changed: b.png; c.png",
        "rows that differ in other columns: size_bytes 1, sha256 1",
    ]


def test_rows_with_the_same_bytes_are_paired_in_the_order_of_their_names(tmp_path: Path) -> None:
    same = {"sha256": content("same")}
    old = [row("a.png", **same), row("b.png", **same), row("z.png", sha256=None)]
    new = [row("c.png", **same), row("d.png", **same), row("e.png", **same), row("y.png", sha256=None)]

    diff = diff_of(tmp_path, old, new)

    assert diff.to_dict()["renamed"] == [{"from": "a.png", "to": "c.png"}, {"from": "b.png", "to": "d.png"}]
    assert (diff.to_dict()["added"], diff.to_dict()["removed"]) == (["e.png", "y.png"], ["z.png"])


def test_only_five_of_each_kind_are_shown_and_json_holds_all(tmp_path: Path) -> None:
    diff = diff_of(tmp_path, [], [row(f"{i}.png") for i in range(7)], was={"vocab": ("ant",)})

    assert diff.summary().splitlines()[1:2] == ["7 rows added: 0.png; 1.png; 2.png; 3.png; 4.png; ..."]
    assert diff.to_dict()["added"] == [f"{i}.png" for i in range(7)]


def test_columns_that_came_or_went_or_changed_their_type_are_told(tmp_path: Path) -> None:
    one = write(
        tmp_path / "old.parquet", table([row("a.png", age=3, sex="m")], more={"age": pa.int64(), "sex": pa.string()})
    )
    other = write(
        tmp_path / "new.parquet",
        table([row("a.png", age=3.0, site="x")], more={"age": pa.float64(), "site": pa.string()}),
    )

    diff = diff_manifests(one, other)

    assert_law(diff)
    assert diff.summary().splitlines()[1:] == ["columns added: age, site", "columns removed: age, sex"]


def test_lists_of_labels_are_labels(tmp_path: Path) -> None:
    more = {"labels": list_of(pa.string())}
    listed = {"label_columns": ("one", "two")}
    old = [row("a.png", None, labels=["x", "y"]), row("b.png", None, labels=["x"]), row("c.png", None, labels=None)]
    new = [row("a.png", None, labels=["x", "z"]), row("b.png", None, labels=["x"]), row("c.png", None, labels=[])]

    diff = diff_of(tmp_path, old, new, more=more, was=listed, now=listed)

    assert diff.summary().splitlines()[1:] == [
        '2 rows relabelled: a.png was ["x", "y"], is ["x", "z"]; c.png was none, is []',
        "rows that differ in other columns: labels 2",
    ]


def test_another_order_of_columns_alone_is_told(tmp_path: Path) -> None:
    rows, kinds = [row("a.png", age=1, tall=2)], {"age": pa.int32(), "tall": pa.int32()}
    old = write(tmp_path / "old.parquet", table(rows, more=kinds))
    new = write(tmp_path / "new.parquet", table(rows, more=dict(reversed(kinds.items()))))

    diff = diff_manifests(old, new)

    assert diff.summary().splitlines()[1:] == ["columns stand in another order"]


def test_differences_apply_to_the_rows_they_were_made_against_only(tmp_path: Path) -> None:
    diff = diff_of(tmp_path, [row("a.png"), row("b.png")], [row("b.png")])

    for wrong in ([row("a.png")], [row("b.png"), row("c.png")]):
        with pytest.raises(ManifestError) as caught:
            apply_diff(diff, table(wrong))
        assert str(caught.value) == (
            f"the differences were made against other rows: 2 of {tmp_path / 'old.parquet'}, these are {len(wrong)}\n"
            f"  where: {tmp_path / 'new.parquet'}\n  fix: compare the two manifests again"
        )


def test_a_column_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    from imagekit.manifest.compare import differing

    pairs = pa.chunked_array([pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))])

    with pytest.raises(ManifestError) as caught:
        differing(pairs, pairs, column="tags")

    assert str(caught.value) == (
        "column tags has type map<string, int64>, which cannot be compared\n"
        "  where: the rows\n  fix: build both manifests without that column"
    )


NAN = float("nan")
VALUES: list[tuple[pa.DataType, list[Any], list[Any], list[bool]]] = [
    (pa.float64(), [1.0, NAN, None, NAN, 0.0], [1.0, NAN, None, 1.0, None], [False, False, False, True, True]),
    (pa.bool_(), [True, None, False], [False, None, False], [True, False, False]),
    (pa.binary(), [b"a", b"", None], [b"a", None, None], [False, True, False]),
    (pa.list_(pa.float32()), [[1.0], [NAN], None, []], [[1.0, 2.0], [NAN], [], []], [True, False, True, False]),
    (pa.list_(pa.string()), [["a", "b"], ["a", None]], [["a", "c"], ["a", None]], [True, False]),
    (pa.list_(pa.list_(pa.int8())), [[[1], [2, 3]], [[1]]], [[[1], [2, 4]], [[1]]], [True, False]),
    (pa.list_(pa.int8(), 2), [[1, 2], [1, 2], None], [[1, 2], [1, 3], None], [False, True, False]),
    (pa.struct({"a": pa.int8()}), [{"a": 1}, {"a": 1}, None], [{"a": 1}, {"a": 2}, {"a": None}], [False, True, True]),
    (pa.null(), [None], [None], [False]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", None], ["a", "a", "a"], [False, True, True]),
    (pa.timestamp("s"), [1, 2], [1, 3], [False, True]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "one", "other", "expected"), VALUES, ids=[str(kind) for kind, *_ in VALUES])
def test_values_of_every_type_are_compared(
    kind: pa.DataType, one: list[Any], other: list[Any], expected: list[bool]
) -> None:
    from imagekit.manifest.compare import differing

    columns = [pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)]) for values in (one, other)]

    assert differing(columns[0], columns[1], column="x").tolist() == expected


# -- metadata ------------------------------------------------------------------------------------------------------


def test_metadata_is_told_classes_first(tmp_path: Path) -> None:
    rows = [row("a.png"), row("b.png", "bee")]
    category = {"name": "CategoryProcessor", "column": "label", "state": {"vocab": []}}
    fill = {"name": "FillMissing", "column": "age", "outputs": ["age"], "state": {"median": 3}}
    was: dict[str, Any] = {
        "class_names": ("ant", "bee"), "stats": HALF, "options": {"noise": [5], "columns": "a.csv"},
        "processors": ({"name": "Old", "column": "x", "state": {}}, category, fill), "check": "decode",
    }  # fmt: skip
    now: dict[str, Any] = {
        "class_names": ("ant", "honey bee"), "stats": MORE, "options": {"leaks": "drop", "columns": "a.csv"},
        "processors": (category, fill | {"outputs": ["age", "age_na"], "state": {"median": 4}},
                       {"name": "New", "column": "y", "state": {}}),
        "check": "header", "group_rule": "similar", "recipe": {"name": "tiny", "version": "7"},
    }  # fmt: skip

    diff = diff_of(tmp_path, rows, rows, was=was, now=now)

    assert diff.summary().splitlines()[1:] == [
        "1 class name changed: bee was bee, is honey bee",
        "train mean was 0.5000 0.5000 0.5000, is 0.5000 0.5000 0.6250 (+0.0000 +0.0000 +0.1250)",
        "train statistics were of 2 images of 70 pixels, are of 3 images of 105 pixels",
        "check was decode, is header",
        "group_rule was none, is similar",
        "options.leaks was none, is drop",
        "options.noise was [5], is none",
        "recipe.name was none, is tiny",
        "recipe.version was none, is 7",
        "processor FillMissing of age: outputs, median changed",
        "processor New of y: added",
        "processor Old of x: removed",
    ]
    facts = diff.to_dict()
    assert facts["class_names"] == {"bee": {"from": "bee", "to": "honey bee"}}
    assert facts["stats"]["mean_difference"] == [0, 0, 0.125]
    assert facts["metadata"]["options.noise"] == {"from": [5], "to": None}
    assert facts["processors"]["FillMissing of age"] == ["outputs", "median"]
    assert facts["n_rows"] == {"old": 2, "new": 2}


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [(None, HALF, "train statistics: none before"), (HALF, None, "train statistics: none any more")],
)
def test_statistics_that_came_or_went_are_told(tmp_path: Path, was: Any, now: Any, line: str) -> None:
    diff = diff_of(tmp_path, [row("a.png")], [row("a.png")], was={"stats": was}, now={"stats": now})

    assert diff.summary().splitlines()[1:] == [line]


def test_another_order_of_processors_is_told(tmp_path: Path) -> None:
    both = tuple({"name": name, "column": "x", "state": {}} for name in "AB")

    diff = diff_of(tmp_path, [row("a.png")], [row("a.png")], was={"processors": both}, now={"processors": both[::-1]})

    assert diff.summary().splitlines()[1:] == ["processor their order: order changed"]


def test_classes_that_went_and_moved_are_told_with_their_ids(tmp_path: Path) -> None:
    old = [row(f"{name}.png", name) for name in ("a", "b", "c")]

    diff = diff_of(tmp_path, old, old[1:])

    assert diff.summary().splitlines()[1:3] == [
        "2 class ids moved, a model of OLD names other classes: b was 1, is 0; c was 2, is 1",
        "1 class removed: a (0)",
    ]
    assert diff.to_dict()["vocab"] == {
        "moved": [{"class": "b", "from": 1, "to": 0}, {"class": "c", "from": 2, "to": 1}],
        "added": [],
        "removed": [{"class": "a", "id": 0}],
    }


def test_nothing_of_a_stranger_makes_a_line_of_its_own(tmp_path: Path) -> None:
    bad = "x\n\x1b[2J"
    new = [row("a.png", "ant", "valid:night"), row(r"x\n\x1b[2J.png", bad, "valid", **{bad: "y"})]
    now = {"options": {bad: bad}, "processors": ({"name": bad, "column": bad, "state": {bad: bad}},), "check": bad}

    one = write(tmp_path / "old.parquet", table([row("a.png", bad)]))
    other = write(tmp_path / "new.parquet", table(new, more={bad: pa.string()}), **now)
    there, back = diff_manifests(one, other).summary(), diff_manifests(other, one).summary()

    assert "\x1b" not in there + back
    assert there.count("\\n\\x1b") > 5
    assert all(line.split(" ")[0] not in ("", "\x1b[2J") for line in (there + "\n" + back).splitlines())
    assert len(there.splitlines()) == len(back.splitlines())


# -- the law -------------------------------------------------------------------------------------------------------

MORE_COLUMNS: dict[str, pa.DataType] = {
    "age": pa.float64(),
    "age2": pa.int32(),
    "tags": list_of(pa.string()),
    "kind": pa.dictionary(pa.int8(), pa.string()),
}
cells = {
    "age": st.sampled_from([None, 1.0, -0.0, 0.0, NAN]),
    "age2": st.sampled_from([None, 1]),
    "tags": st.sampled_from([None, [], ["x"], ["x", None], ["y", "x"]]),
    "kind": st.sampled_from([None, "k", "l"]),
}


@st.composite
def manifests(draw: st.DrawFn) -> pa.Table:
    """Few names, labels and contents, so that two drawn ones have much in common."""
    names = draw(st.lists(st.sampled_from([f"{letter}.png" for letter in "abcdefé甲"]), unique=True))
    columns = draw(st.lists(st.sampled_from(sorted(MORE_COLUMNS)), unique=True))
    rows = []
    for name in names:
        label, split = draw(st.sampled_from(["ant", "bee", None])), draw(st.sampled_from(["train", "valid", "valid:x"]))
        digest = draw(st.sampled_from([None, content("one"), content("two")]))
        rest = {column: draw(cells[column]) for column in columns}
        rows.append(row(name, label, split, sha256=digest, size_bytes=draw(st.integers(1, 2)), **rest))
    rows.sort(key=lambda one: one["file_name"])
    more = {
        column: pa.int64() if column == "age2" and draw(st.booleans()) else MORE_COLUMNS[column] for column in columns
    }
    return table(rows, more=more)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(old=manifests(), new=manifests())
def test_the_differences_and_the_old_rows_give_exactly_the_new_rows(
    tmp_path: Path, old: pa.Table, new: pa.Table
) -> None:
    one = write(tmp_path / "old.parquet", old)
    other = write(tmp_path / "new.parquet", new)

    diff, itself = diff_manifests(one, other), diff_manifests(other, other)

    assert_law(diff)
    assert not itself.differs
    assert itself.rows.changed.num_rows == 0
    facts = diff.to_dict()
    assert new.num_rows - old.num_rows == len(facts["added"]) - len(facts["removed"])
    assert diff.differs == (len(diff.summary().splitlines()) > 1)
