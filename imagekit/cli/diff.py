"""`imagekit diff`: what changed between two manifests."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command


@imagekit_command("diff", examples=["imagekit diff photos.parquet new.parquet"])
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--exit-code", "code", is_flag=True, flag_value=3, default=0, help="Exit with 3 where they differ.")
def diff(old: Path, new: Path, code: int) -> Outcome:
    """Tell what changed from the manifest OLD to the manifest NEW.

    Class ids that moved come first, then rows that were added, removed, renamed, changed, relabelled or moved to
    another split, then statistics, rules and fitted state. Rows are matched by file_name. Text shows the first five of
    each, --json all of them.
    """
    from imagekit.manifest.diff import diff_manifests

    return diff_manifests(old, new, code=code)
