"""`imagekit train`: a manifest in, a run directory out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
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
from imagekit.cli.training_options import settings_of, training_options
from imagekit.errors import UsageError


@imagekit_command(
    "train",
    examples=[
        "imagekit train nette160/metadata.parquet -o run",
        "imagekit train nette160/metadata.parquet -o run2 --epochs 20 --size 128 --lr 0.1 --seed 1",
        "imagekit train nette160/metadata.parquet -o again --config run/config.toml",
        "imagekit train nette160/metadata.parquet -o run3 --model xresnet18 --size 64 --opt adamw --set ema=0.99",
        "imagekit train nette160/metadata.parquet --preset lesson-lsuv --print-config",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@output_option("Run directory to write.", required=False)
@root_option
@training_options
@click.option("--epochs", type=int, metavar="N", help="Passes over the train rows.  [default: 5]")
@click.option("--lr", type=float, metavar="X", help="Peak of the learning rate.  [default: the optimizer's]")
@click.option("--telemetry", is_flag=True, default=None, help="Record what the layers' activations do.")
@click.option("--print-config", is_flag=True, help="Print every setting with its origin; train nothing.")
@workers_option
@seed_option
@overwrite_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    file: Path,
    output: Path | None,
    root: Path | None,
    config: Path | None,
    preset: str | None,
    sets: Sequence[str],
    print_config: bool,
    workers: int,
    overwrite: bool,
    **given: Any,
) -> Outcome:
    """Train a model on the manifest FILE, validating after each epoch, and leave everything in a run directory.

    The run holds the configuration, metrics.csv, checkpoints (best and last), predictions joined to the manifest's
    names, curves, the confusion matrix and report.html. Same manifest, options, versions and threads: same weights.
    A flag wins over the --config file, the file over the preset, the preset over the defaults.
    """
    # before torch is loaded: threads that spin while they wait keep decoding workers off the cores (scripts/LOG.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = settings_of(ctx, given, config=config, preset=preset, sets=sets)
    if print_config:
        return settings
    if output is None:
        raise UsageError("no -o was given", where="imagekit train", fix="name the run directory to write: -o RUN")
    from imagekit.look.report import write_report
    from imagekit.training.train import train as fit

    screen = ctx.find_object(Screen)
    report = fit(
        file,
        output=output,
        config=settings,
        root=root,
        n_workers=workers,
        quiet=screen is not None and screen.settings.quiet,
        overwrite=overwrite,
        command=["imagekit", *sys.argv[1:]],
    )
    write_report(output, images_root=root or report.images_root)
    return report
