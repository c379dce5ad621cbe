"""FactTable: what is put comes out again, row by row, as Arrow columns and across tables."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.engine.facts import coded_array
from imagekit.subset.facts import DIGESTS, LINK, NUMBERS, RARE, STAMPS, WORDS, FactTable
from imagekit.subset.receipt import IMAGE_FIELDS

BITS = {np.int8: 7, np.int32: 31, np.int64: 63}


def values_of(name: str) -> st.SearchStrategy[Any]:
    if name in DIGESTS:
        return st.binary(min_size=32, max_size=32)
    if name in STAMPS:
        return st.integers(0, 2**64 - 1)
    if name in NUMBERS:
        kind = NUMBERS[name]
        return st.booleans() if kind is np.bool_ else st.integers(-(2 ** BITS[kind]), 2 ** BITS[kind] - 1)
    return st.sampled_from(["a", "b", "RGB", ""])


EVERY = (*NUMBERS, *STAMPS, *WORDS, LINK, *DIGESTS, *RARE)
FACTS = st.fixed_dictionaries({}, optional={name: values_of(name) for name in EVERY})
TABLES = st.lists(st.none() | FACTS, min_size=1, max_size=6)


def table_of(rows: list[dict[str, Any] | None]) -> FactTable:
    table = FactTable(len(rows))
    for row, facts in enumerate(rows):
        if facts is not None:
            table.put(row, facts)
    return table


@given(rows=TABLES)
def test_what_is_put_comes_out_again(rows: list[dict[str, Any] | None]) -> None:
    table = table_of(rows)

    assert [table.get(row) for row in range(len(rows))] == [facts or {} for facts in rows]
    assert table.is_done.tolist() == [facts is not None for facts in rows]
    assert table.is_bad.tolist() == [facts is not None and "reason" in facts for facts in rows]
    assert table.is_good.tolist() == [facts is not None and "reason" not in facts for facts in rows]


@given(rows=TABLES, data=st.data())
def test_columns_hold_the_same_facts_and_null_where_there_is_none(
    rows: list[dict[str, Any] | None], data: st.DataObject
) -> None:
    table = table_of(rows)
    asked = np.array(data.draw(st.lists(st.integers(-1, len(rows) - 1))), np.int64)

    for name in EVERY:
        expected = [None if row < 0 else (rows[row] or {}).get(name) for row in asked.tolist()]
        assert table.to_arrow(name, asked).to_pylist() == expected


@given(rows=TABLES, data=st.data())
def test_the_marked_rows_of_another_table_are_taken_over_and_no_other(
    rows: list[dict[str, Any] | None], data: st.DataObject
) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    mine = FactTable(len(rows))

    mine.take_over(table_of(rows), mask)

    expected = [facts if marked else None for facts, marked in zip(rows, mask.tolist(), strict=True)]
    assert [mine.get(row) for row in range(len(rows))] == [facts or {} for facts in expected]
    assert mine.is_done.tolist() == [facts is not None for facts in expected]


@given(rows=TABLES)
def test_columns_of_one_table_fill_another(rows: list[dict[str, Any] | None]) -> None:
    table, copy = table_of(rows), FactTable(len(rows))
    everything = np.arange(len(rows))

    for name in EVERY:
        copy.put_columns(everything, name, table.to_arrow(name, everything))

    assert [copy.get(row) for row in everything.tolist()] == [table.get(row) for row in everything.tolist()]
    assert copy.is_done.all()


def test_a_slice_of_digests_fills_the_right_rows() -> None:
    column = pa.array([bytes([i]) * 32 for i in range(4)], pa.binary(32)).slice(1, 2)
    table = FactTable(3)

    table.put_columns(np.array([0, 2]), "sha256", column)

    assert [table.digest("sha256", row)[0] for row in range(3)] == [1, 0, 2]
    assert table.has("sha256").tolist() == [True, False, True]


def test_columns_have_the_types_of_the_file() -> None:
    table = table_of([{"width_in": 3, "sha256": b"x" * 32, "icc": True, "format_in": "PNG", "decoder_said": "hm"}])

    for name, kind in IMAGE_FIELDS:
        assert table.to_arrow(name, np.zeros(1, np.int64)).type == kind


def test_a_word_dictionary_is_sorted_whoever_was_first() -> None:
    one, other = table_of([{"mode_in": "RGB"}, {"mode_in": "L"}]), table_of([{"mode_in": "L"}, {"mode_in": "RGB"}])

    columns = [one.to_arrow("mode_in", np.array([0, 1])), other.to_arrow("mode_in", np.array([1, 0]))]

    assert columns[0].dictionary.to_pylist() == ["L", "RGB"]
    assert columns[0].equals(columns[1])
    assert coded_array(np.array([1, -1], np.int16), ["unused", "b"]).dictionary.to_pylist() == ["b"]


def test_a_fact_without_a_column_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        FactTable(1).put(0, {"widht_in": 3})


def test_an_empty_table_has_empty_columns() -> None:
    table = FactTable(0)

    assert len(table) == 0
    assert [table.to_arrow(name, np.zeros(0, np.int64)).to_pylist() for name in EVERY] == [[]] * len(EVERY)
    assert table.to_arrow("sha256", np.full(2, -1, np.int64)).to_pylist() == [None, None]


def test_of_rows_that_are_taken_over_only_the_columns_asked_for_come_along() -> None:
    known = FactTable(2)
    made = {"out_sha256": b"o" * 32, "decode_path": "full", "decoder_said": "odd", "kept": True}
    known.put(1, {"sha256": b"s" * 32, "width_in": 3, "format_in": "PNG"} | made)
    facts = FactTable(2)

    facts.take_over(known, np.array([False, True]), names=("sha256", "width_in", "format_in"))

    assert facts.get(1) == {"sha256": b"s" * 32, "width_in": 3, "format_in": "PNG"}
    assert facts.is_done.tolist() == [False, True]
