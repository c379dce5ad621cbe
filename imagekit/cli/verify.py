"""`imagekit verify`: read everything again and compare it with the records."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command, progress, root_option, workers_option
from imagekit.errors import UsageError


@imagekit_command("verify", examples=["imagekit verify nette160"])
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@root_option
@workers_option
def verify(path: Path, root: Path | None, workers: int) -> Outcome:
    """Read every byte of a subset or of a manifest's images again and compare it with the records.

    PATH is a subset folder or a manifest file. Tells what is missing, altered or extra, and whether every file that was
    found has its one outcome; exit 3 if anything is not as it was written. Nothing is changed.
    """
    with progress(None, "images") as bar:
        if not _is_subset(path, root):
            from imagekit.manifest.verify import verify_manifest

            return verify_manifest(path, root=root, n_workers=workers, progress=bar.report)
        from imagekit.subset.verify import verify_subset

        return verify_subset(path, n_workers=workers, progress=bar.report)


def _is_subset(path: Path, root: Path | None) -> bool:
    if path.is_file() or (path.suffix == ".parquet" and not path.is_dir()):
        return False
    if root is not None:
        raise UsageError(
            "--root belongs to a manifest, and this is not a file",
            where=str(path),
            fix="give the manifest, or no --root",
        )
    return True
