"""Build a manifest: discover, label, look at every image, split, fit on train, write one Parquet file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagekit.engine.facts import FactTable
from imagekit.environment import count_cores
from imagekit.errors import ManifestError, OutputError, SplitError, did_you_mean
from imagekit.files.atomic import heal_file
from imagekit.files.hashes import sha256_file
from imagekit.files.lock import output_lock
from imagekit.manifest.beside import quarantine_path, state_path
from imagekit.manifest.categories import check_labels
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.finish import Ingredients, finish, planned
from imagekit.manifest.joined import join_columns
from imagekit.manifest.looking import Looking, Progress
from imagekit.manifest.naming import read_names
from imagekit.manifest.options import ManifestOptions
from imagekit.manifest.processing import check_process
from imagekit.manifest.read import read_manifest, read_metadata
from imagekit.manifest.rows import recipe_facts
from imagekit.manifest.schema import Metadata
from imagekit.manifest.source import open_source
from imagekit.manifest.state import programs, read_state, write_state
from imagekit.manifest.summary import ManifestReport
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import Recipe
from imagekit.rules.tolerance import Tolerance, exit_code_for

__all__ = ["DEFAULT_NAME", "ManifestOptions", "build_manifest"]

DEFAULT_NAME = "metadata.parquet"
MEMORY_LIMIT_BYTES = 2**32  # for each worker: several copies of the largest picture that may be decoded


def build_manifest(
    root: Path | str,
    *,
    output: Path | str | None = None,
    options: ManifestOptions | None = None,
    recipe: str | None = None,
    recipes: Path | None = None,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    memory_limit_bytes: int | None = MEMORY_LIMIT_BYTES,
    max_bad: Tolerance | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ManifestReport:
    """List every image under `root` with its label, split, hashes and sizes in one Parquet file.

    output: defaults to ROOT/metadata.parquet; one that was built with the same options is brought up to date, and only
    new and changed files are read. recipe: names a recipe whose readable class names and hash to record. timeout_s,
    memory_limit_bytes: what an image may take a worker.
    Raises SourceError, SplitError, LabelError, UsageError, OutputError (exit 2), ManifestError for an older manifest
    that cannot be read, TooManyBadError (1), LockedError (4).
    """
    begun, root = time.monotonic(), Path(root)
    path = Path(output) if output else root / DEFAULT_NAME
    known = find_recipe(recipe, load_recipes(recipes)) if recipe else None
    ingredients = _gather(root, path, options or ManifestOptions(), known)
    settled = ingredients.options
    if dry_run:
        return replace(planned(ingredients), seconds=time.monotonic() - begun)
    looking = Looking(
        root=root,
        check=settled.check,
        n_workers=n_workers or count_cores(),
        timeout_s=timeout_s,
        memory_limit_bytes=memory_limit_bytes,
        progress=progress,
    )
    with output_lock(path):
        _check_output(ingredients, overwrite=overwrite)
        for leftover in (path, quarantine_path(path), state_path(path)):
            heal_file(leftover)
        report = _Update(ingredients=ingredients, looking=looking).run(max_bad)
    return replace(report, seconds=time.monotonic() - begun)


def _gather(root: Path, path: Path, asked: ManifestOptions, recipe: Recipe | None) -> Ingredients:
    """Everything but the content of the files; whatever is wrong with it is told before any is read."""
    old = read_manifest(asked.like) if asked.like else None
    options = asked.settled(old.metadata if old else None)
    options.check_rules()
    source = open_source(root, ours=(path, quarantine_path(path), state_path(path)))
    named = read_names(source.discovery.names, root, options)
    check_labels(named, options, old, where=str(root))
    joined = None
    if options.columns is not None:
        joined = join_columns(options.columns, named.names.shown, root=root, taken=options.own_columns())
    group = options.group_rule.column
    if joined is not None and group is not None and group not in joined.table.column_names:
        raise SplitError(
            f"--group column:{group} names a column that is not joined",
            where=f"--columns {options.columns}",
            fix=did_you_mean(group, joined.table.column_names),
        )
    names = [*options.own_columns(), *(joined.table.column_names if joined else [])]
    check_process(options.process, names, where=str(root))
    return Ingredients(source=source, path=path, options=options, recipe=recipe, named=named, joined=joined, old=old)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Update:
    """Bring an output up to date: read what is new or changed, or find that nothing is."""

    ingredients: Ingredients
    looking: Looking

    def run(self, max_bad: Tolerance | None) -> ManifestReport:
        given, path = self.ingredients, self.ingredients.path
        names, rows = given.named.names.raw, given.named.selected()
        identity = self._identity()
        state = read_state(state_path(path), check=self.looking.check)
        known = state.compare(given.source.root, names) if state else None
        if state and known and identity and state.notes.get("identity") == identity and known.covers(rows):
            report = self._report_again(state.notes, max_bad)
            if report is not None:
                return report
        facts, n_read = self.looking.look(names, rows, known=known, save=self._save)
        try:
            finished = finish(given, facts)
            report = self._judged(replace(finished.report, n_read=n_read, n_looked=len(rows)), max_bad)
            finished.write(quarantine_path(path))
            del finished  # the rows of a million images: the state takes as much again
        except BaseException:  # mending a split must not cost reading a million images again
            if n_read:
                self._save(facts)
            raise
        if self.looking.check != "none":
            notes = {"identity": identity, "manifest": sha256_file(path).hex(), "report": report.to_notes()}
            self._save(facts, notes)
        return report

    def _judged(self, report: ManifestReport, max_bad: Tolerance | None) -> ManifestReport:
        n_bad, n_total = len(report.bad_files), len(self.ingredients.named)
        where, listed = str(report.root), report.listed_bad("the folder")
        code = exit_code_for(max_bad, n_bad=n_bad, n_total=n_total, where=where, listed=listed)
        # a leak that was kept is a fault of the data: said by name, and by the exit code
        return replace(report, exit_code=3 if report.leaks and report.leak_rule == "keep" else code)

    def _report_again(self, notes: Mapping[str, Any], max_bad: Tolerance | None) -> ManifestReport | None:
        """What the last run said, if its files are still what it wrote."""
        path = self.ingredients.path
        if not path.is_file() or sha256_file(path).hex() != notes.get("manifest"):
            return None
        report = ManifestReport.from_notes(notes["report"], root=self.ingredients.source.root, output=path)
        if bool(report.bad_files) != quarantine_path(path).is_file():
            return None
        return self._judged(replace(report, state="up to date", n_read=0), max_bad)

    def _save(self, facts: FactTable, notes: Mapping[str, Any] | None = None) -> None:
        path = state_path(self.ingredients.path)
        write_state(path, self.ingredients.named.names.raw, facts, check=self.looking.check, notes=notes or {})

    def _identity(self) -> str | None:
        """A digest of everything that the outcome depends on but the content of the files; None where code of the
        user's is part of it: nobody can tell whether that is what it was.
        """
        given = self.ingredients
        if given.options.has_own_code:
            return None
        others = pa.table({"others": given.source.others, "kinds": given.source.kinds})
        facts = [
            rows_sha256(pa.table({"names": given.named.names.raw})),
            rows_sha256(others),
            given.described(),
            recipe_facts(given.recipe),
            given.root_name(),
            sorted(given.source.discovery.unreadable),
            given.source.discovery.n_hidden,
            programs(self.looking.check),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _check_output(given: Ingredients, *, overwrite: bool) -> None:
    """An existing file must be a manifest of the same folder, options and recipe, or --overwrite be given."""
    path = given.path
    if not path.exists():
        return
    try:
        metadata = read_metadata(path)
    except ManifestError as error:
        raise OutputError(
            f"the output exists and is not a manifest that this imagekit can read: {error.what}",
            where=str(path),
            fix="give another -o, or move that file away yourself",
        ) from error
    differs = None if overwrite else _how_it_differs(given, metadata)
    if differs is not None:
        fix = "give another -o, or --overwrite to build it anew"
        raise OutputError(f"the output was built with {differs}", where=str(path), fix=fix)


def _how_it_differs(given: Ingredients, metadata: Metadata) -> str | None:
    """What the output was built with and what is asked for, where these differ."""
    like = given.likeness()
    was, now = _asked_of(metadata), given.options.spelled() | ({"like": like} if like else {})
    if like == "itself" and "like" not in was:
        was["like"] = like  # the first time that a manifest is kept like itself
    apart = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    if apart:
        then, today = (", ".join(_option(key, side.get(key)) for key in apart) for side in (was, now))
        return f"{then}; asked for is {today}"
    recipes = (metadata.recipe, recipe_facts(given.recipe))
    if recipes[0] != recipes[1]:
        then, today = (f"recipe {facts['name']}" if facts else "no recipe" for facts in recipes)
        return f"another text of {then}" if then == today else f"{then}, not with {today}"
    if metadata.root != given.root_name():
        return f"the images of {metadata.root}, not with those of {given.root_name()}"
    return None


def _asked_of(metadata: Metadata) -> dict[str, Any]:
    rules = {
        "label": metadata.label_rule,
        "split": metadata.split_rule,
        "group": metadata.group_rule,
        "seed": metadata.seed,
        "check": metadata.check,
    }
    more = {key: value for key, value in metadata.options.items() if key != "tables"}
    return {key: value for key, value in (rules | more).items() if value is not None}


def _option(key: str, value: Any) -> str:
    flag = "--" + key.replace("_", "-")
    if value is None:
        return f"no {flag}"
    return f"{flag} {','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
