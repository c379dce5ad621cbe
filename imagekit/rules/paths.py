"""Parts of relative POSIX paths, a million at a time: byte strings in one Arrow buffer in, the same out.

No Python object is made per path. Nothing here asks for sorted names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_SLASH = ord("/")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PathParts:
    """Where the names and their slashes lie in one buffer; n names.

    blob: the bytes of all names, end to end. starts, stops: int64[n], of each name in the blob. slashes: int64, the
    places of all slashes. firsts: int64[n], the index into `slashes` of each name's first; depths: int64[n], how many
    it has, which is the number of folders above the file.
    """

    blob: npt.NDArray[np.uint8]
    starts: Ints
    stops: Ints
    slashes: Ints
    firsts: Ints
    depths: Ints

    @classmethod
    def of(cls, names: pa.LargeBinaryArray) -> PathParts:
        """Find the slashes of `names`, which may be a slice of a larger array; it may hold no null."""
        if not len(names):
            none = np.zeros(0, np.int64)
            return cls(blob=np.zeros(0, np.uint8), starts=none, stops=none, slashes=none, firsts=none, depths=none)
        _, offsets, data = names.buffers()
        bounds = np.frombuffer(offsets, np.int64, count=len(names) + 1, offset=8 * names.offset)
        blob = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
        bounds = bounds - bounds[0]
        slashes = np.flatnonzero(blob == _SLASH)
        firsts = np.searchsorted(slashes, bounds)
        return cls(
            blob=blob,
            starts=bounds[:-1],
            stops=bounds[1:],
            slashes=slashes,
            firsts=firsts[:-1],
            depths=np.diff(firsts),
        )

    def folders(self, level: int) -> tuple[pa.LargeBinaryArray, Mask]:
        """The folder at `level`, 1 being the first, of each name, and which names have one; "" for the others."""
        has = self.depths >= level
        starts, stops = self.starts.copy(), self.starts.copy()
        last = self.firsts[has] + level - 1
        stops[has] = self.slashes[last]
        if level > 1:
            starts[has] = self.slashes[last - 1] + 1
        return self._cut(starts, stops), has

    def parents(self) -> tuple[pa.LargeBinaryArray, Mask]:
        """The folder that each file lies in, and which names have one; "" for the others."""
        has, has_two = self.depths >= 1, self.depths >= 2
        starts, stops = self.starts.copy(), self.starts.copy()
        last = self.firsts + self.depths - 1
        stops[has] = self.slashes[last[has]]
        starts[has_two] = self.slashes[last[has_two] - 1] + 1
        return self._cut(starts, stops), has

    def files(self) -> pa.LargeBinaryArray:
        """What stands behind the last slash of each name."""
        has = self.depths >= 1
        starts = self.starts.copy()
        starts[has] = self.slashes[(self.firsts + self.depths - 1)[has]] + 1
        return self._cut(starts, self.stops)

    def _cut(self, starts: Ints, stops: Ints) -> pa.LargeBinaryArray:
        # +1 where a piece starts and -1 behind its end: the running sum is 1 on the bytes to keep. int8 is enough, and
        # np.add is not needed: no two pieces that hold a byte start or stop at one place
        filled = stops > starts
        steps = np.zeros(len(self.blob) + 1, np.int8)
        steps[starts[filled]] += 1
        steps[stops[filled]] -= 1
        kept = np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)
        offsets = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.blob[kept])]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts), buffers)


def encode(cells: pa.Array, has: Mask) -> tuple[Codes, tuple[str, ...]]:
    """Codes into the sorted texts of `cells`, -1 where `has` is False. Bytes that are not UTF-8 become surrogates."""
    if cells.null_count == len(cells):
        return np.full(len(cells), -1, np.int32), ()
    encoded = cells.dictionary_encode()
    indices = np.asarray(encoded.indices.fill_null(0))
    texts = [_text(cell) for cell in encoded.dictionary.to_pylist()]
    used = np.flatnonzero(np.bincount(indices[has], minlength=len(texts)))
    ranked = sorted(used.tolist(), key=texts.__getitem__)
    rank_of = np.full(len(texts), -1, np.int32)
    rank_of[ranked] = np.arange(len(ranked), dtype=np.int32)
    return np.where(has, rank_of[indices], np.int32(-1)), tuple(texts[i] for i in ranked)


def _text(cell: bytes | str) -> str:
    return cell if isinstance(cell, str) else cell.decode("utf-8", "surrogateescape")
