"""`imagekit report`: a run in, one HTML file out."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command, output_option, root_option


@imagekit_command("report", examples=["imagekit report run -o report.html"])
@click.argument("run", type=click.Path(path_type=Path))
@output_option("HTML file to write.  [default: RUN/report.html]", required=False)
@root_option
def report(run: Path, output: Path | None, root: Path | None) -> Outcome:
    """Write the report of RUN as one self-contained HTML file: curves, confusion matrix, epochs, worst predictions.

    The worst predictions have their pictures: below --root, or where the manifest that the run names is still there.
    """
    from imagekit.look.report import write_report

    return write_report(run, output=output, images_root=root)
