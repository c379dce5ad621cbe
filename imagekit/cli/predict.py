"""`imagekit predict`: a run and images in, a Parquet file and a table out."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import (
    Outcome,
    imagekit_command,
    output_option,
    overwrite_option,
    progress,
    workers_option,
)
from imagekit.cli.torch_process import prepare_for_torch


@imagekit_command(
    "predict",
    examples=[
        "imagekit predict run holiday.jpg more/pictures -o predictions.parquet",
        "imagekit predict run pictures -o other.parquet --checkpoint last --json",
    ],
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@output_option("Parquet file to write, a row an image.")
@click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="NAME",
    help="Weights to use: best, last, or a kept epoch, as epoch-0007.",
)
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, mps.")
@workers_option
@overwrite_option
def predict(
    run: Path, paths: tuple[Path, ...], output: Path, checkpoint: str, device: str, workers: int, overwrite: bool
) -> Outcome:
    """Say what images show: the files given, and every image below the folders given.

    Images are seen as in training's validation, and classes are the run's. Files that cannot be used are listed in
    OUTPUT.quarantine.jsonl, each with its reason.
    """
    prepare_for_torch()
    from imagekit.training.predict import predict as say

    with progress(None, "images") as bar:
        return say(
            run,
            paths,
            output=output,
            checkpoint=checkpoint,
            n_workers=workers,
            device=device,
            overwrite=overwrite,
            progress=bar.report,
        )
