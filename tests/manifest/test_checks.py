"""A stranger's manifest: what is asked of it before it is used, and how much memory it may take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest.albums import album, plant
from manifest.handmade import list_of, metadata, row, table, with_targets, write

from imagekit.errors import ManifestError, SplitError
from imagekit.files.footer import read_footer
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.checks import FREE_BYTES
from imagekit.manifest.read import read_manifest
from imagekit.manifest.schema import COLUMNS, METADATA_KEY

REBUILD = "build it again with imagekit manifest, or restore it from a copy"
SENDER = "do not use it, and ask who sent it"
PEAK = r"""
import re, sys
from imagekit.errors import ManifestError
from imagekit.manifest.read import read_manifest
try:
    read_manifest(sys.argv[1])
except ManifestError as error:
    print(error)
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def refused(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    return str(caught.value)


def write_raw(path: Path, rows: pa.Table, **options: Any) -> Path:
    """A manifest whose rows nobody encoded; options: of the Parquet writer."""
    text = metadata(table([row("a.png")])).to_json()
    pq.write_table(rows.replace_schema_metadata({METADATA_KEY: text}), path, compression="zstd", **options)
    return path


def test_a_file_of_very_many_columns_is_refused(tmp_path: Path) -> None:
    more = {f"c{i}": pa.int8() for i in range(990)}
    path = write(tmp_path / "m.parquet", table([row("a.png")], more=more))

    assert refused(path) == (
        f"the manifest has 1,006 columns, at most 1,000 are read\n  where: {path}\n  fix: build it with fewer --columns"
    )
    assert read_manifest(write(path, table([row("a.png")], more=dict(list(more.items())[:984])))).table.num_rows == 1


def test_a_column_that_stands_twice_is_told(tmp_path: Path) -> None:
    rows = table([row("a.png")]).append_column("age", pa.array([1])).append_column("age", pa.array([2]))
    path = write_raw(tmp_path / "m.parquet", rows)

    assert refused(path) == f"two columns have the same name\n  where: {path}\n  fix: {REBUILD}"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.struct([("a", pa.int8())]), [{"a": 1}]),
        (pa.map_(pa.string(), pa.int8()), [[("a", 1)]]),
        (list_of(pa.struct([("a", pa.int8())])), [[{"a": 1}]]),
        (pa.timestamp("us"), [1]),
    ],
)
def test_a_column_of_a_type_that_no_manifest_has_is_told(tmp_path: Path, kind: pa.DataType, values: list[Any]) -> None:
    rows = table([row("a.png")]).append_column("age", pa.array(values, kind))
    path = write_raw(tmp_path / "m.parquet", rows)

    shown = pq.read_schema(path).field("age").type
    assert refused(path) == f"column age has type {shown}, which no manifest has\n  where: {path}\n  fix: {REBUILD}"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.float16(), pa.bool_(),
    list_of(pa.string()), list_of(pa.int32()), pa.dictionary(pa.int32(), pa.string())])  # fmt: skip
def test_columns_of_plain_types_are_read_back_as_they_were(tmp_path: Path, kind: pa.DataType) -> None:
    rows = table([row(f"{i:04}.png") for i in range(300)])
    values = pa.nulls(300, kind)
    path = write(tmp_path / "m.parquet", rows.append_column("more", values))

    found = read_manifest(path).table["more"]

    assert found.type == kind
    assert found.null_count == 300


@pytest.mark.parametrize(("column", "limit"), [("label", 4_096), ("group", 16_384), ("format", 64)])
def test_a_text_that_is_too_long_to_make_sense_is_told(tmp_path: Path, column: str, limit: int) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png", **{column: "x" * (limit + 1)})]))

    assert refused(path) == (
        f"column {column} holds a text of {limit + 1:,} bytes, at most {limit:,} make sense\n"
        f"  where: {path}\n  fix: {SENDER}"
    )
    assert read_manifest(write(path, table([row("a.png", **{column: "x" * limit})]))).table.num_rows == 1


def test_bytes_of_another_name_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png", file_name_bytes=b"b.png")]))

    assert refused(path) == (
        f"file_name_bytes is not the name that is shown as a.png\n  where: {path}\n  fix: {REBUILD}"
    )


@pytest.mark.parametrize("split", ["vald", None, "valid:", "Train", "valid:a b"])
def test_a_split_that_is_none_is_told(tmp_path: Path, split: str | None) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png", split=split)]))

    assert refused(path) == (
        f'a row has split "{split}", must be one of train, valid, test, unsup or valid:NAME\n'
        f"  where: {path}\n  fix: {REBUILD}"
    )


def test_a_label_in_unsup_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png", "ant", "unsup")]))

    assert refused(path) == f"a row of unsup has a label\n  where: {path}\n  fix: {REBUILD}"
    assert read_manifest(write(path, table([row("a.png", None, "unsup")]))).table.num_rows == 1


def test_a_label_that_is_not_the_one_of_its_target_is_told_unless_it_became_other(tmp_path: Path) -> None:
    rows = table([row("a.png", "wasp"), row("b.png", "ant"), row("c.png", None)])
    rows = rows.set_column(5, COLUMNS.field("target"), pa.array([1, 0, None], pa.int32()))
    path = tmp_path / "m.parquet"

    def keep(other_below: int, targets: pa.Table = rows) -> Path:
        state = {"vocab": ["ant", "other"], "other_below": other_below}
        entry = {"name": "CategoryProcessor", "column": "label", "state": state}
        changes = {"vocab": ("ant", "other"), "class_names": ("ant", "other"), "processors": (entry,)}
        text = metadata(targets, **changes).to_json()
        pq.write_table(targets.replace_schema_metadata({METADATA_KEY: text}), path)
        return path

    assert read_manifest(keep(2)).table.num_rows == 3
    assert refused(keep(0)).startswith("the labels are not those that the vocab gives to the targets\n")
    lost = rows.set_column(5, COLUMNS.field("target"), pa.array([1, None, None], pa.int32()))
    assert refused(keep(2, lost)).startswith("the labels are not those that the vocab gives to the targets\n")


def test_a_split_rule_that_names_too_many_sets_is_told(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", album())
    names = iter(range(1000))

    with pytest.raises(SplitError) as caught:
        build_manifest(
            plant(root, {f"more/{i:03}.png": data for i, data in enumerate([album()["train/ant/0.png"]] * 130)}),
            options=ManifestOptions(
                check="none",
                label=lambda name: "one",
                split=lambda name: f"valid:{next(names)}" if name.startswith("more") else name.split("/")[0],
            ),
        )

    assert str(caught.value) == (
        "there are 132 splits, at most 127 can be told apart\n  where: --split\n  fix: join some of the validation sets"
    )


# -- bombs ---------------------------------------------------------------------------------------------------------

N_ROWS, LONG = 800, "x" * 1_000_000
BOMBS: dict[str, bytes] = {}


def bomb(path: Path, column: str, **options: Any) -> Path:
    """800 megabytes of text in some 50 kilobytes: one text of a megabyte, 800 times. Made once for all tests."""
    kind = f"{column} {options}"
    if kind not in BOMBS:
        BOMBS[kind] = make_bomb(path, column, **options).read_bytes()
    path.write_bytes(BOMBS[kind])
    return path


def make_bomb(path: Path, column: str, **options: Any) -> Path:
    rows = table([row(f"{i:04}.png") for i in range(N_ROWS)])
    index = rows.schema.get_field_index(column)
    coded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(N_ROWS, np.int32)), pa.array([LONG]))
    texts = [coded.slice(start, 100).cast(pa.string()) for start in range(0, N_ROWS, 100)]
    if column == "tags":
        one = pa.ListArray.from_arrays(pa.array([0, *([1] * 0), 1], pa.int32()), pa.array([LONG])).cast(
            list_of(pa.string())
        )
        pieces = [pa.concat_arrays([one] * 100)] * (N_ROWS // 100)
        rows = rows.append_column("tags", pa.chunked_array(pieces))
    elif index < 0:
        rows = rows.append_column(column, pa.chunked_array(texts))
    else:
        rows = rows.set_column(index, column, pa.chunked_array(texts))
    return write_raw(path, rows, **options)


def peak(path: Path) -> tuple[str, int]:
    """What reading says, and the megabytes that the process took."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    text, _, megabytes = done.stdout.rstrip("\n").rpartition("\n")
    return text, int(megabytes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "options", "what"),
    [
        ("label", {}, "column label holds a text of 1,000,000 bytes, at most 4,096 make sense"),
        ("label", {"use_dictionary": False}, "the rows of this file"),
        ("caption", {}, "the rows of this file"),
        ("caption", {"use_dictionary": False}, "the rows of this file"),
        ("caption", {"use_dictionary": False, "row_group_size": 50}, "the rows of this file"),
        ("tags", {}, "the rows of this file"),
        ("file_name", {}, "column file_name holds a text"),
    ],
)  # fmt: skip
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
def test_a_bomb_is_refused_before_it_takes_memory(
    tmp_path: Path, column: str, options: dict[str, Any], what: str
) -> None:
    path = bomb(tmp_path / "m.parquet", column, **options)
    assert path.stat().st_size < 1_000_000

    said, megabytes = peak(path)

    assert said.startswith(what), said
    assert megabytes < 500


def test_a_bomb_says_how_large_it_is_and_what_is_allowed(tmp_path: Path) -> None:
    path = bomb(tmp_path / "m.parquet", "caption", use_dictionary=False)

    n_bytes = path.stat().st_size
    assert refused(path) == (
        f"the rows of this file of {n_bytes:,} bytes take more than {FREE_BYTES + 200 * n_bytes:,} bytes\n"
        f"  where: {path}\n  fix: no manifest repeats itself so much: do not use it, and ask who sent it"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
def test_a_bomb_whose_footer_lies_is_refused_too(tmp_path: Path) -> None:
    path = bomb(tmp_path / "m.parquet", "caption", use_dictionary=False)
    honest = max(pq.read_metadata(path).row_group(0).column(16).total_uncompressed_size, 0)
    data = path.read_bytes()
    told = zigzag(honest)
    # the same number of bytes that say 0: each but the last says that more follow
    lie = b"\x80" * (len(told) - 1) + b"\x00"
    assert data.count(told) >= 1
    path.write_bytes(data.replace(told, lie))
    assert pq.read_metadata(path).row_group(0).column(16).total_uncompressed_size == 0

    said, megabytes = peak(path)

    assert said.startswith("the rows of this file")
    assert megabytes < 500
    assert max(chunk.n_bytes for chunk in read_footer(path).chunks) > N_ROWS * len(LONG) // 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
def test_very_many_rows_of_nothing_are_refused(tmp_path: Path) -> None:
    rows = pa.table([pa.nulls(10_000_000, field.type) for field in COLUMNS], schema=COLUMNS)
    path = write_raw(tmp_path / "m.parquet", rows, row_group_size=10_000_000)

    said, megabytes = peak(path)

    assert said.startswith("the rows of this file")
    assert megabytes < 500


def test_a_manifest_that_repeats_itself_as_manifests_do_is_read(tmp_path: Path) -> None:
    names = [f"train/class/{i:07}.png" for i in range(200_000)]
    rows = pa.table({
        **{field.name: pa.nulls(len(names), field.type) for field in COLUMNS},
        "file_name": pa.array(names),
        "split": pa.array(["train"] * len(names)).dictionary_encode().cast(COLUMNS.field("split").type),
        "label": pa.array(["class"] * len(names)),
        "target": pa.array(np.zeros(len(names), np.int32)),
        "size_bytes": pa.array(np.full(len(names), 9)),
    }, schema=COLUMNS)  # fmt: skip
    path = write(tmp_path / "m.parquet", with_targets(rows, ("class",)))

    assert read_manifest(path).table.num_rows == 200_000


def zigzag(number: int) -> bytes:
    """A number of at least 0 as Thrift writes it."""
    number *= 2
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


# -- cut and damaged -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("twentieth", range(20))
def test_a_file_cut_at_any_twentieth_gives_one_plain_error(tmp_path: Path, twentieth: int) -> None:
    path = build_manifest(plant(tmp_path / "root", album())).output
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * twentieth // 20])

    said = refused(path)

    assert said.startswith("the file is not a readable Parquet file: ")
    assert said.endswith(f"\n  where: {path}\n  fix: {REBUILD}")
    assert len(said.splitlines()) == 3


def test_metadata_of_another_size_than_json_can_be_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", table([row("a.png")]))
    text = json.dumps({"format_version": 1, "vocab": ["x"] * 10}).encode()
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: text}), path)

    assert refused(path).startswith("the manifest's metadata is incomplete: ")
