"""Read a table of paths and whatever stands beside them: Parquet, or text with any common separator.

How text is understood. It is UTF-8, with or without a byte order mark. The separator is a tab, comma, semicolon, bar or
run of spaces: the one by which most of the first lines have equally many columns, two or more; one that leaves a column
of image names beats one that does not, and an earlier one wins a tie. Spaces count only where all these lines agree and
the columns before the image names hold no "/"; quote a path that holds spaces. Without a separator every line is one
path. Cells are quoted as in CSV, and blanks around them dropped. The first line is a header if some column holds image
names (an extension that `discover` knows) in at least half of the lines below it, and the first line holds none in
any such column.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa

from imagekit.errors import ImageError, SourceError
from imagekit.files.discover import image_extensions
from imagekit.files.hashes import sha256_bytes
from imagekit.files.read import read_file

MAX_BYTES = 2**29  # of the file, and of the cells of a Parquet file, which may be far more than its bytes

_PARQUET_MAGIC = b"PAR1"
_SEPARATORS = ("\t", ",", ";", "|", " ")
_NONE = "\x1f"  # the separator of a table of one column: no path holds it, as good as
_SAMPLE_BYTES = 2**17  # as long as the longest cell that Python's csv takes
_SAMPLE_LINES = 1_000
_BLOCK_BYTES = 2**22  # a line must fit
_BATCH_ROWS = 2**14


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """A table as read.

    data: string columns, null where a cell is empty; without a header they are called "1", "2", ... has_header: whether
    the first line of the text holds the names (False for Parquet, which has no lines). Row i stands in line i + 1, or
    i + 2 below a header; where the text holds quotes, blank lines and line breaks inside a cell count as none. sha256:
    of the file, 64 hex digits.
    """

    path: Path
    data: pa.Table
    has_header: bool
    sha256: str


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table; its content says whether it is Parquet or text, see the head of this module.

    Of Parquet, columns of texts, whole numbers (3.0 is "3") and booleans are read as text. Any other is kept as one of
    nulls, so that numbers of columns stay right; the metadata of its field holds its `type`. Raises SourceError for
    a file that is missing, unreadable, no regular file, larger than MAX_BYTES, empty, neither Parquet nor UTF-8, or
    whose lines do not have equally many columns.
    """
    path = Path(path)
    try:
        raw = read_file(path, max_bytes=MAX_BYTES)
    except ImageError as error:
        raise _read_error(path, error) from error
    sha256 = sha256_bytes(raw).hex()
    if raw.startswith(_PARQUET_MAGIC):
        return Table(path=path, data=_filled(path, _read_parquet(path, raw)), has_header=False, sha256=sha256)
    _check_utf8(path, raw)
    data, has_header = _read_text(path, raw)
    return Table(path=path, data=_filled(path, data), has_header=has_header, sha256=sha256)


def find_table(file: str, *, root: Path, beside: Path | None, asked_by: str, fix: str) -> tuple[Table, str]:
    """The table that a rule names, and its own folder inside `root`, "" at its root or outside.

    file: a relative path. beside: a second folder to look in. Raises SourceError, with `fix`, where it is in neither.
    """
    places = [root / file, *([beside / file] if beside else [])]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        looked = " and ".join(str(place.parent) for place in places)
        raise SourceError(
            f"the table {file} is not there",
            where=f"{asked_by}: looked in {looked}",
            fix=fix,
        )
    base = str(PurePosixPath(file).parent) if path is places[0] else ""
    return read_table(path), "" if base == "." else base


def _read_error(path: Path, error: ImageError) -> SourceError:
    if error.reason == "vanished":
        return SourceError("the table does not exist", where=str(path), fix="check the path for a typing error")
    return SourceError(
        f"the table cannot be read: {error.detail}", where=str(path), fix="give a readable file, no link and no folder"
    )


def _filled(path: Path, data: pa.Table) -> pa.Table:
    if not data.num_rows:
        raise SourceError(
            "the table is empty", where=str(path), fix="give a table with a line for each image, or remove its rule"
        )
    return data


def _check_utf8(path: Path, raw: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(raw)
    for start in range(0, len(raw) or 1, _BLOCK_BYTES):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[start : start + _BLOCK_BYTES], final=start + _BLOCK_BYTES >= len(raw))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            line = raw.count(b"\n", 0, at) + 1
            raise SourceError(
                f"the table is not UTF-8 text: byte 0x{raw[at]:02x} in line {line}",
                where=str(path),
                fix="save it as UTF-8 (iconv -f LATIN1 -t UTF-8), or as Parquet",
            ) from None


def _read_text(path: Path, raw: bytes) -> tuple[pa.Table, bool]:
    text = raw.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n").rstrip(b"\r\n ")
    separator = _find_separator(text)
    text = _tidied(text, separator)
    rows = _sample(text, separator)
    if not rows:
        return pa.table({}), False
    n_columns = Counter(map(len, rows)).most_common(1)[0][0]
    has_header = _is_header(rows, n_columns)
    numbers = [str(i + 1) for i in range(n_columns)]
    is_exact = b'"' not in text  # else a blank line may stand inside a cell
    if is_exact and re.search(rb"(?:^|\n) *\r?\n", text):
        # a row of empty cells: the lines below keep their numbers
        text = re.sub(rb"(?m)^ *(?=\r?$)", separator.encode() * (n_columns - 1), text)
    data = _parse(path, text, separator, numbers, has_header=has_header, keep_blank=is_exact)
    heads = [head.strip() for head in rows[0]] if has_header else numbers
    return data.rename_columns([head or number for head, number in zip(heads, numbers, strict=True)]), has_header


def _tidied(text: bytes, separator: str) -> bytes:
    """Text whose runs of spaces, outside quotes, are one space; none where a line starts or ends."""
    if separator != " ":
        return text
    text = re.sub(rb"(?m)^ +| +(?=\r?$)", b"", text)
    if b"  " not in text:
        return text
    return re.sub(rb'("(?:[^"]|"")*")| {2,}', lambda found: found[1] or b" ", text)


def _sample(text: bytes, separator: str) -> list[list[str]]:
    """The cells of the first lines; blank lines are left out."""
    head = text[:_SAMPLE_BYTES]
    if len(text) > len(head):
        head = head[: head.rfind(b"\n") + 1] or head
    lines = io.StringIO(head.decode("utf-8", "replace"), newline="")
    reader = csv.reader(lines, delimiter=separator)
    return [row for row in islice(reader, _SAMPLE_LINES) if any(map(str.strip, row))]


def _find_separator(text: bytes) -> str:
    """The separator by the rule of this module, _NONE where every line is one cell."""
    best, best_score = _NONE, (False, 0.5)
    for separator in _SEPARATORS:
        rows = _sample(_tidied(text[: 2 * _SAMPLE_BYTES], separator), separator)
        n_columns, n_rows = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        share = n_rows / max(len(rows), 1)
        if n_columns < 2 or share <= 0.5 or (separator == " " and not _is_split_by_spaces(rows, share)):
            continue
        score = (bool(_image_columns(rows, n_columns)), share)
        if score > best_score:
            best, best_score = separator, score
    return best


def _is_split_by_spaces(rows: Sequence[Sequence[str]], share: float) -> bool:
    images = _image_columns(rows, len(rows[0]))
    before = [row[column] for row in rows for column in range(min(images))] if images else []
    return share == 1.0 and sum("/" in cell for cell in before) * 2 <= len(before)


def _image_columns(rows: Sequence[Sequence[str]], n_columns: int) -> list[int]:
    """The columns that hold image names in at least half of the rows; the first counts only where it stands alone."""
    full = [row for row in rows[1:] or rows if len(row) == n_columns]
    n_images = [sum(_is_image(row[column]) for row in full) for column in range(n_columns)]
    return [column for column, n in enumerate(n_images) if n and 2 * n >= len(full)]


def _is_image(cell: str) -> bool:
    return os.path.splitext(cell.strip())[1].lower() in _EXTENSIONS  # noqa: PTH122  (a text, not yet a path)


_EXTENSIONS = image_extensions()


def _is_header(rows: Sequence[Sequence[str]], n_columns: int) -> bool:
    images = _image_columns(rows, n_columns)
    is_whole = len(rows) > 1 and len(rows[0]) == n_columns
    return is_whole and bool(images) and not any(_is_image(rows[0][column]) for column in images)


def _parse(
    path: Path, text: bytes, separator: str, columns: Sequence[str], *, has_header: bool, keep_blank: bool
) -> pa.Table:
    import pyarrow.csv as pa_csv  # only where a table is read: 10 ms

    wrong: list[tuple[int, int]] = []

    def remember(row: pa_csv.InvalidRow) -> str:
        wrong.append((row.number, row.actual_columns))
        return "error"

    # one thread: with more, a wrong row has no number
    options = {
        "read_options": pa_csv.ReadOptions(
            column_names=columns, skip_rows=int(has_header), block_size=_BLOCK_BYTES, use_threads=False
        ),
        "parse_options": pa_csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=not keep_blank,
            ignore_empty_lines=not keep_blank,
            invalid_row_handler=remember,
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            check_utf8=False,
        ),
    }
    try:
        table = pa_csv.read_csv(pa.BufferReader(text), **options)
    except pa.ArrowInvalid as error:
        raise _parse_error(path, wrong, len(columns), error) from error
    return pa.table([_trimmed(column) for column in table.columns], names=list(columns))


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim(column, characters=" \t")
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _parse_error(path: Path, wrong: Sequence[tuple[int, int]], n_columns: int, error: Exception) -> SourceError:
    if not wrong:
        return SourceError(
            f"the table cannot be read: {error}", where=str(path), fix="save it as CSV or Parquet once more"
        )
    line, n = wrong[0]
    return SourceError(
        f"line {line} has {n} column{'' if n == 1 else 's'}, the others have {n_columns}",
        where=str(path),
        fix='quote the cells that hold the separator ("a, b.jpg"), or mend the line',
    )


def _read_parquet(path: Path, raw: bytes) -> pa.Table:
    import pyarrow.parquet as pq  # only where such a table is read: 30 ms

    try:
        schema = pq.read_schema(pa.BufferReader(raw))
        names = [field.name for field in schema if _is_textual(field.type)]
        if not names:
            raise _no_text(path, schema)
        # texts as codes: a text of a megabyte repeated a million times is one megabyte until it is written out
        file = pq.ParquetFile(pa.BufferReader(raw), read_dictionary=names)
        names += [field.name for field in schema if pa.types.is_floating(field.type)]
        unread = {field.name for field in schema} - {*names}
        pieces, n_bytes = [], 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
            n_bytes += sum(map(_text_bytes, batch.columns))
            if n_bytes > MAX_BYTES:
                raise _too_large(path)
            pieces.append(_as_text(batch, schema, unread))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"the table is no Parquet file that can be read: {error}", where=str(path), fix="write it once more"
        ) from error
    return _with_types(pa.concat_tables(pieces), schema, unread) if pieces else pa.table({})


def _with_types(table: pa.Table, schema: pa.Schema, unread: set[str]) -> pa.Table:
    """With the columns that could not be read empty from end to end, and their types noted."""
    empty = pa.nulls(table.num_rows, pa.string())
    columns = [empty if name in unread else table.column(i) for i, name in enumerate(schema.names)]
    fields = [
        pa.field(field.name, pa.string(), metadata={"type": str(field.type)} if field.name in unread else None)
        for field in schema
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _too_large(path: Path) -> SourceError:
    return SourceError(
        f"the cells of the table are larger than {MAX_BYTES:,} bytes",
        where=str(path),
        fix="keep only the columns of paths and values",
    )


def _text_bytes(column: pa.Array) -> int:
    """The bytes of the column once it is text."""
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary.cast(pa.large_string()))
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _is_textual(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*tests, pa.types.is_integer, pa.types.is_boolean))


def _whole_numbers(column: pa.Array) -> pa.Array | None:
    """Floats as int64, None where one is no whole number; NaN, which pandas writes for an empty cell, is null."""
    import pyarrow.compute as pc

    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # a fraction, or too large for a float to tell it from its neighbours
        return None


def _no_text(path: Path, schema: pa.Schema) -> SourceError:
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    return SourceError(
        f"the table has no column of texts or whole numbers; columns: {columns}",
        where=str(path),
        fix="write the paths as a column of strings",
    )


def _as_text(batch: pa.RecordBatch, schema: pa.Schema, unread: set[str]) -> pa.Table:
    """Every column as text; one of floats that are no whole numbers joins `unread`."""
    columns = []
    for field in schema:
        if field.name not in unread and pa.types.is_floating(field.type):
            whole = _whole_numbers(batch.column(batch.schema.get_field_index(field.name)))
            if whole is not None:
                columns.append(whole.cast(pa.string()))
                continue
            unread.add(field.name)
        if field.name in unread:
            columns.append(pa.nulls(batch.num_rows, pa.string()))
            continue
        column = batch.column(batch.schema.get_field_index(field.name))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        columns.append(column.cast(pa.string()))
    return pa.table(columns, names=schema.names).combine_chunks()
