"""`imagekit train`: a manifest in, a run directory out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.frame import (
    Outcome,
    imagekit_command,
    output_option,
    overwrite_option,
    resume_with,
    root_option,
    seed_option,
)
from imagekit.cli.running_options import NAMES, changes_of, running_of, running_options
from imagekit.cli.screen import Screen
from imagekit.cli.torch_process import prepare_for_torch
from imagekit.cli.training_options import settings_of, training_options
from imagekit.errors import UsageError
from imagekit.training.preset_list import PresetList

if TYPE_CHECKING:
    from imagekit.training.train_report import TrainReport


@imagekit_command(
    "train",
    examples=[
        "imagekit train nette160/metadata.parquet -o run",
        "imagekit train nette160/metadata.parquet -o run2 --epochs 20 --size 128 --lr 0.1 --seed 1",
        "imagekit train nette160/metadata.parquet -o again --config run/config.toml",
        "imagekit train nette160/metadata.parquet -o run3 --model xresnet18 --size 64 --opt adamw --set ema=0.99",
        "imagekit train nette160/metadata.parquet --preset lesson-lsuv --print-config",
        "imagekit train --resume run",
        "imagekit train --list-presets",
    ],
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@output_option("Run directory to write.", required=False)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was stopped.")
@root_option
@training_options
@click.option("--epochs", type=int, metavar="N", help="Passes over the train rows.  [default: 5]")
@click.option("--lr", type=float, metavar="X", help="Peak of the learning rate.  [default: the optimizer's]")
@click.option("--telemetry", is_flag=True, default=None, help="Record what the layers' activations do.")
@click.option("--list-presets", is_flag=True, help="Print every preset and what it reached; train nothing.")
@click.option("--print-config", is_flag=True, help="Print every setting with its origin; train nothing.")
@running_options
@seed_option
@overwrite_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    file: Path | None,
    output: Path | None,
    resume: Path | None,
    root: Path | None,
    config: Path | None,
    preset: str | None,
    sets: Sequence[str],
    list_presets: bool,
    print_config: bool,
    overwrite: bool,
    **given: Any,
) -> Outcome:
    """Train a model on the manifest FILE, validating as it goes, and leave everything in a run directory.

    The run holds the configuration, metrics.csv, checkpoints (best and last), predictions joined to the manifest's
    names, curves, the confusion matrix and report.html. Same manifest, options, versions and threads: same weights.
    A flag wins over the --config file, the file over the preset, the preset over the defaults.

    Ctrl-C ends it after the step under way, saved; --resume goes on from there, to the same weights. FILE is then
    needed only where it lies elsewhere than before.
    """
    if list_presets:
        return PresetList()
    prepare_for_torch()
    if resume is not None:
        return _go_on(ctx, resume, changes_of(ctx, given), file=file, root=root)
    running_words = {name: given.pop(name) for name in NAMES}
    if print_config:
        return settings_of(ctx, given, config=config, preset=preset, sets=sets)
    file, output = _needed(file, output)
    settings = settings_of(ctx, given, config=config, preset=preset, sets=sets)
    from imagekit.training.train import train as fit

    with _going_on(output):
        report = fit(
            file,
            output=output,
            config=settings,
            root=root,
            running=running_of(running_words),
            quiet=_is_quiet(ctx),
            overwrite=overwrite,
            command=["imagekit", *sys.argv[1:]],
        )
        return _with_page(report)


def _go_on(
    ctx: click.Context, run: Path, changes: dict[str, Any], *, file: Path | None, root: Path | None
) -> TrainReport:
    from imagekit.training.resume import resume

    command = ["imagekit", *sys.argv[1:]]
    with _going_on(run):
        report = resume(run, manifest=file, root=root, changes=changes, quiet=_is_quiet(ctx), command=command)
        return _with_page(report)


@contextmanager
def _going_on(run: Path) -> Iterator[None]:
    """Have an interrupt that leaves at once say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        from imagekit.training.interrupt import resume_command

        if command := resume_command(run):
            resume_with(command)
        raise


def _with_page(report: TrainReport) -> TrainReport:
    """Draw the run's page, where there is an epoch to show."""
    from imagekit.look.report import write_report

    if report.rows:
        write_report(report.run, images_root=report.images_root)
    return report


def _is_quiet(ctx: click.Context) -> bool:
    screen = ctx.find_object(Screen)
    return screen is not None and screen.settings.quiet


def _needed(file: Path | None, output: Path | None) -> tuple[Path, Path]:
    """What no training can do without. Raises UsageError."""
    if file is None:
        fix = "name the manifest to train on: imagekit train FILE -o RUN"
        raise UsageError("no FILE was given", where="imagekit train", fix=fix)
    if output is None:
        raise UsageError("no -o was given", where="imagekit train", fix="name the run directory to write: -o RUN")
    return file, output
