"""Read a manifest: metadata first, every column checked before use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.errors import ManifestError, SourceError, did_you_mean
from imagekit.files.footer import FooterError, read_footer
from imagekit.files.names import to_path
from imagekit.manifest.checks import Budget, check_columns, check_rows, packed_columns
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.kinds import check_kinds
from imagekit.manifest.schema import COLUMNS, EARLY_TYPES, METADATA_KEY, REBUILD, Metadata

# thrift limits: a file of kilobytes must not ask for gigabytes while its footer is parsed
THRIFT_BYTES, THRIFT_ITEMS = 100_000_000, 1_000_000
BATCH_ROWS = 65_536
N_FILES_CHECKED = 200  # quick on a network disk too
# what pyarrow raises on damaged bytes; a column name that is not UTF-8 is a bare UnicodeDecodeError
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, FooterError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A manifest in memory: its path, what it says of itself, and its rows as Arrow columns."""

    path: Path
    metadata: Metadata
    table: pa.Table

    @property
    def root(self) -> Path:
        """The folder that `file_name` is relative to."""
        return self.path.parent / self.metadata.root

    @property
    def vocab(self) -> tuple[str, ...]:
        """The ordered class list."""
        return self.metadata.vocab

    def rows(self, split: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one split, in file order; columns: only these. Raises ManifestError when it has no row.

        No copy is made where they stand together, as those of a split folder do.
        """
        table = self.table if columns is None else self.table.select(list(columns))
        chosen = np.flatnonzero(np.asarray(pc.equal(self.table["split"].cast(pa.string()), split)))
        if not len(chosen):
            known = pc.unique(self.table["split"].cast(pa.string())).to_pylist()
            raise ManifestError(f"no row has split {split}", where=str(self.path), fix=did_you_mean(split, known))
        first, last = int(chosen[0]), int(chosen[-1])
        if last - first + 1 == len(chosen):
            return table.slice(first, len(chosen))
        return table.take(pa.array(chosen))

    def raw_names(self, rows: pa.Table) -> pa.LargeBinaryArray:
        """Relative names of rows as raw bytes, as the file system has them."""
        shown, raw = rows["file_name"], rows["file_name_bytes"]
        if raw.null_count < len(raw):
            shown = pc.coalesce(raw, shown.cast(pa.binary()))
        chunks = shown.cast(pa.large_binary()).chunks
        return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_binary())

    def missing_files(self, *, root: Path | None = None, sample: int | None = None) -> list[str]:
        """Names of rows (`sample` of them if given: first, last, evenly spread between) whose file is not there."""
        n_rows = self.table.num_rows
        picked = np.unique(np.linspace(0, n_rows - 1, min(sample or n_rows, n_rows)).round().astype(np.int64))
        some = self.table.take(pa.array(picked, pa.int64()))
        pairs = zip(self.raw_names(some).to_pylist(), some["file_name"].to_pylist(), strict=True)
        return [shown for raw, shown in pairs if not to_path(root or self.root, raw).is_file()]

    def require_files(self, *, root: Path | None = None) -> None:
        """Raise SourceError where files are not there, of 200 that are looked for: enough to notice a moved tree."""
        missing = self.missing_files(root=root, sample=N_FILES_CHECKED)
        if missing:
            raise SourceError(
                f"{len(missing)} of {min(N_FILES_CHECKED, self.table.num_rows)} files looked for are not there,"
                f" {missing[0]} for one",
                where=str(root or self.root),
                fix="give --root DIR, the folder that the manifest's names are relative to",
            )


def _open(path: Path, *, read_dictionary: list[str] | None = None) -> pq.ParquetFile:
    if not path.exists():
        raise SourceError("the manifest is not there", where=str(path), fix="build it with imagekit manifest ROOT")
    if not path.is_file():  # opening a pipe would wait for somebody to write into it
        raise ManifestError("the manifest is no regular file", where=str(path), fix="give the Parquet file itself")
    try:
        return pq.ParquetFile(
            path,
            thrift_string_size_limit=THRIFT_BYTES,
            thrift_container_size_limit=THRIFT_ITEMS,
            read_dictionary=read_dictionary,
        )
    except DAMAGE as error:
        raise _damaged("the file is not a readable Parquet file", error, path) from error


def _schema(file: pq.ParquetFile, path: Path) -> pa.Schema:
    try:
        schema = file.schema_arrow
        schema.names  # noqa: B018 - decodes them: a flipped bit in a name shows here
    except DAMAGE as error:
        raise _damaged("the file is not a readable Parquet file", error, path) from error
    return schema


def _damaged(what: str, error: Exception, path: Path) -> ManifestError:
    words = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    return ManifestError(f"{what}: {words}", where=str(path), fix=REBUILD)


def read_metadata(path: Path) -> Metadata:
    """What a manifest says of itself, without its rows. Raises ManifestError for anything that is not a manifest."""
    with _open(path) as file:
        text = (_schema(file, path).metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ManifestError("the Parquet file is not a manifest of imagekit", where=str(path), fix=REBUILD)
    metadata = Metadata.from_json(text, where=str(path))
    check_kinds(metadata, where=str(path))
    return metadata


def read_manifest(path: Path | str, *, check_digest: bool = True) -> Manifest:
    """Read and check a manifest, which may come from a stranger.

    check_digest: compare the rows with the digest in the metadata. Raises ManifestError when the file is damaged,
    newer than this version, lacks a column, has one of another type, holds more than its size allows, when its rows are
    not those that were written, or say what no row can: a path that leads out of the root, a label outside the vocab.
    """
    path = Path(path)
    metadata = read_metadata(path)
    with _open(path) as file:
        columns = check_columns(_schema(file, path), path)
        try:
            footer = read_footer(path)
            budget, packed = Budget.of(path, footer), packed_columns(footer, columns)
        except DAMAGE as error:
            raise _damaged("the file is not a readable Parquet file", error, path) from error
    with _open(path, read_dictionary=packed) as file:
        try:
            table = _read_batches(file, budget)
            table = _as_written(table, columns)
            table.validate(full=True)  # text that is not UTF-8, indices beyond a dictionary
        except DAMAGE as error:
            raise _damaged("the rows cannot be read", error, path) from error
    with ThreadPoolExecutor(1) as aside:
        checked = aside.submit(check_rows, table, metadata, path)
        if check_digest and rows_sha256(table) != metadata.rows_sha256:
            raise ManifestError(
                "the rows are not those that were written: their digest differs from the metadata's",
                where=str(path),
                fix=REBUILD,
            )
        checked.result()
    for name, kind in EARLY_TYPES.items():
        index = table.schema.get_field_index(name)
        if table.schema.field(index).type == kind:
            same_bits = [chunk.view(COLUMNS.field(name).type) for chunk in table.column(index).chunks]
            table = table.set_column(index, COLUMNS.field(name), pa.chunked_array(same_bits, COLUMNS.field(name).type))
    return Manifest(path=path, metadata=metadata, table=table)


def _read_batches(file: pq.ParquetFile, budget: Budget) -> pa.Table:
    """All rows, a batch at a time, each counted as what it will be when it is written out."""
    batches = []
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        budget.spend(batch)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else file.schema_arrow)


def _as_written(table: pa.Table, columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Texts that were read as codes as the columns of texts that they are."""
    schema = pa.schema([(name, kind) for name, kind in columns.items()])
    arrays = [
        column if column.type == kind else pa.chunked_array(column.cast(kind).chunks, kind)
        for column, kind in zip(table.columns, columns.values(), strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
