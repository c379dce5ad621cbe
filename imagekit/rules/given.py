"""The split of each row where something outside the rows decides on it: folders, a table, lists, a function, a hash.

One value a row, as codes into a short list of splits; a row that nothing is said about has code -1. N names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from imagekit.errors import LabelError, SplitError, did_you_mean
from imagekit.rules.columns import BATCH_ROWS, Coded, SourceTable, recode
from imagekit.rules.outcomes import BadFile
from imagekit.rules.paths import Codes, PathParts, encode
from imagekit.rules.split_rules import SplitRule
from imagekit.rules.splitters import SPLIT_SYNONYMS, check_folders, check_table_splits, hash_fractions, to_split
from imagekit.rules.tables import TableMatch, TableRule, match_table, parse_table_rule

_SHOWN = 3
_HASHED = ("train", "valid", "test")


class Names(NamedTuple):
    """The same names twice: raw: large_binary[N], as the file system has them; shown: string[N], as people see them."""

    raw: pa.LargeBinaryArray
    shown: pa.StringArray


def splits_by_folder(names: Names) -> Coded:
    """By the first folder, as `folder_splits`, which raises the same."""
    codes, folders = encode(*PathParts.of(names.raw).folders(1))
    outside = np.flatnonzero(codes < 0)
    counts = np.bincount(codes[codes >= 0], minlength=len(folders)).tolist()
    split_of = check_folders(
        dict(zip(folders, counts, strict=True)),
        n_at_root=len(outside),
        at_root=names.shown.take(pa.array(outside[:_SHOWN])).to_pylist(),
    )
    return _translate(codes, [split_of[folder] for folder in folders])


def splits_by_table(names: Names, rule: TableRule, *, tables: Mapping[str, SourceTable]) -> Coded:
    """By the words that a table gives. Raises SplitError for a table that does not fit, see `match_table`."""
    match = _match(names, rule, tables=tables, value=True)
    counts = np.bincount(match.codes[match.codes >= 0], minlength=len(match.values)).tolist()
    check_table_splits(
        dict(zip(match.values, counts, strict=True)),
        lines=dict(zip(match.values, match.lines, strict=True)),
        file=rule.file,
        known=to_split,
    )
    coded = _translate(match.codes, [to_split(word) for word in match.values])
    return Coded(codes=coded.codes, values=coded.values, problems=match.problems, listed=match.listed)


def splits_by_lists(names: Names, rule: SplitRule, *, tables: Mapping[str, SourceTable]) -> Coded:
    """By one list of images for each split. Images in none are train, or left out where train has a list, too.

    Raises SplitError for a list that does not fit, see `match_table`, and for an image in two lists.
    """
    splits = list(rule.files)
    codes: Codes = np.full(len(names.raw), -1, np.int32)
    problems: list[BadFile] = []
    for i, (split, file) in enumerate(rule.files.items()):
        match = _match(names, parse_table_rule(f"table:{file}"), tables=tables, value=False)
        twice = np.flatnonzero(match.listed & (codes >= 0))
        if len(twice):
            raise SplitError(
                f"{names.shown[int(twice[0])]} is listed for {splits[int(codes[twice[0]])]} and for {split}",
                where=f"--split list: {file}",
                fix="take it out of one of the lists",
            )
        codes[match.listed] = i
        problems += match.problems
    listed = codes >= 0
    if "train" not in rule.files:
        codes[~listed] = len(splits)
        listed, splits = np.ones(len(codes), np.bool_), [*splits, "train"]
    coded = recode(codes, tuple(splits))
    _check_needed(coded, where="--split list", said="the lists give")
    return Coded(codes=coded.codes, values=coded.values, problems=tuple(problems), listed=listed)


def splits_by_function(names: Names, function: Callable[[str], str | bool | None]) -> Coded:
    """By what the function says to each shown name: a split or a word for one, True for valid, False for train, None.

    Raises SplitError for any other answer.
    """
    words: dict[str, int] = {}
    codes: Codes = np.full(len(names.raw), -1, np.int32)
    for i, name in enumerate(names.shown.to_pylist()):
        answer = function(name)
        if answer is None:
            continue
        word: object = ("train", "valid")[bool(answer)] if isinstance(answer, bool | np.bool_) else answer
        split = to_split(word) if isinstance(word, str) else None
        if split is None:
            raise SplitError(
                f"the split function returned {answer!r} for {name}",
                where="split function",
                fix="return True for valid, False for train, None to leave the image out, or the name of a split; "
                + did_you_mean(str(answer), SPLIT_SYNONYMS),
            )
        codes[i] = words.setdefault(split, len(words))
    coded = recode(codes, tuple(words))
    _check_needed(coded, where="split function", said="the function gives")
    return coded


def _check_needed(coded: Coded, *, where: str, said: str) -> None:
    """Train and valid are needed. Raises SplitError that tells what was found."""
    counts = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.values)).tolist()
    there = {split.partition(":")[0] for split in coded.values}
    for needed in ("train", "valid"):
        if needed not in there:
            found = ", ".join(f"{split} ({n})" for split, n in zip(coded.values, counts, strict=True)) or "nothing"
            raise SplitError(
                f"{needed} would be empty; {said}: {found}", where=where, fix="name images for train and valid"
            )


def splits_by_hash(keys: pa.StringArray, *, valid: float, test: float, salt: str) -> Coded:
    """As `hash_splits` of the keys, but no split need be filled: that is asked of the rows that can be used."""
    prefix = f"{salt}\0".encode("utf-8", "surrogatepass")
    data = keys.cast(pa.large_string()).cast(pa.large_binary())
    codes: Codes = np.zeros(len(keys), np.int32)
    for start in range(0, len(keys), BATCH_ROWS):
        at = hash_fractions([prefix + key for key in data.slice(start, BATCH_ROWS).to_pylist()])
        codes[start : start + len(at)] = np.where(at < valid, 1, np.where(at < valid + test, 2, 0))
    return recode(codes, _HASHED)


def _match(names: Names, rule: TableRule, *, tables: Mapping[str, SourceTable], value: bool) -> TableMatch:
    table = tables[rule.file]
    try:
        return match_table(names.raw, table.data, rule=rule, has_header=table.has_header, base=table.base, value=value)
    except LabelError as error:  # the table's own words are right, the kind is not
        raise SplitError(error.what, where=error.where, fix=error.fix) from error


def _translate(codes: Codes, splits: list[str | None]) -> Coded:
    values = tuple(sorted({split for split in splits if split}))
    new = np.array([*(-1 if split is None else values.index(split) for split in splits), -1], np.int32)
    return recode(new[codes], values)
