"""`imagekit find-lr`: a manifest in, a learning rate out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imagekit.cli.frame import (
    Outcome,
    imagekit_command,
    output_option,
    overwrite_option,
    progress,
    root_option,
    seed_option,
)
from imagekit.cli.running_options import decoders_option
from imagekit.cli.screen import Screen
from imagekit.cli.torch_process import prepare_for_torch
from imagekit.cli.training_options import options_given, settings_of, training_options

MAKER = "imagekit find-lr"
NOT_OF_TRAINING = ("output", "steps", "overwrite")


@imagekit_command(
    "find-lr",
    examples=[
        "imagekit find-lr nette160/metadata.parquet --size 64",
        "imagekit find-lr nette160/metadata.parquet -o lr.png --model mini --opt adamw --size 64",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@output_option("PNG file to draw the curve into.", required=False)
@root_option
@training_options
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="Steps, with rates from 1e-6 up to 10.",
)
@decoders_option
@seed_option
@overwrite_option
@click.pass_context
def find_lr(
    ctx: click.Context,
    /,
    file: Path,
    output: Path | None,
    root: Path | None,
    config: Path | None,
    preset: str | None,
    sets: Sequence[str],
    steps: int,
    workers: int,
    overwrite: bool,
    **given: Any,
) -> Outcome:
    """Search for the learning rate with which to train on the manifest FILE.

    The rate rises from batch to batch until the loss explodes; suggested is where the loss falls fastest. Give the
    options that the training will get: another model, optimizer or batch size wants another rate. Nothing is trained
    that is kept.
    """
    prepare_for_torch()
    settings = settings_of(ctx, given, config=config, preset=preset, sets=sets)
    from imagekit.look.lr_curve import draw_lr_curve
    from imagekit.look.marked_png import check_picture, write_picture
    from imagekit.training.find_lr import find_rate

    if output is not None:
        check_picture(output, maker=MAKER, overwrite=overwrite)
    screen = ctx.find_object(Screen)
    with progress(steps, "steps") as bar:
        report = find_rate(
            file,
            config=settings.config,
            root=root,
            n_workers=workers,
            n_steps=steps,
            picture=output,
            options=options_given(ctx, but=NOT_OF_TRAINING, but_settings=("lr",)),
            quiet=screen is not None and screen.settings.quiet,
            progress=bar.report,
        )
    if output is not None:
        curve = report.curve
        picture = draw_lr_curve(curve.lrs, curve.losses, curve.smoothed, marked=report.marked)
        write_picture(output, picture, maker=MAKER)
    return report
