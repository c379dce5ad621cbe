"""A table that lists images beside a value each: which image each line means, and which value each image has.

A listed path is, in this order: relative to the source; relative to the folder that the table lies in; or a bare file
name that exactly one image below that folder has. A leading "./" is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError, did_you_mean
from imagekit.rules.outcomes import BadFile
from imagekit.rules.paths import Codes, Ints, Mask, PathParts, encode

_SAMPLE_ROWS = 2_048  # of each column, to find the one that holds the paths
_SHOWN = 3
MAX_PROBLEMS = 1_000  # told one by one of each reason: a list of all ImageNet may serve a source of ten classes
_ESCAPES = r"^/|(?:^|/)\.\.(?:/|$)|\x00"  # of RE2: absolute, a step up, or a zero byte
_MISSING, _ESCAPING, _AMBIGUOUS = -1, -2, -3  # what a line means that means no image; -4: it is empty
_EMPTY = -4


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRule:
    """`table:FILE[:PATH:VALUE]`: a file, and its two columns by name or by number from 1; None where they are found."""

    file: str
    path_column: str | None = None
    value_column: str | None = None

    def __str__(self) -> str:
        columns = "" if self.path_column is None else f":{self.path_column}:{self.value_column}"
        return f"table:{self.file}{columns}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableMatch:
    """What a table says of n images.

    codes: int32[n], an index into `values`, -1 for an image that it does not list or gives no value. values: sorted.
    lines: of the same length, where each value comes first. listed: bool[n]. problems: lines that mean no image, in
    order, by the text that they hold: the first MAX_PROBLEMS of each reason, and one by the name of the table that
    counts the rest.
    """

    codes: Codes
    values: tuple[str, ...]
    lines: tuple[int, ...]
    listed: Mask
    problems: tuple[BadFile, ...]


def parse_table_rule(spec: str) -> TableRule:
    """Read `table:FILE[:PATH:VALUE]`; FILE is relative and holds no colon. Raises LabelError for anything else."""
    kind, *parts = spec.split(":")
    if kind != "table" or len(parts) not in (1, 3) or not all(parts):
        raise LabelError(
            f'the table rule "{spec}" must be table:FILE or table:FILE:PATH:VALUE',
            where="table",
            fix="give the file, and both of its columns by name or by number from 1, or none; a file name with a colon"
            " cannot be written",
        )
    file = parts[0]
    if file.startswith("/") or ".." in file.split("/") or "\0" in file:
        raise LabelError(
            f'the table rule "{spec}" leads out of the folder that it is relative to',
            where="table",
            fix='use a relative path without ".."',
        )
    return TableRule(file=file, path_column=parts[1], value_column=parts[2]) if parts[1:] else TableRule(file=file)


def match_table(
    names: pa.LargeBinaryArray, data: pa.Table, *, rule: TableRule, has_header: bool, base: str, value: bool = True
) -> TableMatch:
    """Find the image that each line of a table means, and the value that it gives it.

    names: relative POSIX paths as raw bytes, each once, in any order. data: text columns, null where a cell is empty.
    has_header: whether a header stands above the first row, for the numbers of lines. base: the table's own folder
    inside the source, "" at its root or outside. value: False asks only which images are listed.
    Columns that the rule does not name: the path column is the one whose cells mean most images (a sample decides); the
    value column is the only other one that is not empty, else the next one to the right.
    Raises LabelError for a column that is not there, not to be told or, by its `type` in the schema's metadata, of
    values that are no text; when no line means an image or none that does has a value, and where one image is listed
    with two values.
    """
    path = _path_column(names, data, rule, base)
    first_line = 2 if has_header else 1
    rows = resolve(_bytes(data.column(path)), names, base=base)
    if not (rows >= 0).any():
        raise _no_match(names, data.column(path), rule, base)
    problems = _problems(data.column(path), rows, rule=rule, first_line=first_line)
    listed = np.zeros(len(names), np.bool_)
    hits = np.flatnonzero(rows >= 0)
    listed[rows[hits]] = True
    codes = np.full(len(names), -1, np.int32)
    values: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    if value:
        value_column = _value_column(data, rule, path)
        cells = data.column(value_column).combine_chunks()
        given, values = encode(cells, (rows >= 0) & cells.is_valid().to_numpy(zero_copy_only=False))
        if not values:
            raise _no_value(data.column_names[value_column], rule)
        hits = np.flatnonzero(given >= 0)
        codes[rows[hits]] = given[hits]
        _refuse_contradictions(names, rows, given, codes, values, rule=rule, first_line=first_line)
        lines = tuple((hits[np.unique(given[hits], return_index=True)[1]] + first_line).tolist())
    return TableMatch(codes=codes, values=values, lines=lines, listed=listed, problems=problems)


def resolve(cells: pa.LargeBinaryArray, names: pa.LargeBinaryArray, *, base: str) -> Ints:
    """The row of `names` that each cell means; -1: none, -2: it leads out of the source, -3: several, -4: empty."""
    escaping = _mask(pc.match_substring_regex(cells, _ESCAPES))
    if pc.any(pc.starts_with(cells, b"./")).as_py():
        cells = pc.replace_substring_regex(cells, r"^(?:\./)+", "")
    rows = _rows_of(cells, names)
    if base:
        left = np.flatnonzero(rows == _MISSING)
        folder = pa.scalar(base.encode("utf-8", "surrogateescape"), pa.large_binary())
        below = pc.binary_join_element_wise(folder, cells.take(pa.array(left)), pa.scalar(b"/", pa.large_binary()))
        rows[left] = _rows_of(below, names)
    left = np.flatnonzero(rows == _MISSING)
    bare = cells.take(pa.array(left))
    is_bare = ~_mask(pc.match_substring(bare, b"/"))
    rows[left[is_bare]] = _rows_by_file_name(bare.filter(pa.array(is_bare)), names, base=base)
    rows[escaping] = _ESCAPING
    rows[_mask(cells.is_null())] = _EMPTY
    return rows


def _rows_of(cells: pa.LargeBinaryArray, names: pa.LargeBinaryArray) -> Ints:
    found = pc.index_in(cells, value_set=names, skip_nulls=True)
    return np.asarray(found.fill_null(_MISSING)).astype(np.int64)


def _rows_by_file_name(cells: pa.LargeBinaryArray, names: pa.LargeBinaryArray, *, base: str) -> Ints:
    if not len(cells):
        return np.zeros(0, np.int64)
    below = np.arange(len(names))
    if base:
        below = np.flatnonzero(_mask(pc.starts_with(names, base.encode("utf-8", "surrogateescape") + b"/")))
        names = names.take(pa.array(below))
    wanted = cells.unique()
    place = np.asarray(pc.index_in(PathParts.of(names).files(), value_set=wanted).fill_null(-1))
    hits = np.flatnonzero(place >= 0)
    row_of = np.full(len(wanted), _MISSING, np.int64)
    row_of[place[hits]] = below[hits]
    row_of[np.bincount(place[hits], minlength=len(wanted)) > 1] = _AMBIGUOUS
    rows: Ints = row_of[np.asarray(pc.index_in(cells, value_set=wanted))]
    return rows


def _mask(array: pa.Array) -> Mask:
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _bytes(column: pa.ChunkedArray) -> pa.LargeBinaryArray:
    return column.cast(pa.large_string()).cast(pa.large_binary()).combine_chunks()


def _column(data: pa.Table, given: str, rule: TableRule) -> int:
    """The index of a column by name or by number from 1."""
    if given in data.column_names:
        return _readable(data, int(data.column_names.index(given)), rule)
    if given.isdecimal() and 1 <= int(given) <= data.num_columns:
        return _readable(data, int(given) - 1, rule)
    raise LabelError(
        f'the table has no column "{given}"',
        where=f"table {rule.file}",
        fix=f"{did_you_mean(given, data.column_names)}; or a number from 1 to {data.num_columns}",
    )


def _readable(data: pa.Table, column: int, rule: TableRule) -> int:
    """The column itself; the reader of the table notes the type of one whose values it could not take as texts."""
    kind = (data.schema.field(column).metadata or {}).get(b"type")
    if kind is not None:
        raise LabelError(
            f'the column "{data.column_names[column]}" holds {kind.decode()}, must hold texts or whole numbers',
            where=f"table {rule.file}",
            fix="write its values as texts, or name another column",
        )
    return column


def _path_column(names: pa.LargeBinaryArray, data: pa.Table, rule: TableRule, base: str) -> int:
    if rule.path_column is not None:
        return _column(data, rule.path_column, rule)
    if data.num_columns == 1:
        return 0
    step = max(1, data.num_rows // _SAMPLE_ROWS)
    sample = data.take(pa.array(range(0, data.num_rows, step)))
    # all columns at once: each search hashes every name of the source
    cells = pa.concat_arrays([_bytes(column) for column in sample.columns])
    is_hit = (resolve(cells, names, base=base) >= 0).reshape(data.num_columns, sample.num_rows)
    return int(is_hit.sum(axis=1).argmax())


def _value_column(data: pa.Table, rule: TableRule, path: int) -> int:
    if rule.value_column is not None:
        return _column(data, rule.value_column, rule)
    others = [i for i, column in enumerate(data.columns) if i != path and column.null_count < len(column)]
    if len(others) == 1:
        return others[0]
    if path + 1 in others:
        return path + 1
    if path + 1 < data.num_columns:
        _readable(data, path + 1, rule)
    columns = ", ".join(data.column_names)
    raise LabelError(
        f'no column stands to the right of the paths in column "{data.column_names[path]}"; columns: {columns}',
        where=f"table {rule.file}",
        fix=f"name both columns: table:{rule.file}:{data.column_names[path]}:VALUE",
    )


def _no_match(names: pa.LargeBinaryArray, column: pa.ChunkedArray, rule: TableRule, base: str) -> LabelError:
    cells = ", ".join(map(str, column.drop_null().slice(0, _SHOWN).to_pylist()))
    shown = ", ".join(name.decode("utf-8", "surrogateescape") for name in names.slice(0, _SHOWN).to_pylist())
    beside = f" or below {base}/" if base else ""
    return LabelError(
        f"no line lists an image of the source{beside}; it starts with: {cells}; the images with: {shown}",
        where=f"table {rule.file}",
        fix="write the paths relative to the source or to the table's own folder, or name the column that holds them",
    )


def _no_value(column: str, rule: TableRule) -> LabelError:
    return LabelError(
        f'no line that lists an image has a value in column "{column}"',
        where=f"table {rule.file}",
        fix=f"fill the column, or name both columns: table:{rule.file}:PATH:VALUE",
    )


def _problems(column: pa.ChunkedArray, rows: Ints, *, rule: TableRule, first_line: int) -> tuple[BadFile, ...]:
    reasons = {
        _MISSING: ("vanished", ", but not in the source"),
        _ESCAPING: ("path-escape", ": it does not name a file below the source"),
        _AMBIGUOUS: ("path-collision", ": more than one image has this file name"),
    }
    bad = {code: np.flatnonzero(rows == code) for code in reasons}
    told = np.sort(np.concatenate([lines[:MAX_PROBLEMS] for lines in bad.values()]))
    texts = column.take(pa.array(told)).to_pylist()
    found = [
        BadFile(file_name=text, reason=reason, detail=f"listed in {rule.file}, line {row + first_line}{rest}")
        for row, text in zip(told.tolist(), texts, strict=True)
        for reason, rest in [reasons[int(rows[row])]]
    ]
    for code, (reason, rest) in reasons.items():
        if len(bad[code]) > MAX_PROBLEMS:
            detail = f"listed in {rule.file}, {len(bad[code]) - MAX_PROBLEMS:,} more lines{rest}"
            found.append(BadFile(file_name=rule.file, reason=reason, detail=detail))
    return tuple(found)


def _refuse_contradictions(
    names: pa.LargeBinaryArray,
    rows: Ints,
    given: Codes,
    codes: Codes,
    values: tuple[str, ...],
    *,
    rule: TableRule,
    first_line: int,
) -> None:
    """codes: what the last line gave each image; a line that gave another value contradicts it."""
    hits = np.flatnonzero(given >= 0)
    lost = hits[codes[rows[hits]] != given[hits]]
    if not len(lost):
        return
    one = int(lost[0])
    same_image = hits[rows[hits] == rows[one]]
    other = int(same_image[given[same_image] != given[one]][0])
    said: Iterable[str] = (f'line {line + first_line} says "{values[given[line]]}"' for line in sorted((one, other)))
    raise LabelError(
        f"{names[int(rows[one])].as_py().decode('utf-8', 'surrogateescape')} has two values: {', '.join(said)}",
        where=f"table {rule.file}",
        fix="list every image once, or with one value",
    )
