"""Which files a recipe takes: by class, by path or content, by a fraction of each, by a cap a class. Pure.

Fraction and cap rank by a hash of seed and path, never by position or count: a file that is added changes no other
file's fraction, and under a cap displaces at most one. Published subsets depend on it (tests/golden/choosing-v1.json).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import UsageError

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

BATCH_ROWS = 65_536
GLOB_SIGNS = frozenset("*?[")
CONTENT_RULES = ("kept", "denied", "not-included", "format-not-chosen", "below-min-side", "above-max-aspect")
KEPT, DENIED, NOT_INCLUDED, FORMAT_NOT_CHOSEN, BELOW_MIN_SIDE, ABOVE_MAX_ASPECT = range(len(CONTENT_RULES))
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_GLOB_PART = re.compile(r"(?P<folders>(?<![^/])\*\*/)|(?P<all>\*\*)|(?P<run>\*)|(?P<one>\?)|\[(?P<set>!?\]?[^\]]*)\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMatch:
    """What a list of class patterns chose, and the patterns that chose nothing, in their order."""

    chosen: frozenset[str]
    unmatched: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PathMatch:
    """mask: bool[n], true where an entry names the row; unmatched: the entries that name none, in their order."""

    mask: Mask
    unmatched: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentRule:
    """What is asked of the content of a file. None or empty: nothing.

    min_side: pixels; max_aspect: longest side over shortest; formats: lower case, such as "jpeg"; deny, include: sha256
    digests of 32 bytes, as `sha256_entries` gives them.
    """

    min_side: int | None = None
    max_aspect: float | None = None
    formats: tuple[str, ...] = ()
    deny: frozenset[bytes] = frozenset()
    include: frozenset[bytes] = frozenset()


def missing_classes(found: Iterable[str | None], classes: Mapping[str, str]) -> list[str]:
    """The class ids of the recipe that no row has, in the recipe's order."""
    seen = set(found)
    return [class_id for class_id in classes if class_id not in seen]


def match_classes(patterns: Sequence[str], *, ids: Sequence[str], names: Mapping[str, str]) -> ClassMatch:
    """The classes that the patterns name, among `ids`.

    A pattern is an id; where no id is spelt so, a readable name (every id of that name: ImageNet has two "crane"); else
    a glob over ids (*, ?, [..]), case-sensitive. names: id -> readable name; ids that are not in `ids` do not count.
    """
    known = frozenset(ids)
    ids_of: dict[str, list[str]] = {}
    for class_id, name in names.items():
        if class_id in known:
            ids_of.setdefault(name, []).append(class_id)
    found = {pattern: _ids_matching(pattern, known=known, ids_of=ids_of) for pattern in patterns}
    return ClassMatch(
        chosen=frozenset[str]().union(*found.values()),
        unmatched=tuple(pattern for pattern, chosen in found.items() if not chosen),
    )


def path_hashes(names: pa.LargeBinaryArray, *, seed: int, salt: str = "") -> Hashes:
    """The rank of each name: the first 8 bytes, big endian, of sha256 of seed as decimal text, NUL and raw name.

    names: relative POSIX paths as raw bytes. salt: stands before the seed; another one makes a draw that knows nothing
    of the first. Returns uint64[n].
    """
    prefix = f"{salt}{seed}\0".encode()
    hashes = np.empty(len(names), dtype=np.uint64)
    for start in range(0, len(names), BATCH_ROWS):
        batch = names.slice(start, BATCH_ROWS).to_pylist()
        digests = b"".join([hashlib.sha256(prefix + name).digest()[:8] for name in batch])
        hashes[start : start + len(batch)] = np.frombuffer(digests, dtype=">u8")
    return hashes


def take_fraction(hashes: Hashes, fraction: float) -> Mask:
    """True where hash < fraction * 2**64, computed exactly; a fraction of 1 takes all.

    Each row is decided by itself, so the fraction is met in expectation only, and a smaller fraction takes a part of a
    larger one's rows. Raises UsageError for a fraction outside 0 < fraction <= 1.
    """
    if not 0.0 < fraction <= 1.0:  # written so that NaN fails, too
        raise UsageError(
            f"the fraction is {fraction:g}, must be above 0 and at most 1",
            where="fraction",
            fix="write fraction = 0.1 for a tenth, or delete the key to keep every image",
        )
    if fraction == 1.0:  # 2**64 itself is no uint64
        return np.ones(len(hashes), dtype=np.bool_)
    # a power of two scales a float without rounding; for whole h, h < x is h < ceil(x)
    return hashes < np.uint64(math.ceil(math.ldexp(fraction, 64)))


def cap_groups(hashes: Hashes, groups: npt.NDArray[np.int32], limit: int) -> Mask:
    """True for the `limit` rows of lowest hash in each group; equal hashes rank by position.

    groups: int32[n], -1 for rows of no group, which are all taken. A row that is added displaces at most one. Raises
    UsageError for a limit below 1.
    """
    if limit < 1:
        raise UsageError(
            f"the cap a class is {limit}, must be at least 1",
            where="per_class",
            fix="set per_class = 1 or more, or delete the key to keep every image",
        )
    order = np.lexsort((hashes, groups))  # stable: rows of equal hash stay in order
    in_order = groups[order]
    first = np.searchsorted(in_order, in_order, side="left")
    taken = np.empty(len(groups), dtype=np.bool_)
    taken[order] = np.arange(len(groups)) - first < limit
    taken[groups < 0] = True
    return taken


def match_paths(names: pa.LargeBinaryArray, entries: Sequence[str]) -> PathMatch:
    """The rows that a list of paths names; entries of 64 hex digits are sha256 sums and not looked at.

    names: relative POSIX paths as raw bytes. An entry is a whole path (bytes that are not UTF-8 as surrogateescape
    gives them); where no name is spelt so, a glob over whole paths: ? is one sign, [..] and [!..] one of a set, * any
    run, none of them crosses "/"; ** crosses it, and **/ is also no folder at all. Case matters.
    """
    mask = np.zeros(len(names), dtype=np.bool_)
    paths = list(dict.fromkeys(entry for entry in entries if not _SHA256.fullmatch(entry)))
    exact = pa.array([_raw(path) for path in paths], type=pa.large_binary())
    if paths:
        mask |= _to_mask(pc.is_in(names, value_set=exact))
    there = _to_mask(pc.is_in(exact, value_set=names.filter(pa.array(mask))))
    unmatched = []
    for path, is_there in zip(paths, there, strict=True):
        if is_there:
            continue
        rows = _rows_of_glob(names, path)
        mask[rows] = True
        if not len(rows):
            unmatched.append(path)
    return PathMatch(mask=mask, unmatched=tuple(unmatched))


def sha256_entries(entries: Iterable[str]) -> frozenset[bytes]:
    """The digests, 32 bytes each, among the entries of an include or deny list: those of 64 hex digits, any case."""
    return frozenset(bytes.fromhex(entry) for entry in entries if _SHA256.fullmatch(entry))


def content_verdicts(
    *,
    widths: npt.NDArray[np.int32],
    heights: npt.NDArray[np.int32],
    formats: pa.Array,
    sha256s: pa.Array,
    rule: ContentRule,
    included: Mask | None = None,
) -> npt.NDArray[np.int8]:
    """The first rule that leaves each row out, an index into CONTENT_RULES; 0 where it is kept. Returns int8[n].

    widths, heights: pixels; formats: string[n], lower case; sha256s: fixed binary 32 [n].
    included: rows that a path of the include list names; None where there is no include list at all, so that a list of
    sums only comes with a mask of False.
    """
    rows = len(widths)
    shortest, longest = np.minimum(widths, heights), np.maximum(widths, heights)
    fails = {
        DENIED: _is_among(sha256s, rule.deny, pa.binary(32)),
        NOT_INCLUDED: np.zeros(rows, dtype=np.bool_)
        if included is None
        else ~(included | _is_among(sha256s, rule.include, pa.binary(32))),
        FORMAT_NOT_CHOSEN: ~_is_among(formats, rule.formats, pa.string())
        if rule.formats
        else np.zeros(rows, dtype=np.bool_),
        BELOW_MIN_SIDE: shortest < (rule.min_side or 0),
        # divided, not multiplied: 23 / 10 is the float 2.3, 2.3 * 10 is a little below 23
        ABOVE_MAX_ASPECT: longest / shortest > (math.inf if rule.max_aspect is None else rule.max_aspect),
    }
    verdicts = np.full(rows, KEPT, dtype=np.int8)
    for code in sorted(fails, reverse=True):  # the first rule is written last
        verdicts[fails[code]] = code
    return verdicts


def _ids_matching(pattern: str, *, known: frozenset[str], ids_of: Mapping[str, list[str]]) -> frozenset[str]:
    if pattern in known:
        return frozenset((pattern,))
    if pattern in ids_of:
        return frozenset(ids_of[pattern])
    if not GLOB_SIGNS & set(pattern):
        return frozenset()
    matches = re.compile(translate(pattern)).match
    return frozenset(class_id for class_id in known if matches(class_id))


def _rows_of_glob(names: pa.LargeBinaryArray, glob: str) -> npt.NDArray[np.int64]:
    if not GLOB_SIGNS & set(glob):
        return np.empty(0, dtype=np.int64)
    literal = re.split(r"[*?\[]", glob, maxsplit=1)[0]
    # most globs begin with a folder: only its rows become Python text
    rows = np.flatnonzero(_to_mask(pc.starts_with(names, pattern=_raw(literal))))
    matches = re.compile(_glob_pattern(glob), re.DOTALL).fullmatch
    found: list[npt.NDArray[np.int64]] = [rows[:0]]
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        texts = [raw.decode("utf-8", "surrogateescape") for raw in names.take(pa.array(batch)).to_pylist()]
        found.append(batch[[matches(text) is not None for text in texts]])
    return np.concatenate(found)


def _glob_pattern(glob: str) -> str:
    pattern, at = "", 0
    for part in _GLOB_PART.finditer(glob):
        pattern += re.escape(glob[at : part.start()]) + _glob_sign(part)
        at = part.end()
    return pattern + re.escape(glob[at:])


def _glob_sign(part: re.Match[str]) -> str:
    signs = part["set"]
    if signs is None:
        return {"folders": "(?:.*/)?", "all": ".*", "run": "[^/]*", "one": "[^/]"}[str(part.lastgroup)]
    # fnmatch knows the corners of a set: ranges upside down, a bracket first, a trailing minus
    return "(?!/)" + translate(f"[{signs}]").removeprefix("(?s:").removesuffix(")\\Z").removesuffix(")\\z")


def _is_among(column: pa.Array, values: Iterable[bytes] | Iterable[str], kind: pa.DataType) -> Mask:
    return _to_mask(pc.is_in(column, value_set=pa.array(sorted(values), type=kind)))


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _to_mask(flags: pa.BooleanArray) -> Mask:
    mask: Mask = np.array(flags.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return mask
