"""A manifest told in words: splits by classes, columns, what was fitted, the first rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.manifest.read import Manifest, read_manifest
from imagekit.rules.outcomes import counted

SHOWN_ROWS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What `inspect` tells of one manifest."""

    manifest: Manifest
    exit_code: int = 0

    @property
    def next_command(self) -> str:
        """What to type next."""
        return f"imagekit train {self.manifest.path} -o RUN"

    def splits(self) -> dict[str, dict[str, int]]:
        """Rows per split and label; a row without one counts as `(none)`."""
        table = self.manifest.table
        names = pc.unique(table["split"].cast(pa.string())).to_pylist()
        labels = {name: self.manifest.rows(name)["label"].fill_null("(none)").to_pylist() for name in sorted(names)}
        return {name: counted(values) for name, values in labels.items()}

    def columns(self) -> dict[str, str]:
        """Every column with its type, and what is empty said so."""
        table = self.manifest.table
        return {
            name: str(table.schema.field(name).type) + (" (all null)" if column.null_count == len(column) else "")
            for name, column in zip(table.column_names, table.columns, strict=True)
        }

    def summary(self) -> str:
        """The facts as text."""
        metadata, splits = self.manifest.metadata, self.splits()
        recipe = metadata.recipe
        lines = [
            f"{self.manifest.path}: {self.manifest.table.num_rows:,} rows, {len(metadata.vocab)} classes,"
            f" format {metadata.format_version}",
            f"root {metadata.root}; label {metadata.label_rule}; split {metadata.split_rule}, seed {metadata.seed}",
            f"recipe {recipe['name']} version {recipe['version']}" if recipe else "no recipe recorded",
            *self._class_table(splits),
            *self._stats_lines(),
            f"rows_sha256 {metadata.rows_sha256}",
            "columns: " + ", ".join(f"{name} {kind}" for name, kind in self.columns().items()),
            "first rows:",
            *(f"  {row['split']} {row['target']} {row['file_name']}" for row in self._first_rows()),
        ]
        return "\n".join(lines)

    def _class_table(self, splits: dict[str, dict[str, int]]) -> list[str]:
        metadata = self.manifest.metadata
        titles = dict(zip(metadata.vocab, metadata.class_names, strict=True))
        labels = [*metadata.vocab, *(["(none)"] if any("(none)" in counts for counts in splits.values()) else [])]
        width = max(map(len, ["class", *labels]))
        head = f"  id {'class':<{width}}" + "".join(f" {name:>8}" for name in splits)
        rows = [
            f"  {index if label in titles else '':>2} {label:<{width}}"
            + "".join(f" {counts.get(label, 0):>8,}" for counts in splits.values())
            + (f"  {titles[label]}" if titles.get(label, label) != label else "")
            for index, label in enumerate(labels)
        ]
        totals = "".join(f" {sum(counts.values()):>8,}" for counts in splits.values())
        return [head, *rows, f"     {'total':<{width}}{totals}"]

    def _stats_lines(self) -> list[str]:
        stats = self.manifest.metadata.stats
        if stats is None:
            return ["no channel statistics"]
        mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (stats.mean, stats.std))
        return [f"train mean {mean}, std {std}, from {stats.n_images:,} images"]

    def _first_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.manifest.table.slice(0, SHOWN_ROWS).to_pylist()
        return rows

    def to_dict(self) -> dict[str, object]:
        """The facts as plain types."""
        metadata, stats = self.manifest.metadata, self.manifest.metadata.stats
        return {
            "manifest": str(self.manifest.path),
            "format_version": metadata.format_version,
            "n_rows": self.manifest.table.num_rows,
            "vocab": list(metadata.vocab),
            "class_names": list(metadata.class_names),
            "splits": self.splits(),
            "split_rule": metadata.split_rule,
            "label_rule": metadata.label_rule,
            "seed": metadata.seed,
            "recipe": dict(metadata.recipe) if metadata.recipe else None,
            "stats": None if stats is None else {"mean": list(stats.mean), "std": list(stats.std), "n": stats.n_images},
            "columns": self.columns(),
            "rows_sha256": metadata.rows_sha256,
        }


def inspect_manifest(path: Path) -> Inspection:
    """Read, check and describe a manifest. Raises ManifestError."""
    return Inspection(manifest=read_manifest(path))
