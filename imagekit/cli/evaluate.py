"""`imagekit evaluate`: a run and a manifest in, accuracy out."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Outcome, imagekit_command, root_option
from imagekit.cli.running_options import decoders_option
from imagekit.cli.torch_process import prepare_for_torch


@imagekit_command(
    "evaluate",
    examples=[
        "imagekit evaluate run nette160/metadata.parquet",
        "imagekit evaluate run nette160/metadata.parquet --checkpoint last --split train",
    ],
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--split", default="valid", show_default=True, metavar="NAME", help="Rows to look at.")
@click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="NAME",
    help="Weights to use: best, last, or a kept epoch, as epoch-0007.",
)
@click.option("--target-column", metavar="COLUMN", help="Measure on this column.  [default: the checkpoint's]")
@click.option("--fold", type=int, metavar="K", help="Take this fold as valid.  [default: the checkpoint's]")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, mps.")
@root_option
@decoders_option
def evaluate(
    run: Path,
    file: Path,
    split: str,
    checkpoint: str,
    target_column: str | None,
    fold: int | None,
    device: str,
    root: Path | None,
    workers: int,
) -> Outcome:
    """Measure a checkpoint of RUN on rows of the manifest FILE: accuracy, loss, accuracy per class.

    Size, mean, std, precision and classes are the checkpoint's; a manifest with other classes is refused.
    """
    prepare_for_torch()
    from imagekit.training.evaluate import evaluate as measure

    return measure(
        run,
        file,
        split=split,
        checkpoint=checkpoint,
        target_column=target_column,
        fold=fold,
        root=root,
        n_workers=workers,
        device=device,
    )
