"""pandas and Python's own csv module read every row."""

import csv
import re
from pathlib import Path

import pandas as pd
from interop.manifests import PETS, make_manifest

from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.read import read_manifest

GUARD = r"^'('*[=+\-@\t\r\n])"


def test_pandas_reads_a_manifest(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)

    frame = pd.read_parquet(path, dtype_backend="pyarrow")

    table = read_manifest(path).table
    assert list(frame.columns) == table.column_names
    assert len(frame) == len(PETS)
    for name in table.column_names:
        assert [None if pd.isna(value) else value for value in frame[name]] == table[name].to_pylist(), name


def test_pandas_reads_our_csv(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)
    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    frame = pd.read_csv(tmp_path / "o.csv", dtype_backend="pyarrow")

    frame["file_name"] = frame["file_name"].str.replace(GUARD, r"\1", regex=True)
    table = plain_table(read_manifest(path).table)
    assert list(frame.columns) == table.column_names
    for name in table.column_names:
        assert [None if pd.isna(value) else value for value in frame[name]] == table[name].to_pylist(), name


def test_the_csv_module_reads_our_csv(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)
    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    wanted = plain_table(read_manifest(path).table).to_pylist()
    shown = [{key: re.sub(GUARD, r"\1", cell) for key, cell in row.items()} for row in rows]
    assert shown == [{key: "" if value is None else str(value) for key, value in row.items()} for row in wanted]
