"""Names as Arrow buffers: a million paths cost their bytes plus eight each, and no Python object stays.

Runs of names come in, in order; blocks of them are joined to one blob, and the extension test runs over the blob.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.files.walk import FILE, KINDS, MAX_RUN, NOT_IMAGE, Run

_WORD = 8

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class Column:
    """Byte strings in a row, kept as one growing buffer and their lengths."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._sizes: list[Ints] = []

    def extend(self, blob: Bytes, sizes: Ints) -> None:
        """Take over len(sizes) strings that lie end to end in `blob`."""
        self._blob += blob.data
        self._sizes.append(sizes)

    def to_arrow(self) -> pa.LargeBinaryArray:
        """The strings as one Arrow array over the same buffer, no copy."""
        sizes = np.concatenate([np.zeros(1, np.int64), *self._sizes])
        self._sizes.clear()
        np.cumsum(sizes, out=sizes)
        buffers = [None, pa.py_buffer(sizes), pa.py_buffer(self._blob)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(sizes) - 1, buffers)


class Listing:
    """Collects runs of names and sorts image files from all others by extension."""

    def __init__(self, extensions: Sequence[bytes]) -> None:
        self.images = Column()
        self.others = Column()
        self._kinds: list[npt.NDArray[np.int8]] = []
        self._extensions = sorted(extensions, key=lambda ext: (ext not in (b".jpg", b".jpeg", b".png"), ext))
        self._pending: list[tuple[bytes, bytes, int, int]] = []
        self._n_pending = 0

    def add(self, run: Run) -> None:
        """Take one run; its names must stand after all names taken before."""
        n_names = run.names.count(b"/")
        self._pending.append((os.fsencode(run.prefix), run.names, n_names, run.kind))
        self._n_pending += n_names
        if self._n_pending >= MAX_RUN:
            self.flush()

    def flush(self) -> None:
        """Test and store what is pending; call once more at the end."""
        if not self._pending:
            return
        prefixes, names, counts, run_kinds = zip(*self._pending, strict=True)
        self._pending.clear()
        self._n_pending = 0
        pairs = zip(prefixes, names, strict=True)
        # the slash behind each name gives way to the prefix of the next
        blob = np.frombuffer(b"".join([prefix + text[:-1].replace(b"/", prefix) for prefix, text in pairs]), np.uint8)
        ends = np.flatnonzero(np.frombuffer(b"".join(names), np.uint8) == ord("/"))
        sizes = np.diff(ends, prepend=-1) - 1 + np.repeat([len(prefix) for prefix in prefixes], counts)
        kinds = np.repeat(np.array(run_kinds, np.int8), counts)
        is_image = (kinds == FILE) & has_extension(blob, sizes, self._extensions)
        kinds[(kinds == FILE) & ~is_image] = NOT_IMAGE
        _extend_where(self.images, blob, sizes, is_image)
        _extend_where(self.others, blob, sizes, ~is_image)
        self._kinds.append(kinds[~is_image])

    def kinds_to_arrow(self) -> pa.DictionaryArray:
        """One word a name of `others`."""
        codes = np.concatenate([np.zeros(0, np.int8), *self._kinds])
        return pa.DictionaryArray.from_arrays(pa.array(codes - NOT_IMAGE, pa.int8()), pa.array(KINDS[NOT_IMAGE:]))


def _extend_where(column: Column, blob: Bytes, sizes: Ints, mask: Mask) -> None:
    if mask.all():
        column.extend(blob, sizes)
    elif mask.any():
        column.extend(blob[np.repeat(mask, sizes)], sizes[mask])


def has_extension(blob: Bytes, sizes: Ints, extensions: Sequence[bytes]) -> Mask:
    """Which of the strings in `blob`, end to end with lengths `sizes`, end in one of `extensions`; case is ignored.

    Equals `os.path.splitext(name)[1].lower() in extensions` for names that do not start with a dot, as each extension
    has one dot, at its start. ASCII letters only. Returns one bool a string.
    """
    padded = np.concatenate([np.zeros(_WORD, np.uint8), blob])
    ends = np.cumsum(sizes)
    found = np.zeros(len(sizes), np.bool_)
    left = np.arange(len(sizes))
    for extension in extensions:
        if not len(left):
            break
        candidates = left[sizes[left] >= len(extension)]
        hits = _ending_in(padded, ends, candidates, extension)
        if len(hits):
            found[hits] = True
            left = left[~found[left]]
    return found


def _ending_in(padded: Bytes, ends: Ints, candidates: Ints, suffix: bytes) -> Ints:
    """The candidates whose string ends in `suffix`, compared eight bytes at a time from the right."""
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", buffer=padded, strides=(1,))  # every offset as one word
    for right in range(len(suffix), 0, -_WORD):
        piece = suffix[max(0, right - _WORD) : right]
        care, letters, want = _word_masks(piece)
        at = ends[candidates] - (len(suffix) - right)  # `padded` starts _WORD bytes early, so a word's end is its start
        candidates = candidates[((words[at] & care) | letters) == want]
    return candidates


def _word_masks(piece: bytes) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Which bits of a word matter, the case bit of its letters, and the lower-case word that must come out.

    Only letters get the case bit: set on all bytes, "." would equal 0x0e.
    """
    lower = piece.lower()
    letters = bytes(0x20 if chr(byte).isalpha() else 0 for byte in lower)
    pad = _WORD - len(piece)

    def word(low: bytes) -> np.uint64:
        return np.uint64(int.from_bytes(bytes(pad) + low, "little"))

    return word(b"\xff" * len(piece)), word(letters), word(lower)
