"""What a manifest says of itself, compared with its own rows: folds, groups, counts. The reader asks the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import SplitError
from imagekit.files.checks import Fault, outcome_counts
from imagekit.files.plain import plain
from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import Metadata
from imagekit.rules.split_rules import SplitRule, parse_split_rule

SHOWN_GROUPS = 3
METADATA = "the metadata"
ROWS = "the rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class TornGroups:
    """Groups whose rows stand in more than one split (or fold): how many, and the first few, each with its places."""

    n_groups: int
    shown: tuple[tuple[str, tuple[str, ...]], ...]

    def line(self) -> str:
        """The groups as text."""
        listed = "; ".join(f"{plain(group)} ({', '.join(map(plain, places))})" for group, places in self.shown)
        return f"{listed}{'; ...' * (self.n_groups > len(self.shown))}"


def torn_groups(table: pa.Table, column: str = "split") -> TornGroups:
    """The groups whose rows have more than one value of `column`."""
    rows = pa.table({"group": table["group"], "place": table[column].cast(pa.string())}).drop_null()
    places = rows.group_by(["group", "place"]).aggregate([])
    counts = places.group_by("group").aggregate([("place", "count")])
    torn = counts.filter(pc.greater(counts["place_count"], 1))["group"]
    first = torn.take(pc.sort_indices(torn)[:SHOWN_GROUPS]).to_pylist()
    shown = []
    for group in first:
        own = places.filter(pc.equal(places["group"], group))["place"].to_pylist()
        shown.append((group, tuple(sorted(own))))
    return TornGroups(n_groups=len(torn), shown=tuple(shown))


def check_rows(manifest: Manifest) -> Iterator[Fault]:
    """Every contradiction between the rows, and between them and the metadata; groups apart."""
    table, metadata = manifest.table, manifest.metadata
    yield from _check_counts(table, metadata.counts)
    try:
        rule = split_rule_of(metadata)
    except SplitError as error:
        yield Fault("records", METADATA, error.what)
    else:
        yield from _check_folds(table, metadata, rule)


def split_rule_of(metadata: Metadata) -> SplitRule:
    """The split rule, a function included. Raises SplitError for one that is none."""
    is_function = metadata.split_rule.startswith("function ")
    return SplitRule(kind="function") if is_function else parse_split_rule(metadata.split_rule)


def check_groups(manifest: Manifest) -> tuple[list[Fault], list[str]]:
    """Groups that stand in more than one split: faults, or notes where it was told when the manifest was built."""
    metadata = manifest.metadata
    try:
        rule = split_rule_of(metadata)
    except SplitError:  # told by check_rows
        rule = SplitRule(kind="none")
    # a draw tears no group apart, but where an older manifest had one that was torn
    may_keep = rule.is_given or "like" in metadata.options
    leaks = metadata.options.get("leaks", rule.default_leaks if may_keep else "drop")
    faults, notes = [], []
    for column in ("split", "fold"):
        torn = torn_groups(manifest.table, column)
        if torn.n_groups and leaks == "keep":
            verb = "group stands" if torn.n_groups == 1 else "groups stand"
            notes.append(f"{torn.n_groups:,} {verb} in more than one {column}, kept when it was built: {torn.line()}")
        elif torn.n_groups:
            faults.append(Fault("leak", "group", f"{torn.n_groups:,} in more than one {column}: {torn.line()}"))
    return faults, notes


def _check_folds(table: pa.Table, metadata: Metadata, rule: SplitRule) -> Iterator[Fault]:
    if table["fold"].null_count == table.num_rows and not rule.n_folds:
        return
    least, most = (pc.min_max(table["fold"])[key].as_py() for key in ("min", "max"))
    if not rule.n_folds:
        yield Fault("records", ROWS, f"some have a fold, and the split rule {plain(metadata.split_rule)} makes none")
    elif least is None or least < 0 or most >= rule.n_folds:
        yield Fault("records", ROWS, f"folds run from {least} to {most}, must be from 0 to {rule.n_folds - 1}")
    if len(metadata.fold_stats) not in (0, rule.n_folds):
        n_stats = len(metadata.fold_stats)
        yield Fault("records", METADATA, f"it has statistics of {n_stats:,} folds, there are {rule.n_folds}")


def _check_counts(table: pa.Table, counts: Mapping[str, Any]) -> Iterator[Fault]:
    """Every file that was found has one outcome, and every selected one its row."""
    try:
        found, told = outcome_counts(counts)
    except ValueError as error:
        yield Fault("records", METADATA, str(error))
        return
    if found != sum(told.values()):
        yield Fault("records", METADATA, f"found {found:,} is not the sum of the outcomes")
    if told["selected"] != table.num_rows:
        yield Fault("records", METADATA, f"it counts {told['selected']:,} selected, there are {table.num_rows:,} rows")
    per_split = counts.get("per_split")
    actual = {pair["values"]: pair["counts"] for pair in pc.value_counts(table["split"].cast(pa.string())).to_pylist()}
    if per_split is not None and per_split != actual:
        yield Fault("records", METADATA, "its counts of each split are not those of the rows")
