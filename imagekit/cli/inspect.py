"""`imagekit inspect`: what a manifest holds."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command


@imagekit_command("inspect", examples=["imagekit inspect nette160/metadata.parquet"])
@click.argument("file", type=click.Path(path_type=Path))
def inspect(file: Path) -> Outcome:
    """Show what the manifest FILE holds: splits by classes, columns, statistics, digest, the first rows."""
    from imagekit.manifest.inspect import inspect_manifest

    return inspect_manifest(file)
