"""The digest of a manifest's rows: equal exactly when the data is, whatever wrote the file.

Per column, in order: its name, its type, then per value a validity byte, for variable-length values a little-endian
int64 length, and the value's little-endian bytes. Dictionary columns are hashed as their values.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VARIABLE_LENGTH = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)


def rows_sha256(table: pa.Table) -> str:
    """The sha256, in hex, over every column of the table in its order; chunking and metadata do not count."""
    digest = hashlib.sha256()
    for name in table.column_names:
        column = _plain(table.column(name))
        digest.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
        digest.update(np.asarray(column.is_valid()).astype(np.uint8).tobytes())
        digest.update(_values(column))
    return digest.hexdigest()


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):  # pyarrow gives a chunked array back where there is no chunk at all
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], combined.type)
    return combined


def _values(column: pa.Array) -> bytes:
    """Little-endian bytes of all values; nulls count as zero-length or zero."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = np.asarray(column.value_lengths().fill_null(0)).astype("<i8").tobytes()
        inner = column.drop_null().flatten()
        return lengths + np.asarray(inner.is_valid()).astype(np.uint8).tobytes() + _values(inner)
    if any(test(kind) for test in VARIABLE_LENGTH):
        blob = column.cast(pa.large_binary())
        n_bytes = np.asarray(pc.binary_length(blob).fill_null(0)).astype("<i8")
        return bytes(n_bytes.tobytes()) + b"".join(blob.drop_null().to_pylist())
    if pa.types.is_fixed_size_binary(kind):
        return b"".join(column.drop_null().to_pylist())
    filled = column.fill_null(False if pa.types.is_boolean(kind) else 0)
    numbers = np.asarray(filled)
    return bytes(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
