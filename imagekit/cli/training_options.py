"""The options of a training run, shared by the commands that make one or try one out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from imagekit.training.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--preset", metavar="NAME", help="Settings that belong together; train --list-presets shows them."),
    click.option(
        "--config", type=click.Path(path_type=Path), metavar="TOML", help="File of settings, as RUN/config.toml."
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="Model: mini, xresnet18, ..., or one of your own as package.module:function.  [default: lesson-cnn]",
    ),
    click.option("--weights", metavar="FILE", help="Start from these weights, a checkpoint or a state_dict."),
    click.option("--freeze", metavar="PART", help="none, or body: train the last layer alone.  [default: none]"),
    click.option(
        "--size", type=int, metavar="N", help="Side of the square that the model sees, in pixels.  [default: 128]"
    ),
    click.option(
        "--batch-size", type=int, metavar="N", help="Images a step; validation takes twice as many.  [default: 64]"
    ),
    click.option("--opt", metavar="NAME", help="Optimizer: adamw, lamb, muon, ...  [default: sgd]"),
    click.option("--target-column", metavar="COLUMN", help="Learn this label, processed or noisy column."),
    click.option("--fold", type=int, metavar="K", help="Validate on this fold of a k-fold manifest.  [default: 0]"),
    click.option("--balance", is_flag=True, default=None, help="Show every class equally often in training."),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other setting, as in RUN/config.toml: --set mixup=0.4 --set model_options.act=mish",
    ),
    click.option("--device", metavar="D", help="auto, cpu, cuda, mps.  [default: auto]"),
)


def training_options(function: F) -> F:
    """Add them all; the function takes preset, config, sets, and the others by the names of settings."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def settings_of(
    ctx: click.Context, given: dict[str, Any], *, config: Path | None, preset: str | None, sets: Sequence[str]
) -> Settings:
    """The settings that a command line comes to, with the origin of each."""
    from imagekit.training.settings import resolve_settings

    is_default = ctx.get_parameter_source("seed") is click.core.ParameterSource.DEFAULT
    told = {**given, "seed": None} if is_default else given  # so that the config file's stands
    return resolve_settings(told, sets=sets, file=config, preset=preset)


def options_given(ctx: click.Context, *, but: Collection[str] = (), but_settings: Collection[str] = ()) -> list[str]:
    """The options of the command line as they were given, for a command that takes them too.

    but: parameters to leave out; but_settings: keys of --set.
    """
    words: list[str] = []
    for param in ctx.command.params:
        name = param.name or ""
        is_given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not isinstance(param, click.Option) or not is_given or name in but or name not in ctx.params:
            continue
        value = ctx.params[name]
        if param.is_flag:
            words.append(param.opts[0])
            continue
        for each in map(str, value if param.multiple else [value]):
            if name != "sets" or each.partition("=")[0].strip() not in but_settings:
                words += [param.opts[-1], each]
    return words
