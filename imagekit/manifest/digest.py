"""The digest of a manifest's rows: equal exactly when the data is, whatever wrote the file.

Per column, in order: its name, its type, then per value a validity byte, for variable-length values a little-endian
int64 length, and the value's little-endian bytes. Dictionary columns are hashed as their values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Buffer = Any  # bytes, memoryview or array
VARIABLE_LENGTH = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)


def rows_sha256(table: pa.Table) -> str:
    """The sha256, in hex, over every column of the table in its order; chunking and metadata do not count."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as hasher:  # one part is hashed while the next is made: both without the GIL
        busy: Future[None] | None = None
        for part in _parts(table):
            if busy is not None:
                busy.result()
            busy = hasher.submit(digest.update, part)
    return digest.hexdigest()


def _parts(table: pa.Table) -> Iterator[Buffer]:
    for name in table.column_names:
        column = _plain(table.column(name))
        yield f"{name}\0{column.type}\0{len(column)}\0".encode()
        yield _valid_bytes(column)
        yield from _values(column)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    is_coded = pa.types.is_dictionary(column.type)
    return (column.cast(column.type.value_type) if is_coded else column).combine_chunks()


def _valid_bytes(column: pa.Array) -> Buffer:
    if column.null_count in (0, len(column)):
        return bytes([not column.null_count]) * len(column)
    return np.asarray(column.is_valid()).view(np.uint8)


def _values(column: pa.Array) -> Iterator[Buffer]:
    """Little-endian bytes of all values, in parts; nulls count as zero-length or zero."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = column.drop_null().flatten()
        yield np.ascontiguousarray(np.asarray(column.value_lengths().fill_null(0)).astype("<i8"))
        yield _valid_bytes(inner)
        yield from _values(inner)
    elif any(test(kind) for test in VARIABLE_LENGTH):
        yield from _texts(column)
    elif pa.types.is_fixed_size_binary(kind):
        there = column.drop_null() if column.null_count else column
        width, buffer = kind.byte_width, there.buffers()[1]
        yield memoryview(buffer or b"")[width * there.offset : width * (there.offset + len(there))]
    else:
        numbers = np.asarray(column.fill_null(False if pa.types.is_boolean(kind) else 0))
        yield np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)).view(np.uint8)


def _texts(column: pa.Array) -> Iterator[Buffer]:
    """Lengths, then the bytes of all texts end to end: where there is no null they lie so already."""
    yield np.ascontiguousarray(np.asarray(pc.binary_length(column).fill_null(0)).astype("<i8"))
    there = column.drop_null() if column.null_count else column
    if not len(there):
        return
    is_large = pa.types.is_large_string(there.type) or pa.types.is_large_binary(there.type)
    _, offsets, data = there.buffers()
    step = np.dtype("<i8" if is_large else "<i4")
    bounds = np.frombuffer(offsets, step, count=len(there) + 1, offset=step.itemsize * there.offset)
    yield memoryview(data or b"")[int(bounds[0]) : int(bounds[-1])]
