"""`imagekit manifest`: a folder of images in, one Parquet file out."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import (
    Outcome,
    dry_run_option,
    imagekit_command,
    max_bad_option,
    overwrite_option,
    progress,
    recipes_option,
    seed_option,
    workers_option,
)
from imagekit.cli.options import output_option
from imagekit.rules.tolerance import Tolerance


@imagekit_command(
    "manifest",
    examples=[
        "imagekit manifest nette160 --recipe imagenette",
        "imagekit manifest photos -o photos.parquet --split random:0.2 --seed 1",
    ],
    resumes=True,
)
@click.argument("root", type=click.Path(path_type=Path))
@output_option("Parquet file to write.  [default: ROOT/metadata.parquet]", required=False)
@click.option("--recipe", metavar="NAME", help="Record this recipe, and take readable class names from it.")
@recipes_option
@click.option("--label", default="parent", show_default=True, metavar="L", help="Where labels come from: parent.")
@click.option(
    "--split",
    default="folders",
    show_default=True,
    metavar="S",
    help="Where splits come from: folders, random:V[,T], hash:V[,T]; V and T are fractions for valid and test.",
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
@seed_option
@workers_option
@overwrite_option
@dry_run_option
def manifest(
    root: Path,
    output: Path | None,
    recipe: str | None,
    recipes: Path | None,
    label: str,
    split: str,
    timeout: float,
    max_bad: Tolerance | None,
    seed: int,
    workers: int,
    overwrite: bool,
    dry_run: bool,
) -> Outcome:
    """List every image under ROOT in one Parquet file: split, label, size, hashes.

    Vocab, mean and standard deviation are fitted on the train rows and travel in the file. Pictures that stand in more
    than one split are listed by name, and the exit code is 3. Same folder, same options: same bytes.
    """
    from imagekit.manifest.build import ManifestOptions, build_manifest

    with progress(None, "images") as bar:
        return build_manifest(
            root,
            output=output,
            options=ManifestOptions(label=label, split=split, seed=seed),
            recipe=recipe,
            recipes=recipes,
            n_workers=workers,
            timeout_s=timeout,
            max_bad=max_bad,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=bar.report,
        )
