"""Build a manifest: discover, label, split, look at every image, fit on train, write one Parquet file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.engine.pool import collect_facts
from imagekit.errors import ManifestError, OutputError, SourceError
from imagekit.files.atomic import atomic_file, heal_file
from imagekit.files.discover import Discovery, discover
from imagekit.files.jsonl import write_json_lines
from imagekit.files.lock import output_lock
from imagekit.files.names import display_name, is_plain
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.fit import Leak, encode_labels, group_duplicates, train_stats
from imagekit.manifest.image import DescribeImage
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.read import read_metadata
from imagekit.manifest.schema import COLUMNS, METADATA_KEY, ROW_GROUP_ROWS, Metadata
from imagekit.manifest.summary import ManifestReport
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import Recipe
from imagekit.rules.labelers import make_labeler
from imagekit.rules.outcomes import BadFile, bad_others, count_outcomes, counted, group_by_reason, unreadable_folders
from imagekit.rules.splitters import make_splitter
from imagekit.rules.tolerance import Tolerance, exit_code_for

DEFAULT_NAME = "metadata.parquet"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestOptions:
    """What shapes the rows: where labels and splits come from, and the seed of a random split."""

    label: str = "parent"
    split: str = "folders"
    seed: int = 0


def build_manifest(
    root: Path | str,
    *,
    output: Path | str | None = None,
    options: ManifestOptions | None = None,
    recipe: str | None = None,
    recipes: Path | None = None,
    n_workers: int | None = None,
    timeout_s: float = 60.0,
    max_bad: Tolerance | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> ManifestReport:
    """List every image under `root` with its label, split, hashes and sizes in one Parquet file.

    output: defaults to ROOT/metadata.parquet. recipe: names a recipe whose readable class names and hash to record.
    Raises SourceError, SplitError, LabelError, OutputError (exit 2), TooManyBadError (1), LockedError (4).
    """
    begun, options, root = time.monotonic(), options or ManifestOptions(), Path(root)
    path = Path(output) if output else root / DEFAULT_NAME
    known = find_recipe(recipe, load_recipes(recipes)) if recipe else None
    discovery = discover(root)
    if len(discovery) == 0:
        raise SourceError(
            "the folder holds no images", where=str(root), fix="point at the folder that make-subset built"
        )
    rows = _named_rows(discovery, options)
    build = _Build(root=root, path=path, options=options, recipe=known, discovery=discovery, begun=begun)
    if dry_run:
        return build.report(rows, [], state="planned")
    with output_lock(path):
        _check_output(path, options, recipe=known, overwrite=overwrite)
        for leftover in (path, build.quarantine_path):
            heal_file(leftover)
        task, names = DescribeImage(root=str(root)), discovery.names.to_pylist()
        facts = collect_facts(task, names, n_workers=n_workers, timeout_s=timeout_s, progress=progress)
        return build.finish(rows, facts, max_bad=max_bad)


def _named_rows(discovery: Discovery, options: ManifestOptions) -> list[Row]:
    """What names alone can tell: file_name, label, split, in discovery's order."""
    names = [display_name(name) for name in discovery.names.to_pylist()]
    splits = make_splitter(options.split, seed=options.seed)(names)
    labels = make_labeler(options.label)(names)
    return [
        {"file_name": shown, "file_name_bytes": None if is_plain(raw) else raw, "split": split}
        | {"label": None if split == "unsup" else label}
        for raw, shown, split, label in zip(discovery.names.to_pylist(), names, splits, labels, strict=True)
    ]


def _check_output(path: Path, options: ManifestOptions, *, recipe: Recipe | None, overwrite: bool) -> None:
    """An existing file must be a manifest of the same options and recipe, or --overwrite be given; else exit 2."""
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
    built_with = ManifestOptions(label=metadata.label_rule, split=metadata.split_rule, seed=metadata.seed)
    fix = "give another -o, or --overwrite to build it anew"
    if built_with != options and not overwrite:
        raise OutputError(
            f"the output was built with --label {built_with.label} --split {built_with.split} --seed {built_with.seed}",
            where=str(path),
            fix=fix,
        )
    if metadata.recipe != _recipe_facts(recipe) and not overwrite:
        was, now = (
            f"recipe {facts['name']}" if facts else "no recipe" for facts in (metadata.recipe, _recipe_facts(recipe))
        )
        same = f"another text of {was}" if was == now else f"{was}, not with {now}"
        raise OutputError(f"the output was built with {same}", where=str(path), fix=fix)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Build:
    root: Path
    path: Path
    options: ManifestOptions
    recipe: Recipe | None
    discovery: Discovery
    begun: float

    @property
    def quarantine_path(self) -> Path:
        return self.path.with_name(self.path.name + ".quarantine.jsonl")

    def finish(self, rows: list[Row], facts: list[Row], *, max_bad: Tolerance | None) -> ManifestReport:
        """Join, group, fit on train, write, report."""
        bad_images = _bad_images(rows, facts)
        good = [row | fact for row, fact in zip(rows, facts, strict=True) if "reason" not in fact]
        good.sort(key=lambda row: str(row["file_name"]))
        leaks = group_duplicates(good, source_decides=self.options.split == "folders")
        processor = encode_labels(good, where=str(self.root))
        report = self.report(good, bad_images, state="built", leaks=leaks)
        listed = group_by_reason(report.bad_files, listed_in="the folder")
        n_bad, where = len(report.bad_files), str(self.root)
        code = exit_code_for(max_bad, n_bad=n_bad, n_total=len(rows), where=where, listed=listed)
        self._write(good, processor, report)
        # a leak is a fault of the data that was kept: said by name, and by the exit code
        return replace(report, exit_code=3 if leaks else code, seconds=time.monotonic() - self.begun)

    def _others(self) -> list[tuple[str, str]]:
        """Names and kinds of what is no image, our own files left out: a second run must count as the first did."""
        folder = self.path.parent.resolve()
        ours = {folder / self.path.name, folder / self.quarantine_path.name}
        names = [display_name(raw) for raw in self.discovery.others.to_pylist()]
        pairs = zip(names, self.discovery.other_kinds.to_pylist(), strict=True)
        return [(name, kind) for name, kind in pairs if not self._is_at(name, ours)]

    def _is_at(self, name: str, places: set[Path]) -> bool:
        path = self.root / name  # the folder is resolved, not the file: a link to our manifest is not our manifest
        return any(path.name == place.name for place in places) and path.parent.resolve() / path.name in places

    def report(
        self, rows: Sequence[Row], bad_images: Sequence[BadFile], *, state: str, leaks: Sequence[Leak] = ()
    ) -> ManifestReport:
        """Counts and faults; for a dry run `rows` are all images by name."""
        others = self._others()
        bad_files = [*bad_images, *bad_others(others), *unreadable_folders(self.discovery.unreadable)]
        return ManifestReport(
            state=state,
            root=self.root,
            output=self.path,
            outcomes=count_outcomes(
                n_images=len(self.discovery),
                n_selected=len(rows),
                excluded={},
                bad_images=bad_images,
                other_kinds=[kind for _, kind in others],
            ),
            bad_files=tuple(sorted(bad_files, key=lambda bad: bad.file_name)),
            leaks=tuple(leaks),
            per_split=counted(row["split"] for row in rows),
            n_classes=len({row["label"] for row in rows if row["label"] is not None}),
            seconds=time.monotonic() - self.begun,
        )

    def _write(self, rows: list[Row], processor: CategoryProcessor, report: ManifestReport) -> None:
        table = pa.Table.from_pylist([{name: row.get(name) for name in COLUMNS.names} for row in rows], schema=COLUMNS)
        vocab = processor.vocab or ()
        names = self.recipe.classes if self.recipe else {}
        metadata = Metadata(
            root=os.path.relpath(self.root.resolve(), self.path.parent.resolve()),
            vocab=vocab,
            class_names=tuple(names.get(label, label) for label in vocab),
            processors=(processor.to_dict(),),
            stats=train_stats(rows),
            label_rule=self.options.label,
            split_rule=self.options.split,
            salt=str(self.options.seed) if self.options.split.startswith("hash:") else "",
            seed=self.options.seed,
            counts=report.outcomes.to_dict() | {"per_split": report.per_split},
            rows_sha256=rows_sha256(table),
            recipe=_recipe_facts(self.recipe),
        )
        if report.bad_files:
            write_json_lines(self.quarantine_path, [bad.to_dict() for bad in report.bad_files])
        else:
            self.quarantine_path.unlink(missing_ok=True)  # a list left by an earlier build would be untrue now
        with atomic_file(self.path) as aside:
            pq.write_table(
                table.replace_schema_metadata({METADATA_KEY: metadata.to_json()}),
                aside,
                compression="zstd",
                row_group_size=ROW_GROUP_ROWS,
            )


def _bad_images(rows: Sequence[Row], facts: Sequence[Row]) -> list[BadFile]:
    return [
        BadFile(
            file_name=row["file_name"],
            reason=fact["reason"],
            detail=fact["detail"],
            size_bytes=fact.get("size_bytes"),
            sha256=fact["sha256"].hex() if "sha256" in fact else None,
            format=fact.get("format"),
        )
        for row, fact in zip(rows, facts, strict=True)
        if "reason" in fact
    ]


def _recipe_facts(recipe: Recipe | None) -> dict[str, str] | None:
    return None if recipe is None else {"name": recipe.name, "version": recipe.version, "sha256": recipe.sha256()}
