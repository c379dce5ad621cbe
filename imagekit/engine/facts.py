"""What workers found out about many items, as columns: a million rows cost their bytes, and no Python object stays.

A layout names the columns; words that repeat are kept as codes, rare texts by row. N rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class FactLayout:
    """numbers: columns of numbers or booleans, by name. words: of few different texts; one must be `reason`, why an
    item cannot be used. digests: of 32 bytes. rare: of texts that few rows have.
    """

    numbers: Mapping[str, type[np.generic]]
    words: tuple[str, ...] = ("reason",)
    digests: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()


class FactTable:
    """Facts by row, 0..N-1. A row is done once it was put; a fact that a row has not is null."""

    def __init__(self, n_rows: int, layout: FactLayout) -> None:
        self.layout = layout
        self.is_done = np.zeros(n_rows, np.bool_)
        self._numbers = {name: np.zeros(n_rows, kind) for name, kind in layout.numbers.items()}
        self._has = {name: np.zeros(n_rows, np.bool_) for name in (*self._numbers, *layout.digests)}
        self._words = {name: _Words(n_rows) for name in layout.words}
        self._digest_bytes = {name: bytearray(32 * n_rows) for name in layout.digests}
        self._digests = {
            name: np.frombuffer(held, np.uint8).reshape(n_rows, 32) for name, held in self._digest_bytes.items()
        }
        self._slots = {name: (values, self._has[name]) for name, values in self._numbers.items()}
        self._rare: dict[str, dict[int, str]] = {name: {} for name in layout.rare}

    def __len__(self) -> int:
        return len(self.is_done)

    def put(self, row: int, facts: Mapping[str, Any]) -> None:
        """Note what a worker found out about one row; keys that are no column are a programming error (KeyError)."""
        self.is_done[row] = True
        for name, value in facts.items():
            slot = self._slots.get(name)
            if slot is not None:
                slot[0][row] = value
                slot[1][row] = True
            elif name in self._words:
                self._words[name].put(row, value)
            elif name in self._digests:
                self._digest_bytes[name][32 * row : 32 * row + 32] = value
                self._has[name][row] = True
            else:
                self._rare[name][row] = value

    def get(self, row: int) -> dict[str, Any]:
        """The facts of one row, as they were put."""
        facts: dict[str, Any] = {
            name: values[row].item() for name, values in self._numbers.items() if self._has[name][row]
        }
        facts |= {name: words.get(row) for name, words in self._words.items() if words.codes[row] >= 0}
        facts |= {name: values[row].tobytes() for name, values in self._digests.items() if self._has[name][row]}
        return facts | {name: texts[row] for name, texts in self._rare.items() if row in texts}

    @property
    def is_bad(self) -> Mask:
        """Which rows have a reason why they cannot be used."""
        return self._words["reason"].codes >= 0

    @property
    def is_good(self) -> Mask:
        """Which rows are done and can be used."""
        return self.is_done & ~self.is_bad

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """One column of numbers; 0 where a row has none."""
        return self._numbers[name]

    def has(self, name: str) -> Mask:
        """Which rows have this number or digest."""
        return self._has[name]

    def digest(self, name: str, row: int) -> bytes:
        """One sha256, 32 bytes."""
        return bytes(self._digests[name][row])

    def words(self, name: str) -> tuple[npt.NDArray[np.int16], list[str]]:
        """One column of words: a code a row (-1 where it has none), and the words."""
        return self._words[name].codes, self._words[name].values

    def to_arrow(self, name: str, rows: Ints) -> pa.Array:
        """One column at `rows`, words as a dictionary; null for a row below 0 and where the fact is not there."""
        is_there = rows >= 0
        at = np.where(is_there, rows, 0)
        if len(self) == 0:
            return pa.nulls(len(rows))
        if name in self._rare:
            texts = self._rare[name]
            return pa.array([texts.get(row) if row >= 0 else None for row in rows.tolist()], pa.string())
        if name in self._words:
            codes = np.where(is_there, self._words[name].codes[at], -1)
            return coded_array(codes, self._words[name].values)
        has = is_there & self._has[name][at]
        if name in self._digests:
            blob = pa.py_buffer(np.ascontiguousarray(self._digests[name][at]))
            return pa.Array.from_buffers(pa.binary(32), len(rows), [_bitmap(has), blob])
        return pa.array(self._numbers[name][at], mask=~has)

    def fingerprint(self, names: Collection[str]) -> str:
        """A sha256 over these columns; equal facts give equal ones, in whatever order they were put."""
        digest = hashlib.sha256()
        for name in names:
            if name in self._words:
                coded = coded_array(self._words[name].codes, self._words[name].values)
                digest.update(np.asarray(coded.indices.fill_null(-1)).tobytes())
                digest.update(repr(coded.dictionary.to_pylist()).encode())
            else:
                has = self._has[name]
                values = self._digests[name] if name in self._digests else self._numbers[name]
                digest.update(has.tobytes() + values[has].tobytes())
        return digest.hexdigest()

    def take_over(self, other: FactTable, mask: Mask, names: Collection[str] | None = None) -> None:
        """Take the marked rows of a table of the same length; this table holds none of them yet.

        names: the columns to take, every one by default.
        """
        rows = np.flatnonzero(mask)
        self.is_done[rows] = other.is_done[rows]
        wanted = {*self._has, *self._words, *self._rare} if names is None else set(names)
        for name in wanted & set(self._has):
            values, others = (table._digests if name in self._digests else table._numbers for table in (self, other))
            values[name][rows] = others[name][rows]
            self._has[name][rows] = other._has[name][rows]
        for name in wanted & set(self._words):
            words = other._words[name]
            self._words[name].put_many(rows, coded_array(words.codes[rows], words.values))
        for name in wanted & set(self._rare):
            self._rare[name].update((row, text) for row, text in other._rare[name].items() if mask[row])

    def put_columns(self, rows: Ints, name: str, column: pa.Array) -> None:
        """Take one column of a Parquet file over, for `rows`; the rows count as done."""
        self.is_done[rows] = True
        if name in self._rare:
            self._rare[name].update(
                (int(row), text) for row, text in zip(rows, column.to_pylist(), strict=True) if text is not None
            )
            return
        valid = np.asarray(column.is_valid())
        if name in self._words:
            self._words[name].put_many(rows, column)
        elif name in self._digests:
            data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, 32)
            self._digests[name][rows] = data[column.offset : column.offset + len(column)]
            self._has[name][rows] = valid
        else:
            self._numbers[name][rows] = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
            self._has[name][rows] = valid


class _Words:
    """A column of few different words."""

    def __init__(self, n_rows: int) -> None:
        self.codes = np.full(n_rows, -1, np.int16)
        self.values: list[str] = []
        self._code_of: dict[str, int] = {}

    def put(self, row: int, value: str) -> None:
        self.codes[row] = self._code(value)

    def get(self, row: int) -> str:
        return self.values[int(self.codes[row])]

    def put_many(self, rows: Ints, column: pa.Array) -> None:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        translate = np.array([*map(self._code, coded.dictionary.to_pylist()), -1], np.int16)
        self.codes[rows] = translate[np.asarray(coded.indices.fill_null(-1))]

    def _code(self, value: str) -> int:
        code = self._code_of.get(value)
        if code is None:
            code = self._code_of[value] = len(self.values)
            self.values.append(value)
        return code


def coded_array(codes: npt.NDArray[Any], values: list[str] | tuple[str, ...]) -> pa.DictionaryArray:
    """A dictionary array of the words that occur, sorted: equal content gives equal bytes whoever was first."""
    used = np.unique(codes[codes >= 0])
    order = sorted(used.tolist(), key=values.__getitem__)
    rank = np.zeros(len(values) + 1, np.int32)
    rank[order] = np.arange(len(order))
    indices = pa.array(rank[codes], mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array([values[code] for code in order], pa.string()))


def _bitmap(has: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(has, bitorder="little").tobytes())
