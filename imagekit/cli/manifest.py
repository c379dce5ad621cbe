"""`imagekit manifest`: a folder of images in, one Parquet file out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imagekit.cli.frame import (
    Outcome,
    dry_run_option,
    imagekit_command,
    max_bad_option,
    overwrite_option,
    progress,
    recipes_option,
    workers_option,
)
from imagekit.cli.options import Choice, output_option
from imagekit.rules.tolerance import Tolerance


class Percentages(click.ParamType[tuple[float, ...]]):
    """Numbers between commas."""

    name = "percentages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers; none for an empty text."""
        try:
            return tuple(float(part) for part in value.split(",")) if value else ()
        except ValueError:
            return self.fail(f"{value!r} is no list of numbers, such as 1,5,25,50.", param, ctx)


@imagekit_command(
    "manifest",
    examples=[
        "imagekit manifest nette160 --recipe imagenette",
        "imagekit manifest photos -o photos.parquet --split stratified:0.2 --seed 1",
        "imagekit manifest photos -o new.parquet --like photos.parquet",
    ],
    resumes=True,
)
@click.argument("root", type=click.Path(path_type=Path))
@output_option("Parquet file to write.  [default: ROOT/metadata.parquet]", required=False)
@click.option("--recipe", metavar="NAME", help="Record this recipe, and take readable class names from it.")
@recipes_option
@click.option(
    "--label",
    metavar="L",
    help="Where labels come from: parent, folder:N, name:REGEX, table:FILE[:PATH:LABEL[,LABEL...]].  [default: parent]",
)
@click.option(
    "--split",
    metavar="S",
    help="Where splits come from: folders, hash:V[,T], random:V[,T], stratified:V[,T], kfold:K,"
    " table:FILE[:PATH:SPLIT], list:SPLIT=FILE,...; V and T are fractions for valid and test.  [default: folders]",
)
@click.option("--group", metavar="G", help="What must stay in one split, too: name:REGEX, column:NAME, similar.")
@click.option(
    "--leaks",
    type=Choice(["keep", "drop", "move"]),
    help="Groups that a given split tears apart: keep them, drop or move what is not in the first of test, valid and"
    " train.  [default: keep; drop with hash]",
)
@click.option(
    "--check",
    type=Choice(["none", "header", "decode"]),
    default="decode",
    show_default=True,
    help="How far each file is looked into.",
)
@click.option(
    "--other-below",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Labels with fewer train images become the class other.",
)
@click.option("--columns", type=click.Path(path_type=Path), metavar="FILE", help="Join this table by file name.")
@click.option(
    "--process",
    multiple=True,
    metavar="COLUMN:PROCESSOR",
    help="Encode a column, fitted on train: category, tokenize, numericalize, median, normalize, or your own"
    " package.module:Class. Repeatable.",
)
@click.option(
    "--noise",
    type=Percentages(),
    default="",
    metavar="P,...",
    help="Add columns noisy_P in which P percent of the train labels are wrong.",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="OLD",
    help="Keep splits, vocab and fitted state of this older manifest.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60,
    show_default=True,
    metavar="S",
    help="Seconds an image may take.",
)
@max_bad_option
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    metavar="N",
    help="Seed of every draw.  [default: 0, or the one of OLD]",
)
@workers_option
@overwrite_option
@dry_run_option
def manifest(
    root: Path,
    output: Path | None,
    recipe: str | None,
    recipes: Path | None,
    timeout: float,
    max_bad: Tolerance | None,
    workers: int,
    overwrite: bool,
    dry_run: bool,
    **shape: Any,
) -> Outcome:
    """List every image under ROOT in one Parquet file: split, label, size, hashes.

    Equal and nearly equal images form groups, and a group is in one split: where the given splits tear one apart it is
    listed by name, and the exit code is 3. Vocab, mean and standard deviation are fitted on the train rows and travel
    in the file. Run it again to bring it up to date: only new and changed files are read. Same folder, same options:
    same bytes.
    """
    from imagekit.manifest.build import ManifestOptions, build_manifest

    with progress(None, "images") as bar:
        return build_manifest(
            root,
            output=output,
            options=ManifestOptions(**shape),
            recipe=recipe,
            recipes=recipes,
            n_workers=workers,
            timeout_s=timeout,
            max_bad=max_bad,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=bar.report,
        )
