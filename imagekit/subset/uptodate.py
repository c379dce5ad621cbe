"""Tell whether an existing subset still matches its source, from `state.parquet` and one stat a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.files.hashes import sha256_file
from imagekit.files.names import to_path
from imagekit.subset.plan import Plan
from imagekit.subset.receipt import FILES, FOLDER, STATE, STATE_SCHEMA, read_receipt

# a file that changed within two seconds of the build may have changed again unseen: its time stamp proves nothing
SETTLED_NS = 2_000_000_000


def is_up_to_date(output: Path, source: Path, plan: Plan) -> bool:
    """True when the plan is the one that was built, no source file changed since and every output still stands."""
    path = output / FOLDER / STATE
    try:
        state = pq.read_table(path)
        built_ns = path.stat().st_mtime_ns
        listed = sha256_file(output / FOLDER / FILES).hex()
    except (OSError, pa.ArrowException):
        return False  # only a cache: without it everything is built again
    if not state.schema.equals(STATE_SCHEMA) or listed != read_receipt(output).files_sha256:
        return False
    if (state.schema.metadata or {}).get(b"plan") != plan.digest().encode():
        return False
    return all(_unchanged(row, output=output, source=source, built_ns=built_ns) for row in state.to_pylist())


def _unchanged(row: dict[str, Any], *, output: Path, source: Path, built_ns: int) -> bool:
    if row["mtime_ns"] is None:  # it was quarantined: look at it again
        return False
    try:
        now = to_path(source, row["name"]).lstat()
        made = to_path(output, row["out_name"]).lstat()
    except OSError:
        return False
    same = (now.st_size, now.st_mtime_ns, now.st_ino) == (row["size_bytes"], row["mtime_ns"], row["inode"])
    return same and built_ns - now.st_mtime_ns > SETTLED_NS and made.st_size == row["out_size_bytes"]


def read_built(output: Path, plan: Plan) -> list[dict[str, Any]]:
    """The facts of every selected image as files.parquet has them, in the plan's order."""
    table = pq.read_table(output / FOLDER / FILES).to_pylist()
    by_name = {row["file_name_bytes"] or row["file_name"].encode(): row for row in table}
    kept = [by_name[chosen.name] for chosen in plan.selected]
    return [{key: value for key, value in row.items() if value is not None} for row in kept]
