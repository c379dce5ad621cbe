"""Images that were decoded once, in a block of bytes that processes and runs share.

A file begins with what it is (a line of JSON in the first page), then has a check sum for each image, then the pixels,
each image [H, W, 3] at its own offset. An image is written before its check sum, and a check sum of 0 says that nothing
is there, so a writer may be killed at any instant. Two writers of one image write the same bytes: what the images are
is part of the file's name. An image is checked once in a run, before it is used for the first time; a wrong one is as
good as none. What is missing is made from its file and put there.

Shapes: N images, H height, W width.
"""

from __future__ import annotations

import errno
import mmap
import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import reduction
from typing import Any

import numpy as np
import numpy.typing as npt

from imagekit.data.images import N_CHANNELS, Pixels
from imagekit.data.shared import SharedBytes
from imagekit.errors import ImageError, OutputError, ShapeError
from imagekit.files import seam
from imagekit.files.hashes import sha256_bytes

HEADER_BYTES = 4096  # not the page of this machine: another one may look at the same file
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM)
_RIGHT, _WAS_DAMAGED = 1, 2  # bits of what is known of an image


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where each of N images lies: heights and widths, int64 [N]; digests: sha256 of their files, [N, 32], or None."""

    heights_N: npt.NDArray[np.int64]
    widths_N: npt.NDArray[np.int64]
    digests_N: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.heights_N)

    @cached_property
    def offsets_N(self) -> npt.NDArray[np.int64]:
        """The first byte of each image in the file."""
        sizes_N = self.heights_N * self.widths_N * N_CHANNELS
        start = HEADER_BYTES + -(-4 * len(self) // HEADER_BYTES) * HEADER_BYTES
        offsets_N: npt.NDArray[np.int64] = start + np.cumsum(sizes_N) - sizes_N
        return offsets_N

    @property
    def n_bytes(self) -> int:
        """The length of the file."""
        if not len(self):
            return HEADER_BYTES
        return int(self.offsets_N[-1] + self.heights_N[-1] * self.widths_N[-1] * N_CHANNELS)


class PixelStore:
    """The images of a layout in the file `fd`, which is as long as they need; holes are images that are not there yet.

    Forked workers share it with all that is known of it. n_damaged: images that anybody found with a wrong check sum;
    is_full: a write found no room, and no more were tried. where: what to call it in an error.
    """

    fd = -1  # until there is one

    def __init__(self, fd: int, layout: Layout, *, where: str = "memory") -> None:
        self.fd, self.layout, self.where = fd, layout, where
        self._known, self._state = SharedBytes(len(layout)), SharedBytes(1)
        self._map()

    def get(self, place: int) -> Pixels | None:
        """The image, which cannot be written to; None where it is not there, or damaged."""
        expected = self._sums_N[place]
        if not expected:
            return None
        height, width, offset = self._heights_N[place], self._widths_N[place], self._offsets_N[place]
        end = offset + height * width * N_CHANNELS
        pixels_HWC = self._bytes[offset:end].reshape(height, width, N_CHANNELS)
        known = self._known_N[place]
        if known & _RIGHT:
            return pixels_HWC
        if known & _WAS_DAMAGED or _sum_of(pixels_HWC) != expected:  # one that had no room to be mended stays as it is
            self._known_N[place] = _WAS_DAMAGED
            return None
        self._known_N[place] = _RIGHT
        return pixels_HWC

    def put(self, place: int, image_HWC: Pixels, data: bytes) -> None:
        """Keep an image made of the file's bytes.

        Raises ImageError where file or image are not what the layout says: what a check sum vouches for must be right;
        ShapeError for what is no uint8 [H, W, 3]; OutputError where it cannot be written. A full disk is no error: the
        images that have no room are made anew each time, and `is_full` says so. After `close` nothing is kept.
        """
        self._require(place, image_HWC, data)
        if self.is_full or self.fd < 0:
            return
        try:
            dense_HWC = np.ascontiguousarray(image_HWC)
            _write_at(self.fd, dense_HWC, int(self._offsets_N[place]))
            _write_at(self.fd, np.array([_sum_of(dense_HWC)], np.uint32), HEADER_BYTES + 4 * place)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._is_full_1[0] = True
                return
            raise OutputError(
                f"the cache cannot be written: {error.strerror}", where=self.where, fix="use --cache ram or none"
            ) from error
        self._known_N[place] |= _RIGHT

    def n_there(self, places: npt.NDArray[np.int64] | None = None) -> int:
        """How many images it holds, of all or of these places."""
        sums_N = self._sums_N if places is None else self._sums_N[places]
        return int(np.count_nonzero(sums_N))

    @property
    def n_damaged(self) -> int:
        """Images that were found damaged since this store was opened."""
        return int(np.count_nonzero(self._known_N & _WAS_DAMAGED))

    @property
    def is_full(self) -> bool:
        """Whether the disk had no room for an image."""
        return bool(self._is_full_1[0])

    def close(self) -> None:
        """Give the file back: nothing is found or kept any more. Images that were handed out keep the file as it is."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._known.close()
            self._state.close()
            # the map has a descriptor of its own, and with it the lock of the file
            self._bytes, self._sums_N = np.zeros(0, np.uint8), np.zeros(len(self.layout), np.uint32)

    def __del__(self) -> None:
        self.close()

    def _map(self) -> None:
        # only to be read, for nothing may reach the file but `put`; and of private pages that could be written to the
        # system would want as much memory as the file is long
        self._bytes = np.frombuffer(mmap.mmap(self.fd, self.layout.n_bytes, access=mmap.ACCESS_READ), dtype=np.uint8)
        self._sums_N = self._bytes[HEADER_BYTES : HEADER_BYTES + 4 * len(self.layout)].view(np.uint32)
        self._known_N = np.frombuffer(self._known.view, dtype=np.uint8, count=len(self.layout))
        self._is_full_1 = np.frombuffer(self._state.view, dtype=np.bool_)
        self._heights_N, self._widths_N = self.layout.heights_N, self.layout.widths_N
        self._offsets_N = self.layout.offsets_N

    def _require(self, place: int, image_HWC: Any, data: bytes) -> None:
        if not isinstance(image_HWC, np.ndarray) or image_HWC.dtype != np.uint8 or image_HWC.shape[2:] != (N_CHANNELS,):
            raise ShapeError(
                f"the transforms made {_facts(image_HWC)} of an image, and a cache keeps uint8 [H, W, 3]",
                where="PixelStore: transforms",
                fix="say keeps_kind = False in the class of the transform that makes it, or use --cache none",
            )
        digests_N = self.layout.digests_N
        if digests_N is not None and sha256_bytes(data) != digests_N[place].tobytes():
            raise ImageError("corrupt", "the bytes are not those that the manifest lists: their sha256 differs")
        wanted = (int(self._heights_N[place]), int(self._widths_N[place]))
        if image_HWC.shape[:2] != wanted:
            height, width = image_HWC.shape[:2]
            listed = f"{wanted[1]} x {wanted[0]}"
            raise ImageError("corrupt", f"it is {width} x {height} pixels, and the manifest says {listed}")

    def __getstate__(self) -> dict[str, Any]:
        shared = {"known": self._known, "state": self._state}
        return {"fd": reduction.DupFd(self.fd), "layout": self.layout, "where": self.where, **shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.fd, self.layout, self.where = state["fd"].detach(), state["layout"], state["where"]
        self._known, self._state = state["known"], state["state"]
        self._map()


def memory_store(layout: Layout) -> PixelStore:
    """A store in memory alone, gone with the processes that have it."""
    memory = SharedBytes(layout.n_bytes)
    fd = os.dup(memory.fd)
    memory.close()
    return PixelStore(fd, layout)


def _facts(item: Any) -> str:
    is_array = isinstance(item, np.ndarray)
    return f"{item.dtype} {list(item.shape)}" if is_array else f"a {type(item).__name__}"


def _sum_of(image_HWC: Pixels) -> int:
    return zlib.crc32(np.ascontiguousarray(image_HWC).data) or 1  # 0 says that nothing is there


def _write_at(fd: int, array: npt.NDArray[Any], offset: int) -> None:
    seam.write_at(fd, array.data.cast("B"), offset)
