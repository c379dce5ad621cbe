"""Rows of two manifests joined by name and compared, column by column: Arrow and numpy, no Python object a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import ManifestError

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_FLOAT_BITS = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Joined:
    """Rows of both by their index: the same name in both (in new's order), in old alone, in new alone."""

    common_old: Ints
    common_new: Ints
    only_old: Ints
    only_new: Ints


def join_by_name(old: pa.Table, new: pa.Table) -> Joined:
    """Match rows of the same `file_name`, which each table must have once."""
    found = pc.index_in(new["file_name"], value_set=old["file_name"])
    at = np.asarray(found.fill_null(-1)).astype(np.int64)
    is_common = at >= 0
    is_left = np.ones(old.num_rows, np.bool_)
    is_left[at[is_common]] = False
    return Joined(
        common_old=at[is_common],
        common_new=np.flatnonzero(is_common),
        only_old=np.flatnonzero(is_left),
        only_new=np.flatnonzero(~is_common),
    )


def pair_by_content(old: pa.Table, new: pa.Table) -> tuple[Ints, Ints]:
    """Pairs of rows (indices into old and into new) with the same sha256, each row once.

    Where several have it, the first by name goes with the first by name, and so on. Null pairs with nothing.
    """
    n_old = old.num_rows
    digests = pa.chunked_array([*old["sha256"].chunks, *new["sha256"].chunks], pa.binary(32)).combine_chunks()
    codes = np.asarray(digests.dictionary_encode().indices.fill_null(-1)).astype(np.int64)
    keys_old, rows_old = _keys(codes[:n_old], old["file_name"])
    keys_new, rows_new = _keys(codes[n_old:], new["file_name"])
    _, at_old, at_new = np.intersect1d(keys_old, keys_new, assume_unique=True, return_indices=True)
    pairs_old, pairs_new = rows_old[at_old], rows_new[at_new]
    order = np.argsort(pairs_old, kind="stable")
    return pairs_old[order], pairs_new[order]


def _keys(codes: Ints, names: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """A number for each row that has a content, made of its code and of its place by name among those that share it."""
    by_name = np.asarray(pc.sort_indices(names)).astype(np.int64)
    rows = by_name[codes[by_name] >= 0]
    rows = rows[np.argsort(codes[rows], kind="stable")]
    own = codes[rows]
    is_first = np.concatenate([[True], own[1:] != own[:-1]])[: len(own)]
    starts = np.flatnonzero(is_first)
    place = np.arange(len(own)) - np.repeat(starts, np.diff(np.append(starts, len(own))))
    return (own << 32) + place, rows


def differing(one: pa.ChunkedArray, other: pa.ChunkedArray, *, column: str) -> Mask:
    """bool[N]: where two columns of N rows differ; null equals null, and numbers are equal when their bits are.

    Columns of two types differ wherever either has a value. Raises ManifestError for a type that cannot be compared.
    """
    one, other = _whole(one), _whole(other)
    if one.type != other.type:
        either = pc.or_(one.is_valid(), other.is_valid())
        return _mask(either)
    return _differing(one, other, column)


def _differing(one: pa.Array, other: pa.Array, column: str) -> Mask:
    kind = one.type
    is_one, is_other = _mask(one.is_valid()), _mask(other.is_valid())
    if pa.types.is_null(kind):
        return _mask(is_one != is_other)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _mask(_lists_differ(one, other, column) | (is_one != is_other))
    if pa.types.is_struct(kind):
        fields = zip(one.flatten(), other.flatten(), strict=True)
        inside = [_differing(_whole(a), _whole(b), column) for a, b in fields]
        return _mask(np.logical_or.reduce([is_one != is_other, *inside]))
    if pa.types.is_floating(kind):
        bits = _FLOAT_BITS[kind.bit_width]
        one, other = one.view(bits), other.view(bits)
    try:
        unequal = _mask(pc.not_equal(one, other).fill_null(False))
    except pa.ArrowNotImplementedError as error:
        raise ManifestError(
            f"column {column} has type {kind}, which cannot be compared",
            where="the rows",
            fix="build both manifests without that column",
        ) from error
    return _mask((is_one != is_other) | unequal)


def _lists_differ(one: pa.Array, other: pa.Array, column: str) -> Mask:
    """Among rows that have a list in both: where lengths or any of the values differ."""
    both = _mask(pc.and_(one.is_valid(), other.is_valid()))
    n_one, n_other = (np.asarray(pc.list_value_length(lists).fill_null(0)).astype(np.int64) for lists in (one, other))
    result: Mask = both & (n_one != n_other)
    same = np.flatnonzero(both & (n_one == n_other))
    some_one, some_other = (lists.take(pa.array(same)).flatten() for lists in (one, other))
    inside = _differing(_whole(some_one), _whole(some_other), column)
    result[np.repeat(same, n_one[same])[inside]] = True
    return result


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array of plain values: dictionaries looked up, long texts allowed."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind):  # its offsets have 32 bits: the names of a hundred million rows have more
        column = column.cast(pa.large_string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _mask(values: Any) -> Mask:
    return np.asarray(values).astype(np.bool_)
