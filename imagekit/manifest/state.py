"""What an earlier run found out about the files, kept beside the manifest as FILE.state: a cache for fast reruns.

A row a file that was looked at: its raw name, the stamp that it had when it was read, and the facts of LAYOUT. The
schema's metadata notes with which check and versions they were found, and of a finished run what went in and came out.
It stands outside every promise of same bytes, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.engine.facts import FactTable
from imagekit.files.atomic import atomic_file
from imagekit.files.stamps import ABSENT, SETTLED_NS, stat_all
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.image import LAYOUT

_NOTES, _NOTES_SHA256 = b"imagekit-state", b"imagekit-state-sha256"
_DIGESTS = "digests"
# what reading damaged bytes raises; what was read is compared with its digest on top
DAMAGE = (OSError, KeyError, ValueError, IndexError, UnicodeDecodeError, pa.ArrowException)
_VERSION = 1
_WORDS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("name", pa.large_binary()),
        *((name, pa.from_numpy_dtype(kind)) for name, kind in LAYOUT.numbers.items()),
        *((name, _WORDS) for name in LAYOUT.words),
        *((name, pa.binary(32)) for name in LAYOUT.digests),
        *((name, pa.string()) for name in LAYOUT.rare),
    ]
)

Mask = npt.NDArray[np.bool_]


def programs(check: str) -> dict[str, Any]:
    """What the facts depend on beside the files: how far they were looked into, and by what."""
    names = ("imagekit", "pillow", "pyarrow")
    return {"state_version": _VERSION, "check": check, "versions": {name: version(name) for name in names}}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """What a state knows of n names of today. is_unchanged: bool[n], files that are as they were when they were read.

    at: int64[n], the row of the state that each name has, -1 for none. digests: of each column of the state.
    """

    path: Path
    is_unchanged: Mask
    at: npt.NDArray[np.int64]
    digests: Mapping[str, str]

    def covers(self, rows: npt.NDArray[np.int64]) -> bool:
        """Whether nothing of these rows has to be read."""
        return bool(self.is_unchanged[rows].all())

    def load(self, facts: FactTable, rows: npt.NDArray[np.int64]) -> bool:
        """Put what is known of those of `rows` that are unchanged into `facts`; False where the state is damaged.

        Then `facts` holds part of it, and is of no use.
        """
        rows = rows[self.is_unchanged[rows]]
        if not len(rows):
            return True
        try:
            for name in SCHEMA.names[1:]:
                table = pq.read_table(self.path, columns=[name])
                if rows_sha256(table) != self.digests.get(name):
                    return False
                facts.put_columns(rows, name, table[name].take(pa.array(self.at[rows])).combine_chunks())
        except DAMAGE:
            return False  # a cache: without it everything is looked at again
        return True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """A state file that fits: where it lies, its notes, when it was written (nanoseconds), its names and stamps."""

    path: Path
    notes: Mapping[str, Any]
    saved_ns: int
    known: pa.Table

    def compare(self, root: Path, names: pa.LargeBinaryArray) -> Known:
        """Compare with the files as they are now, by raw names below root; one system call a file."""
        old = self.known["name"].combine_chunks()
        # the usual case, a rerun over the same folder, needs no search
        at = np.arange(len(names)) if old.equals(names) else _find(names, old)
        numbers, _, mtimes = stat_all(root, names)
        then = np.asarray(self.known["stamp"].combine_chunks().fill_null(ABSENT))
        stamps = np.where(at >= 0, then[np.maximum(at, 0)], ABSENT) if len(then) else np.zeros(len(names), np.uint64)
        # a file that was young when the state was saved may have changed again unseen
        settled = self.saved_ns - mtimes > SETTLED_NS
        return Known(
            path=self.path,
            is_unchanged=(stamps != ABSENT) & (stamps == numbers) & settled,
            at=at,
            digests=self.notes[_DIGESTS],
        )


def read_state(path: Path, *, check: str) -> State | None:
    """The state at `path`; None where there is none, it is damaged, or was found with another check or version."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            text = (schema.metadata or {})[_NOTES]
        if not schema.equals(SCHEMA) or hashlib.sha256(text).hexdigest() != schema.metadata[_NOTES_SHA256].decode():
            return None
        notes, saved_ns = json.loads(text), path.stat().st_mtime_ns
        known = pq.read_table(path, columns=["name", "stamp"])
        if any(rows_sha256(known.select([name])) != notes[_DIGESTS][name] for name in known.column_names):
            return None
    except DAMAGE:
        return None  # a cache: without it everything is looked at again
    fits = all(notes.get(key) == value for key, value in programs(check).items())
    return State(path=path, notes=notes, saved_ns=saved_ns, known=known) if fits else None


def write_state(
    path: Path, names: pa.LargeBinaryArray, facts: FactTable, *, check: str, notes: Mapping[str, Any]
) -> None:
    """Save what is known about every row that is done. notes: of a finished run, else {}."""
    rows = np.flatnonzero(facts.is_done)
    columns = [names.take(pa.array(rows)) if len(rows) < len(names) else names]
    columns += [facts.to_arrow(name, rows).cast(SCHEMA.field(name).type) for name in SCHEMA.names[1:]]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    digests = {name: rows_sha256(table.select([name])) for name in table.column_names}
    text = json.dumps({**programs(check), **notes, _DIGESTS: digests}, sort_keys=True).encode()
    seal = hashlib.sha256(text).hexdigest().encode()
    table = table.replace_schema_metadata({_NOTES: text, _NOTES_SHA256: seal})
    with atomic_file(path) as aside:
        pq.write_table(table, aside, compression="zstd", compression_level=1)


def _find(names: pa.LargeBinaryArray, old: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.index_in(names, value_set=old).fill_null(-1)).astype(np.int64)
