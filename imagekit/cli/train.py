"""`imagekit train`: a manifest in, a run directory out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from imagekit.cli.frame import (
    Outcome,
    imagekit_command,
    output_option,
    overwrite_option,
    root_option,
    seed_option,
    workers_option,
)
from imagekit.cli.screen import Screen


@imagekit_command(
    "train",
    examples=[
        "imagekit train nette160/metadata.parquet -o run",
        "imagekit train nette160/metadata.parquet -o run2 --epochs 20 --size 128 --lr 0.1 --seed 1",
        "imagekit train nette160/metadata.parquet -o again --config run/config.toml",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@output_option("Run directory to write.")
@root_option
@click.option("--config", type=click.Path(path_type=Path), metavar="TOML", help="File of settings, as RUN/config.toml.")
@click.option(
    "--model",
    metavar="NAME",
    help="Model: mini, xresnet18, ..., or one of your own as package.module:function.  [default: lesson-cnn]",
)
@click.option("--epochs", type=int, metavar="N", help="Passes over the train rows.  [default: 5]")
@click.option(
    "--size", type=int, metavar="N", help="Side of the square that the model sees, in pixels.  [default: 128]"
)
@click.option(
    "--batch-size", type=int, metavar="N", help="Images a step; validation takes twice as many.  [default: 64]"
)
@click.option("--lr", type=float, metavar="X", help="Peak of the one-cycle learning rate.  [default: 0.2]")
@click.option("--opt", metavar="NAME", help="Optimizer: adamw, lamb, muon, ...  [default: sgd]")
@click.option("--device", metavar="D", help="auto, cpu, cuda, mps.  [default: auto]")
@workers_option
@seed_option
@overwrite_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    file: Path,
    output: Path,
    root: Path | None,
    config: Path | None,
    workers: int,
    overwrite: bool,
    **given: Any,
) -> Outcome:
    """Train a model on the manifest FILE, validating after each epoch, and leave everything in a run directory.

    The run holds the configuration, metrics.csv, checkpoints (best and last), predictions joined to the manifest's
    names, curves, the confusion matrix and report.html. Same manifest, options, versions and threads: same weights.
    A flag wins over the --config file, the file over the defaults.
    """
    # before torch is loaded: threads that spin while they wait keep decoding workers off the cores (scripts/LOG.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from imagekit.look.report import write_report
    from imagekit.training.config import resolve_config
    from imagekit.training.train import train as fit

    if ctx.get_parameter_source("seed") is click.core.ParameterSource.DEFAULT:
        given["seed"] = None  # so that the config file's stands
    screen = ctx.find_object(Screen)
    report = fit(
        file,
        output=output,
        config=resolve_config(given, file=config),
        root=root,
        n_workers=workers,
        quiet=screen is not None and screen.settings.quiet,
        overwrite=overwrite,
        command=["imagekit", *sys.argv[1:]],
    )
    write_report(output, images_root=root or report.images_root)
    return report
