"""Laws of the digest: equal exactly when the data is."""

import hashlib
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagekit.manifest.digest import rows_sha256

TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "string": (pa.string(), st.text(max_size=3)),
    "binary": (pa.binary(), st.binary(max_size=3)),
    "large_string": (pa.large_string(), st.text(max_size=3)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float64": (pa.float64(), st.floats(allow_nan=False).map(lambda value: value + 0.0)),
    "bool": (pa.bool_(), st.booleans()),
    "fixed": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "list": (pa.list_(pa.int32()), st.lists(st.none() | st.integers(0, 9), max_size=3)),
    "strings": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=2), max_size=3)),
}
Columns = list[tuple[str, str, list[Any]]]


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    """One to three columns of the same length, nulls among the values."""
    n_rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3))
    return [
        (f"c{i}", kind, draw(st.lists(st.none() | TYPES[kind][1], min_size=n_rows, max_size=n_rows)))
        for i, kind in enumerate(kinds)
    ]


def table(content: Columns) -> pa.Table:
    return pa.table({name: pa.array(values, TYPES[kind][0]) for name, kind, values in content})


@settings(deadline=None)
@given(content=columns(), data=st.data())
def test_a_changed_cell_changes_the_digest(content: Columns, data: st.DataObject) -> None:
    assume(content[0][2])
    column = data.draw(st.integers(0, len(content) - 1))
    name, kind, values = content[column]
    row = data.draw(st.integers(0, len(values) - 1))
    other = data.draw((st.none() | TYPES[kind][1]).filter(lambda value: value != values[row]))
    changed = [*content[:column], (name, kind, [*values[:row], other, *values[row + 1 :]]), *content[column + 1 :]]

    assert rows_sha256(table(changed)) != rows_sha256(table(content))


@settings(deadline=None)
@given(content=columns(), data=st.data())
def test_chunking_slicing_and_metadata_do_not_count(content: Columns, data: st.DataObject) -> None:
    whole = table(content)
    cut = data.draw(st.integers(0, whole.num_rows))

    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    padded = pa.concat_tables([whole, whole, whole]).combine_chunks().slice(whole.num_rows, whole.num_rows)

    assert rows_sha256(pieces) == rows_sha256(whole)
    assert rows_sha256(padded) == rows_sha256(whole)
    assert rows_sha256(whole.replace_schema_metadata({"a": "b"})) == rows_sha256(whole)


@settings(deadline=None)
@given(values=st.lists(st.none() | st.text(max_size=2), max_size=6))
def test_a_dictionary_column_is_its_values(values: list[str | None]) -> None:
    plain = pa.table({"a": pa.array(values, pa.string())})
    encoded = pa.table({"a": pa.array(values, pa.string()).dictionary_encode()})
    small = pa.table({"a": pa.array(values, pa.dictionary(pa.int8(), pa.string()))})

    assert rows_sha256(plain) == rows_sha256(encoded) == rows_sha256(small)


@settings(deadline=None)
@given(content=columns(), other=columns())
def test_equal_digests_mean_equal_tables(content: Columns, other: Columns) -> None:
    one, two = table(content), table(other)

    assert (rows_sha256(one) == rows_sha256(two)) == one.equals(two)


@settings(deadline=None)
@given(content=columns(), data=st.data())
def test_the_order_of_rows_counts(content: Columns, data: st.DataObject) -> None:
    whole = table(content)
    order = data.draw(st.permutations(range(whole.num_rows)))
    shuffled = whole.take(pa.array(order, pa.int64()))

    assert (rows_sha256(shuffled) == rows_sha256(whole)) == shuffled.equals(whole)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.table({"a": pa.array([None], pa.string())}), pa.table({"a": pa.array([""], pa.string())})),
        (pa.table({"a": pa.array([None], pa.int32())}), pa.table({"a": pa.array([0], pa.int32())})),
        (pa.table({"a": pa.array([None, []], pa.list_(pa.int8()))}),
         pa.table({"a": pa.array([[], None], pa.list_(pa.int8()))})),
        (pa.table({"a": ["ab", "c"]}), pa.table({"a": ["a", "bc"]})),
        (pa.table({"a": [1]}), pa.table({"b": [1]})),
        (pa.table({"a": pa.array([1], pa.int32())}), pa.table({"a": pa.array([1], pa.int64())})),
        (pa.table({"a": pa.array(["x"], pa.string())}), pa.table({"a": pa.array(["x"], pa.large_string())})),
        (pa.table({"a": [1], "b": [2]}), pa.table({"b": [2], "a": [1]})),
        (pa.table({"a": [1], "b": [1]}), pa.table({"a": [1]})),
        (pa.table({"a": pa.array([], pa.int8())}), pa.table({"a": pa.array([], pa.int16())})),
        (pa.table({"a": [[1], [2, 3]]}), pa.table({"a": [[1, 2], [3]]})),
    ],
    ids=["null or empty", "null or 0", "null or []", "lengths", "name", "int type", "text type", "order", "one less",
         "type of nothing", "list lengths"],
)  # fmt: skip
def test_what_differs_has_another_digest(one: pa.Table, other: pa.Table) -> None:
    assert rows_sha256(one) != rows_sha256(other)


def test_the_digest_is_what_its_page_says() -> None:
    """Golden by hand: another program can compute it from the description alone."""
    found = rows_sha256(pa.table({"n": pa.array([1, None], pa.int32()), "s": pa.array(["é", None], pa.string())}))

    expected = hashlib.sha256()
    expected.update(b"n\0int32\0" + b"2\0" + bytes([1, 0]) + struct.pack("<ii", 1, 0))
    expected.update(b"s\0string\0" + b"2\0" + bytes([1, 0]) + struct.pack("<qq", 2, 0) + "é".encode())
    assert found == expected.hexdigest()


def test_a_table_of_no_chunks_has_a_digest() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.dictionary(pa.int8(), pa.string()))])

    empty = pa.Table.from_batches([], schema=schema)

    assert rows_sha256(empty) == rows_sha256(pa.table({"a": pa.array([], "string"), "b": pa.array([], "string")}))
