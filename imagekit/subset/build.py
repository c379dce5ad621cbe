"""Build a subset folder: read the source, plan, keep what still holds, make the rest aside, publish in one step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

from imagekit.engine.pool import Workers
from imagekit.environment import count_cores
from imagekit.errors import OutputError, UsageError, did_you_mean
from imagekit.files.atomic import heal_folder, staging_folder
from imagekit.files.lock import output_lock
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import Recipe
from imagekit.rules.outcomes import REASONS
from imagekit.rules.tolerance import Tolerance
from imagekit.subset.options import SubsetOptions
from imagekit.subset.order import Order, Progress, Task
from imagekit.subset.summary import SubsetReport

MEMORY_LIMIT_BYTES = 2**32  # for each worker: several copies of the largest picture that may be decoded


def make_subset(
    recipe: Recipe | str,
    source: Path | str,
    *,
    output: Path | str,
    recipes: Path | None = None,
    options: SubsetOptions | None = None,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    memory_limit_bytes: int | None = MEMORY_LIMIT_BYTES,
    retry: Collection[str] = (),
    max_bad: Tolerance | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SubsetReport:
    """Build `output` from `source` by a recipe and return what became of every file.

    recipe: a Recipe or the name of one; recipes: a TOML file of more. An existing output of the same recipe and options
    is brought up to date: only what is new or changed is made. timeout_s, memory_limit_bytes: what an image may take a
    worker. retry: reasons; what an earlier build quarantined for one of them is tried again. dry_run: plan only,
    nothing is written.
    Raises RecipeError, SourceError, LabelError, SplitError, UsageError, OutputError (exit 2), TooManyBadError,
    DiskFullError (1), LockedError (4).
    """
    begun = time.monotonic()
    source, output = Path(source), Path(output)
    _check_apart(source, output)
    _check_retry(retry)
    options = options or SubsetOptions()
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe, load_recipes(recipes))
    order = Order(
        recipe=options.applied_to(chosen),
        source=source,
        output=output,
        beside=recipes.parent if recipes else None,
        options=options,
        n_workers=n_workers or count_cores(),
        timeout_s=timeout_s,
        memory_limit_bytes=memory_limit_bytes,
        retry=tuple(retry),
        overwrite=overwrite,
        begun=begun,
        open_workers=_open_workers,
    )
    return _estimate(order) if dry_run else _build(order, max_bad=max_bad, progress=progress)


def _build(order: Order, *, max_bad: Tolerance | None, progress: Progress | None) -> SubsetReport:
    """Build what is missing and publish; whatever stops it, the old output stays, and the next run resumes."""
    output, staging = order.output, staging_folder(order.output)
    with order.workers(order.task(staging)) as workers:
        # what a worker loads takes it most of a second: let it begin before this process loads what planning takes
        if not output.exists():
            workers.start()
        from imagekit.subset.foreign import refuse_foreign_files
        from imagekit.subset.prepare import open_previous, prepare
        from imagekit.subset.sources import open_source

        found = open_source(order.source, order.recipe, beside=order.beside)
        with output_lock(output):
            heal_folder(output)
            previous = open_previous(order) if output.exists() else None
            making = prepare(order, found, previous)
            if making.is_up_to_date():
                shutil.rmtree(staging, ignore_errors=True)  # of an update that was given up, its source put back
                return making.report_again(max_bad)
            if output.exists():
                refuse_foreign_files(output)
            return making.run(workers.run, max_bad=max_bad, progress=progress)


def _estimate(order: Order) -> SubsetReport:
    """What a build would do, refused where the build would be; nothing is written and no lock taken."""
    from imagekit.subset.foreign import refuse_foreign_files
    from imagekit.subset.prepare import open_previous, prepare
    from imagekit.subset.sources import open_source

    found = open_source(order.source, order.recipe, beside=order.beside)
    previous = open_previous(order) if order.output.exists() else None
    making = prepare(order, found, previous)
    if order.output.exists() and not making.is_up_to_date():
        refuse_foreign_files(order.output)
    with order.workers(order.task(None)) as workers:
        seconds = making.estimate_seconds(workers.run)
    return making.report_planned(seconds)


def _open_workers(order: Order, task: Task) -> Workers:
    return Workers(
        task, n_workers=order.n_workers, timeout_s=order.timeout_s, memory_limit_bytes=order.memory_limit_bytes
    )


def _check_retry(retry: Collection[str]) -> None:
    for reason in retry:
        if reason not in REASONS:
            raise UsageError(
                f'"{reason}" is no reason that a file is quarantined for',
                where="--retry",
                fix=did_you_mean(reason, REASONS),
            )


def _check_apart(source: Path, output: Path) -> None:
    """Refuse an output inside the source or the other way round, by real path."""
    real_source, real_output = source.resolve(), output.resolve()
    if real_output == real_source or real_source in real_output.parents or real_output in real_source.parents:
        inside = "lies inside" if real_source in real_output.parents else "holds"
        relation = "is" if real_output == real_source else inside
        raise OutputError(
            f"the output {relation} the source",
            where=f"{output} -> {real_output}",
            fix="give -o a folder outside the source",
        )
    if output.exists() and not output.is_dir():
        raise OutputError("the output exists and is not a folder", where=str(output), fix="give another -o")
    if output.is_symlink():  # what is built beside a link could not be exchanged for what it points to
        raise OutputError(
            "the output is a symbolic link",
            where=f"{output} -> {real_output}",
            fix=f"give -o {real_output}",
        )
