"""A manifest told in words: splits by classes, groups, columns, what was fitted, what lies beside it, first rows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagekit.files.checks import count_reasons, read_quarantine
from imagekit.files.plain import plain
from imagekit.manifest.beside import quarantine_path, state_path
from imagekit.manifest.class_table import class_table
from imagekit.manifest.overview import Overview, overview
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.schema import Metadata

SHOWN_ROWS = 3
SHOWN_FOLDS = 10
_ROW_COLUMNS = ("split", "fold", "target", "label", "file_name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What lies beside the manifest. state_bytes: size of FILE.state, None where there is none.

    quarantine: how many files were left out for each reason; None without a list. problem: why it cannot be read.
    """

    state: Path
    state_bytes: int | None
    quarantine: Mapping[str, int] | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What `inspect` tells of one manifest."""

    manifest: Manifest
    overview: Overview
    beside: Beside
    exit_code: int = 0

    @property
    def next_command(self) -> str:
        """What to type next: train takes one label an image, and rows of train and of valid."""
        again = f"imagekit manifest {shlex.quote(plain(str(self.manifest.root)))}"
        if not self.manifest.metadata.vocab:
            return f"{again} --label table:FILE:PATH:LABEL"
        if not {"train", "valid"} <= {name.partition(":")[0] for name in self.overview.rows_per_split}:
            return f"{again} --split hash:0.2"
        return f"imagekit train {shlex.quote(str(self.manifest.path))} -o RUN"

    def summary(self) -> str:
        """The facts as text."""
        manifest, metadata = self.manifest, self.manifest.metadata
        has_lists = bool(metadata.label_columns)
        n_classes = (
            f"{len(metadata.label_columns):,} label columns" if has_lists else f"{len(metadata.vocab):,} classes"
        )
        lines = [
            f"{manifest.path}: {manifest.table.num_rows:,} rows, {n_classes}, format {metadata.format_version}",
            *_rule_lines(metadata),
            *class_table(metadata, self.overview),
            *_row_lines(self.overview, manifest.table.num_rows),
            _stats_line(metadata),
            *_size_lines(metadata),
            *map(_processor_line, metadata.processors),
            f"rows_sha256 {plain(metadata.rows_sha256)}",
            "columns: " + ", ".join(f"{plain(name)} {kind}" for name, kind in self.overview.columns.items()),
            *_beside_lines(self.beside),
            "first rows:",
            *(
                f"  {plain(row['split'])} {plain(row['target'])} {plain(row['file_name'])}"
                for row in self._first_rows()
            ),
        ]
        return "\n".join(lines)

    def _first_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.manifest.table.slice(0, SHOWN_ROWS).select(_ROW_COLUMNS).to_pylist()
        return rows

    def to_dict(self) -> dict[str, object]:
        """The facts as plain types, every class."""
        metadata, facts, beside = self.manifest.metadata, self.overview, self.beside
        counts = facts.label_counts()
        total = sum(counts.values())
        return {
            "manifest": str(self.manifest.path),
            "n_rows": self.manifest.table.num_rows,
            **_metadata_dict(metadata),
            "rows_per_split": dict(facts.rows_per_split),
            "splits": {name: dict(of_split) for name, of_split in facts.splits.items()},
            "shares": {label: count / total for label, count in counts.items()},
            "folds": {str(fold): count for fold, count in facts.folds.items()},
            "groups": asdict(facts.groups),
            "noise": dict(facts.noise),
            "columns": dict(facts.columns),
            "state": {"file": str(beside.state), "size_bytes": beside.state_bytes},
            "quarantine": None if beside.quarantine is None else dict(beside.quarantine),
            "quarantine_problem": beside.problem,
            "first_rows": self.manifest.table.slice(0, SHOWN_ROWS).select(_ROW_COLUMNS).to_pylist(),
        }


def inspect_manifest(path: Path | str) -> Inspection:
    """Read, check and describe a manifest. Raises ManifestError; SourceError where it is not there."""
    manifest = read_manifest(path)
    return Inspection(manifest=manifest, overview=overview(manifest), beside=_look_beside(manifest.path))


def _look_beside(path: Path) -> Beside:
    state, listed = state_path(path), quarantine_path(path)
    size = state.stat().st_size if state.is_file() else None
    if not listed.exists():
        return Beside(state=state, state_bytes=size, quarantine=None)
    try:
        return Beside(state=state, state_bytes=size, quarantine=count_reasons(read_quarantine(listed)))
    except (OSError, ValueError) as error:
        return Beside(state=state, state_bytes=size, quarantine=None, problem=f"{listed.name}: {error}")


def _rule_lines(metadata: Metadata) -> list[str]:
    """Where the rows came from: rules, recipe, check, options."""
    group = f"; group {plain(metadata.group_rule)}" if metadata.group_rule else ""
    salt = f", salt {plain(metadata.salt)}" if metadata.salt else ""
    recipe, options = metadata.recipe, metadata.options
    lines = [
        f"root {plain(metadata.root)}; label {plain(metadata.label_rule)}; split {plain(metadata.split_rule)},"
        f" seed {metadata.seed}{salt}{group}",
        f"recipe {plain(recipe['name'])} version {plain(recipe['version'])}" if recipe else "no recipe recorded",
    ]
    if metadata.check != "decode":
        lines.append(f"built with --check {plain(metadata.check)}")
    if metadata.label_columns:
        lines.append(f"label columns: {', '.join(map(plain, metadata.label_columns))}")
    if options:
        lines.append("options: " + "; ".join(f"{plain(key)} {plain(value)}" for key, value in options.items()))
    return lines


def _row_lines(facts: Overview, n_rows: int) -> list[str]:
    """Folds, groups, and labels made wrong on purpose."""
    lines = []
    if facts.folds:
        first = [f"{fold}: {count:,}" for fold, count in list(facts.folds.items())[:SHOWN_FOLDS]]
        more = f", and {len(facts.folds) - SHOWN_FOLDS} more" if len(facts.folds) > SHOWN_FOLDS else ""
        lines.append(f"{len(facts.folds)} folds, rows of each: {', '.join(first)}{more}")
    groups = facts.groups
    if groups.n_groups:
        torn = f", {groups.n_torn:,} in more than one split" if groups.n_torn else ""
        noun = "group" if groups.n_groups == 1 else "groups"
        lines.append(f"{groups.n_groups:,} {noun} of {groups.n_rows:,} rows, the largest {groups.n_largest:,}{torn}")
    return [*lines, *(f"noise {plain(name)}: {n:,} of {n_rows:,} labels changed" for name, n in facts.noise.items())]


def _stats_line(metadata: Metadata) -> str:
    stats = metadata.stats
    if stats is None:
        is_unseen = metadata.check in ("none", "header")
        why = f": the manifest was built with --check {metadata.check}, train measures a sample" if is_unseen else ""
        return f"no channel statistics{why}"
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (stats.mean, stats.std))
    folds = f"; and outside each of {len(metadata.fold_stats)} folds" if metadata.fold_stats else ""
    return f"train mean {mean}, std {std}, from {stats.n_images:,} images{folds}"


def _size_lines(metadata: Metadata) -> list[str]:
    """Least, median and greatest of each size."""
    known = {name: three for name, three in (metadata.sizes or {}).items() if three}
    each = [f"{plain(name)} {a:g} / {b:g} / {c:g}" for name, (a, b, c) in known.items()]
    return [f"sizes (least / median / greatest): {', '.join(each)}"] if each else []


def _processor_line(processor: Mapping[str, Any]) -> str:
    outputs = ", ".join(map(plain, processor.get("outputs", [])))
    state = ", ".join(_state(key, value) for key, value in processor["state"].items())
    arrow = f" -> {outputs}" if outputs else ""
    return f"processor {plain(processor['name'])}: {plain(processor['column'])}{arrow}{f'; {state}' if state else ''}"


def _state(key: str, value: Any) -> str:
    """One fitted fact in a few signs: the size of what is long."""
    if isinstance(value, list | Mapping):
        return f"{plain(key)} of {len(value):,}"
    short = f"{value:g}" if isinstance(value, float) else plain(value, max_signs=60)
    return f"{plain(key)} {short}"


def _beside_lines(beside: Beside) -> list[str]:
    size = "none" if beside.state_bytes is None else f"{beside.state_bytes:,} bytes"
    lines = [f"state for fast reruns: {size}"]
    if beside.problem:
        lines.append(f"the quarantine list cannot be read: {plain(beside.problem)}")
    if beside.quarantine:
        each = ", ".join(f"{plain(reason)} {count:,}" for reason, count in beside.quarantine.items())
        lines.append(f"quarantined: {each}")
    return lines


def _metadata_dict(metadata: Metadata) -> dict[str, object]:
    stats = metadata.stats
    return {
        "format_version": metadata.format_version,
        "root": metadata.root,
        "vocab": list(metadata.vocab),
        "class_names": list(metadata.class_names),
        "label_columns": list(metadata.label_columns),
        "label_rule": metadata.label_rule,
        "split_rule": metadata.split_rule,
        "group_rule": metadata.group_rule,
        "seed": metadata.seed,
        "salt": metadata.salt,
        "check": metadata.check,
        "options": dict(metadata.options),
        "recipe": dict(metadata.recipe) if metadata.recipe else None,
        "counts": dict(metadata.counts),
        "stats": None if stats is None else {"mean": list(stats.mean), "std": list(stats.std), "n": stats.n_images},
        "fold_stats": [asdict(fold) for fold in metadata.fold_stats],
        "sizes": dict(metadata.sizes) if metadata.sizes else None,
        "processors": [dict(one) for one in metadata.processors],
        "rows_sha256": metadata.rows_sha256,
    }
