"""Export a manifest: the same rows in another program's format, written aside and published whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import OutputError, UsageError, did_you_mean
from imagekit.files import seam
from imagekit.files.atomic import publish_folder, staging_folder, sync_tree
from imagekit.files.lock import output_lock
from imagekit.manifest.export_croissant import rows_beside, write_croissant
from imagekit.manifest.export_csv import write_csv
from imagekit.manifest.export_hf import write_hf
from imagekit.manifest.export_imagefolder import write_imagefolder
from imagekit.manifest.export_source import ExportSource, check_images
from imagekit.manifest.export_webdataset import write_webdataset
from imagekit.manifest.read import read_manifest

Writer = Callable[[ExportSource, Path], tuple[str, ...]]

# what writes into an empty folder, images and all; what writes a file that lists them
FOLDERS: dict[str, Writer] = {"hf": write_hf, "imagefolder": write_imagefolder, "webdataset": write_webdataset}
FILES: dict[str, Writer] = {"csv": write_csv, "croissant": write_croissant}
FORMATS = ("hf", "csv", "croissant", "imagefolder", "webdataset")
READ_WITH = {
    "hf": 'datasets.load_dataset("{output}")',
    "csv": 'pandas.read_csv("{output}")',
    "croissant": 'mlcroissant.Dataset("{output}").records("images")',
    "imagefolder": 'torchvision.datasets.ImageFolder("{output}/train")',
    "webdataset": 'webdataset.WebDataset("{output}/train-000000.tar")',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was exported. notes: what a reader of the output must know, a sentence each."""

    manifest: Path
    to: str
    output: Path
    n_rows: int
    per_split: dict[str, int]
    notes: tuple[str, ...]
    seconds: float
    exit_code: int = 0

    @property
    def next_command(self) -> None:
        """The way goes on in another program."""
        return

    def summary(self) -> str:
        """The report as text."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.per_split.items())
        lines = [f"exported {self.n_rows:,} rows: {splits}", *(f"  {note}" for note in self.notes)]
        read_with = READ_WITH[self.to].format(output=self.output)
        return "\n".join([*lines, f"built: {self.output} in {self.seconds:.1f} s", f"read it with {read_with}"])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "manifest": str(self.manifest),
            "to": self.to,
            "output": str(self.output),
            "n_rows": self.n_rows,
            "per_split": dict(self.per_split),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def export_manifest(
    path: Path | str,
    *,
    to: str,
    output: Path | str,
    root: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ExportReport:
    """Write the rows of a manifest as `to` says: hf, csv, croissant, imagefolder or webdataset.

    output: a file for csv and croissant, else a folder; it may not exist. root: the folder of the images, if it moved.
    Formats that carry the images need them where the manifest says, and with the size that it says.
    Raises UsageError for an unknown format or one that cannot hold these rows, OutputError for an output that exists,
    SourceError for images that are missing (all exit 2), ManifestError for a damaged manifest or a changed image (1),
    LockedError (4).
    """
    begun, output = time.monotonic(), Path(output)
    if to not in FORMATS:
        raise UsageError(f"no such format: {to}", where="--to", fix=did_you_mean(to, FORMATS))
    _refuse_existing(output)
    manifest = read_manifest(path)
    source = ExportSource(manifest=manifest, root=Path(root) if root else manifest.root, progress=progress)
    if to == "croissant":
        rows_beside(output)
    if to in FOLDERS:
        check_images(source)
    with output_lock(output):
        _refuse_existing(output)  # another export may have ended meanwhile
        notes = FILES[to](source, output) if to in FILES else _write_folder(FOLDERS[to], source, output)
    return ExportReport(
        manifest=Path(path),
        to=to,
        output=output,
        n_rows=manifest.table.num_rows,
        per_split={split: len(source.rows_of(split)) for split in source.splits},
        notes=notes,
        seconds=time.monotonic() - begun,
    )


def _refuse_existing(output: Path) -> None:
    if os.path.lexists(output):
        raise OutputError(
            "the output exists, an export replaces nothing", where=str(output), fix="give another -o, or remove it"
        )


def _write_folder(write: Writer, source: ExportSource, output: Path) -> tuple[str, ...]:
    staging = staging_folder(output)
    if staging.exists():
        seam.remove_tree(staging)  # what a killed export left
    try:
        staging.mkdir()
        notes = write(source, staging)
        sync_tree(staging)
        publish_folder(staging, output)
    except BaseException:
        if staging.exists():
            seam.remove_tree(staging)
        raise
    return notes
