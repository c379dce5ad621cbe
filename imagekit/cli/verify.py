"""`imagekit verify`: read everything again and compare it with the records."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command, progress, workers_option


@imagekit_command("verify", examples=["imagekit verify nette160"])
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@workers_option
def verify(path: Path, workers: int) -> Outcome:
    """Read every byte of the subset at PATH again and compare it with its records.

    Tells what is missing, altered or extra, and whether every file that was found has its one outcome; exit 3 if
    anything is not as it was written. Nothing is changed.
    """
    from imagekit.subset.verify import verify_subset

    with progress(None, "images") as bar:
        return verify_subset(path, n_workers=workers, progress=bar.report)
