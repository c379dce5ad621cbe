"""join_columns: a table beside the images, its types, its names, and what of it fits nowhere."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SourceError
from imagekit.manifest import joined
from imagekit.manifest.joined import Joined, join_columns
from imagekit.manifest.text import TOKENS

NAMES = pa.array(["train/a.jpg", "train/b.jpg", "val/c.jpg"])


def join(root: Path, content: str | dict[str, Any] | pa.Table, *, taken: tuple[str, ...] = ("file_name",)) -> Joined:
    """Write a table, as text or Parquet, and join it to NAMES."""
    file = root / "more"
    if isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    else:
        pq.write_table(pa.table(content), file)
    return join_columns(Path("more"), NAMES, root=root, taken=taken)


def refusal(root: Path, content: str | dict[str, Any] | pa.Table, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        join(root, content, **options)
    assert caught.value.where == "--columns more"
    return f"{caught.value.what} | {caught.value.fix}"


def of_type(root: Path, cells: list[str]) -> tuple[str, list[Any]]:
    """The type of a column with these cells, and its values."""
    lines = "".join(f"{i}.jpg\t{cell}\n" for i, cell in enumerate(cells))
    (root / "more.tsv").write_text(f"file_name\tx\n{lines}", encoding="utf-8")
    names = pa.array([f"{i}.jpg" for i in range(len(cells))])
    column = join_columns(Path("more.tsv"), names, root=root, taken=()).table["x"]
    return str(column.type), column.to_pylist()


def test_columns_stand_beside_the_names_that_they_belong_to(tmp_path: Path) -> None:
    text = "age,file_name,caption\n3,val/c.jpg,a cat\n,./train/a.jpg,\n7,gone.jpg,x\n8,else.jpg,y\n"

    found = join(tmp_path, text)

    assert found.table.to_pydict() == {"age": [None, None, 3], "caption": [None, None, "a cat"]}
    assert found.table.schema.types == [pa.int64(), pa.string()]
    assert (found.n_without, found.n_unknown, found.unknown) == (1, 2, ("gone.jpg", "else.jpg"))
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_only_the_first_unknown_names_are_listed(tmp_path: Path) -> None:
    lines = "".join(f"{i}.jpg,1\n" for i in range(9))

    found = join(tmp_path, f"file_name,x\ntrain/a.jpg,1\n{lines}")

    assert found.n_unknown == 9
    assert found.unknown == ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg")


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-20", ""], "int64", [1, -20, None]),
        (["0", "9223372036854775807"], "int64", [0, 2**63 - 1]),
        (["1", "NA", "nan"], "int64", [1, None, None]),
        (["1", "0.5", "NaN"], "double", [1.0, 0.5, None]),
        (["1.50", "-3e-2", "-0"], "double", [1.5, -0.03, 0.0]),
        (["1.5", "-inf"], "double", [1.5, -float("inf")]),
        (["true", "False", "n/a"], "bool", [True, False, None]),
        (["007", "8"], "string", ["007", "8"]),
        (["+49", "1"], "string", ["+49", "1"]),
        (["00.5", "1.5"], "string", ["00.5", "1.5"]),
        (["9223372036854775808"], "string", ["9223372036854775808"]),
        (["1234567890123456", "0.5"], "string", ["1234567890123456", "0.5"]),
        (["1e999", "0.5"], "string", ["1e999", "0.5"]),
        (["-", "1"], "string", ["-", "1"]),
        (["1,5", "2"], "string", ["1,5", "2"]),
        (["yes", "no"], "string", ["yes", "no"]),
        (["2020-01-02", "NA"], "string", ["2020-01-02", "NA"]),
        (["true", "1"], "string", ["true", "1"]),
        (["NA", ""], "string", ["NA", None]),
        (["", ""], "string", [None, None]),
    ],
)
def test_the_type_of_a_text_column_is_how_its_cells_are_written(
    tmp_path: Path, cells: list[str], kind: str, values: list[Any]
) -> None:
    assert of_type(tmp_path, cells) == (kind, values)


@settings(max_examples=60)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False), min_size=1, max_size=4))
def test_numbers_that_python_writes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | float]
) -> None:
    kind, found = of_type(tmp_path_factory.mktemp("t"), [str(value) for value in values])

    assert [str(value) if kind == "string" else value for value in values] == found


def test_the_columns_of_a_parquet_file_keep_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": pa.array(["val/c.jpg", "./train/a.jpg"], pa.large_string()),
            "i": pa.array([1, None], pa.int16()),
            "f": pa.array([0.5, None], pa.float32()),
            "b": pa.array([True, None]),
            "s": pa.array(["007", None]),
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "t": pa.array([["a", "a"], None]),
        }
    )

    found = join(tmp_path, table)

    kinds = [pa.int16(), pa.float32(), pa.bool_(), pa.string(), pa.string(), TOKENS]
    assert found.table.schema.types == kinds
    assert found.table.to_pylist() == [
        {"i": None, "f": None, "b": None, "s": None, "d": "y", "t": None},
        {"i": None, "f": None, "b": None, "s": None, "d": None, "t": None},
        {"i": 1, "f": 0.5, "b": True, "s": "007", "d": "x", "t": ["a", "a"]},
    ]
    assert found.sha256 == hashlib.sha256((tmp_path / "more").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        (["filename", "image", "path", "file_name"], "file_name"),
        (["filename", "image", "path"], "path"),
        (["filename", "image", "x"], "image"),
        (["x", "filename"], "filename"),
    ],
)
def test_the_names_stand_in_the_first_of_four_columns(tmp_path: Path, columns: list[str], key: str) -> None:
    cells = {name: ["train/a.jpg" if name == key else "other.jpg"] for name in columns}

    found = join(tmp_path, cells, taken=())

    assert set(found.table.column_names) == set(columns) - {key}
    assert found.n_without == 2


def test_a_table_is_looked_for_in_the_root_and_then_as_given(tmp_path: Path) -> None:
    root, file = tmp_path / "root", tmp_path / "more.csv"
    root.mkdir()
    file.write_text("file_name,x\ntrain/a.jpg,1\n")

    outside = join_columns(file, NAMES, root=root, taken=())
    (root / "more.csv").write_text("file_name,x\ntrain/a.jpg,2\n")
    inside = join_columns(Path("more.csv"), pa.chunked_array([NAMES]), root=root, taken=())

    assert (outside.table["x"].to_pylist()[0], inside.table["x"].to_pylist()[0]) == (1, 2)


def test_a_table_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        join_columns(Path("more.csv"), NAMES, root=tmp_path, taken=())

    assert str(caught.value) == (
        "the table more.csv of columns is not there\n"
        f"  where: --columns more.csv: looked in {tmp_path} and .\n  fix: check the path"
    )


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()

    with pytest.raises(SourceError) as caught:
        join_columns(Path("more"), NAMES, root=tmp_path, taken=())

    assert str(caught.value) == (
        "the table of columns cannot be read: not a regular file but a folder\n"
        "  where: --columns more\n  fix: give a readable file, no link and no folder"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            {"name": ["a.jpg"], "x": [1]},
            "no column of the table is called file_name, path, image or filename; columns: name, x"
            " | call the column that holds the names of the images file_name",
        ),
        (
            {"path": [1], "x": [1]},
            "the column path holds int64, must hold the names of images as strings | write the names as strings",
        ),
        (
            {"path": ["train/a.jpg"], "d": [b"x"], "s": [{"a": 1}]},
            "the table has columns of types that a manifest does not hold: d (binary), s (struct<a: int64>)"
            " | keep whole numbers, floats, booleans, strings and lists of strings; leave the others out",
        ),
        (
            pa.Table.from_arrays([NAMES, NAMES, NAMES], names=["path", "x", "x"]),
            "the table has two columns of the same name: x | rename one of the two",
        ),
        (
            "file_name,x,x\ntrain/a.jpg,1,1\n",
            "the table has two columns of the same name: x | rename one of the two",
        ),
        (
            "train/a.jpg,1\ntrain/b.jpg,2\n",
            "the table has no line of column names above its lines of images; it has 2 columns | write a first line"
            " that names the columns, one of them file_name, and image names below it",
        ),
        (
            "file_name\ntrain/a.jpg\n",
            "the table has no column beside the names of the images | add columns, or leave it out",
        ),
        (
            {"path": ["train/a.jpg"], "a\nb": [1], " ": [1]},
            "the table has column names that cannot be printed: 'a\\nb', ' ' | rename these columns",
        ),
        (
            "file_name,label,x,split\ntrain/a.jpg,1,1,1\n",
            "the manifest has columns of these names already: label, split"
            " | rename them in the table, or leave them out",
        ),
        (
            "file_name,x\ntrain/a.jpg,1\n,2\ntrain/b.jpg,1\n,3\n",
            "2 lines of the table have no file_name, the first is line 2 of its images"
            " | name the image of every line, or take those lines out",
        ),
        (
            "file_name,x\ntrain/b.jpg,1\ntrain/a.jpg,1\n./train/a.jpg,2\n",
            "1 images stand in the table more than once, the first is train/a.jpg (2 lines)"
            " | keep one line for each image",
        ),
        (
            "file_name,x\na.jpg,1\n",
            "no line of the table names an image of the manifest; its column file_name starts with a.jpg, the manifest"
            " with train/a.jpg, train/b.jpg, val/c.jpg"
            " | write the names as the manifest has them, relative to its folder",
        ),
        (
            {"path": pa.array([], pa.string()), "x": pa.array([], pa.int8())},
            "the table of columns is empty | give a table with a line for each image",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, content: Any, what: str) -> None:
    assert refusal(tmp_path, content, taken=("file_name", "split", "label")) == what


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "more").write_bytes(b"PAR1 and nothing else")

    with pytest.raises(SourceError) as caught:
        join_columns(Path("more"), NAMES, root=tmp_path, taken=())

    assert caught.value.what.startswith("the table of columns is no Parquet file that can be read: Parquet magic bytes")
    assert (caught.value.where, caught.value.fix) == ("--columns more", "write it once more")


def test_text_in_parquet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])

    with pytest.raises(SourceError, match="the table of columns is no Parquet file that can be read"):
        join(tmp_path, {"path": ["train/a.jpg"], "x": bad})


@pytest.mark.parametrize("cell", ["x" * 1_000, ["x" * 500, "x" * 500]])
def test_a_small_file_of_large_cells_is_refused_before_it_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Any
) -> None:
    names = [f"{i}.jpg" for i in range(5_000)]
    pq.write_table(pa.table({"path": names, "x": [cell] * 5_000}), tmp_path / "more", compression="zstd")

    assert (tmp_path / "more").stat().st_size < 1_000_000
    monkeypatch.setattr(joined, "MAX_BYTES", 1_000_000)
    with pytest.raises(SourceError) as caught:
        join_columns(Path("more"), NAMES, root=tmp_path, taken=())

    assert str(caught.value) == (
        "the cells of the table of columns are larger than 1,000,000 bytes\n"
        "  where: --columns more\n  fix: keep only the columns that you need"
    )
