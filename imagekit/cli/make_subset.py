"""`imagekit make-subset`: a recipe and a source in, a subset folder out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from imagekit.cli.frame import (
    Choice,
    Outcome,
    dry_run_option,
    imagekit_command,
    max_bad_option,
    output_option,
    overwrite_option,
    progress,
    recipes_option,
    workers_option,
)
from imagekit.cli.screen import Screen
from imagekit.rules.tolerance import Tolerance

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "bicubic-nearest")
MODES = ("none", "shortest", "longest", "fit", "fill", "stretch")


class Size(click.ParamType[int | str]):
    """`full`, or the shortest side in pixels."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return "full" or a whole number of at least 1."""
        text = str(value)
        if text == "full" or (text.isascii() and text.isdigit() and int(text) > 0):
            return text if text == "full" else int(text)
        return self.fail(f'{text!r} is neither "full" nor a whole number of pixels.', param, ctx)


class Seconds(click.FloatRange):
    """A finite number of seconds: an image that takes for ever is what the limit is there for."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        seconds = float(super().convert(value, param, ctx))
        return seconds if math.isfinite(seconds) else self.fail(f"{value!r} is not a finite number.", param, ctx)


@imagekit_command(
    "make-subset",
    examples=[
        "imagekit make-subset imagenette SRC -o nette160 --size 160",
        "imagekit make-subset imagenette SRC -o nette --size full --dry-run",
        "imagekit make-subset mine SRC -o mine --recipes mine.toml",
    ],
    resumes=True,
)
@click.argument("recipe")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@output_option("Folder to build; it must lie outside SRC.")
@recipes_option
@click.option(
    "--size",
    type=Size(),
    default="full",
    show_default=True,
    metavar="full|N",
    help="Side in pixels that --mode speaks of; full keeps every byte.",
)
@click.option(
    "--mode",
    type=Choice(MODES),
    help="shortest, longest: that side, aspect kept; fit: padded to a square; fill: the centre, cut to a square; "
    "stretch: squeezed into a square.  [default: the recipe's]",
)
@click.option("--filter", type=Choice(FILTERS), help="Resampling filter.  [default: the recipe's]")
@click.option(
    "--format", type=Choice(("jpeg", "png", "webp", "keep")), help="Format to write.  [default: the recipe's]"
)
@click.option("--quality", type=click.IntRange(1, 100), metavar="N", help="Of jpeg and webp.  [default: the recipe's]")
@click.option(
    "--link",
    type=Choice(("reflink", "hard", "copy")),
    help="How files whose bytes are kept get there.  [default: reflink where the file system can, else copy]",
)
@click.option(
    "--check",
    type=Choice(("none", "header", "decode")),
    default="decode",
    show_default=True,
    help="How far a file is looked into whose bytes are kept; a resized one is always decoded whole.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0.1),
    default=60,
    show_default=True,
    metavar="S",
    help="Seconds an image may take.",
)
@click.option(
    "--retry",
    metavar="REASON,...",
    default="",
    help="Try again what was quarantined for these reasons, timeout or unreadable, say.",
)
@max_bad_option
@workers_option
@overwrite_option
@dry_run_option
def make_subset(
    recipe: str,
    source: Path,
    output: Path,
    recipes: Path | None,
    size: int | str,
    mode: str | None,
    filter: str | None,
    format: str | None,
    quality: int | None,
    link: str | None,
    check: str,
    timeout: float,
    retry: str,
    max_bad: Tolerance | None,
    workers: int,
    overwrite: bool,
    dry_run: bool,
) -> Outcome:
    """Build a subset of the images under SRC by RECIPE, one of `imagekit recipes`.

    Takes the recipe's classes, keeps or makes its splits, resizes and checks every image by decoding it whole. A file
    that cannot be used is listed in .imagekit/quarantine.jsonl and never stops the rest. The folder appears when it is
    complete; the same command again brings it up to date, making only what is new or changed.
    """
    from imagekit.subset.build import make_subset as build
    from imagekit.subset.options import SubsetOptions

    with progress(None, "images") as bar:
        report = build(
            recipe,
            source,
            output=output,
            recipes=recipes,
            options=SubsetOptions(
                size=size, mode=mode, filter=filter, format=format, quality=quality, link=link, check=check
            ),
            n_workers=workers,
            timeout_s=timeout,
            retry=[reason.strip() for reason in retry.split(",") if reason.strip()],
            max_bad=max_bad,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=bar.report,
        )
    screen = click.get_current_context().find_object(Screen)
    return replace(report, typed=_without_dry_run(screen.words)) if dry_run and screen and screen.words else report


def _without_dry_run(words: Sequence[str]) -> str:
    """The command line that was typed, but for the wish that nothing be done; `-qn` becomes `-q`."""
    end = words.index("--") if "--" in words else len(words)
    kept = []
    for word in words[:end]:
        is_flags = word.startswith("-") and "n" in word and set(word) <= set("-nqv")
        left = word.replace("n", "") if is_flags else word
        if word != "--dry-run" and not (is_flags and left == "-"):
            kept.append(left)
    return shlex.join(["imagekit", *kept, *words[end:]])
