"""The options that several commands share: one spelling, one default, one help text each."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from imagekit.environment import count_cores
from imagekit.rules.tolerance import Tolerance

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """What adds an option to a command's function."""

    def __call__(self, function: F, /) -> F:
        """Return the function, with the option."""
        ...


class Choice(click.Choice[str]):
    """A choice that names the nearest word when it is given none of its own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice, or fail with all choices and the nearest."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = difflib.get_close_matches(str(value).lower(), self.choices, n=1, cutoff=0.5)
            raise click.BadParameter(f'{error.message} Did you mean "{near[0]}"?' if near else error.message) from None


def output_option(help: str, *, required: bool = True) -> Decorator:
    """`-o/--output PATH`; the parameter is `output: Path` (None when not required and not given)."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), required=required, help=help)


def make_workers_option(help: str, *, least: int) -> Decorator:
    """`--workers N`; the parameter is `workers: int`, by default the cores this process may use."""
    return click.option(
        "--workers",
        type=click.IntRange(min=least),
        default=count_cores,
        show_default="cores",
        metavar="N",
        help=help,
    )


workers_option = make_workers_option("Worker processes.", least=1)


def seed_option(function: F) -> F:
    """`--seed N`; the parameter is `seed: int`."""
    return click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of every draw.",
    )(function)


def overwrite_option(function: F) -> F:
    """`--overwrite`; the parameter is `overwrite: bool`."""
    return click.option("--overwrite", is_flag=True, help="Replace an output that imagekit made with other options.")(
        function
    )


def dry_run_option(function: F) -> F:
    """`-n/--dry-run`; the parameter is `dry_run: bool`."""
    return click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; write nothing.")(function)


def root_option(function: F) -> F:
    """`--root DIR`; the parameter is `root: Path | None`."""
    return click.option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of the images, if it moved since the manifest was written.",
    )(function)


def recipes_option(function: F) -> F:
    """`--recipes FILE`; the parameter is `recipes: Path | None`."""
    return click.option(
        "--recipes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A TOML file of your own recipes; it adds to the shipped ones or replaces them by name.",
    )(function)


def max_bad_option(function: F) -> F:
    """`--max-bad N|P%`; the parameter is `max_bad: Tolerance | None`."""
    return click.option(
        "--max-bad",
        callback=_max_bad,
        metavar="N|P%",
        help="Accept this many unusable images: exit 0 with up to that many, 1 with more.",
    )(function)


def _max_bad(ctx: click.Context, param: click.Parameter, value: str | None) -> Tolerance | None:
    return None if value is None else Tolerance.parse(value)
