"""Read every byte of every image of a manifest again and compare it with the rows, and the rows with the metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.engine.pool import Failed, run_items
from imagekit.environment import count_cores
from imagekit.files.checks import (
    Checked,
    CheckFile,
    Fault,
    count_reasons,
    fault_lines,
    outcome_counts,
    read_quarantine,
)
from imagekit.files.discover import discover
from imagekit.files.names import display_name, raw_name
from imagekit.files.plain import plain
from imagekit.manifest.beside import quarantine_path
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.row_checks import check_groups, check_rows

BATCH_ROWS = 16_384
READ_SECONDS = 300.0  # for one file: half a gigabyte from a slow disk

Progress = Callable[[int, int], object]  # files checked, files in all
Item = tuple[bytes, int | None, bytes | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCheck:
    """The outcome of a check: how much was read, every fault, and what is worth knowing and no fault."""

    manifest: Path
    root: Path
    n_files: int
    n_bytes: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when all is as the manifest says, else 3."""
        return 3 if self.faults else 0

    @property
    def next_command(self) -> str | None:
        """Nothing: a manifest that is true needs nothing, and one with faults another look at the disk."""
        return None

    def summary(self) -> str:
        """The report as text."""
        read = f"{self.manifest}: {self.n_files:,} images below {plain(str(self.root))},"
        read = f"{read} {self.n_bytes / 1e6:,.1f} MB read"
        if not self.faults:
            return "\n".join([f"{read}; every image is as the manifest says", *self.notes])
        return "\n".join([read, *fault_lines(self.faults), *self._remedies(), *self.notes])

    def _remedies(self) -> list[str]:
        """What mends each kind of fault."""
        kinds = {fault.kind for fault in self.faults}
        lines = []
        if kinds & {"missing", "altered", "unreadable"}:
            lines.append("restore the images from a copy, or build the manifest again if they are meant to be so;")
            lines.append("if they all moved, give their folder with --root")
        if "extra" in kinds:
            lines.append("build the manifest again to take the extra images in, or move them elsewhere")
        if "leak" in kinds:
            lines.append("build the manifest again with --leaks drop or --leaks move: results on valid would flatter")
        if "records" in kinds:
            lines.append("build the manifest again, or restore it and its quarantine list from a copy")
        return lines

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        faults = [{"kind": fault.kind, "name": fault.name, "detail": fault.detail} for fault in self.faults]
        facts = {"manifest": str(self.manifest), "root": str(self.root), "n_files": self.n_files}
        return {**facts, "n_bytes": self.n_bytes, "faults": faults, "notes": list(self.notes)}


def verify_manifest(
    path: Path | str, *, root: Path | None = None, n_workers: int | None = None, progress: Progress | None = None
) -> ManifestCheck:
    """Read every image that a manifest lists again, and the manifest with it.

    Checked: the digest of the rows; that names, splits, folds, groups and counts agree; size and sha256 of each image,
    in worker processes; that every image below the root has a row, its line in the quarantine list, or was left out by
    rule. Statistics and difference hashes are not computed anew. Nothing is changed.
    root: the folder of the images, if they moved. n_workers: None for one a core.
    Raises ManifestError where the manifest is damaged, SourceError where it or the root is not there.
    """
    manifest = read_manifest(path)
    root = root or manifest.root
    unlisted = discover(root)  # first: it says at once that the root is not there
    quarantined, faults = _check_quarantine(manifest)
    torn, notes = check_groups(manifest)
    faults += [*check_rows(manifest), *torn]
    n_bytes = 0
    for row, checked in _check_files(manifest, root, n_workers=n_workers or count_cores(), progress=progress):
        n_bytes += checked.n_bytes
        if checked.kind:
            faults.append(Fault(checked.kind, str(manifest.table["file_name"][row].as_py()), checked.detail))
    extra, more = _check_extra(manifest, unlisted.names, quarantined)
    faults += extra
    faults += [
        Fault("unreadable", folder, f"the folder cannot be listed: {detail}")
        for folder, detail in unlisted.unreadable
        if folder not in quarantined
    ]
    return ManifestCheck(
        manifest=manifest.path,
        root=root,
        n_files=manifest.table.num_rows,
        n_bytes=n_bytes,
        faults=tuple(sorted(faults, key=lambda fault: (fault.kind, fault.name))),
        notes=(*notes, *more, *_unread(manifest)),
    )


def _items(manifest: Manifest) -> Iterator[Item]:
    columns = manifest.table.select(["file_name", "file_name_bytes", "size_bytes", "sha256"])
    for batch in columns.to_batches(BATCH_ROWS):
        rows = pa.Table.from_batches([batch])
        names = manifest.raw_names(rows).fill_null(b"").to_pylist()
        yield from zip(names, rows["size_bytes"].to_pylist(), rows["sha256"].to_pylist(), strict=True)


def _check_files(
    manifest: Manifest, root: Path, *, n_workers: int, progress: Progress | None
) -> Iterator[tuple[int, Checked]]:
    """(row, what was found) of every row, in the order of completion."""
    task = CheckFile(root=os.fspath(root), verb="recorded")
    results = run_items(task, _items(manifest), n_workers=n_workers, timeout_s=READ_SECONDS)
    for n_done, result in enumerate(results, start=1):
        if isinstance(result, Failed):
            yield result.index, Checked(0, "unreadable", f"{result.reason}: {result.detail}")
        else:
            yield result.index, result.value
        if progress:
            progress(n_done, manifest.table.num_rows)


def _check_quarantine(manifest: Manifest) -> tuple[set[str], list[Fault]]:
    """The names, as shown, in the quarantine list, and what is wrong with it: fewer lines than files were counted."""
    path = quarantine_path(manifest.path)
    counted = manifest.metadata.counts.get("quarantined")
    counts = counted if isinstance(counted, dict) else {}  # check_rows tells of another shape
    if not counts and not path.exists():
        return set(), []
    try:
        rows = read_quarantine(path)
    except OSError as error:
        return set(), [Fault("records", path.name, error.strerror or str(error))]
    except ValueError as error:
        return set(), [Fault("records", path.name, str(error))]
    listed = count_reasons(rows)  # folders that cannot be listed have a line and are in no count
    return {row["file_name"] for row in rows}, [
        Fault("records", path.name, f"it lists {listed.get(reason, 0):,} files {plain(reason)}, {count:,} were counted")
        for reason, count in sorted(counts.items())
        if isinstance(count, int) and listed.get(reason, 0) < count
    ]


def _check_extra(
    manifest: Manifest, found: pa.LargeBinaryArray, quarantined: set[str]
) -> tuple[list[Fault], list[str]]:
    """Images that no row and no line of the quarantine list names: faults, as far as no rule left them out.

    The manifest counts what a rule left out and does not name it, so up to that many are taken for these.
    """
    known = manifest.raw_names(manifest.table)
    listed = pa.array([raw_name(name) for name in sorted(quarantined)], pa.large_binary())
    without = found.filter(pc.invert(pc.is_in(found, value_set=pa.concat_arrays([known, listed]))))
    n_left_out = _n_left_out(manifest)
    if len(without) and len(without) <= n_left_out:
        verb = "image has" if len(without) == 1 else "images have"
        return [], [f"{len(without):,} {verb} no row; {n_left_out:,} left out by rule when it was built"]
    detail = "no row names it"
    if n_left_out:
        detail += f": {len(without):,} images have none, and only {n_left_out:,} were left out by rule"
    return [Fault("extra", display_name(name), detail) for name in without.to_pylist()], []


def _n_left_out(manifest: Manifest) -> int:
    """How many images were left out by rule; links are no images."""
    try:
        outcome_counts(manifest.metadata.counts)
    except ValueError:  # told by check_rows
        return 0
    excluded = manifest.metadata.counts["excluded"]
    return sum(count for rule, count in excluded.items() if rule != "symlink")


def _unread(manifest: Manifest) -> list[str]:
    """What was not compared, in words."""
    n_unread = manifest.table["sha256"].null_count
    if not n_unread:
        return []
    check = plain(manifest.metadata.check)
    return [f"{n_unread:,} rows have no sha256 (built with --check {check}): only the size was compared, not the bytes"]
