"""From what was found out about every image to the finished rows: split, fit on train, join, encode, describe."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.engine.facts import FactTable
from imagekit.errors import SplitError
from imagekit.files.atomic import atomic_file
from imagekit.files.jsonl import write_json_lines
from imagekit.files.names import display_name
from imagekit.manifest.categories import categories, categories_told, vocab_told
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.fit import channel_stats, image_sizes
from imagekit.manifest.image import SUMS
from imagekit.manifest.joined import Joined
from imagekit.manifest.like import OldRows
from imagekit.manifest.naming import UNSUP, Named
from imagekit.manifest.noise import noisy_labels
from imagekit.manifest.options import ManifestOptions
from imagekit.manifest.processing import run_processors
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.read import Manifest
from imagekit.manifest.remarks import Remarks
from imagekit.manifest.rows import (
    base_table,
    count_by_class,
    count_splits,
    recipe_facts,
    take_coded,
    take_rows,
    unlabel,
    with_targets,
)
from imagekit.manifest.schema import METADATA_KEY, ROW_GROUP_ROWS, ChannelStats, Metadata
from imagekit.manifest.source import Source
from imagekit.manifest.splitting import Images, Splitting, split_images
from imagekit.manifest.summary import ManifestReport
from imagekit.recipes.recipe import Recipe
from imagekit.rules.columns import Coded, recode
from imagekit.rules.grouping import find_groups
from imagekit.rules.outcomes import BadFile, count_outcomes, group_by_reason
from imagekit.rules.paths import PathParts
from imagekit.rules.splitters import check_filled, is_valid

_ALL_DIFFERENT = ("file_name", "sha256", "dhash")

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ingredients:
    """Everything that a manifest is made of but the content of the files. options: settled."""

    source: Source
    path: Path
    options: ManifestOptions
    recipe: Recipe | None
    named: Named
    joined: Joined | None
    old: Manifest | None

    def root_name(self) -> str:
        """The root relative to the manifest's own folder."""
        return os.path.relpath(self.source.root.resolve(), self.path.parent.resolve())

    def likeness(self) -> str | None:
        """What the manifest says of the older one: the digest of its rows; `itself` where it is the output."""
        if self.old is None:
            return None
        is_itself = self.path.exists() and self.old.path.resolve() == self.path.resolve()
        return "itself" if is_itself else self.old.metadata.rows_sha256

    def more_options(self) -> dict[str, Any]:
        """The `options` of the metadata: what was asked for beside the rules, and the digests of all tables read."""
        tables = dict(self.named.checksums)
        if self.joined is not None and self.options.columns is not None:
            tables[f"columns:{self.options.columns.name}"] = self.joined.sha256  # another table may have that name
        like = self.likeness()
        return self.options.more() | ({"tables": tables} if tables else {}) | ({"like": like} if like else {})

    def described(self) -> dict[str, Any]:
        """Every option that shapes the rows, and what older state they hang on."""
        old = None if self.old is None else self.old.metadata.to_json().decode()
        return self.options.spelled() | self.more_options() | {"old": old}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finished:
    """The rows with their metadata in the schema, and what is to be told."""

    path: Path
    table: pa.Table
    report: ManifestReport

    def write(self, quarantine: Path) -> None:
        """Publish the list of unusable files, then the manifest."""
        if self.report.bad_files:
            write_json_lines(quarantine, [bad.to_dict() for bad in self.report.bad_files])
        else:
            quarantine.unlink(missing_ok=True)  # a list left by an earlier build would be untrue now
        with atomic_file(self.path) as aside:
            pq.write_table(
                self.table,
                aside,
                compression="zstd",
                row_group_size=ROW_GROUP_ROWS,
                # names and digests differ from row to row: a dictionary of them costs time and space
                use_dictionary=[name for name in self.table.column_names if name not in _ALL_DIFFERENT],
            )


def finish(given: Ingredients, facts: FactTable) -> Finished:
    """Rows, metadata and report. Raises SplitError and LabelError where a split or a class is left without images."""
    named, options = given.named, given.options
    rows = np.flatnonzero(facts.is_good)
    old = OldRows.find(given.old, take_rows(named.names.shown, rows)) if given.old else None
    splitting = split_images(_images(given, rows, facts, old), options, old=old)
    kept = splitting.kept()
    rows = rows[kept]
    is_unsup = splitting.is_split(UNSUP)[kept]
    labels = [unlabel(take_coded(coded, rows), is_unsup) for coded in named.labels]
    table = base_table(named, rows, facts, splitting, labels, kept)
    split = table["split"].cast(pa.string()).combine_chunks()
    is_train = np.asarray(pc.equal(split, "train")) if len(rows) else np.zeros(0, np.bool_)
    bad_images = [*_bad_images(given, facts), *(bad for _, bad in splitting.left_out)]
    _check_splits(table, given, bad_images)
    processors = categories(named, options, given.old, labels, is_train)
    table = with_targets(table, labels, processors, where=str(given.source.root))
    table, more = _more_columns(given, table, rows, is_train, processors)
    folds = None if splitting.folds is None else splitting.folds[kept]
    stats, fold_stats = _statistics(given, facts, rows, is_train, folds)
    report = _report(given, bad_images, splitting, table, labels, processors, old)
    metadata = Metadata(
        root=given.root_name(),
        **vocab_told(named, given.recipe, given.old, processors),
        processors=(*categories_told(named, processors), *more),
        stats=stats,
        fold_stats=fold_stats,
        sizes=_sizes(facts, rows) if options.check != "none" else None,
        counts=report.outcomes.to_dict() | {"per_split": dict(report.per_split)},
        rows_sha256=rows_sha256(table),
        recipe=recipe_facts(given.recipe),
        label_columns=named.label_columns,
        options=given.more_options(),
        **options.rules(),
    )
    table = table.replace_schema_metadata({METADATA_KEY: metadata.to_json()})
    return Finished(path=given.path, table=table, report=report)


def planned(given: Ingredients) -> ManifestReport:
    """What a dry run tells: counts by names alone."""
    named = given.named
    rows = named.selected()
    splits = take_coded(named.splits, rows) if named.splits else None
    counts = np.bincount(splits.codes, minlength=len(splits.values)).tolist() if splits else []
    return ManifestReport(
        state="planned",
        root=given.source.root,
        output=given.path,
        outcomes=_outcomes(given, n_selected=len(rows), bad_images=()),
        bad_files=tuple(sorted(given.source.bad_files(), key=lambda bad: bad.file_name)),
        leaks=(),
        leak_rule=given.options.leak_rule,
        per_split=dict(zip(splits.values, counts, strict=True)) if splits else {},
        n_classes=len(take_coded(named.labels[0], rows).values),
        n_looked=len(rows),
    )


def _images(given: Ingredients, rows: Ints, facts: FactTable, old: OldRows | None) -> Images:
    named = given.named
    labels = take_coded(named.labels[0], rows)
    return Images(
        names=take_rows(named.names.shown, rows),
        labels=labels if old is None else unlabel(labels, old.is_unsup()),
        splits=take_coded(named.splits, rows) if named.splits else None,
        sha256=facts.to_arrow("sha256", rows),
        dhash=facts.to_arrow("dhash", rows),
        keys=_group_keys(given, rows),
    )


def _group_keys(given: Ingredients, rows: Ints) -> Coded | None:
    """The user's groups, None where --group names none."""
    rule = given.options.group_rule
    if rule.pattern is not None:
        files = PathParts.of(take_rows(given.named.names.raw, rows)).files()
        found = find_groups(files, rule.pattern)
        shown = [None if key is None else display_name(key.encode("utf-8", "surrogateescape")) for key in found]
        texts = pa.array(shown, pa.string())
    elif rule.column is not None and given.joined is not None:
        texts = given.joined.table[rule.column].combine_chunks().take(pa.array(rows)).cast(pa.string())
    else:
        return None
    coded = texts.dictionary_encode()
    return recode(np.asarray(coded.indices.fill_null(-1)).astype(np.int32), tuple(coded.dictionary.to_pylist()))


def _check_splits(table: pa.Table, given: Ingredients, bad: Sequence[BadFile]) -> None:
    """Train and a valid have rows, and so has every split that was asked for. bad: images that cannot be used."""
    exact = count_splits(table)
    bases: Counter[str] = Counter()
    for split, n in exact.items():
        bases["valid" if is_valid(split) else split] += n
    rule = given.options.split_rule
    if bases and rule.kind in ("hash", "random", "stratified"):
        check_filled(bases, valid=rule.valid, test=rule.test, where=f"--split {rule.kind}")
    asked = given.named.splits.values if given.named.splits else ()
    empty = [split for split in ("train", "valid") if not bases[split]]
    empty += [split for split in asked if split not in exact and split not in ("train", "valid", "unsup")]
    if empty:
        raise SplitError(
            "; ".join([f"no usable image is left in {empty[0]}", *group_by_reason(bad, listed_in="the folder")]),
            where=str(given.source.root),
            fix="mend the files or choose another --split",
        )


def _more_columns(
    given: Ingredients, table: pa.Table, rows: Ints, is_train: Mask, processors: Sequence[CategoryProcessor]
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Noisy labels, joined columns, processed columns; and what the Processors learnt."""
    options, where = given.options, str(given.source.root)
    if options.noise:
        labels = table["label"].combine_chunks()
        names = take_rows(given.named.names.raw, rows)
        vocab = processors[0].vocab or ()
        noisy = noisy_labels(names, labels, is_train, vocab=vocab, percents=options.noise, seed=options.seed_number)
        for name, column in noisy.items():
            table = table.append_column(name, column)
    if given.joined is not None:
        for name, column in zip(given.joined.table.column_names, given.joined.table.columns, strict=True):
            table = table.append_column(name, column.take(pa.array(rows)))
    if not options.process:
        return table, []
    old = tuple(given.old.metadata.processors) if given.old else ()
    return run_processors(options.process, table, is_train, old=old, where=where)


def _statistics(
    given: Ingredients, facts: FactTable, rows: Ints, is_train: Mask, folds: npt.NDArray[np.int8] | None
) -> tuple[ChannelStats | None, tuple[ChannelStats, ...]]:
    """Of train, and of the rows outside each fold; with an older manifest its own, for they are fitted state."""
    if given.old is not None and given.old.metadata.stats is not None:
        return given.old.metadata.stats, given.old.metadata.fold_stats if folds is not None else ()
    if given.options.check != "decode":
        return None, ()
    n_pixels = facts.numbers("width")[rows].astype(np.int64) * facts.numbers("height")[rows]
    sums = {name: facts.numbers(name)[rows] for name in SUMS}
    stats = channel_stats(sums, n_pixels, is_train)
    if folds is None:
        return stats, ()
    each = (channel_stats(sums, n_pixels, folds != fold) for fold in range(given.options.split_rule.n_folds))
    return stats, tuple(one for one in each if one is not None)


def _sizes(facts: FactTable, rows: Ints) -> dict[str, Any] | None:
    width, height = (facts.numbers(name)[rows].astype(np.int64) for name in ("width", "height"))
    return image_sizes(width, height, facts.numbers("exif_orientation")[rows].astype(np.int64))


def _bad_images(given: Ingredients, facts: FactTable) -> list[BadFile]:
    shown = given.named.names.shown
    bad = []
    for row in np.flatnonzero(facts.is_bad).tolist():
        fact: Mapping[str, Any] = facts.get(row)
        bad.append(
            BadFile(
                file_name=shown[row].as_py(),
                reason=fact["reason"],
                detail=fact["detail"],
                size_bytes=fact.get("size_bytes"),
                sha256=fact["sha256"].hex() if "sha256" in fact else None,
                format=fact.get("format"),
                decoder_said=fact.get("decoder_said"),
            )
        )
    return bad


def _outcomes(given: Ingredients, *, n_selected: int, bad_images: Sequence[BadFile]) -> Any:
    return count_outcomes(
        n_images=len(given.named),
        n_selected=n_selected,
        excluded=given.named.excluded(),
        bad_images=bad_images,
        other_kinds=given.source.kinds.to_pylist(),
    )


def _report(
    given: Ingredients,
    bad_images: Sequence[BadFile],
    splitting: Splitting,
    table: pa.Table,
    labels: Sequence[Coded],
    processors: Sequence[CategoryProcessor],
    old: OldRows | None,
) -> ManifestReport:
    bad_files = [*bad_images, *given.named.problems, *given.source.bad_files()]
    by_class = {} if given.named.label_columns else count_by_class(table, labels[0])
    remarks = Remarks(given=given, table=table, n_unlike=splitting.n_unlike, labels=labels, by_class=by_class, old=old)
    rule = given.options.split_rule
    asked = {"valid": rule.valid, "test": rule.test} if rule.kind in ("hash", "random", "stratified") else {}
    return ManifestReport(
        state="built",
        root=given.source.root,
        output=given.path,
        outcomes=_outcomes(given, n_selected=table.num_rows, bad_images=bad_images),
        bad_files=tuple(sorted(bad_files, key=lambda bad: bad.file_name)),
        leaks=splitting.leaks,
        leak_rule=given.options.leak_rule,
        per_split=count_splits(table),
        n_classes=max((len(processor.vocab or ()) for processor in processors), default=0),
        asked={split: share for split, share in asked.items() if share},
        per_class=by_class,
        remarks=remarks.lines(),
    )
