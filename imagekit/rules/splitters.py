"""From the names of the rows to the split of each: train, valid, test or unsup.

Every splitter raises SplitError rather than leave a split empty that was asked for: a validation folder called `val`
where `valid` was expected must not end in a training run that validates on nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from imagekit.errors import SplitError, did_you_mean

Item = TypeVar("Item")

SPLIT_SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "unsup": "unsup",
    "unsupervised": "unsup",
    "unlabeled": "unsup",
    "unlabelled": "unsup",
}
_NAMED_VALID = re.compile(r"(?:val|valid|validation|dev)[:_-]([A-Za-z0-9][\w.-]{0,63})", re.IGNORECASE)
_FIX_FOLDERS = "use --split random:0.2 or hash:0.2, or name the folders train and valid (or val)"


def to_split(word: str) -> str | None:
    """The split that a folder or a cell stands for: train, valid, test, unsup by SPLIT_SYNONYMS, case ignored;
    `valid:<name>` for valid:night, val_night, validation-night; None for any other word.
    """
    known = SPLIT_SYNONYMS.get(word.lower())
    if known:
        return known
    named = _NAMED_VALID.fullmatch(word)
    return f"valid:{named[1]}" if named else None


def is_valid(split: str) -> bool:
    """Whether it is a validation set: valid, or one of several."""
    return split.partition(":")[0] == "valid"


def grandparent_splitter(
    file_name: str | PurePath, *, valid_name: str = "valid", train_name: str = "train"
) -> bool | None:
    """Whether the folder above the file's folder is the one of valid: True, of train: False, any other: None.

    Source: lesson 11 of fast.ai's 2019 course. A file that lies in no such folder is None, too.
    """
    parts = PurePath(file_name).parts
    grandparent = parts[-3] if len(parts) > 2 else None
    return {valid_name: True, train_name: False}.get(grandparent or "")


def split_by_func(items: Iterable[Item], function: Callable[[Item], bool | None]) -> tuple[list[Item], list[Item]]:
    """The items for which the function says False, train, and those for which it says True, valid.

    Those for which it says None are in neither. Source: lesson 11 of fast.ai's 2019 course.
    """
    train: list[Item] = []
    valid: list[Item] = []
    for item in items:
        answer = function(item)
        if answer is not None:
            (valid if answer else train).append(item)
    return train, valid


def folder_splits(file_names: Sequence[str]) -> list[str]:
    """The split that the first folder of each name stands for, by `to_split`.

    file_names: relative, POSIX. A deeper folder never counts: "train/test/1.jpg" is train. Raises SplitError for files
    outside any folder, for a first folder that names no split, and when train or valid would be empty.
    """
    firsts = [name.partition("/")[0] for name in file_names if "/" in name]
    at_root = [name for name in file_names if "/" not in name]
    split_of = check_folders(Counter(firsts), n_at_root=len(at_root), at_root=at_root[:3])
    return [split_of[first] for first in firsts]


def check_folders(n_files: Mapping[str, int], *, n_at_root: int, at_root: Sequence[str]) -> dict[str, str]:
    """The split of each first folder. n_files: by first folder; at_root: names of some files outside any folder.

    Raises SplitError as `folder_splits`.
    """
    if n_at_root:
        listed = ", ".join(at_root) + (", ..." if n_at_root > len(at_root) else "")
        raise SplitError(
            f"{_files(n_at_root)} directly in the root, outside any split folder: {listed}",
            where="--split folders",
            fix=_FIX_FOLDERS,
        )
    split_of = {first: to_split(first) for first in n_files}
    unknown = sorted(first for first, split in split_of.items() if split is None)
    if unknown:
        raise SplitError(
            f"no split is known for the folders {_listed(unknown)}; found: {_counted(n_files)}",
            where="--split folders",
            fix=_FIX_FOLDERS,
        )
    check_split_folders(n_files)
    return {first: split for first, split in split_of.items() if split is not None}


def check_split_folders(n_files: Mapping[str, int]) -> None:
    """Raise SplitError where none of the first folders stands for train, or none for valid.

    n_files: the number of files by first folder; a folder that stands for no split is passed over.
    """
    for needed in _needed_but_missing(n_files):
        found = f"folders found: {_counted(n_files)}" if n_files else "there are no files"
        raise SplitError(f"{needed} would be empty; {found}", where="--split folders", fix=_FIX_FOLDERS)


def check_some_split(n_files: Mapping[str, int]) -> None:
    """Raise SplitError where no first folder stands for a split. n_files: the number of files by first folder."""
    if not any(first.lower() in SPLIT_SYNONYMS for first in n_files):
        found = f"folders found: {_counted(n_files)}" if n_files else "there are no files"
        raise SplitError(f"no folder stands for a split; {found}", where="split folders", fix=_FIX_FOLDERS)


def check_table_splits(
    n_rows: Mapping[str, int],
    *,
    lines: Mapping[str, int],
    file: str,
    known: Callable[[str], str | None] = lambda word: SPLIT_SYNONYMS.get(word.lower()),
) -> None:
    """Raise SplitError where a table's split cannot be used: a word that names no split, no train, or no valid.

    n_rows: the number of images by the word that the table gives them; lines: where each word comes first; known: the
    split that a word stands for.
    """
    for word in sorted(n_rows, key=lines.__getitem__):
        if known(word) is None:
            raise SplitError(
                f'the split "{word}" of line {lines[word]} is not known',
                where=f"table {file}",
                fix=did_you_mean(word, SPLIT_SYNONYMS),
            )
    for needed in _needed_but_missing(n_rows):
        raise SplitError(
            f"{needed} would be empty; the table gives: {_counted(n_rows)}",
            where=f"table {file}",
            fix="list images for train and valid (or val), name another column, or use another split rule",
        )


def _needed_but_missing(words: Iterable[str]) -> list[str]:
    there = {split.partition(":")[0] for split in map(to_split, words) if split}
    return [needed for needed in ("train", "valid") if needed not in there]


def random_splits(file_names: Sequence[str], *, valid: float, test: float = 0.0, seed: int) -> list[str]:
    """A seeded split with exact counts, whatever the order of the input.

    The rows are ranked by sha256 of seed, NUL and name. The first round(valid * n) are valid, the next round(test * n)
    test (Python's round: a half goes to the even neighbour), the rest train. Adding rows can move others; use
    `hash_splits` where that must not be. Raises SplitError for fractions that cannot be, a name that comes twice, and
    when a split that was asked for would be empty.
    """
    _check_fractions(valid, test)
    if len(set(file_names)) != len(file_names):
        twice = next(name for name, n in Counter(file_names).items() if n > 1)
        raise SplitError(f"{twice} is listed more than once", where="--split random", fix="list every row once")
    n_rows = len(file_names)
    n_valid, n_test = round(valid * n_rows), round(test * n_rows)
    prefix = _bytes(f"{seed}\0")
    digests = [hashlib.sha256(prefix + _bytes(name)).digest() for name in file_names]
    ranked = sorted(range(n_rows), key=digests.__getitem__)
    splits = ["train"] * n_rows
    for i in ranked[:n_valid]:
        splits[i] = "valid"
    for i in ranked[n_valid : n_valid + n_test]:
        splits[i] = "test"
    check_filled(Counter(splits), valid=valid, test=test, where="--split random")
    return splits


def hash_splits(keys: Sequence[str], *, valid: float, test: float = 0.0, salt: str) -> list[str]:
    """A split without history: a row's split depends on its key and the salt alone, so no row moves when others come.

    The first 53 bits of sha256 of salt, NUL and key are a fraction in [0, 1): below `valid` the row is valid, below
    `valid + test` test, else train. The ratio is met in expectation only. Raises SplitError for fractions that cannot
    be, and when a split that was asked for would be empty.
    """
    _check_fractions(valid, test)
    prefix = _bytes(f"{salt}\0")
    fractions = hash_fractions(prefix + _bytes(key) for key in keys).tolist()
    splits = ["valid" if at < valid else "test" if at < valid + test else "train" for at in fractions]
    check_filled(Counter(splits), valid=valid, test=test, where="--split hash")
    return splits


def hash_fractions(salted_keys: Iterable[bytes]) -> npt.NDArray[np.float64]:
    """A fraction in [0, 1) for each key: the first 53 bits of its sha256."""
    heads = b"".join([hashlib.sha256(key).digest()[:8] for key in salted_keys])
    # 53 bits, not 64: a float holds them exactly, so the fraction never rounds up to 1
    fractions: npt.NDArray[np.float64] = (np.frombuffer(heads, ">u8") >> np.uint64(11)) * np.float64(2.0**-53)
    return fractions


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a name that is not UTF-8 still has a rank


def parse_fractions(spec: str) -> tuple[float, float]:
    """V and T of "hash:V[,T]" or "random:V[,T]", T being 0 where it is not given. Raises SplitError otherwise."""
    kind, _, text = spec.partition(":")
    try:
        valid, test = [float(part) for part in (text if "," in text else f"{text},0").split(",")]
    except ValueError:
        raise SplitError(
            f'the split rule "{spec}" must be {kind}:V or {kind}:V,T with V and T numbers',
            where="--split",
            fix=f"write {kind}:0.2 for a fifth as valid, {kind}:0.2,0.1 for a tenth as test, too",
        ) from None
    _check_fractions(valid, test)
    return valid, test


def _check_fractions(valid: float, test: float) -> None:
    # written so that NaN fails, too; a test of 0 means no test split
    if not (0.0 < valid < 1.0 and 0.0 <= test < 1.0 and valid + test < 1.0):
        raise SplitError(
            f"the fractions are {valid:g} for valid and {test:g} for test, which leaves no train or no valid",
            where="--split",
            fix="give fractions above 0 that add up to less than 1, such as 0.2 or 0.2,0.1",
        )


def check_filled(n_rows: Mapping[str, int], *, valid: float, test: float, where: str) -> None:
    """Raise SplitError where a split that the fractions ask for has no row. n_rows: by split, none of them 0."""
    for needed in ("train", "valid", "test") if test else ("train", "valid"):
        if needed not in n_rows:
            found = f"found: {_counted(n_rows)}" if n_rows else "there are no rows"
            raise SplitError(
                f"{needed} would be empty with fractions {valid:g} for valid and {test:g} for test; {found}",
                where=where,
                fix="add images, or change the fractions",
            )


def _files(n: int) -> str:
    return "1 file lies" if n == 1 else f"{n} files lie"


def _listed(names: Sequence[str], *, limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _counted(n_of: Mapping[str, int]) -> str:
    return _listed([f"{name} ({n_of[name]})" for name in sorted(n_of)])
