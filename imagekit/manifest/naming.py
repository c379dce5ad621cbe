"""What names, tables and functions tell of every image before one is opened: its label, its split, or why it is out.

N images, in the order of the manifest's rows: by the name as it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError
from imagekit.files.listing import display_names
from imagekit.files.names import display_name
from imagekit.files.tables import find_table
from imagekit.manifest.options import ManifestOptions
from imagekit.rules.columns import Coded, SourceTable, label_names, recode
from imagekit.rules.given import (
    Names,
    splits_by_folder,
    splits_by_function,
    splits_by_lists,
    splits_by_table,
)
from imagekit.rules.labelers import parent_labeler, parse_label_rule
from imagekit.rules.outcomes import BadFile
from imagekit.rules.split_rules import SplitRule
from imagekit.rules.tables import parse_table_rule

VERDICTS = ("selected", "not-in-list", "no-label", "no-split")
UNSUP = "unsup"
_SHOWN = 3
_FIX_TABLE = "check the name; a table lies in ROOT or in the folder that the command is run in"

Verdicts = npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Named:
    """Names of N images and what follows from them.

    names: as raw bytes and as shown. hidden: binary[N], the raw bytes of names that are not shown as they are, else
    null. labels: one for each label column. label_columns: their names, () for a single one. splits: None where they
    are drawn later. verdicts: int8[N], into VERDICTS. problems: lines of tables that mean no image. checksums: sha256
    in hex of each table.
    """

    names: Names
    hidden: pa.BinaryArray
    labels: tuple[Coded, ...]
    label_columns: tuple[str, ...]
    splits: Coded | None
    verdicts: Verdicts
    problems: tuple[BadFile, ...]
    checksums: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.names.raw)

    def selected(self) -> npt.NDArray[np.int64]:
        """The rows that no rule leaves out."""
        return np.flatnonzero(self.verdicts == 0)

    def excluded(self) -> dict[str, int]:
        """How many rows each rule leaves out."""
        counts = np.bincount(self.verdicts, minlength=len(VERDICTS)).tolist()
        return {rule: n for rule, n in zip(VERDICTS[1:], counts[1:], strict=True) if n}


def read_names(raw: pa.LargeBinaryArray, root: Path, options: ManifestOptions) -> Named:
    """Label and split the images below root by their raw names, in any order.

    options: settled. Raises LabelError for images that nothing gives a label where all should have one, SplitError, and
    SourceError for a table that is not there or cannot be read.
    """
    names, hidden = _in_order(raw)
    rule = options.split_rule
    label_rules, label_columns = _label_rules(options.label)
    if label_columns and (options.noise or rule.kind in ("stratified", "kfold")):
        raise LabelError(
            f"there are {len(label_columns)} label columns, and "
            + ("noise is made of one" if options.noise else f"{rule.kind} tells classes apart by one"),
            where="--noise" if options.noise else "--split",
            fix="name one label column, or leave this out",
        )
    tables, checksums = _read_tables(root, rule, label_rules)
    splits = _given_splits(names, rule, options, tables)
    is_unsup = np.zeros(len(raw), np.bool_)
    if splits and UNSUP in splits.values:
        is_unsup = splits.codes == splits.values.index(UNSUP)
    labels = tuple(_labels(names, one, ~is_unsup, tables) for one in label_rules)
    problems = [problem for coded in (*labels, *([splits] if splits else [])) for problem in coded.problems]
    return Named(
        names=names,
        hidden=hidden,
        labels=labels,
        label_columns=label_columns,
        splits=splits,
        verdicts=_verdicts(labels, splits, is_unsup),
        problems=tuple(dict.fromkeys(problems)),
        checksums=checksums,
    )


def _in_order(raw: pa.LargeBinaryArray) -> tuple[Names, pa.BinaryArray]:
    """Names sorted as they are shown: the order of a manifest is the one that its readers see."""
    shown, hidden = display_names(raw)
    if hidden.null_count < len(hidden):
        order = pc.sort_indices(shown)
        shown, hidden, raw = shown.take(order), hidden.take(order), raw.take(order)
    return Names(raw, shown), hidden


def _label_rules(label: object) -> tuple[tuple[str | Callable[[str], str | None], ...], tuple[str, ...]]:
    """One rule for each label column. `table:FILE:PATH:A,B` has two: the table's columns A and B."""
    if callable(label):
        return (label,), ()
    spec = str(label)
    if not spec.startswith("table:"):
        parse_label_rule(spec)
        return (spec,), ()
    rule = parse_table_rule(spec)
    columns = tuple((rule.value_column or "").split(","))
    if len(columns) == 1:
        return (spec,), ()
    if not all(columns) or len(set(columns)) < len(columns):
        raise LabelError(
            f'the label rule "{spec}" must name each label column once',
            where="--label",
            fix="write table:FILE:PATH:A,B with the names of the columns",
        )
    return tuple(f"table:{rule.file}:{rule.path_column}:{column}" for column in columns), columns


def _read_tables(
    root: Path, rule: SplitRule, labels: Sequence[str | Callable[[str], str | None]]
) -> tuple[dict[str, SourceTable], dict[str, str]]:
    specs = [*rule.table_rules(), *(label for label in labels if isinstance(label, str))]
    files = dict.fromkeys(parse_table_rule(spec).file for spec in specs if spec.startswith("table:"))
    tables, checksums = {}, {}
    for file in files:
        table, base = find_table(file, root=root, beside=Path(), asked_by="--label or --split", fix=_FIX_TABLE)
        tables[file] = SourceTable(data=table.data, has_header=table.has_header, base=base)
        checksums[file] = table.sha256
    return tables, checksums


def _given_splits(
    names: Names, rule: SplitRule, options: ManifestOptions, tables: Mapping[str, SourceTable]
) -> Coded | None:
    if rule.kind == "folders":
        return splits_by_folder(names)
    if rule.kind == "list":
        return splits_by_lists(names, rule, tables=tables)
    if rule.table:
        return splits_by_table(names, rule.table, tables=tables)
    return splits_by_function(names, options.split) if callable(options.split) else None


def _labels(
    names: Names,
    rule: str | Callable[[str], str | None],
    is_wanted: npt.NDArray[np.bool_],
    tables: Mapping[str, SourceTable],
) -> Coded:
    """The labels of the wanted rows, none for the others."""
    if callable(rule):
        coded = _labels_by_function(names, rule)
    else:
        coded = label_names(names.raw, rule, tables=tables)
        if coded.listed is None:
            _refuse_unlabelled(names, rule, np.flatnonzero(is_wanted & (coded.codes < 0)))
    # labels are text that other programs read: a folder's odd bytes are escaped as they are in file_name
    values = [display_name(value.encode("utf-8", "surrogateescape")) for value in coded.values]
    kept = recode(np.where(is_wanted, coded.codes, np.int32(-1)), tuple(values))
    return Coded(codes=kept.codes, values=kept.values, problems=coded.problems, listed=coded.listed)


def _labels_by_function(names: Names, function: Callable[[str], str | None]) -> Coded:
    words: dict[str, int] = {}
    codes = np.full(len(names.raw), -1, np.int32)
    for i, name in enumerate(names.shown.to_pylist()):
        label: object = function(name)
        if label is None:
            continue
        if not isinstance(label, str) or not label:
            raise LabelError(
                f"the label function returned {label!r} for {name}",
                where="label function",
                fix="return a text that is not empty, or None to leave the image out",
            )
        codes[i] = words.setdefault(label, len(words))
    return recode(codes, tuple(words))


def _refuse_unlabelled(names: Names, rule: str, rows: npt.NDArray[np.int64]) -> None:
    """Every image has a folder and a name: one without a label means that the rule does not fit."""
    if not len(rows):
        return
    shown = names.shown.take(pa.array(rows[:_SHOWN])).to_pylist()
    if rule == "parent":
        parent_labeler(shown[0])
    n = len(rows)
    fix = "widen the regular expression, which is searched in the file name without its folders"
    why = "its name does not match" if n == 1 else "their names do not match"
    if rule.startswith("folder:"):
        fix = "give the number of the folder that is the class, 1 being the first, or move the files"
        why = f"{'it lies' if n == 1 else 'they lie'} too few folders deep"
    noun = "1 image" if n == 1 else f"{n:,} images"
    listed = ", ".join(shown) + (", ..." if n > _SHOWN else "")
    raise LabelError(f"nothing gives {noun} a label, {why}: {listed}", where=f"--label {rule}", fix=fix)


def _verdicts(labels: Sequence[Coded], splits: Coded | None, is_unsup: npt.NDArray[np.bool_]) -> Verdicts:
    verdicts: Verdicts = np.zeros(len(is_unsup), np.int8)
    no_split, no_label = VERDICTS.index("no-split"), VERDICTS.index("no-label")
    unlabelled = ~is_unsup & np.all([coded.codes < 0 for coded in labels], axis=0)
    verdicts[unlabelled] = no_label
    if splits:
        verdicts[splits.codes < 0] = no_split
    for coded in (*labels, *([splits] if splits else [])):
        if coded.listed is not None:
            verdicts[(verdicts > 0) & ~coded.listed] = VERDICTS.index("not-in-list")
    return verdicts
