"""Read every byte of a subset again and compare it with what its records say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.environment import count_cores
from imagekit.errors import ImageError
from imagekit.files.checks import CheckFile, Fault, fault_lines, outcome_counts, read_quarantine
from imagekit.files.hashes import sha256_file
from imagekit.files.names import display_name, raw_name
from imagekit.rules.outcomes import counted
from imagekit.subset.foreign import foreign_files
from imagekit.subset.layout import FILES, FOLDER, QUARANTINE, RECEIPT, STATE, UNLABELLED
from imagekit.subset.receipt import Receipt, read_receipt

BATCH_ROWS = 16_384

Progress = Callable[[int, int], object]  # files checked, files in all


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """The outcome of a check: how much was read, and every fault."""

    subset: Path
    n_files: int
    n_bytes: int
    faults: tuple[Fault, ...]

    @property
    def exit_code(self) -> int:
        """0 when all is as it was written, else 3."""
        return 3 if self.faults else 0

    @property
    def next_command(self) -> str | None:
        """Nothing: a subset that is whole needs nothing, and one with faults another look at the disk."""
        return None

    def summary(self) -> str:
        """The report as text."""
        read = f"{self.subset}: {self.n_files:,} images, {self.n_bytes / 1e6:,.1f} MB read"
        if not self.faults:
            return f"{read}; every byte is as it was written, and every file found has its outcome"
        return "\n".join([read, *fault_lines(self.faults), *self._remedies()])

    def _remedies(self) -> list[str]:
        """What mends each kind of fault. Whatever has size and time of what was written, make-subset takes for that."""
        kinds = {fault.kind for fault in self.faults}
        lines = []
        if kinds & {"altered", "unreadable"}:
            again = "run the same make-subset command again, or run it with --overwrite"
            lines.append(f"remove the altered and unreadable files and {again}")
        elif "missing" in kinds:
            lines.append("the same make-subset command makes what is missing")
        if "records" in kinds:
            lines.append("make-subset with --overwrite makes everything, the records too")
        if "extra" in kinds:
            lines.append("move elsewhere what make-subset did not write")
        return lines

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        faults = [{"kind": fault.kind, "name": fault.name, "detail": fault.detail} for fault in self.faults]
        return {"subset": str(self.subset), "n_files": self.n_files, "n_bytes": self.n_bytes, "faults": faults}


def verify_subset(
    subset: Path | str, *, n_workers: int | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Re-read every image of a subset and its records.

    Checked: the digests of the tables against the receipt; the law that every file found has one outcome; size and
    sha256 of each image; that nothing lies there that is not listed. Nothing is changed.
    Raises OutputError where the folder is no subset or its receipt cannot be read.
    """
    subset = Path(subset)
    receipt = read_receipt(subset)
    faults = list(dict.fromkeys(_check_records(subset, receipt)))  # what is missing is missed twice
    n_files = n_bytes = 0
    written = receipt.counts.get("written")
    total = sum(written.values()) if isinstance(written, dict) else 0
    check = CheckFile(root=os.fspath(subset))
    with ThreadPoolExecutor(n_workers or count_cores()) as pool:  # hashing lets go of the interpreter
        for batch in _written(subset):
            for row, checked in zip(batch, pool.map(check, map(_item, batch)), strict=True):
                n_files, n_bytes = n_files + 1, n_bytes + checked.n_bytes
                faults += [Fault(checked.kind, row["out_name"], checked.detail)] if checked.kind else []
            if progress:
                progress(n_files, max(total, n_files))
    if n_files != total:
        detail = f"the receipt counts {total:,} images, the tables list {n_files:,}"
        faults.append(Fault("records", "receipt.json", detail))
    faults += [Fault("extra", name, "make-subset did not write it") for name in _extra(subset, receipt)]
    return VerifyReport(subset=subset, n_files=n_files, n_bytes=n_bytes, faults=tuple(faults))


def _check_records(subset: Path, receipt: Receipt) -> Iterator[Fault]:
    folder = subset / FOLDER
    digests = {
        FILES: receipt.files_sha256,
        UNLABELLED: receipt.unlabelled_sha256,
        QUARANTINE: receipt.quarantine_sha256,
    }
    for name, digest in digests.items():
        if digest is None:
            continue
        try:
            if sha256_file(folder / name).hex() != digest:
                yield Fault("records", name, "its sha256 is not the one in the receipt")
        except ImageError as error:
            yield Fault("records", name, error.detail)
    try:
        outcomes, quarantined = _read_outcomes(folder)
    except (OSError, KeyError, pa.ArrowException) as error:
        yield Fault("records", FILES, f"it cannot be read: {error}")
    else:
        yield from _check_law(outcomes, receipt.counts)
        yield from _check_quarantine(folder, quarantined)


def _read_outcomes(folder: Path) -> tuple[dict[str, int], set[str]]:
    """How many rows of files.parquet have each outcome, and the names, as shown, of those in quarantine."""
    outcomes: dict[str, int] = {}
    quarantined: set[str] = set()
    for batch in pq.ParquetFile(folder / FILES).iter_batches(BATCH_ROWS, columns=["file_name", "outcome"]):
        kinds = batch["outcome"].cast(pa.string())
        for kind, n in counted(kinds.to_pylist()).items():
            outcomes[kind] = outcomes.get(kind, 0) + n
        quarantined |= set(batch["file_name"].filter(pa.compute.equal(kinds, "quarantined")).to_pylist())
    return outcomes, quarantined


def _check_law(outcomes: Mapping[str, int], counts: Mapping[str, Any]) -> Iterator[Fault]:
    """Every file found has one outcome."""
    try:
        found, told = outcome_counts(counts)
    except ValueError as error:
        yield Fault("records", "receipt.json", str(error))
        return
    for kind, n in told.items():
        if outcomes.get(kind, 0) != n:
            yield Fault("records", FILES, f"it has {outcomes.get(kind, 0):,} rows {kind}, the receipt counts {n:,}")
    if found != sum(told.values()):
        yield Fault("records", "receipt.json", f"found {found:,} is not the sum of the outcomes")


def _check_quarantine(folder: Path, quarantined: Set[str]) -> Iterator[Fault]:
    """Every file in quarantine has its line."""
    try:
        listed = {row["file_name"] for row in read_quarantine(folder / QUARANTINE)}
    except OSError as error:
        yield Fault("records", QUARANTINE, error.strerror or str(error))
        return
    except ValueError as error:
        yield Fault("records", QUARANTINE, str(error))
        return
    for name in sorted(quarantined - listed):
        yield Fault("records", QUARANTINE, f"it has no line for {name}")


def _written(subset: Path) -> Iterator[list[dict[str, Any]]]:
    """Name, size and sha256 of every image that was written, in batches."""
    for name in (FILES, UNLABELLED):
        path = subset / FOLDER / name
        if not path.exists():
            continue
        columns = ["out_name", "out_size_bytes", "out_sha256"]
        try:
            for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
                yield batch.filter(batch["out_name"].is_valid()).to_pylist()
        except (OSError, KeyError, pa.ArrowException):
            return  # told already: the table cannot be read


def _item(row: dict[str, Any]) -> tuple[bytes, int, bytes]:
    """A row as CheckFile takes it."""
    return raw_name(row["out_name"]), row["out_size_bytes"], row["out_sha256"]


def _extra(subset: Path, receipt: Receipt) -> list[str]:
    """Files that are not ours, those among the records too."""
    ours = {RECEIPT, FILES, QUARANTINE, STATE} | ({UNLABELLED} if receipt.unlabelled_sha256 else set())
    among_records = {path.name for path in (subset / FOLDER).iterdir()} - ours
    extra = [display_name(os.fsencode(f"{FOLDER}/{name}")) for name in sorted(among_records)]
    return extra if not (subset / FOLDER / FILES).exists() else [*extra, *foreign_files(subset)]
