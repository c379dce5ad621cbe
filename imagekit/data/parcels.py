"""What goes from one process to another through a pipe, whatever it is: pickled, and large arrays beside it.

Multiprocessing's own way would put each tensor into /dev/shm, which is small in containers, and keep a descriptor open
as long as the tensor lives. Here the bytes of tensors and arrays go through memory without a name, in one copy on
either side.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagekit.files import seam

_LEAST_SHARED = 2**16  # bytes: fewer are through the pipe before memory is made for them


class Parcel(NamedTuple):
    """Something pickled, and the bytes of its arrays; those on their way may lie in `fd` instead."""

    pickled: bytes
    sizes: Sequence[int]
    buffers: Sequence[Any]
    fd: int = -1


def pack(item: Any) -> Parcel:
    """Ready to be sent. Raises what pickle raises, and OSError where there is no memory."""
    file, found = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=found.append).dump(item)
    buffers: list[Any] = [each.raw() for each in found]
    sizes = [each.nbytes for each in buffers]
    if not hasattr(os, "memfd_create") or sum(sizes) < _LEAST_SHARED:
        return Parcel(file.getvalue(), sizes, [bytes(each) for each in buffers])
    fd = os.memfd_create("imagekit", os.MFD_CLOEXEC)
    try:
        for buffer in buffers:
            seam.write_all(fd, buffer)
    except BaseException:
        os.close(fd)
        raise
    return Parcel(file.getvalue(), sizes, (), fd)


def send(connection: Connection, number: int, parcel: Parcel) -> None:
    """Send a parcel with a number, once. Raises OSError where nobody reads it."""
    try:
        connection.send((number, parcel))
        if parcel.fd >= 0:
            reduction.send_handle(connection, parcel.fd, os.getpid())
    finally:
        if parcel.fd >= 0:
            os.close(parcel.fd)


def receive(connection: Connection) -> tuple[int, Parcel]:
    """The next parcel and its number. Raises EOFError or OSError where the other side is gone."""
    number, parcel = connection.recv()
    if parcel.fd < 0:
        # arrays over bytes could not be written to
        return number, parcel._replace(buffers=[bytearray(each) for each in parcel.buffers])
    fd = reduction.recv_handle(connection)
    try:
        buffers, offset = [], 0
        for size in parcel.sizes:
            buffers.append(_read_at(fd, size, offset))
            offset += size
    finally:
        os.close(fd)
    return number, Parcel(parcel.pickled, parcel.sizes, buffers)


def unpack(parcel: Parcel) -> Any:
    """The item that was received, over the parcel's own memory. Raises what pickle raises."""
    return pickle.loads(parcel.pickled, buffers=parcel.buffers)


class _Pickler(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        is_plain = type(item) is Tensor and item.device.type == "cpu" and item.layout is torch.strided
        if not is_plain or item.requires_grad or item.is_quantized or item.is_conj() or item.is_neg():
            return NotImplemented
        dense = item.permute(sorted(range(item.ndim), key=item.stride, reverse=True))  # as it lies in memory
        if not dense.is_contiguous() or not item.numel():
            return NotImplemented
        flat_N = dense.as_strided((item.numel(),), (1,))  # reshape keeps the stride of a single element
        return _tensor, (flat_N.view(torch.uint8).numpy(), item.dtype, tuple(item.shape), item.stride())


def _tensor(
    bytes_N: npt.NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Tensor:
    return torch.from_numpy(bytes_N).view(dtype).as_strided(shape, strides)


def _read_at(fd: int, size: int, offset: int) -> npt.NDArray[np.uint8]:
    array_N = np.empty(size, np.uint8)  # and no bytearray, which would be filled with zeros first
    left = array_N.data
    while left:
        n_read = os.preadv(fd, [left], offset)
        left, offset = left[n_read:], offset + n_read
    return array_N
