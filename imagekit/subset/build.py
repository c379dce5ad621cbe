"""Build a subset folder: plan, work through the images in worker processes, publish in one step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imagekit.engine.pool import collect_facts
from imagekit.errors import OutputError, SourceError, TooManyBadError, UsageError
from imagekit.files.atomic import explain_disk_full, heal_folder, publish_folder, staging_folder, sync_tree
from imagekit.files.discover import discover
from imagekit.files.lock import output_lock
from imagekit.files.names import display_name, to_path
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import Recipe
from imagekit.rules.outcomes import BadFile, counted, group_by_reason, unreadable_folders
from imagekit.rules.tolerance import Tolerance, exit_code_for
from imagekit.subset.foreign import has_manifest, refuse_foreign_files
from imagekit.subset.image import BuildImage
from imagekit.subset.journal import NAME as JOURNAL
from imagekit.subset.journal import Journal, clear_records, read_finished
from imagekit.subset.plan import Plan, plan_subset
from imagekit.subset.receipt import (
    FOLDER,
    STATE,
    STATE_SCHEMA,
    Receipt,
    read_receipt,
    write_receipt,
    write_records,
    write_table,
)
from imagekit.subset.rows import bad_files_of, file_rows, outcomes_of, state_rows
from imagekit.subset.summary import SubsetReport
from imagekit.subset.uptodate import is_up_to_date, read_built

Progress = Callable[[int, int], object]  # images done, images in all


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetOptions:
    """What shapes the result; equal options and recipe give equal bytes."""

    size: int | str = "full"
    filter: str | None = None
    format: str | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.size != "full" and (isinstance(self.size, str) or self.size < 1):
            raise UsageError(
                f'size is {self.size!r}, must be "full" or at least 1', where="--size", fix="give --size 160, say"
            )

    @property
    def size_px(self) -> int | None:
        """The shortest side in pixels, None for `full`."""
        return None if self.size == "full" else int(self.size)

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with the options given on the command line in place of its own."""
        rule = recipe.resize
        return replace(
            recipe,
            resize=replace(
                rule,
                filter=self.filter or rule.filter,
                format=self.format or rule.format,
                quality=rule.quality if self.quality is None else self.quality,
            ),
        )


def make_subset(
    recipe: Recipe | str,
    source: Path | str,
    *,
    output: Path | str,
    recipes: Path | None = None,
    options: SubsetOptions | None = None,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    max_bad: Tolerance | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SubsetReport:
    """Build `output` from `source` by a recipe and return what became of every file.

    recipe: a Recipe or the name of one; recipes: a TOML file of more. progress: called with how many images are done
    and how many there are. dry_run: plan only, nothing is written.
    Raises RecipeError, SourceError, OutputError (exit 2), TooManyBadError, DiskFullError (1), LockedError (4).
    """
    begun, options = time.monotonic(), options or SubsetOptions()
    source, output = Path(source), Path(output)
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe, load_recipes(recipes))
    chosen = options.applied_to(chosen)
    _check_apart(source, output)
    discovery = discover(source)
    if len(discovery) == 0:
        found = len(discovery.others)
        raise SourceError(
            "the folder holds no images" + (f", only {found:,} other files" if found else ""),
            where=str(source),
            fix="point at a folder of images; names that begin with a dot are not read",
        )
    plan = plan_subset(discovery, chosen, out_format="bytes" if options.size_px is None else chosen.resize.format)
    build = _Build(
        plan=plan,
        recipe=chosen,
        source=source,
        output=output,
        options=options,
        begun=begun,
        unreadable=tuple(unreadable_folders(discovery.unreadable)),
    )
    if dry_run:
        return build.report([], state="planned")
    with output_lock(output):
        heal_folder(output)
        if output.exists() and not _must_build(output, build, overwrite=overwrite):
            return build.report_again(max_bad=max_bad)
        return build.run(n_workers=n_workers, timeout_s=timeout_s, max_bad=max_bad, progress=progress)


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


def _must_build(output: Path, build: _Build, *, overwrite: bool) -> bool:
    """Whether an existing output has to be built anew; refused when it may not be replaced."""
    if overwrite:
        read_receipt(output)  # refuses a folder that is not ours
    else:
        _require_same_options(output, build)
        if is_up_to_date(output, build.source, build.plan):
            return False
    refuse_foreign_files(output)
    return True


def _require_same_options(output: Path, build: _Build) -> None:
    """The folder must be ours and of the same recipe and options; else exit 2."""
    receipt = read_receipt(output)
    wanted = build.identity()
    different = [key for key, value in wanted.items() if getattr(receipt, key) != value]
    if different:
        raise OutputError(
            f"the output was built with {' and '.join(_words_for(key, receipt) for key in different)}",
            where=str(output),
            fix="give another -o, or --overwrite to build it anew",
        )


def _versions() -> dict[str, str]:
    """The programs that decide about bytes."""
    return {name: version(name) for name in ("imagekit", "pillow", "pyarrow")}


def _words_for(key: str, receipt: Receipt) -> str:
    return f"--size {receipt.options.get('size')}" if key == "options" else "another recipe, or other settings of it"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Build:
    plan: Plan
    recipe: Recipe
    source: Path
    output: Path
    options: SubsetOptions
    begun: float
    unreadable: tuple[BadFile, ...]

    def identity(self) -> dict[str, Any]:
        """What decides whether an existing output is the one asked for."""
        return {"recipe_sha256": self.recipe.sha256(), "options": {"size": self.options.size}}

    def run(
        self, *, n_workers: int | None, timeout_s: float, max_bad: Tolerance | None, progress: Progress | None
    ) -> SubsetReport:
        """Build aside and publish at the end. Whatever stops it, the old output stays, and the next run resumes."""
        staging, takes_manifest = staging_folder(self.output), has_manifest(self.output)
        finished = read_finished(staging, self.source, self.plan.selected, identity=self._journal_identity())
        if finished is None:
            shutil.rmtree(staging, ignore_errors=True)  # left by a build of something else
        clear_records(staging)
        self._make_folders(staging)
        built = self._work(staging, finished or {}, n_workers=n_workers, timeout_s=timeout_s, progress=progress)
        report = self.report(built, state="built")
        try:
            code = self._exit_code(report, max_bad)
        except TooManyBadError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        self._publish(staging, built)
        seconds, n_resumed = time.monotonic() - self.begun, len(finished or {})
        return replace(report, exit_code=code, seconds=seconds, manifest_is_gone=takes_manifest, n_resumed=n_resumed)

    def _journal_identity(self) -> str:
        parts = [self.plan.digest(), self.identity(), _versions()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _work(
        self,
        staging: Path,
        finished: dict[bytes, dict[str, Any]],
        *,
        n_workers: int | None,
        timeout_s: float,
        progress: Progress | None,
    ) -> list[dict[str, Any]]:
        """The facts of every selected image, in the plan's order; what is finished already is not made again."""
        task = BuildImage(
            source=str(self.source),
            staging=str(staging),
            size_px=self.options.size_px,
            rule=self.recipe.resize,
            builder_pid=os.getpid(),
        )
        left = [chosen for chosen in self.plan.selected if chosen.name not in finished]
        items = [(chosen.name, chosen.out_name) for chosen in left]
        n_all, n_before = len(self.plan.selected), len(finished)
        with Journal(staging, self._journal_identity()) as journal:
            made = collect_facts(
                task,
                items,
                n_workers=n_workers,
                timeout_s=timeout_s,
                progress=progress and (lambda n_done, _: progress(n_before + n_done, n_all)),
                keep=lambda index, facts: journal.add(items[index][0], facts),
            )
        by_name = finished | {chosen.name: facts for chosen, facts in zip(left, made, strict=True)}
        return [by_name[chosen.name] for chosen in self.plan.selected]

    def _exit_code(self, report: SubsetReport, max_bad: Tolerance | None) -> int:
        n_bad = len(report.bad_files)
        listed = group_by_reason(report.bad_files, listed_in="the source")
        if report.outcomes.selected == 0:
            raise TooManyBadError(
                "\n  ".join(["not one of the chosen images can be used", *listed]),
                where=str(self.source),
                fix="check that the source was copied whole; nothing was published",
            )
        n_total = report.outcomes.selected + n_bad
        return exit_code_for(max_bad, n_bad=n_bad, n_total=n_total, where=str(self.source), listed=listed)

    def _make_folders(self, staging: Path) -> None:
        with explain_disk_full(staging):
            staging.mkdir(parents=True, exist_ok=True)
            for folder in sorted({chosen.out_name.rsplit(b"/", 1)[0] for chosen in self.plan.selected}):
                to_path(staging, folder).mkdir(parents=True, exist_ok=True)

    def _publish(self, staging: Path, built: list[dict[str, Any]]) -> None:
        for chosen, facts in zip(self.plan.selected, built, strict=True):
            if "reason" in facts:  # a worker that was killed may have left a part of it
                to_path(staging, chosen.out_name).unlink(missing_ok=True)
        quarantine = [bad.to_dict() for bad in bad_files_of(self.plan, built, self.unreadable)]
        digest = write_records(staging, files=file_rows(self.plan, built), quarantine=quarantine)
        (staging / FOLDER / JOURNAL).unlink()
        write_table(staging / FOLDER / STATE, state_rows(self.plan, built), STATE_SCHEMA, plan=self.plan.digest())
        sync_tree(staging)
        write_receipt(
            staging,
            Receipt(
                recipe=self.recipe.to_dict() | {"name": self.recipe.name},
                versions=_versions(),
                counts=outcomes_of(self.plan, built).to_dict() | {"written": self._written(built)},
                files_sha256=digest,
                **self.identity(),
            ),
        )
        publish_folder(staging, self.output)

    def _written(self, built: Iterable[dict[str, Any]]) -> dict[str, int]:
        """Images written per folder of the subset (train/n01440764, say)."""
        pairs = zip(self.plan.selected, built, strict=True)
        kept = [chosen.out_name.rsplit(b"/", 1)[0] for chosen, facts in pairs if "reason" not in facts]
        return counted(map(display_name, kept))

    def report(self, built: list[dict[str, Any]], *, state: str) -> SubsetReport:
        """What became of every file; for a dry run nothing is built and nothing quarantined but by name."""
        facts = built or [{} for _ in self.plan.selected]
        pairs = zip(self.plan.selected, facts, strict=True)
        per_split = counted(chosen.split or "no split" for chosen, row in pairs if "reason" not in row)
        return SubsetReport(
            state=state,
            recipe=self.recipe.name,
            size=self.options.size,
            output=self.output,
            outcomes=outcomes_of(self.plan, facts),
            bad_files=tuple(bad_files_of(self.plan, facts, self.unreadable)),
            per_split=per_split,
            n_classes=len({chosen.label for chosen in self.plan.selected}),
            size_bytes=sum(row.get("out_size_bytes", 0) for row in facts),
            seconds=time.monotonic() - self.begun,
        )

    def report_again(self, *, max_bad: Tolerance | None) -> SubsetReport:
        """The report of an output that is up to date already, read back from its own records."""
        report = self.report(read_built(self.output, self.plan), state="up to date")
        return replace(report, exit_code=self._exit_code(report, max_bad))
