"""Columns for other programs: every value comes back."""

import json
import math
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from imagekit.manifest.export_columns import json_texts, plain_schema, plain_table

words = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)


def sliced(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values as a slice of a longer array: buffers that do not begin at 0."""
    return pa.array([None, *values, None], kind)[1:-1]


@given(st.lists(st.none() | st.integers(0, 2**64 - 1)), st.lists(st.none() | st.binary(min_size=32, max_size=32)))
def test_hashes_are_hex_digits(dhashes: list[int | None], shas: list[bytes | None]) -> None:
    shas = (shas + [None] * len(dhashes))[: len(dhashes)]
    table = pa.table({"dhash": sliced(dhashes, pa.uint64()), "sha256": sliced(shas, pa.binary(32))})

    plain = plain_table(table)

    assert plain["dhash"].to_pylist() == [None if value is None else f"{value:016x}" for value in dhashes]
    assert plain["sha256"].to_pylist() == [None if value is None else value.hex() for value in shas]


def test_a_hash_that_is_kept_as_a_signed_number_has_the_same_digits() -> None:
    table = pa.table({"dhash": pa.array([-1, 1, None, -(2**63)], pa.int64())})

    assert plain_table(table)["dhash"].to_pylist() == ["f" * 16, f"{1:016x}", None, f"{2**63:016x}"]


def test_a_dictionary_becomes_text_and_raw_names_are_left_out() -> None:
    split = pa.array(["train", None, "valid"]).dictionary_encode()
    table = pa.table({"file_name": ["a", "b", "c"], "file_name_bytes": pa.nulls(3, pa.binary()), "split": split})

    assert plain_table(table).to_pydict() == {"file_name": ["a", "b", "c"], "split": ["train", None, "valid"]}
    assert plain_schema(table.schema) == pa.schema([("file_name", pa.string()), ("split", pa.string())])


@given(st.lists(st.none() | st.lists(words, max_size=3)))
def test_lists_of_texts_come_back_from_json(values: list[list[str | None] | None]) -> None:
    texts = json_texts(sliced(values, pa.list_(pa.string()))).to_pylist()

    assert [None if text is None else json.loads(text) for text in texts] == values


@given(st.lists(st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3)))
def test_lists_of_numbers_come_back_from_json(values: list[list[int | None] | None]) -> None:
    texts = json_texts(sliced(values, pa.list_(pa.int64()))).to_pylist()

    assert [None if text is None else json.loads(text) for text in texts] == values


def test_what_json_has_no_word_for_is_null() -> None:
    values = pa.array([[1.5, math.nan, math.inf, None, -2.0]], pa.list_(pa.float32()))

    assert [json.loads(text) for text in json_texts(values).to_pylist()] == [[1.5, None, None, None, -2.0]]


def test_lists_of_fixed_length_and_of_truth_values_and_of_lists() -> None:
    fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2))
    nested = pa.array([[[True], []], [], None], pa.list_(pa.list_(pa.bool_())))

    assert json_texts(fixed).to_pylist() == ["[1,2]", None, "[3,4]"]
    assert json_texts(nested).to_pylist() == ["[[true],[]]", "[]", None]
