"""`imagekit inspect`: what a manifest holds."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command


@imagekit_command("inspect", examples=["imagekit inspect nette160/metadata.parquet"])
@click.argument("file", type=click.Path(path_type=Path))
def inspect(file: Path) -> Outcome:
    """Show what the manifest FILE holds, and what lies beside it.

    Splits by classes with the share of each class, folds, groups, rules and options, statistics, sizes, fitted
    processors, columns and why one is empty, the first rows. Of more than 40 classes the first and last 20 are shown;
    --json tells all.
    """
    from imagekit.manifest.inspect import inspect_manifest

    return inspect_manifest(file)
