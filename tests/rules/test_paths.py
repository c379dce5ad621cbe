"""PathParts: the folders and file names of many paths at once, the same as splitting each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from imagekit.rules.paths import PathParts, encode

PARTS = st.binary(min_size=1, max_size=3).map(lambda part: part.replace(b"/", b"_"))
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(b"/".join), max_size=12)


def arrow(names: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(names, pa.large_binary())


@given(NAMES, st.integers(1, 4))
def test_folders_parents_and_files_are_those_of_each_name(names: list[bytes], level: int) -> None:
    split = [name.split(b"/") for name in names]

    parts = PathParts.of(arrow(names))

    folders, has_folder = parts.folders(level)
    assert folders.to_pylist() == [pieces[level - 1] if len(pieces) > level else b"" for pieces in split]
    assert has_folder.tolist() == [len(pieces) > level for pieces in split]
    parents, has_parent = parts.parents()
    assert parents.to_pylist() == [pieces[-2] if len(pieces) > 1 else b"" for pieces in split]
    assert has_parent.tolist() == [len(pieces) > 1 for pieces in split]
    assert parts.files().to_pylist() == [pieces[-1] for pieces in split]


@given(NAMES, st.integers(0, 5))
def test_a_slice_of_a_larger_array_is_read_from_its_own_start(names: list[bytes], start: int) -> None:
    part = arrow(names).slice(min(start, len(names)))

    assert PathParts.of(part).files().to_pylist() == [name.split(b"/")[-1] for name in part.to_pylist()]


@given(st.lists(st.tuples(st.binary(max_size=3), st.booleans()), max_size=12))
def test_codes_lead_back_to_the_texts(rows: list[tuple[bytes, bool]]) -> None:
    has = np.array([used for _, used in rows], np.bool_)

    codes, values = encode(arrow([cell for cell, _ in rows]), has)

    texts = [values[code].encode("utf-8", "surrogateescape") if code >= 0 else None for code in codes]
    assert texts == [cell if used else None for cell, used in rows]
    assert list(values) == sorted(set(values))
    assert codes.dtype == np.int32


def test_cells_that_are_all_empty_have_no_texts() -> None:
    codes, texts = encode(pa.nulls(2, pa.large_string()), np.array([False, False]))

    assert (codes.tolist(), texts) == ([-1, -1], ())
