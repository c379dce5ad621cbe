"""`imagekit evaluate`: a run and a manifest in, accuracy out."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Choice, Outcome, imagekit_command, root_option, workers_option


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
@click.option("--checkpoint", type=Choice(("best", "last")), default="best", show_default=True, help="Weights to use.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, mps.")
@root_option
@workers_option
def evaluate(
    run: Path, file: Path, split: str, checkpoint: str, device: str, root: Path | None, workers: int
) -> Outcome:
    """Measure a checkpoint of RUN on rows of the manifest FILE: accuracy, loss, accuracy per class.

    Size, mean, std and classes are the checkpoint's; a manifest with other classes is refused.
    """
    from imagekit.training.evaluate import evaluate as measure

    return measure(run, file, split=split, checkpoint=checkpoint, root=root, n_workers=workers, device=device)
