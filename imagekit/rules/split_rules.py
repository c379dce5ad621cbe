"""What `--split` can say, and which words stand for which split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from imagekit.errors import LabelError, SplitError, did_you_mean
from imagekit.rules.splitters import parse_fractions, to_split
from imagekit.rules.tables import TableRule, parse_table_rule

SPECS = (
    "folders",
    "hash:V[,T]",
    "random:V[,T]",
    "stratified:V[,T]",
    "kfold:K",
    "table:FILE[:PATH:SPLIT]",
    "list:SPLIT=FILE[,SPLIT=FILE...]",
)
MAX_FOLDS = 127  # the column is int8
_WITH_FRACTIONS = ("hash", "random", "stratified")
_ORDER = {"test": 3, "valid": 2, "train": 1, "unsup": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRule:
    """One `--split`. valid, test: fractions, for hash, random, stratified. n_folds: for kfold. table: for table.
    files: the FILE of each split, for list; images that none of them lists are train.
    """

    kind: str
    valid: float = 0.0
    test: float = 0.0
    n_folds: int = 0
    table: TableRule | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_given(self) -> bool:
        """Whether somebody else decided on the split of each image: it may leak, and that is told, not mended."""
        return self.kind in ("folders", "table", "list", "function")

    @property
    def default_leaks(self) -> str:
        """What becomes of groups that the split tears apart where nobody says: a hash decides row by row, so it may
        tear any; any other split that does was given, or is kept like an older one, and whoever gave it shall decide.
        """
        return "drop" if self.kind == "hash" else "keep"

    def table_rules(self) -> tuple[str, ...]:
        """Every table that the rule reads, in the spelling of a table rule."""
        return (str(self.table),) if self.table else tuple(f"table:{file}" for file in self.files.values())


def split_rank(split: str) -> int:
    """How much a split must be kept from what others know: test before valid before train before unsup."""
    return _ORDER[split.partition(":")[0]]


def parse_split_rule(spec: str) -> SplitRule:
    """Read one of SPECS. Raises SplitError for anything else."""
    kind, colon, rest = spec.partition(":")
    if spec == "folders":
        return SplitRule(kind="folders")
    if colon and kind in _WITH_FRACTIONS:
        valid, test = parse_fractions(spec)
        return SplitRule(kind=kind, valid=valid, test=test)
    if colon and kind == "kfold":
        return SplitRule(kind=kind, n_folds=_parse_folds(spec, rest))
    if colon and kind == "table":
        try:
            return SplitRule(kind=kind, table=parse_table_rule(spec))
        except LabelError as error:
            raise SplitError(error.what, where="--split", fix=error.fix) from error
    if colon and kind == "list":
        return SplitRule(kind=kind, files=_parse_files(spec, rest))
    raise SplitError(f'the split rule "{spec}" is not known', where="--split", fix=did_you_mean(spec, SPECS))


def _parse_folds(spec: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or not 2 <= int(text) <= MAX_FOLDS:
        raise SplitError(
            f'the split rule "{spec}" must be kfold:K with K from 2 to {MAX_FOLDS}',
            where="--split",
            fix="write kfold:5 for five folds",
        )
    return int(text)


def _parse_files(spec: str, text: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for part in text.split(","):
        word, equals, file = part.partition("=")
        split = to_split(word)
        if not equals or split is None or split in files:
            raise SplitError(
                f'the split rule "{spec}" must be list:SPLIT=FILE, more of them behind commas, each split once',
                where="--split",
                fix="write list:valid=val.txt,test=test.txt; images in neither file are train",
            )
        try:
            parse_table_rule(f"table:{file}")
        except LabelError as error:
            raise SplitError(error.what, where="--split", fix=error.fix) from error
        files[split] = file
    return files
