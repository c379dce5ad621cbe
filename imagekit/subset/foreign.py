"""Files in an existing subset that make-subset did not write: a rebuild exchanges the whole folder, so they would go.

Ours are `.imagekit/`, the images that files.parquet lists, and what `imagekit manifest` puts at the top by default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.errors import OutputError
from imagekit.files.names import display_name
from imagekit.subset.layout import FILES, FOLDER, UNLABELLED

MANIFEST = "metadata.parquet"
SHOWN = 3
_OURS = (MANIFEST, f"{MANIFEST}.quarantine.jsonl", f"{MANIFEST}.state", f".{MANIFEST}.imagekit-lock")
_TEMPORARY = ".imagekit-tmp-"  # left at the top by a manifest command that was killed


def refuse_foreign_files(output: Path) -> None:
    """Raise OutputError when the subset holds files of somebody else, which a rebuild would take away."""
    foreign = foreign_files(output)
    if not foreign:
        return
    noun = "1 file" if len(foreign) == 1 else f"{len(foreign):,} files"
    listed = ", ".join(foreign[:SHOWN]) + (", ..." if len(foreign) > SHOWN else "")
    raise OutputError(
        f"the output holds {noun} that make-subset did not write: {listed}",
        where=str(output),
        fix="move them elsewhere, or give another -o",
    )


def foreign_files(output: Path) -> list[str]:
    """The names, as shown and sorted, of what lies in a subset and make-subset did not write.

    Raises OutputError where the list of what it wrote cannot be read.
    """
    written = _written(output)
    foreign = [name for name in _files(output) if not _is_ours(name) and name not in written]
    if (output / MANIFEST).exists() and not has_manifest(output):
        foreign.append(MANIFEST)
    return sorted(foreign)


def has_manifest(output: Path) -> bool:
    """Whether a manifest lies in the subset; it describes the version it lies in, and goes with it."""
    try:
        metadata = pq.read_schema(output / MANIFEST).metadata or {}
    except (OSError, pa.ArrowException):
        return False  # others use that name as well
    return b"imagekit" in metadata


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(f"{FOLDER}/") or ("/" not in name and name.startswith(_TEMPORARY))


def _written(output: Path) -> set[str]:
    """The names, as shown, of every image that the last build wrote."""
    path = output / FOLDER / FILES
    try:
        hidden = output / FOLDER / UNLABELLED
        tables = [pq.read_table(one, columns=["out_name"]) for one in (path, hidden) if one == path or one.exists()]
        return {name for table in tables for name in table["out_name"].drop_null().to_pylist()}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise OutputError(
            "the list of the files that make-subset wrote cannot be read, so nobody can tell what else lies there",
            where=str(path),
            fix="give another -o, or move that folder away yourself",
        ) from error


def _files(output: Path) -> Iterator[str]:
    """Relative names, as shown, of everything below that is no folder; links are named, not followed."""
    root = os.fsencode(output)
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118 (bytes)
        for name in [*files, *links]:
            yield display_name(os.path.relpath(os.path.join(folder, name), root))  # noqa: PTH118 (bytes)
