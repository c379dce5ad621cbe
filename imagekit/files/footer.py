"""What a Parquet file says at its end about its columns, read without trust.

pyarrow ends the whole process over some damaged footers once it is asked about a column's chunk, so what a reader must
know before it reads is taken from the bytes here. The footer is one Thrift struct in the compact protocol.
Source: github.com/apache/parquet-format (parquet.thrift), github.com/apache/thrift (doc/specs/thrift-compact-protocol).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

MAX_BYTES = 100_000_000
_TAIL = struct.Struct("<I4s")
_MAGIC = b"PAR1"
_MAX_DEPTH = 32
_PAGE_HEAD_BYTES = (2**9, 2**16)  # most heads are short; the least and the greatest value may stand in one
_DICTIONARIES = (2, 8)  # the encodings PLAIN_DICTIONARY and RLE_DICTIONARY
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class FooterError(ValueError):
    """The bytes are no footer of a Parquet file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """One column of one row group. path: as Parquet calls the column. n_bytes: of its pages once they are decompressed.
    is_coded: whether any of it is stored as codes into a dictionary. start, n_stored: where its pages lie in the file.
    """

    path: str
    n_bytes: int
    is_coded: bool
    start: int
    n_stored: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """The rows and the column chunks of a Parquet file."""

    n_rows: int
    chunks: tuple[Chunk, ...]


def read_footer(path: Path) -> Footer:
    """Raises FooterError for bytes that are no footer, OSError where the file cannot be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _TAIL.size:
            raise FooterError("the file is too short")
        file.seek(size - _TAIL.size)
        n_bytes, magic = _TAIL.unpack(file.read(_TAIL.size))
        if magic != _MAGIC or n_bytes > min(size - _TAIL.size, MAX_BYTES):
            raise FooterError("the file does not end as a Parquet file does")
        file.seek(size - _TAIL.size - n_bytes)
        footer = parse_footer(file.read(n_bytes))
        if sum(chunk.n_stored for chunk in footer.chunks) > size:  # or each of very many would be walked over again
            raise FooterError("its columns are longer than the file")
        # the footer may lie: what is decompressed into memory is what the head of each page says
        chunks = [replace(chunk, n_bytes=max(chunk.n_bytes, _page_bytes(file, chunk, size))) for chunk in footer.chunks]
    return Footer(n_rows=footer.n_rows, chunks=tuple(chunks))


def parse_footer(data: bytes) -> Footer:
    """The footer that these bytes hold. Raises FooterError."""
    try:
        content = _Reader(data).struct(0)
        groups = _structs(content[4])
        chunks = [_chunk(one[3]) for group in groups for one in _structs(group[1])]
        n_rows = _whole(content[3])
    except (IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise FooterError(f"the footer is damaged: {error!r}") from error
    return Footer(n_rows=n_rows, chunks=tuple(chunks))


def _chunk(content: Any) -> Chunk:
    if not isinstance(content, dict):
        raise TypeError("a column has no metadata")
    parts = content[3]
    if not isinstance(parts, list) or not all(isinstance(part, bytes) for part in parts):
        raise TypeError("a column has no name")
    path = ".".join(part.decode() for part in parts)
    is_coded = 11 in content or not set(_DICTIONARIES).isdisjoint(map(_whole, content[2]))
    # a column without rows has no data page, and 0 in its place
    offsets = [_whole(content[key]) for key in (9, 11) if content.get(key)]
    start = min(offsets, default=0)
    return Chunk(path=path, n_bytes=_whole(content[6]), is_coded=is_coded, start=start, n_stored=_whole(content[7]))


def _page_bytes(file: BinaryIO, chunk: Chunk, size: int) -> int:
    """How many bytes the pages of a chunk say that they come to."""
    at, end, n_bytes = chunk.start, min(chunk.start + chunk.n_stored, size), 0
    while at < end:
        try:
            head, length = _page_head(file, at)
            n_bytes += _whole(head[2])
            at += length + _whole(head[3])
        except (IndexError, KeyError, TypeError) as error:
            raise FooterError(f"the head of a page of column {chunk.path} is damaged: {error!r}") from error
    return n_bytes


def _page_head(file: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """The head of the page at a place in the file, and how long it is. Raises IndexError where it does not end."""
    short, long = _PAGE_HEAD_BYTES
    file.seek(at)
    reader = _Reader(file.read(short))
    try:
        return reader.struct(0), reader.at
    except IndexError:
        file.seek(at)
        reader = _Reader(file.read(long))
        return reader.struct(0), reader.at


def _structs(values: Any) -> list[dict[int, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError("not a list of structs")
    return values


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError("not a count")
    return value


class _Reader:
    """Values of the compact protocol, one after another. Raises IndexError at the end, FooterError for what is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """A struct: its fields by their ids."""
        fields: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._signed()
            fields[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise FooterError("the footer is nested too deeply")
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _BINARY:
            return self._take(self._number())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list a truth value is a byte of its own
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        raise FooterError(f"the footer holds a value of kind {kind}, which Parquet does not use")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        n, kind = head >> 4, head & 15
        n = self._number() if n == 15 else n
        if n > len(self._data) - self.at:  # every value takes a byte at least
            raise IndexError("a list is longer than the footer")
        return [self._value(kind, depth + 1) for _ in range(n)]

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise FooterError("the footer holds a number of more than 64 bits")

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _take(self, n: int) -> bytes:
        if n > len(self._data) - self.at:
            raise IndexError("a text is longer than the footer")
        self.at += n
        return self._data[self.at - n : self.at]
