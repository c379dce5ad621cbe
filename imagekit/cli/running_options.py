"""The options of a training run that change its speed and its safety, and never its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imagekit.cli.options import make_workers_option
from imagekit.errors import UsageError
from imagekit.files.sizes import parse_bytes

if TYPE_CHECKING:
    from imagekit.training.running import Running

F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("workers", "cache", "cache_limit", "checkpoint_every", "on_error")
# what may be told to a run that goes on, besides
_OF_RESUMING = ("resume", "file", "root", "json", "quiet", "verbose", "debug", "no_color")

cache_limit_option = click.option(
    "--cache-limit",
    metavar="BYTES",
    help="Most that a cache may take: 800MB, 20GB.  [default: half of what is free]",
)

decoders_option = make_workers_option("Processes that decode; 0 for the one that computes.", least=0)

_OPTIONS = (
    decoders_option,
    click.option(
        "--cache",
        metavar="KIND",
        default="auto",
        show_default=True,
        help="Where decoded images are kept: none, ram, disk, device; auto chooses, and says why.",
    ),
    cache_limit_option,
    click.option(
        "--checkpoint-every",
        metavar="N|Nm",
        default="10m",
        show_default=True,
        help="Steps, or minutes, after which to save inside an epoch too.",
    ),
    click.option(
        "--on-error",
        metavar="WHAT",
        default="stop",
        show_default=True,
        help="Where an image cannot be used: stop, or skip it and count it.",
    ),
)


def running_options(function: F) -> F:
    """Add them all; the function takes them by NAMES."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def running_of(given: dict[str, Any]) -> Running:
    """How to execute a run, by the options of NAMES."""
    from imagekit.training.running import Running

    return Running(**_as_fields(given))


def changes_of(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """What the command line says otherwise than the run that goes on did.

    Raises UsageError for an option that would make it another run.
    """
    told = [name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    others = [name for name in told if name not in (*NAMES, *_OF_RESUMING)]
    if others:
        option = next(param.opts[-1] for param in ctx.command.params if param.name == others[0])
        raise UsageError(
            f"{option} cannot be given to a run that goes on: its settings are those that it began with",
            where="imagekit train --resume",
            fix="leave it out, or train a new run",
        )
    return _as_fields({name: given[name] for name in NAMES if name in told})


def _as_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Options by the names of Running's fields."""

    fields = {("n_workers" if name == "workers" else name): value for name, value in given.items()}
    if fields.get("cache_limit") is not None:
        fields["cache_limit"] = parse_bytes(fields["cache_limit"], where="--cache-limit")
    return fields
