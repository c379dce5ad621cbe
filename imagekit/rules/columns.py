"""One value a row for a whole source: the label or the split of each name, as codes into a short list of texts.

A rule is spelt as in datasets.toml. A row that the rule says nothing about has code -1; nothing is raised for it, so
that the planner can say what became of it. A million names cost their codes and no Python object each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import LabelError, SplitError, did_you_mean
from imagekit.rules.labelers import find_label, parse_label_rule
from imagekit.rules.outcomes import BadFile
from imagekit.rules.paths import Codes, Mask, PathParts, encode
from imagekit.rules.splitters import (
    SPLIT_SYNONYMS,
    check_filled,
    check_some_split,
    check_table_splits,
    hash_fractions,
    parse_fractions,
)
from imagekit.rules.tables import TableMatch, match_table, parse_table_rule

BATCH_ROWS = 65_536

_SPECS = ("folders", "hash:V[,T]", "none", "table:FILE[:PATH:SPLIT]")
_SPLITS = ("train", "valid", "test")  # what a fraction can ask for


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coded:
    """A text for each of n rows.

    codes: int32[n], an index into `values`, -1 for a row without one. values: sorted, each used.
    problems: what a table lists that no row can be found for. listed: bool[n], the rows that a table lists (a row that
    another rule of a mixed label rule covers counts as listed); None where no table is involved.
    """

    codes: Codes
    values: tuple[str, ...]
    problems: tuple[BadFile, ...] = ()
    listed: Mask | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SourceTable:
    """A table as read: text columns; whether its first line is a header; its folder in the source, "" outside it."""

    data: pa.Table
    has_header: bool
    base: str


def table_files(rule: str | Mapping[str, str]) -> tuple[str, ...]:
    """The FILEs of the tables that a label or split rule names, each once, in order."""
    rules = (rule,) if isinstance(rule, str) else tuple(rule.values())
    return tuple(dict.fromkeys(parse_table_rule(one).file for one in rules if one.startswith("table:")))


def label_names(
    names: pa.LargeBinaryArray, rule: str | Mapping[str, str], *, tables: Mapping[str, SourceTable]
) -> Coded:
    """The label of each name.

    names: relative POSIX paths as raw bytes, all that the source holds: a listed path outside them counts as vanished.
    rule: parent, folder:N, name:REGEX or table:FILE[:PATH:LABEL]; or a table from a first folder to one of these, each
    applied to the names below that folder. A name with too few folders, whose file name does not match, that no table
    lists or that lies below no such folder has code -1. tables: by the FILE of the rule.
    Raises LabelError for a rule that cannot be, and for a table that does not fit, see `match_table`.
    """
    if isinstance(rule, str):
        return _label_by_rule(names, PathParts.of(names), rule, tables)
    parts = PathParts.of(names)
    firsts, tops = encode(*parts.folders(1))
    by_rule = {one: _label_by_rule(names, parts, one, tables) for one in dict.fromkeys(rule.values())}
    chosen = {tops.index(folder): by_rule[one] for folder, one in rule.items() if folder in tops}
    return _merge(firsts, chosen, tuple(by_rule.values()))


def split_names(
    names: pa.LargeBinaryArray, rule: str, *, tables: Mapping[str, SourceTable], labels: Coded, salt: str
) -> Coded:
    """The split of each name: train, valid, test or unsup.

    rule: folders (the first folder, by SPLIT_SYNONYMS; -1 for any other folder), hash:V[,T] (by `hash_splits`, keyed by
    "label/file name" and `salt`; -1 for a name without a label), table:FILE[:PATH:SPLIT] (SPLIT_SYNONYMS too) or none.
    labels: of the same names. Folders are taken as they are: a source may have no valid, or no train; a subset of it is
    no training run yet. Raises SplitError where no folder stands for a split, for a rule that cannot be, a table that
    does not fit, names an unknown split or no train or valid, and where a split of a hash would be empty.
    """
    if rule == "none":
        return Coded(codes=np.full(len(names), -1, np.int32), values=())
    if rule == "folders":
        return _split_by_folder(names)
    if rule.startswith("table:"):
        return _split_by_table(names, rule, tables)
    if not rule.startswith("hash:"):
        raise SplitError(f'the split rule "{rule}" is not known', where="split", fix=did_you_mean(rule, _SPECS))
    valid, test = parse_fractions(rule)
    codes = _hash_codes(names, labels, valid=valid, test=test, salt=salt)
    counts = {split: int((codes == i).sum()) for i, split in enumerate(_SPLITS)}
    check_filled({split: n for split, n in counts.items() if n}, valid=valid, test=test, where="--split hash")
    return recode(codes, _SPLITS)


def _label_by_rule(names: pa.LargeBinaryArray, parts: PathParts, rule: str, tables: Mapping[str, SourceTable]) -> Coded:
    if rule.startswith("table:"):
        match = _match(names, rule, tables)
        return Coded(codes=match.codes, values=match.values, problems=match.problems, listed=match.listed)
    parsed = parse_label_rule(rule)
    if parsed.pattern is None:
        codes, values = encode(*(parts.folders(parsed.level) if parsed.level else parts.parents()))
        return Coded(codes=codes, values=values)
    code_of: dict[str, int] = {}
    codes = np.full(len(names), -1, np.int32)
    for start, files in _batches(parts.files()):
        found = [find_label(file.decode("utf-8", "surrogateescape"), parsed.pattern) for file in files]
        codes[start : start + len(files)] = [
            -1 if label is None else code_of.setdefault(label, len(code_of)) for label in found
        ]
    return recode(codes, tuple(code_of))


def _match(names: pa.LargeBinaryArray, rule: str, tables: Mapping[str, SourceTable]) -> TableMatch:
    parsed = parse_table_rule(rule)
    table = tables[parsed.file]
    return match_table(names, table.data, rule=parsed, has_header=table.has_header, base=table.base)


def _merge(firsts: Codes, chosen: Mapping[int, Coded], involved: tuple[Coded, ...]) -> Coded:
    """Take each row from the column that its first folder chose."""
    values = tuple(sorted({value for column in chosen.values() for value in column.values}))
    place = {value: i for i, value in enumerate(values)}
    codes = np.full(len(firsts), -1, np.int32)
    listed = np.zeros(len(firsts), np.bool_)
    for top, column in chosen.items():
        rows = np.flatnonzero(firsts == top)
        # one more at the end, for code -1
        new = np.array([*(place[value] for value in column.values), -1], np.int32)
        codes[rows] = new[column.codes[rows]]
        listed[rows] = True if column.listed is None else column.listed[rows]
    recoded = recode(codes, values)  # a value whose rows all lie below other folders is used no more
    return Coded(
        codes=recoded.codes,
        values=recoded.values,
        problems=tuple(dict.fromkeys(problem for column in involved for problem in column.problems)),
        listed=None if all(column.listed is None for column in involved) else listed,
    )


def recode(codes: Codes, values: tuple[str, ...]) -> Coded:
    """Codes into the sorted values that are used."""
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(values))).tolist()
    ranked = sorted(used, key=values.__getitem__)
    rank_of = np.full(len(values) + 1, -1, np.int32)  # the last for code -1
    rank_of[ranked] = np.arange(len(ranked), dtype=np.int32)
    return Coded(codes=rank_of[codes], values=tuple(values[i] for i in ranked))


def _to_splits(codes: Codes, values: tuple[str, ...]) -> Coded:
    """From texts that stand for splits to the splits; a text that stands for none gives code -1."""
    splits = tuple(sorted(set(SPLIT_SYNONYMS.values())))
    found = [SPLIT_SYNONYMS.get(value.lower()) for value in values]
    new = np.array([*(-1 if split is None else splits.index(split) for split in found), -1], np.int32)
    return recode(new[codes], splits)


def _split_by_folder(names: pa.LargeBinaryArray) -> Coded:
    codes, folders = encode(*PathParts.of(names).folders(1))
    counts = np.bincount(codes[codes >= 0], minlength=len(folders)).tolist()
    check_some_split(dict(zip(folders, counts, strict=True)))
    return _to_splits(codes, folders)


def _split_by_table(names: pa.LargeBinaryArray, rule: str, tables: Mapping[str, SourceTable]) -> Coded:
    try:
        match = _match(names, rule, tables)
    except LabelError as error:  # the table's own words are right, the kind is not
        raise SplitError(error.what, where=error.where, fix=error.fix) from error
    counts = np.bincount(match.codes[match.codes >= 0], minlength=len(match.values)).tolist()
    check_table_splits(
        dict(zip(match.values, counts, strict=True)),
        lines=dict(zip(match.values, match.lines, strict=True)),
        file=parse_table_rule(rule).file,
    )
    coded = _to_splits(match.codes, match.values)
    return Coded(codes=coded.codes, values=coded.values, problems=match.problems, listed=match.listed)


def _hash_codes(names: pa.LargeBinaryArray, labels: Coded, *, valid: float, test: float, salt: str) -> Codes:
    """Codes into _SPLITS, keyed by "label/file name"; -1 for a name without a label."""
    prefixes = [_bytes(f"{salt}\0{label}/") for label in labels.values]
    codes = np.full(len(names), -1, np.int32)
    for start, files in _batches(PathParts.of(names).files()):
        batch = labels.codes[start : start + len(files)]
        rows = np.flatnonzero(batch >= 0)
        keys = [prefixes[batch[row]] + file for row, file in zip(rows, _as_keys(files, rows), strict=True)]
        fractions: npt.NDArray[np.float64] = hash_fractions(keys)
        codes[start + rows] = np.where(fractions < valid, 1, np.where(fractions < valid + test, 2, 0))
    return codes


def _as_keys(files: list[bytes], rows: npt.NDArray[np.intp]) -> list[bytes]:
    """The names as `hash_splits` takes them: bytes that are not UTF-8 go by way of their surrogates."""
    picked = [files[row] for row in rows.tolist()]
    try:
        b"/".join(picked).decode("utf-8")
    except UnicodeDecodeError:
        return [_bytes(file.decode("utf-8", "surrogateescape")) for file in picked]
    return picked


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _batches(cells: pa.LargeBinaryArray) -> Iterator[tuple[int, list[bytes]]]:
    for start in range(0, len(cells), BATCH_ROWS):
        yield start, cells.slice(start, BATCH_ROWS).to_pylist()
