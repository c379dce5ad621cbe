"""Columns in types that other programs read: texts, numbers, truth values, lists of them.

split (a dictionary)    text
sha256                  text of 64 hex digits
dhash (64 bits)         text of 16 hex digits: a bit pattern is no number that anybody should add up, and a program
                        that keeps numbers as floats would change them
file_name_bytes         left out; imagekit.files.names.raw_name gives the bytes back from file_name
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.manifest.schema import COLUMNS

HASHES = ("dhash",)
LEFT_OUT = ("file_name_bytes",)
OWN_COLUMNS = tuple(name for name in COLUMNS.names if name not in LEFT_OUT)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_CONTROLS = "[\\x00-\\x1f]"


def plain_table(table: pa.Table) -> pa.Table:
    """The table in the types of this module; row numbers and order of columns stay."""
    names = [name for name in table.column_names if name not in LEFT_OUT]
    return pa.table([_plain(table.column(name), name) for name in names], names=names)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that `plain_table` gives a table of this one."""
    return plain_table(schema.empty_table()).schema


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name)
    if name in HASHES or pa.types.is_fixed_size_binary(kind):
        return pa.chunked_array([_hex(chunk) for chunk in column.chunks], pa.string())
    return column


def _hex(column: pa.Array) -> pa.Array:
    """64-bit numbers (their bits, signed or not), or bytes of one length, as hex digits, the most significant first."""
    n = len(column)
    if pa.types.is_integer(column.type):
        filled = column.fill_null(0).to_numpy(zero_copy_only=False)
        raw, width = filled.astype(np.uint64).astype(">u8").view(np.uint8), 8
    else:
        width = column.type.byte_width
        blob = column.buffers()[1]
        raw = np.frombuffer(blob, np.uint8, count=n * width, offset=column.offset * width) if n else np.zeros(0, "u1")
    digits = np.stack([_DIGITS[raw >> 4], _DIGITS[raw & 15]], axis=-1)
    offsets = np.arange(n + 1, dtype=np.int32) * (2 * width)
    texts = pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits)))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))


def is_list(kind: pa.DataType) -> bool:
    """Whether each value is a list."""
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def json_texts(column: pa.Array) -> pa.Array:
    """Each value as JSON without spaces; a null stays null at the top and is `null` inside a list.

    A number that JSON has no word for (NaN, infinity) is `null`.
    """
    kind = column.type
    if is_list(kind):
        column = column.cast(pa.list_(kind.value_type))
        inner = pc.fill_null(json_texts(column.flatten()), "null")
        lengths = np.asarray(column.value_lengths().fill_null(0))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), inner), ",")
        texts = pc.binary_join_element_wise("[", joined, "]", "")
        return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.binary_join_element_wise('"', _escaped(column.cast(pa.string())), '"', "")
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
    return column.cast(pa.string())


def _escaped(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, _CONTROLS)).as_py():
        for code in range(32):
            texts = pc.replace_substring(texts, chr(code), f"\\u{code:04x}")
    return texts
