"""Names as Arrow buffers: a million paths cost their bytes plus eight each, and no Python object stays.

Runs of names come in, in order; blocks of them are joined to one blob, and the extension test runs over the blob.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.files.names import display_name, is_plain
from imagekit.files.walk import FILE, KINDS, NOT_IMAGE, Run

_WORD = 8
_BLOCK_BYTES = 2**20  # of names: large enough that the cost per call of numpy vanishes, small enough for the memory

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class Column:
    """Byte strings in a row, kept as one growing buffer and their lengths."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._sizes: list[Ints] = []

    def extend_where(self, mask: Mask, blob: Bytes, sizes: Ints) -> None:
        """Take over the marked ones of the strings that lie end to end in `blob`."""
        if mask.all():
            self._blob += blob.data
            self._sizes.append(sizes)
        elif mask.any():
            self._blob += blob[np.repeat(mask, sizes)].data
            self._sizes.append(sizes[mask])

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
        self._extensions = list(extensions)
        self._pending: list[Run] = []
        self._n_pending_bytes = 0

    def add(self, run: Run) -> None:
        """Take one run; its names must stand after all names taken before."""
        self._pending.append(run)
        self._n_pending_bytes += len(run.names)
        if self._n_pending_bytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Test and store what is pending; call once more at the end."""
        if not self._pending:
            return
        prefixes = [os.fsencode(run.prefix) for run in self._pending]
        names = [run.names for run in self._pending]
        counts = [text.count(b"/") for text in names]
        kinds = np.repeat(np.array([run.kind for run in self._pending], np.int8), counts)
        self._pending.clear()
        self._n_pending_bytes = 0
        ends = np.flatnonzero(np.frombuffer(b"".join(names), np.uint8) == ord("/"))
        sizes = np.diff(ends, prepend=-1) - 1 + np.repeat([len(prefix) for prefix in prefixes], counts)
        # the slash behind each name gives way to the prefix of the next
        pairs = zip(prefixes, names, strict=True)
        whole = [prefix + text[:-1].replace(b"/", prefix) for prefix, text in pairs]
        padded = np.frombuffer(b"".join([bytes(_WORD), *whole]), np.uint8)
        is_image = (kinds == FILE) & has_extension(padded, sizes, self._extensions)
        kinds[(kinds == FILE) & ~is_image] = NOT_IMAGE
        self.images.extend_where(is_image, padded[_WORD:], sizes)
        self.others.extend_where(~is_image, padded[_WORD:], sizes)
        self._kinds.append(kinds[~is_image])

    def kinds_to_arrow(self) -> pa.DictionaryArray:
        """One word a name of `others`."""
        codes = np.concatenate([np.zeros(0, np.int8), *self._kinds]) - np.int8(NOT_IMAGE)
        # not pa.array(codes): its first call imports numpy.ma, 14 ms
        indices = pa.Array.from_buffers(pa.int8(), len(codes), [None, pa.py_buffer(codes)])
        return pa.DictionaryArray.from_arrays(indices, pa.array(KINDS[NOT_IMAGE:]))


def display_names(raw: pa.LargeBinaryArray) -> tuple[pa.StringArray, pa.BinaryArray]:
    """`display_name` of many names, and the raw bytes of those that are not shown as they are, null for the others.

    A Python call only for names that hold a sign beyond printable ASCII, or a backslash.
    """
    import pyarrow.compute as pc  # only where names are shown: 20 ms

    if not len(raw):
        return pa.array([], pa.string()), pa.array([], pa.binary())
    _, offsets, data = raw.buffers()
    bounds = np.frombuffer(offsets, np.int64, count=len(raw) + 1, offset=8 * raw.offset)
    blob = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    odd = np.flatnonzero((blob < 0x20) | (blob >= 0x7F) | (blob == ord("\\")))
    rows = np.unique(np.searchsorted(bounds - bounds[0], odd, side="right") - 1)
    if not len(rows):
        return raw.cast(pa.large_string()).cast(pa.string()), pa.nulls(len(raw), pa.binary())
    names = raw.take(pa.array(rows)).to_pylist()
    is_odd = np.zeros(len(raw), np.bool_)
    is_odd[rows] = True
    plain = pc.if_else(pa.array(is_odd), pa.scalar(b"", pa.large_binary()), raw).cast(pa.large_string())
    shown = pc.replace_with_mask(plain, pa.array(is_odd), pa.array(map(display_name, names), pa.large_string()))
    kept = [None if is_plain(name) else name for name in names]
    hidden = pc.replace_with_mask(pa.nulls(len(raw), pa.binary()), pa.array(is_odd), pa.array(kept, pa.binary()))
    return shown.cast(pa.string()), hidden


def has_extension(padded: Bytes, sizes: Ints, extensions: list[bytes]) -> Mask:
    """Which strings end in one of `extensions`; case is ignored. They lie end to end behind eight zero bytes.

    Equals `os.path.splitext(name)[1].lower() in extensions` for names that do not start with a dot, as each extension
    has one dot, at its start. ASCII letters only. Returns one bool a string. An extension that is found moves to the
    front of the list: a tree has few kinds of files, and the next block is then done after a test or two.
    """
    ends = np.cumsum(sizes)
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", buffer=padded, strides=(1,))  # every offset as one word
    left = np.arange(len(sizes))
    last = words[ends]  # `padded` starts _WORD bytes early, so the word at a string's end is the one before it
    found = np.zeros(len(sizes), np.bool_)
    for extension in list(extensions):
        if not len(left):
            break
        hit = _ending_in(words, ends[left], last, extension) & (sizes[left] >= len(extension))
        if hit.any():
            found[left[hit]] = True
            left, last = left[~hit], last[~hit]
            extensions.remove(extension)
            extensions.insert(0, extension)
    return found


def _ending_in(words: npt.NDArray[np.uint64], ends: Ints, last: npt.NDArray[np.uint64], suffix: bytes) -> Mask:
    """Which of the strings that stop at `ends` stop with `suffix`, compared eight bytes at a time from the right."""
    result = np.ones(len(ends), np.bool_)
    for right in range(len(suffix), 0, -_WORD):
        care, letters, want = _word_masks(suffix[max(0, right - _WORD) : right])
        behind = len(suffix) - right
        word = words[np.maximum(ends - behind, 0)] if behind else last
        result &= ((word & care) | letters) == want
    return result


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
