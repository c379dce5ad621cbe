"""What goes through a pipe comes out as it was, whatever its size, and leaves nothing behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from data.open_files import n_open_files
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data import parcels
from imagekit.data.parcels import pack, receive, send, unpack

DTYPES = (torch.uint8, torch.bool, torch.int64, torch.float32, torch.float16, torch.bfloat16, torch.complex64)
LARGE = parcels._LEAST_SHARED


def sent(item):
    """The item from the other end of a pipe."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        thread = threading.Thread(target=send, args=(theirs, 7, pack(item)))
        thread.start()
        number, parcel = receive(ours)
        thread.join()
    assert number == 7
    return unpack(parcel)


@settings(deadline=None, max_examples=80)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(DTYPES),
    look=st.sampled_from(["as it is", "reversed axes", "every other", "expanded", "channels last", "a part"]),
    is_shared=st.booleans(),
)
def test_a_tensor_comes_out_with_its_values_dtype_and_place_in_memory(shape, dtype, look, is_shared):
    x = torch.randint(0, 100, shape).to(dtype)
    if look == "reversed axes":
        x = x.permute(list(reversed(range(x.ndim))))
    if look == "every other" and shape:
        x = x[::2]
    if look == "expanded":
        x = x[None].expand(3, *x.shape)
    if look == "channels last" and x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    if look == "a part" and x.ndim:
        x = x[1:]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parcels, "_LEAST_SHARED", 0 if is_shared else LARGE)

        y = sent([x, "words"])[0]

    assert (y.dtype, y.shape, y.requires_grad) == (x.dtype, x.shape, False)
    assert torch.equal(x, y)
    assert not x.numel() or look in ("every other", "a part") or y.stride() == x.stride()


@pytest.mark.parametrize("n", [5, LARGE - 1, LARGE, 3_000_001])
def test_small_and_large_arrays_can_be_written_to_and_are_nobody_elses(n):
    array, tensor = np.arange(n, dtype=np.uint8), torch.arange(n, dtype=torch.uint8)

    got = sent({"array": array, "tensor": tensor, "twice": [tensor, tensor]})
    got["array"][:] = 0
    got["tensor"][:] = 0

    assert array.sum() == tensor.sum() > 0
    assert got["twice"][0] is got["twice"][1] is got["tensor"]


def test_a_thousand_large_batches_can_be_held_at_once(monkeypatch):
    monkeypatch.setattr(parcels, "_LEAST_SHARED", 0)
    before = n_open_files()

    held = [sent(torch.full((3,), number)) for number in range(1000)]

    assert [int(x[0]) for x in held] == list(range(1000))
    assert n_open_files() <= before


def test_a_tensor_with_a_gradient_is_sent_as_pickle_sends_it():
    x = torch.ones(3, requires_grad=True)

    y = sent(x)

    assert (y.requires_grad, torch.equal(x, y)) == (True, True)


def test_a_part_of_a_tensor_takes_the_bytes_of_the_part_alone():
    parcel = pack(torch.zeros(1000, 1000)[3])

    assert sum(parcel.sizes) + len(parcel.pickled) < 5000


def test_where_there_is_no_such_memory_everything_goes_through_the_pipe(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")

    assert sent(torch.arange(100_000)).equal(torch.arange(100_000))


def test_nothing_is_left_open_where_there_is_no_memory_or_nobody_reads(monkeypatch):
    before = n_open_files()

    def fail(fd, data):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="full"):
        patched.setattr(parcels.seam, "write_all", fail)
        pack(torch.zeros(LARGE))
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    with theirs, pytest.raises(BrokenPipeError):
        send(theirs, 0, pack(torch.zeros(LARGE)))

    assert n_open_files() <= before


def test_a_sender_that_dies_before_it_hands_the_memory_over_is_the_end_of_the_pipe():
    ours, theirs = multiprocessing.Pipe()
    parcel = pack(torch.zeros(LARGE))
    with ours:
        theirs.send((0, parcel))
        theirs.close()
        os.close(parcel.fd)

        with pytest.raises(EOFError):
            receive(ours)


def test_what_pickle_refuses_is_refused_before_anything_is_sent():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pack([torch.zeros(LARGE), lambda: None])
