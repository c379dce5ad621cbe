r"""The manifest as one CSV file: RFC 4180, UTF-8, lines that end in LF, an empty cell for null.

The guard. A cell of text that a spreadsheet would run as a formula gets a single quote in front: one that starts with
= + - @ tab CR or LF, also behind single quotes of its own. Every text comes back by taking one quote off each cell that
matches `'+[=+\-@\t\r\n]`. Numbers are numbers: -1 stays -1. Texts stand in double quotes, lists are JSON.
Source: OWASP, CSV Injection.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from imagekit.files.atomic import atomic_file, heal_file
from imagekit.manifest.export_columns import is_list, json_texts, plain_schema, plain_table
from imagekit.manifest.export_source import BATCH_ROWS, ExportSource

_FORMULA = r"^('*[=+\-@\t\r\n])"


def write_csv(source: ExportSource, output: Path) -> tuple[str, ...]:
    """Write the file, a batch of rows at a time; tells how many file names were guarded."""
    heal_file(output)
    schema, n_guarded = _schema(plain_schema(source.table.schema)), 0
    with atomic_file(output) as aside, pa_csv.CSVWriter(aside, schema) as writer:
        for start in range(0, source.table.num_rows, BATCH_ROWS):
            batch = plain_table(source.table.slice(start, BATCH_ROWS))
            n_guarded += int(np.count_nonzero(_is_formula(batch["file_name"])))
            writer.write_table(pa.table([_cells(column) for column in batch.columns], schema=schema))
            source.told(min(start + BATCH_ROWS, source.table.num_rows))
    if not n_guarded:
        return ()
    names = "1 file name" if n_guarded == 1 else f"{n_guarded:,} file names"
    return (f"{names} would run as a formula in a spreadsheet: a single quote stands in front",)


def _schema(schema: pa.Schema) -> pa.Schema:
    fields = []
    for column in schema:
        kind = pa.string() if is_list(column.type) else column.type
        fields.append(pa.field(pc.replace_substring_regex(column.name, _FORMULA, r"'\1").as_py(), kind))
    return pa.schema(fields)


def _cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if is_list(column.type):
        return pa.chunked_array([json_texts(chunk) for chunk in column.chunks], pa.string())
    return pc.replace_substring_regex(column, _FORMULA, r"'\1") if pa.types.is_string(column.type) else column


def _is_formula(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(column, _FORMULA)
