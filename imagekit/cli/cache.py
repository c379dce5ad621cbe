"""`imagekit cache`: decode a manifest's images ahead of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imagekit.cli.frame import Outcome, imagekit_command, progress, root_option, seed_option
from imagekit.cli.running_options import cache_limit_option, decoders_option
from imagekit.cli.training_options import options_given, settings_of, training_options
from imagekit.files.sizes import parse_bytes


@imagekit_command(
    "cache",
    examples=[
        "imagekit cache nette160/metadata.parquet",
        "imagekit cache nette160/metadata.parquet --size 128 --set presize=160 --cache-limit 20GB",
    ],
    resumes=True,
)
@click.argument("file", type=click.Path(path_type=Path))
@root_option
@training_options
@cache_limit_option
@decoders_option
@seed_option
@click.pass_context
def cache(
    ctx: click.Context,
    /,
    file: Path,
    root: Path | None,
    config: Path | None,
    preset: str | None,
    sets: Sequence[str],
    cache_limit: str | None,
    workers: int,
    **given: Any,
) -> Outcome:
    """Decode the images of the manifest FILE into the cache on disk that trainings use.

    Give the options of the training: its size and crop decide what is kept. Images that are there already are not
    decoded again. The cache lies in $XDG_CACHE_HOME/imagekit, or ~/.cache/imagekit; it may be removed at any time.
    """
    settings = settings_of(ctx, given, config=config, preset=preset, sets=sets)
    from imagekit.training.fill_cache import fill_cache

    with progress(None, "images") as bar:
        return fill_cache(
            file,
            config=settings.config,
            root=root,
            n_workers=workers,
            limit=None if cache_limit is None else parse_bytes(cache_limit, where="--cache-limit"),
            options=options_given(ctx),
            progress=bar.report,
        )
