"""What is asked of a manifest before it is used: its columns, its size, and rows that say what rows can say.

A file of kilobytes can hold gigabytes: one text of a megabyte, said once and repeated by code a million times. So texts
are read as codes, and what they would come to is counted batch by batch, before they are written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import ManifestError
from imagekit.files.footer import Footer
from imagekit.files.names import display_name
from imagekit.manifest.processors import OTHER
from imagekit.manifest.schema import COLUMNS, EARLY_TYPES, REBUILD, SPLITS, Metadata
from imagekit.rules.splitters import to_split

# a manifest with every column takes about three times its file's size, one of names alone about thirty times
FREE_BYTES, BYTES_PER_FILE_BYTE = 192 * 2**20, 200
MAX_COLUMNS = 1_000
# a path of 4,096 bytes, all of them escaped; a label or group out of a table may be longer than a folder's name
LONGEST = {"file_name": 16_384, "file_name_bytes": 4_096, "label": 4_096, "format": 64, "mode": 64, "group": 16_384}
_ESCAPES = r"^/|(?:^|/)\.\.(?:/|$)|\x00|^$"  # of RE2: absolute, a step up, a zero byte, or nothing
_LISTS = (pa.types.is_list, pa.types.is_large_list)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
_PLAIN = (*_TEXTS, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_fixed_size_binary)


def check_columns(schema: pa.Schema, path: Path) -> dict[str, pa.DataType]:
    """Every column with its type, in order. Raises ManifestError where one is missing, twice, or of a wrong type."""
    for column in COLUMNS:
        index = schema.get_field_index(column.name)
        if index < 0:
            raise ManifestError(f"column {column.name} is missing", where=str(path), fix=REBUILD)
        found = schema.field(index).type
        if found not in (column.type, EARLY_TYPES.get(column.name)):
            raise ManifestError(
                f"column {column.name} has type {found}, must be {column.type}", where=str(path), fix=REBUILD
            )
    if len(schema.names) > MAX_COLUMNS:
        raise ManifestError(
            f"the manifest has {len(schema.names):,} columns, at most {MAX_COLUMNS:,} are read",
            where=str(path),
            fix="build it with fewer --columns",
        )
    if len(set(schema.names)) < len(schema.names):
        raise ManifestError("two columns have the same name", where=str(path), fix=REBUILD)
    for field in schema:
        is_wrapped = _is(field.type, (*_LISTS, pa.types.is_dictionary))
        inner = field.type.value_type if is_wrapped else field.type
        if field.name not in COLUMNS.names and not _is(inner, _PLAIN):
            raise ManifestError(
                f"column {field.name} has type {field.type}, which no manifest has", where=str(path), fix=REBUILD
            )
    return {field.name: field.type for field in schema}


def packed_columns(footer: Footer, columns: Mapping[str, pa.DataType]) -> list[str]:
    """The columns of texts of which any part is stored as codes, as Parquet calls them: those are read as codes."""
    texts = {
        f"{name}.list.element" if _is(kind, _LISTS) else name for name, kind in columns.items() if _has_texts(kind)
    }
    return sorted({chunk.path for chunk in footer.chunks if chunk.is_coded} & texts)


def _has_texts(kind: pa.DataType) -> bool:
    return _is(kind.value_type if _is(kind, _LISTS) else kind, _TEXTS)


@dataclass(kw_only=True, slots=True)
class Budget:
    """How many bytes the rows may still come to."""

    path: Path
    limit: int
    spent: int = 0

    @classmethod
    def of(cls, path: Path, footer: Footer) -> Budget:
        """By the size of the file. Raises ManifestError where the footer alone says that it holds more."""
        budget = cls(path=path, limit=FREE_BYTES + BYTES_PER_FILE_BYTE * path.stat().st_size)
        n_bytes = sum(chunk.n_bytes for chunk in footer.chunks)
        budget.check(max(n_bytes, footer.n_rows * _fixed_bytes(COLUMNS)))
        return budget

    def spend(self, batch: pa.RecordBatch) -> None:
        """Count a batch as if its texts were written out. Raises ManifestError beyond the limit, or for a long text."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self.spent += _written_out(self._checked(name, column))
        self.check(self.spent)

    def check(self, n_bytes: int) -> None:
        """Raise ManifestError where so many bytes are too many."""
        if n_bytes > self.limit:
            raise ManifestError(
                f"the rows of this file of {self.path.stat().st_size:,} bytes take more than {self.limit:,} bytes",
                where=str(self.path),
                fix="no manifest repeats itself so much: do not use it, and ask who sent it",
            )

    def _checked(self, name: str, column: pa.Array) -> pa.Array:
        limit = LONGEST.get(name)
        if limit is None or not len(column):
            return column
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if longest > limit:
            raise ManifestError(
                f"column {name} holds a text of {longest:,} bytes, at most {limit:,} make sense",
                where=str(self.path),
                fix="do not use it, and ask who sent it",
            )
        return column


def check_rows(table: pa.Table, metadata: Metadata, path: Path) -> None:
    """Raise ManifestError for rows that cannot be: names out of order or out of the root, unknown splits or labels."""
    _check_names(table, path)
    _check_splits(table, path)
    _check_unsup(table, path)
    if not metadata.label_columns:
        _check_targets(table, metadata, path)


def _check_names(table: pa.Table, path: Path) -> None:
    shown = table["file_name"].combine_chunks()
    if shown.null_count or pc.any(pc.less_equal(shown[1:], shown[:-1])).as_py():
        raise ManifestError("the rows are not sorted by file_name, each once", where=str(path), fix=REBUILD)
    raw = table["file_name_bytes"]
    for names in (shown, raw.drop_null()):
        leading = pc.match_substring_regex(names, _ESCAPES)
        if pc.any(leading).as_py():
            first = names.filter(leading)[0].as_py()
            text = display_name(first if isinstance(first, bytes) else first.encode())
            raise ManifestError(
                f'path-escape: "{text}" does not name a file below the root', where=str(path), fix="do not use it"
            )
    there = pc.is_valid(raw)
    pairs = zip(raw.filter(there).to_pylist(), table["file_name"].filter(there).to_pylist(), strict=True)
    for name, text in pairs:
        if display_name(name) != text:
            raise ManifestError(
                f"file_name_bytes is not the name that is shown as {text}", where=str(path), fix=REBUILD
            )


def _check_splits(table: pa.Table, path: Path) -> None:
    for split in pc.unique(table["split"].cast(pa.string())).to_pylist():
        if split is None or to_split(split) != split:
            raise ManifestError(
                f'a row has split "{split}", must be one of {", ".join(SPLITS)} or valid:NAME',
                where=str(path),
                fix=REBUILD,
            )


def _check_unsup(table: pa.Table, path: Path) -> None:
    labels = table["labels"] if "labels" in table.column_names else table["label"]
    is_unsup = pc.equal(table["split"].cast(pa.string()), "unsup")
    if pc.any(pc.and_(is_unsup, labels.is_valid())).as_py():
        raise ManifestError("a row of unsup has a label", where=str(path), fix=REBUILD)


def _check_targets(table: pa.Table, metadata: Metadata, path: Path) -> None:
    """The digest covers rows alone: see that the vocab in the metadata is the one that they were encoded with."""
    vocab, target = metadata.vocab, table["target"]
    outside = pc.or_kleene(pc.less(target, 0), pc.greater_equal(target, len(vocab)))
    if pc.any(outside).as_py():
        first = target.filter(outside)[0]
        raise ManifestError(
            f"target {first} is outside the vocab of {len(vocab)} classes", where=str(path), fix=REBUILD
        )
    meant = pc.take(pa.array(vocab, pa.string()), target)
    differs = pc.not_equal(meant, table["label"])
    if _may_fold(metadata):
        differs = pc.and_(differs, pc.not_equal(meant, OTHER))
    if pc.any(differs).as_py() or pc.any(pc.xor(pc.is_null(meant), pc.is_null(table["label"]))).as_py():
        raise ManifestError(
            "the labels are not those that the vocab gives to the targets", where=str(path), fix=REBUILD
        )


def _may_fold(metadata: Metadata) -> bool:
    """Whether rare labels became `other`, so that a row's label is not its class."""
    states = (entry.get("state") for entry in metadata.processors if entry.get("column") == "label")
    return any(isinstance(state, Mapping) and state.get("other_below") for state in states)


def _written_out(column: pa.Array) -> int:
    """The bytes of a column once its codes are texts."""
    kind = column.type
    if _is(kind, _LISTS):
        return int(column.offsets.nbytes) + _written_out(column.flatten())
    if pa.types.is_dictionary(kind) and _is(kind.value_type, _TEXTS):
        lengths = pc.binary_length(column.dictionary)
        return 8 * len(column) + int(pc.sum(pc.take(lengths, column.indices).cast(pa.int64())).as_py() or 0)
    return int(column.nbytes)


def _fixed_bytes(schema: pa.Schema) -> int:
    """What a row takes at least, in bytes."""
    kinds = [kind.index_type if pa.types.is_dictionary(kind) else kind for kind in schema.types]
    return sum(4 if _is(kind, _TEXTS) else kind.bit_width // 8 for kind in kinds)


def _is(kind: pa.DataType, tests: Sequence[object]) -> bool:
    return any(test(kind) for test in tests)  # type: ignore[operator]
