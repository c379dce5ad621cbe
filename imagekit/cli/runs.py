"""`imagekit runs`: the runs in a folder, what became of each, and how to go on."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command


@imagekit_command("runs", examples=["imagekit runs", "imagekit runs run --json"])
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=".")
def runs(folder: Path) -> Outcome:
    """List the runs of imagekit train in DIR: itself and the folders below it.  [default: .]

    Each is done, running, interrupted, failed, or dead: it calls itself running, and its process is gone. Best is the
    best valid accuracy so far. Folders are looked through four levels deep, hidden ones and links left out. The exit
    code is 3 where something could not be read.
    """
    from imagekit.runs.listing import list_runs

    return list_runs(folder)
