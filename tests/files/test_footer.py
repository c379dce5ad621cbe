"""The footer of a Parquet file, read without trust: what pyarrow says of a good one, one error for a bad one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.files.footer import FooterError, parse_footer, read_footer

TABLE = pa.table({
    "name": [f"name {i}" for i in range(300)],
    "label": ["ant", "bee", None] * 100,
    "size": np.arange(300),
    "tags": [["a", "b"], None, []] * 100,
    "flag": [True, False, None] * 100,
    "blob": pa.array([b"0123"] * 300, pa.binary(4)),
})  # fmt: skip


def footer_of(path: Path) -> bytes:
    data = path.read_bytes()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize("row_group_size", [300, 70, 1])
@pytest.mark.parametrize("use_dictionary", [True, False, ["label"]])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_a_good_footer_says_what_pyarrow_says(
    tmp_path: Path, row_group_size: int, use_dictionary: bool | list[str], compression: str
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path, row_group_size=row_group_size, use_dictionary=use_dictionary, compression=compression)

    found = read_footer(path)

    told = pq.read_metadata(path)
    columns = [
        told.row_group(i).column(j) for i in range(told.num_row_groups) for j in range(told.row_group(i).num_columns)
    ]
    assert found.n_rows == 300
    assert [(chunk.path, chunk.n_bytes, chunk.is_coded) for chunk in found.chunks] == [
        (one.path_in_schema, one.total_uncompressed_size, one.has_dictionary_page) for one in columns
    ]


def test_a_file_of_no_rows_has_no_chunk(tmp_path: Path) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "t.parquet")

    assert read_footer(tmp_path / "t.parquet").n_rows == 0


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is too short"),
        (b"PAR1", "the file is too short"),
        (b"x" * 40, "the file does not end as a Parquet file does"),
        (b"x" * 8 + b"\xff\xff\x00\x00PAR1", "the file does not end as a Parquet file does"),
    ],
)
def test_what_is_no_parquet_file_is_told(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "t").write_bytes(data)

    with pytest.raises(FooterError) as caught:
        read_footer(tmp_path / "t")

    assert str(caught.value) == what


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the footer is damaged: IndexError('index out of range')"),
        (b"\x00", "the footer is damaged: KeyError(4)"),
        (b"\x18\xff\x01ab", "the footer is damaged: IndexError('a text is longer than the footer')"),
        (b"\x19\xf8\xff\x01", "the footer is damaged: IndexError('a list is longer than the footer')"),
        (b"\x16" + b"\xff" * 10 + b"\x01", "the footer holds a number of more than 64 bits"),
        (b"\x1b\x00", "the footer holds a value of kind 11, which Parquet does not use"),
        (b"\x1c" * 40, "the footer is nested too deeply"),
        (b"\x19" + b"\x19" * 60, "the footer is nested too deeply"),
        (b"\x36\x02\x16\x02\x00", "the footer is damaged: TypeError('not a list of structs')"),
    ],
)
def test_what_is_no_footer_is_told(data: bytes, what: str) -> None:
    with pytest.raises(FooterError) as caught:
        parse_footer(data)

    assert str(caught.value) == what


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_ends_in_one_kind_of_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.parquet"
    if not path.exists():
        pq.write_table(TABLE, path)
    footer = bytearray(footer_of(path))
    for _ in range(data.draw(st.integers(1, 4))):
        footer[data.draw(st.integers(0, len(footer) - 1))] = data.draw(st.integers(0, 255))
    footer = footer[: data.draw(st.integers(0, len(footer)))] if data.draw(st.booleans()) else footer

    try:
        found = parse_footer(bytes(footer))
    except FooterError:
        return
    assert found.n_rows >= 0


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_columns_of_no_rows_have_no_pages(tmp_path: Path, use_dictionary: bool) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "t.parquet", use_dictionary=use_dictionary)

    assert sum(chunk.n_bytes for chunk in read_footer(tmp_path / "t.parquet").chunks) < 500


def test_a_page_whose_head_holds_long_values_is_read(tmp_path: Path) -> None:
    table = pa.table({"name": ["a" * 3_000, "b" * 3_000]})
    pq.write_table(table, tmp_path / "t.parquet", write_page_index=False, data_page_version="2.0")

    assert read_footer(tmp_path / "t.parquet").n_rows == 2


def test_columns_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": np.arange(40_000)}), path, use_dictionary=False, compression="none")
    stored = read_footer(path).chunks[0].n_stored
    data = path.read_bytes()
    told, more = zigzag(stored), zigzag(2 * stored)
    assert len(told) == len(more)
    n_footer = len(footer_of(path)) + 8
    path.write_bytes(data[:-n_footer] + data[-n_footer:].replace(told, more))

    with pytest.raises(FooterError) as caught:
        read_footer(path)

    assert str(caught.value) == "its columns are longer than the file"


def zigzag(number: int) -> bytes:
    """A number of at least 0 as Thrift writes it."""
    number, parts = 2 * number, []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@pytest.mark.parametrize("at", ["start", "middle"])
def test_a_damaged_page_is_told_by_its_column(tmp_path: Path, at: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path, use_dictionary=False, compression="none", data_page_size=500)
    chunk = read_footer(path).chunks[0]
    data = bytearray(path.read_bytes())
    data[chunk.start : chunk.start + 20] = b"\x00" * 20 if at == "start" else b"\x15" + b"\xff" * 19
    path.write_bytes(data)

    with pytest.raises(FooterError) as caught:
        read_footer(path)

    words = (
        "the head of a page of column name is damaged: KeyError(2)" if at == "start" else "the footer holds a number"
    )
    assert str(caught.value).startswith(words)
