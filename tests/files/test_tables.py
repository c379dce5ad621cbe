"""read_table: what counts as a table, where its columns part, whether it has a header, and which line is wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SourceError
from imagekit.files import tables
from imagekit.files.tables import Table, read_table


def read(folder: Path, content: bytes | str) -> Table:
    path = folder / "labels"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def error_text(folder: Path, content: bytes | str) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, content)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(folder / "labels")
    return f"{caught.value.what} | {caught.value.fix}"


def rows_of(table: Table) -> list[tuple[str | None, ...]]:
    return list(zip(*(column.to_pylist() for column in table.data.columns), strict=True))


# separators


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|", " ", "    "])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    table = read(tmp_path, f"val_0.JPEG{separator}n01\nval_1.JPEG{separator}n02\n")

    assert rows_of(table) == [("val_0.JPEG", "n01"), ("val_1.JPEG", "n02")]
    assert table.data.column_names == ["1", "2"]
    assert not table.has_header


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("img 1.jpg;cat, small\nimg 2.jpg;dog, big\n", [("img 1.jpg", "cat, small"), ("img 2.jpg", "dog, big")]),
        ("a.jpg,x;y\nb.jpg,x;z\n", [("a.jpg", "x;y"), ("b.jpg", "x;z")]),
        ("my cat.jpg,cat\nmy dog.jpg,dog\n", [("my cat.jpg", "cat"), ("my dog.jpg", "dog")]),
        ("a/1.jpg\ta b\nb/1.jpg\tc d\n", [("a/1.jpg", "a b"), ("b/1.jpg", "c d")]),
        ("1 001.Black/x_1.jpg\n2 001.Black/x_2.jpg\n", [("1", "001.Black/x_1.jpg"), ("2", "001.Black/x_2.jpg")]),
        ("1,a.jpg\n2,b.jpg\n", [("1", "a.jpg"), ("2", "b.jpg")]),
    ],
)
def test_the_separator_that_leaves_a_column_of_image_names_wins(
    tmp_path: Path, text: str, rows: list[tuple[str, ...]]
) -> None:
    assert rows_of(read(tmp_path, text)) == rows


@pytest.mark.parametrize(
    "lines",
    [
        ["a.jpg", "b.jpg"],
        ["my cat.jpg", "dog.jpg"],
        ["train/my cat.jpg", "train/my dog.jpg"],
        ["x.jpg", "a, b.jpg", "y.jpg"],
    ],
)
def test_a_list_of_paths_is_a_table_of_one_column(tmp_path: Path, lines: list[str]) -> None:
    table = read(tmp_path, "\n".join(lines))

    assert rows_of(table) == [(line,) for line in lines]


def test_quotes_hold_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    table = read(tmp_path, '"a, b.jpg",x\nc.jpg,"say ""y"""\n"d\ne.jpg",z\n')

    assert rows_of(table) == [("a, b.jpg", "x"), ("c.jpg", 'say "y"'), ("d\ne.jpg", "z")]


def test_quotes_keep_runs_of_spaces(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, '  "a  b.jpg"    cat  \nc.jpg dog')) == [("a  b.jpg", "cat"), ("c.jpg", "dog")]


def test_blanks_around_cells_are_dropped_and_empty_cells_are_null(tmp_path: Path) -> None:
    table = read(tmp_path, "a.jpg, cat \nb.jpg,\nc.jpg,  \nd.jpg,NA\n")

    assert rows_of(table) == [("a.jpg", "cat"), ("b.jpg", None), ("c.jpg", None), ("d.jpg", "NA")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_known(tmp_path: Path, end: str) -> None:
    assert rows_of(read(tmp_path, f"a.jpg,x{end}b.jpg,y{end}")) == [("a.jpg", "x"), ("b.jpg", "y")]


def test_a_byte_order_mark_is_no_part_of_the_first_cell(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, b"\xef\xbb\xbfa.jpg,x\nb.jpg,y\n"))[0] == ("a.jpg", "x")


@pytest.mark.parametrize("text", ["a.jpg,x\n\n  \r\nb.jpg,y\n\n\n", "a.jpg\n\n \nb.jpg\n\n"])
def test_a_blank_line_keeps_its_place_so_that_rows_tell_lines(tmp_path: Path, text: str) -> None:
    first = read(tmp_path, text).data.column(0).to_pylist()

    assert first == ["a.jpg", None, None, "b.jpg"]


CELLS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters='\r\n"\x1f'), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20), st.sampled_from(["\t", ",", ";", "|"]))
def test_what_is_written_quoted_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], separator: str
) -> None:
    lines = [f'"{i}{name}x.jpg"{separator}"_{value}_"\n' for i, (name, value) in enumerate(pairs)]

    table = read(tmp_path_factory.mktemp("t"), "".join(lines))

    assert rows_of(table) == [(f"{i}{name}x.jpg", f"_{value}_") for i, (name, value) in enumerate(pairs)]


# headers


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("path,label\na.jpg,cat\nb.jpg,dog\n", ["path", "label"]),
        ("label;path\ncat;a.jpg\n", ["label", "path"]),
        ("file\na.jpg\nb.jpg\n", ["file"]),
        (",path, class name ,\n0,a.jpg,cat,\n1,b.jpg,dog,x\n", ["1", "path", "class name", "4"]),
        ("image label\na.jpg 0\nb.jpg 1\n", ["image", "label"]),
    ],
)
def test_a_first_line_without_an_image_name_above_image_names_is_a_header(
    tmp_path: Path, text: str, columns: list[str]
) -> None:
    table = read(tmp_path, text)

    assert table.has_header
    assert table.data.column_names == columns
    assert table.data.num_rows == text.count("\n") - 1


@pytest.mark.parametrize(
    "text", ["a.jpg,label\nb.jpg,cat\n", "a.jpg,cat\n", "apple_pie/1,a\nbeignets/2,b\n", "path,label\n"]
)
def test_any_other_first_line_is_a_row(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)

    assert not table.has_header
    assert table.data.num_rows == text.count("\n")


# Parquet


def test_parquet_is_known_by_its_content_and_keeps_its_columns(tmp_path: Path) -> None:
    columns = {
        "path": ["a.jpg", "b.jpg"],
        "pixels": [[1.0], [2.0]],
        "target": [7, None],
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "good": [True, False],
    }
    pq.write_table(pa.table(columns), tmp_path / "labels")

    table = read_table(tmp_path / "labels")

    assert table.data.to_pydict() == {
        "path": ["a.jpg", "b.jpg"],
        "pixels": [None, None],
        "target": ["7", None],
        "kind": ["x", "y"],
        "good": ["true", "false"],
    }
    assert {str(kind) for kind in table.data.schema.types} == {"string"}
    assert not table.has_header


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_whole_numbers_of_parquet_are_texts_whatever_their_type(tmp_path: Path, kind: pa.DataType) -> None:
    whole = pa.array([3.0, None, float("nan"), -0.0, 12.0]).cast(kind)
    pq.write_table(pa.table({"path": [f"{i}.jpg" for i in range(5)], "target": whole}), tmp_path / "labels")

    table = read_table(tmp_path / "labels")

    assert table.data.column("target").to_pylist() == ["3", None, None, "0", "12"]
    assert table.data.schema.field("target").metadata is None


@pytest.mark.parametrize("last", [0.5, float("inf"), 2.0**70])
def test_a_parquet_column_with_one_value_that_is_no_whole_number_is_kept_empty_with_its_type(
    tmp_path: Path, last: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BATCH_ROWS", 2)
    content = {"path": [f"{i}.jpg" for i in range(5)], "score": [1.0, 2.0, 3.0, 4.0, last]}
    pq.write_table(pa.table(content), tmp_path / "labels")

    table = read_table(tmp_path / "labels")

    assert table.data.column("score").to_pylist() == [None] * 5
    assert table.data.schema.field("score").metadata == {b"type": b"double"}
    assert table.data.schema.field("path").metadata is None


def test_parquet_without_a_column_of_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [0.5], "y": [[1]]}), tmp_path / "labels")

    assert error_text(tmp_path, (tmp_path / "labels").read_bytes()) == (
        "the table has no column of texts or whole numbers; columns: x (double), y (list<element: int64>) | "
        "write the paths as a column of strings"
    )


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.jpg"] * 100}), tmp_path / "labels")
    cut = (tmp_path / "labels").read_bytes()[:-20]

    text = error_text(tmp_path, cut)

    assert text.startswith("the table is no Parquet file that can be read: Parquet magic bytes not found in footer.")
    assert text.endswith(" | write it once more")


def test_a_small_parquet_file_of_huge_cells_is_refused_before_they_are_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"path": ["x" * 1000] * 5000}), tmp_path / "labels", compression="zstd")
    content = (tmp_path / "labels").read_bytes()
    assert len(content) < 20_000
    monkeypatch.setattr(tables, "MAX_BYTES", 1_000_000)

    assert error_text(tmp_path, content) == (
        "the cells of the table are larger than 1,000,000 bytes | keep only the columns of paths and values"
    )


# what is no table


def test_a_table_is_known_by_its_checksum(tmp_path: Path) -> None:
    table = read(tmp_path, "a.jpg,x\n")

    assert table.sha256 == hashlib.sha256(b"a.jpg,x\n").hexdigest()
    assert table.path == tmp_path / "labels"


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_table(tmp_path / "no.csv")

    assert str(caught.value) == (
        f"the table does not exist\n  where: {tmp_path}/no.csv\n  fix: check the path for a typing error"
    )


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (Path.mkdir, "not a regular file but a folder"),
        (make_fifo, "not a regular file but a FIFO"),
        (make_link, "not a regular file but a symbolic link, which is not followed"),
    ],
)
def test_what_is_no_regular_file_is_refused_unopened(tmp_path: Path, make, word: str) -> None:
    make(tmp_path / "labels")

    with pytest.raises(SourceError) as caught:
        read_table(tmp_path / "labels")

    assert str(caught.value) == (
        f"the table cannot be read: {word}\n  where: {tmp_path}/labels\n"
        "  fix: give a readable file, no link and no folder"
    )


def test_a_file_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BYTES", 5)

    assert error_text(tmp_path, "a.jpg\n") == (
        "the table cannot be read: the file has 6 bytes, the limit is 5 | give a readable file, no link and no folder"
    )


@pytest.mark.parametrize("content", ["", " \n\n\t\n", '""', "\t"])
def test_an_empty_table_is_refused(tmp_path: Path, content: str) -> None:
    assert error_text(tmp_path, content) == (
        "the table is empty | give a table with a line for each image, or remove its rule"
    )


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"\xff.jpg,x\n", "0xff in line 1"),
        (b"a.jpg,x\nb\xe9.jpg,y\n", "0xe9 in line 2"),
        (b"a.jpg,x\n" * 700_000 + b"\xc3", "0xc3 in line 700001"),
        ("a.jpg,x".encode("utf-16"), "0xff in line 1"),
    ],
)
def test_what_is_not_utf8_is_refused_by_line(tmp_path: Path, content: bytes, place: str) -> None:
    assert error_text(tmp_path, content) == (
        f"the table is not UTF-8 text: byte {place} | save it as UTF-8 (iconv -f LATIN1 -t UTF-8), or as Parquet"
    )


def test_a_sign_that_lies_across_two_pieces_is_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 16)

    assert rows_of(read(tmp_path, "0123456789é日本.jpg\n")) == [("0123456789é日本.jpg",)]
    assert error_text(tmp_path, b"0123456789abcd\n\xc3x") == (
        "the table is not UTF-8 text: byte 0xc3 in line 2 | save it as UTF-8 (iconv -f LATIN1 -t UTF-8), or as Parquet"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("path,label\na.jpg,x\nb.jpg\nc.jpg,z\n", "line 3 has 1 column, the others have 2"),
        ("a.jpg,x\n\nb.jpg,y\nc,d.jpg,z\n", "line 4 has 3 columns, the others have 2"),
        ("a.jpg,x\n" * 2000 + "b.jpg,x,y\n", "line 2001 has 3 columns, the others have 2"),
    ],
)
def test_a_ragged_line_is_named(tmp_path: Path, text: str, what: str) -> None:
    assert error_text(tmp_path, text) == (
        f'{what} | quote the cells that hold the separator ("a, b.jpg"), or mend the line'
    )


def test_a_line_longer_than_a_block_is_refused_in_arrows_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 64)

    text = error_text(tmp_path, f"a.jpg,{'x' * 1000}\nb.jpg,y\n")

    assert text.startswith("the table cannot be read: straddling object")
    assert text.endswith(" | save it as CSV or Parquet once more")
