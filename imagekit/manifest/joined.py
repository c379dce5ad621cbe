"""Join a table of further columns to the rows of a manifest, by the names of the images.

How types are told. The columns of a Parquet file keep theirs; whole numbers, floats, booleans, strings and lists of
strings can be joined. A column of a text file (CSV, TSV) holds booleans where every cell is true or false (also True,
TRUE); else whole numbers, or else floats, where every cell is written as one. Empty cells are null, and so are NA, N/A,
NaN and null in such a column. All others are strings as they stand. So is a column in which one number has a leading
zero or plus ("007", "+49"), or is too long to be held exactly; 1.50 counts as a float, and becomes 1.5.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.errors import ImageError, SourceError
from imagekit.files.hashes import sha256_bytes
from imagekit.files.read import open_regular, read_file
from imagekit.files.tables import MAX_BYTES, read_table
from imagekit.manifest.processors import plain_array
from imagekit.manifest.read import DAMAGE, THRIFT_BYTES, THRIFT_ITEMS
from imagekit.manifest.text import TOKENS

KEYS = ("file_name", "path", "image", "filename")
SHOWN = 5

_NOT_KNOWN = pa.array(["NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"])
_BOOLEAN = r"^(?:true|True|TRUE|false|False|FALSE)$"
_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
_INFINITE = r"^-?inf$"
# 15 digits before the point: float64 holds every whole number of as many
_FLOAT = rf"^-?(?:0|[1-9][0-9]{{0,14}})?(?:\.[0-9]+|\.)?(?:[eE][-+]?[0-9]{{1,3}})?$|{_INFINITE}"
_PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 2**14


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Joined:
    """What a table says of n rows.

    table: its columns but the names, n rows, null where the table says nothing. n_without: rows that it does not name.
    n_unknown: its lines that name no row; unknown: the first of those names. sha256: of the file, 64 hex digits.
    """

    table: pa.Table
    n_without: int
    unknown: tuple[str, ...]
    n_unknown: int
    sha256: str


def join_columns(file: Path, names: pa.Array | pa.ChunkedArray, *, root: Path, taken: Collection[str]) -> Joined:
    """Read a table and put its columns beside `names`.

    file: CSV, TSV or Parquet, looked for in `root` and then as given; its column file_name, path, image or filename,
    the first of these that it has, holds names as in `names` (a leading "./" is dropped). names: strings, each once.
    taken: names of columns that are there already.
    Raises SourceError for a file that is missing, unreadable or larger than MAX_BYTES; for a table without such a
    column or without another, with a column that is taken, twice there, without a printable name or of another type;
    and where a line has no name, two lines have the same, or no line names a row.
    """
    where = f"--columns {file}"
    path = _find(file, root, where)
    data, sha256 = _read(path, where)
    key = _key(data, where)
    cells = pc.replace_substring_regex(plain_array(data.column(key)), r"^(?:\./)+", "")
    data = data.drop_columns([key])
    _check_columns(data.column_names, taken, where)
    _check_names(cells, key, where)
    names = plain_array(names).cast(pa.string())
    rows = pc.index_in(names, value_set=cells)
    if rows.null_count == len(names):
        raise SourceError(
            f"no line of the table names an image of the manifest; its column {key} starts with {_first(cells)}, the"
            f" manifest with {_first(names)}",
            where=where,
            fix="write the names as the manifest has them, relative to its folder",
        )
    unknown = cells.filter(pc.invert(pc.is_in(cells, value_set=names)))
    return Joined(
        table=data.take(rows),
        n_without=rows.null_count,
        unknown=tuple(unknown.slice(0, SHOWN).to_pylist()),
        n_unknown=len(unknown),
        sha256=sha256,
    )


def _first(names: pa.Array) -> str:
    return ", ".join(names.slice(0, 3).to_pylist())


def _find(file: Path, root: Path, where: str) -> Path:
    places = (root / file, file)
    path = next((place for place in places if place.exists()), None)
    if path is None:
        looked = " and ".join(dict.fromkeys(str(place.parent) for place in places))
        raise SourceError(
            f"the table {file.name} of columns is not there", where=f"{where}: looked in {looked}", fix="check the path"
        )
    return path


def _read(path: Path, where: str) -> tuple[pa.Table, str]:
    """The table with the types by the rule of this module, and the sha256 of the file in hex."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        raw = read_file(path, max_bytes=MAX_BYTES) if is_parquet else b""
    except ImageError as error:
        raise SourceError(
            f"the table of columns cannot be read: {error.detail}",
            where=where,
            fix="give a readable file, no link and no folder",
        ) from error
    if is_parquet:
        return _read_parquet(raw, where), sha256_bytes(raw).hex()
    table = read_table(path)
    if not table.has_header:
        raise SourceError(
            f"the table has no line of column names above its lines of images; it has {table.data.num_columns} columns",
            where=where,
            fix="write a first line that names the columns, one of them file_name, and image names below it",
        )
    _refuse_twins(table.data.column_names, where)
    return pa.table({name: _typed(table.data.column(name)) for name in table.data.column_names}), table.sha256


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts by the type that all its cells are written in."""
    cells = pc.if_else(pc.is_in(column, value_set=_NOT_KNOWN), pa.scalar(None, pa.string()), column)
    if cells.null_count == len(cells):
        return column
    if _all_match(cells, _BOOLEAN):
        return pc.equal(pc.utf8_lower(cells), "true")
    try:
        if _all_match(cells, _INTEGER):
            return cells.cast(pa.int64())
        if _all_match(cells, _FLOAT):
            numbers = cells.cast(pa.float64())
            is_kept = pc.equal(pc.is_inf(numbers), pc.match_substring_regex(cells, _INFINITE))
            return numbers if pc.all(is_kept).as_py() else column
    except pa.ArrowInvalid:
        return column  # 19 digits beyond int64, or a lone "-" or ".": no number, so text by the rule above
    return column


def _all_match(cells: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(cells, pattern)).as_py())


def _read_parquet(raw: bytes, where: str) -> pa.Table:
    limits = {"thrift_string_size_limit": THRIFT_BYTES, "thrift_container_size_limit": THRIFT_ITEMS}
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), **limits)
        schema, leaves = file.schema_arrow, file.schema
        _refuse_twins(schema.names, where)
        kinds = _stored_types(schema, where)
        # texts as codes: a text of a megabyte repeated a million times is one megabyte until it is written out
        texts = [leaves.column(i).path for i in range(len(leaves)) if leaves.column(i).physical_type == "BYTE_ARRAY"]
        file = pq.ParquetFile(pa.BufferReader(raw), read_dictionary=texts, **limits)
        batches, n_bytes = [], 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            n_bytes += sum(map(_n_bytes, batch.columns))
            if n_bytes > MAX_BYTES:
                raise SourceError(
                    f"the cells of the table of columns are larger than {MAX_BYTES:,} bytes",
                    where=where,
                    fix="keep only the columns that you need",
                )
            columns = [plain_array(column).cast(kind) for column, kind in zip(batch.columns, kinds, strict=True)]
            batches.append(pa.table(columns, names=schema.names))
        table = pa.concat_tables(batches) if batches else pa.table({})
        table.validate(full=True)  # texts that are not UTF-8
    except DAMAGE as error:
        raise SourceError(
            f"the table of columns is no Parquet file that can be read: {error}", where=where, fix="write it once more"
        ) from error
    if not table.num_rows:
        raise SourceError("the table of columns is empty", where=where, fix="give a table with a line for each image")
    return table


def _stored_types(schema: pa.Schema, where: str) -> list[pa.DataType]:
    """The type that each column has in a manifest. Raises SourceError that lists the columns that can have none."""
    kinds = {field.name: _stored_type(field.type) for field in schema}
    refused = [f"{field.name} ({field.type})" for field in schema if kinds[field.name] is None]
    if refused:
        raise SourceError(
            f"the table has columns of types that a manifest does not hold: {', '.join(refused)}",
            where=where,
            fix="keep whole numbers, floats, booleans, strings and lists of strings; leave the others out",
        )
    return list(kinds.values())


def _stored_type(kind: pa.DataType) -> pa.DataType | None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return TOKENS if is_list and _stored_type(kind.value_type) == pa.string() else None


def _n_bytes(column: pa.Array) -> int:
    """The bytes of a column once texts are written out."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary.cast(pa.large_string()))
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _key(data: pa.Table, where: str) -> str:
    """The name of the column that holds the images' names."""
    for key in KEYS:
        if key in data.column_names:
            if data.schema.field(key).type != pa.string():
                raise SourceError(
                    f"the column {key} holds {data.schema.field(key).type}, must hold the names of images as strings",
                    where=where,
                    fix="write the names as strings",
                )
            return key
    raise SourceError(
        f"no column of the table is called {', '.join(KEYS[:-1])} or {KEYS[-1]}; columns: {_listed(data.column_names)}",
        where=where,
        fix="call the column that holds the names of the images file_name",
    )


def _refuse_twins(columns: Collection[str], where: str) -> None:
    twins = [name for name, n in Counter(columns).items() if n > 1]
    if twins:
        raise SourceError(
            f"the table has two columns of the same name: {_listed(twins)}", where=where, fix="rename one of the two"
        )


def _check_columns(columns: Collection[str], taken: Collection[str], where: str) -> None:
    if not columns:
        raise SourceError(
            "the table has no column beside the names of the images", where=where, fix="add columns, or leave it out"
        )
    odd = [name for name in columns if not name.strip() or not name.isprintable()]
    if odd:
        raise SourceError(
            f"the table has column names that cannot be printed: {', '.join(map(ascii, odd))}",
            where=where,
            fix="rename these columns",
        )
    both = [name for name in columns if name in taken]
    if both:
        raise SourceError(
            f"the manifest has columns of these names already: {_listed(both)}",
            where=where,
            fix="rename them in the table, or leave them out",
        )


def _check_names(cells: pa.Array, key: str, where: str) -> None:
    """Each line names an image, and no two the same."""
    if cells.null_count:
        row = int(np.flatnonzero(np.asarray(cells.is_null()))[0])
        raise SourceError(
            f"{cells.null_count:,} lines of the table have no {key}, the first is line {row + 1} of its images",
            where=where,
            fix="name the image of every line, or take those lines out",
        )
    coded = cells.dictionary_encode()
    counts = np.bincount(np.asarray(coded.indices), minlength=len(coded.dictionary))
    repeated = np.flatnonzero(counts > 1)
    if len(repeated):
        name = coded.dictionary[int(repeated[0])].as_py()
        raise SourceError(
            f"{len(repeated):,} images stand in the table more than once, the first is {name} ({counts[repeated[0]]}"
            " lines)",
            where=where,
            fix="keep one line for each image",
        )


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
