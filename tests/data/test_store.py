"""Images that were decoded once: what is put there comes back, or is known not to be there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from data.open_files import n_open_files
from data.rows import Rows, damage, epochs, noise, store_on_disk
from files.faults import FaultAt
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data import store as store_module
from imagekit.data import workers
from imagekit.data.store import HEADER_BYTES, Layout, PixelStore, memory_store
from imagekit.errors import ImageError, OutputError, ShapeError
from imagekit.files.hashes import sha256_bytes
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.resize import ResizeFixed


@pytest.fixture(autouse=True)
def faults_in_writes(monkeypatch):
    """The k-th change on disk is the k-th write into a store."""
    monkeypatch.setattr("files.faults.OPERATIONS", ("write_at",))


def layout_of(sides, files=None):
    heights_N, widths_N = np.array(sides, np.int64).reshape(-1, 2).T.copy()
    digests = None if files is None else np.array([list(sha256_bytes(file)) for file in files], np.uint8)
    return Layout(heights_N=heights_N, widths_N=widths_N, digests_N=digests)


def in_file(path, layout):
    """A store in a file of its own, as long as it must be."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, layout.n_bytes)
    return PixelStore(fd, layout, where=str(path))


def image(place, side=(3, 2)):
    return noise(place, (side[1], side[0]))


@settings(deadline=None, max_examples=40)
@given(
    sides=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=8),
    even=st.booleans(),
    places=st.lists(st.integers(0, 7), max_size=12),
    in_memory=st.booleans(),
)
def test_what_is_put_comes_back_and_nothing_else(sides, even, places, in_memory):
    layout = layout_of([sides[0]] * len(sides) if even and sides else sides)
    sides = list(zip(layout.heights_N.tolist(), layout.widths_N.tolist(), strict=True))
    places = [place for place in places if place < len(sides)]
    with tempfile.TemporaryDirectory() as folder:
        store = memory_store(layout) if in_memory else in_file(Path(folder) / "a", layout)
        for place in places:
            store.put(place, image(place, sides[place]), b"")
        again = PixelStore(os.dup(store.fd), layout)  # as another run opens it: nothing is known of any image

        for each in (store, again):
            got = [each.get(place) for place in range(len(sides))]
            assert [pixels is not None for pixels in got] == [place in places for place in range(len(sides))]
            assert all(np.array_equal(got[place], image(place, sides[place])) for place in places)
            assert (each.n_there(), each.n_damaged, each.is_full) == (len(set(places)), 0, False)
            assert each.n_there(np.array(places, np.int64)) == len(places)


def test_images_lie_one_after_another_behind_the_header_and_the_sums():
    layout = layout_of([(1, 2), (3, 4), (5, 6)])

    assert layout.offsets_N.tolist() == [8192, 8192 + 6, 8192 + 6 + 36]
    assert layout.n_bytes == 8192 + 6 + 36 + 90
    assert layout_of([(1, 1)] * 1025).offsets_N[0] == HEADER_BYTES + 2 * 4096
    assert layout_of([]).n_bytes == HEADER_BYTES


def test_a_view_of_an_image_is_put_as_its_pixels():
    store = memory_store(layout_of([(3, 2)]))
    turned_HWC = noise(0, (3, 2)).transpose(1, 0, 2)[::-1]

    store.put(0, turned_HWC, b"")

    assert np.array_equal(store.get(0), turned_HWC)


def test_an_image_whose_sum_is_zero_is_there_all_the_same(monkeypatch):
    monkeypatch.setattr(store_module.zlib, "crc32", lambda data: 0)
    store = memory_store(layout_of([(3, 2)] * 2))

    store.put(1, image(1), b"")

    assert (store.get(0), store.n_there()) == (None, 1)
    assert np.array_equal(store.get(1), image(1))


def test_an_image_cannot_be_written_to():
    store = memory_store(layout_of([(3, 2)]))
    store.put(0, image(0), b"")

    with pytest.raises(ValueError, match="read-only"):
        store.get(0)[0, 0] = 0


def test_a_file_with_another_sha256_is_refused():
    store = memory_store(layout_of([(3, 2)], [b"right"]))

    with pytest.raises(ImageError) as caught:
        store.put(0, image(0), b"wrong")
    store_of_right = memory_store(layout_of([(3, 2)], [b"right"]))
    store_of_right.put(0, image(0), b"right")

    assert str(caught.value) == "corrupt: the bytes are not those that the manifest lists: their sha256 differs"
    assert (store.n_there(), store_of_right.n_there()) == (0, 1)


def test_an_image_with_other_sides_is_refused():
    store = memory_store(layout_of([(3, 2)]))

    with pytest.raises(ImageError) as caught:
        store.put(0, image(0, (2, 3)), b"")

    assert str(caught.value) == "corrupt: it is 3 x 2 pixels, and the manifest says 2 x 3"
    assert store.n_there() == 0


@pytest.mark.parametrize(
    ("item", "facts"),
    [
        (np.zeros((3, 2, 3), np.float32), "float32 [3, 2, 3]"),
        (np.zeros((3, 2, 1), np.uint8), "uint8 [3, 2, 1]"),
        (np.zeros((3, 2), np.uint8), "uint8 [3, 2]"),
        ("picture", "a str"),
    ],
)
def test_what_is_no_rgb_image_of_bytes_is_refused(item, facts):
    store = memory_store(layout_of([(3, 2)]))

    with pytest.raises(ShapeError) as caught:
        store.put(0, item, b"")

    assert str(caught.value) == (
        f"the transforms made {facts} of an image, and a cache keeps uint8 [H, W, 3]\n"
        "  where: PixelStore: transforms\n"
        "  fix: say keeps_kind = False in the class of the transform that makes it, or use --cache none"
    )


@settings(deadline=None, max_examples=30)
@given(place=st.integers(0, 4), at=st.integers(0, 17), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found_counted_once_and_mended(place, at, bit):
    first = memory_store(layout_of([(3, 2)] * 5))
    for each in range(5):
        first.put(each, image(each), b"")
    offset = int(first.layout.offsets_N[place]) + at
    os.pwrite(first.fd, bytes([os.pread(first.fd, 1, offset)[0] ^ (1 << bit)]), offset)
    store = PixelStore(os.dup(first.fd), first.layout)

    lost = [each for each in range(5) if store.get(each) is None]
    again = store.get(place)
    store.put(place, image(place), b"")

    assert (lost, again, store.n_damaged) == ([place], None, 1)
    assert np.array_equal(store.get(place), image(place))
    assert store.n_damaged == 1


def test_an_image_is_checked_once_a_run_by_whoever_uses_it_first(monkeypatch):
    first, summed = memory_store(layout_of([(3, 2)] * 2)), []
    for place in range(2):
        first.put(place, image(place), b"")
    real = store_module._sum_of
    monkeypatch.setattr(store_module, "_sum_of", lambda pixels: summed.append(1) or real(pixels))
    store = PixelStore(os.dup(first.fd), first.layout)
    in_child(store.get, 1)

    for _ in range(3):
        store.get(0)
        store.get(1)
        first.get(0)

    assert summed == [1]  # of place 0; place 1 was checked in the child, and `first` made both


def in_child(function, *arguments):
    """Call it in a forked process; how that ended."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_what_a_forked_process_puts_and_finds_is_known_here(tmp_path):
    store = in_file(tmp_path / "a", layout_of([(3, 2)] * 3))
    store.put(1, image(1), b"")
    damage(store, [1])
    seen_by_another_run = PixelStore(os.dup(store.fd), store.layout)

    in_child(seen_by_another_run.put, 0, image(0), b"")
    in_child(seen_by_another_run.get, 1)

    assert np.array_equal(seen_by_another_run.get(0), image(0))
    assert seen_by_another_run.n_damaged == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM])
def test_on_a_disk_that_is_full_at_any_write_training_goes_on_with_the_same_batches(code, tmp_path):
    def fail(operation, arguments):
        fd, data, offset = arguments
        os.pwrite(fd, data[: len(data) // 2], offset)  # as a full disk does: a part of it fits
        raise OSError(code, os.strerror(code))

    transforms = [ResizeFixed(4), RandomFlip()]
    wanted = epochs(Rows(5, transforms=transforms), epochs=2)
    k, fired, kept = 0, True, []
    while fired:
        k += 1
        rows = Rows(5, transforms=transforms)
        with closing(store_on_disk(tmp_path / f"{k}", rows)) as store:
            with FaultAt(k, fail) as fault:
                got = epochs(rows, store, epochs=2)
            fired = fault.fired

            assert got == wanted
            assert store.is_full == fired
            kept.append(store.n_there())
            del store
        with closing(store_on_disk(tmp_path / f"{k}", rows)) as again:  # the disk has room
            assert epochs(rows, again, epochs=2) == wanted
            half_a_sum = fired and k % 2 == 0
            assert (again.n_there(), again.n_damaged, again.is_full) == (5, half_a_sum, False)

    assert kept == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # half a sum counts until it is looked at


def test_a_damaged_image_that_finds_no_room_is_counted_once(monkeypatch):
    first = memory_store(layout_of([(3, 2)]))
    first.put(0, image(0), b"")
    damage(first, [0])
    store = PixelStore(os.dup(first.fd), first.layout)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(store_module.seam, "write_at", fail)
    for _ in range(3):
        assert store.get(0) is None
        store.put(0, image(0), b"")

    assert (store.n_damaged, store.is_full) == (1, True)


def test_any_other_failure_of_the_disk_is_told(tmp_path, monkeypatch):
    store = in_file(tmp_path / "a", layout_of([(3, 2)]))

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store_module.seam, "write_at", fail)
    with pytest.raises(OutputError) as caught:
        store.put(0, image(0), b"")

    assert str(caught.value) == (
        f"the cache cannot be written: Input/output error\n  where: {tmp_path / 'a'}\n  fix: use --cache ram or none"
    )


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_write_leaves_images_that_are_whole_or_not_there(after, tmp_path):
    def die(operation, arguments):
        if not after:
            fd, data, offset = arguments
            os.pwrite(fd, data[: len(data) // 2], offset)  # in the middle of a write
        os.kill(os.getpid(), signal.SIGKILL)

    def put_all(store, k):
        with FaultAt(k, die, after=after):
            for place in range(3):
                store.put(place, image(place), b"")

    there = []
    for k in range(1, 8):
        store = in_file(tmp_path / f"{k}", layout_of([(3, 2)] * 3))
        status = in_child(put_all, store, k)

        again = PixelStore(os.dup(store.fd), store.layout)
        got = [again.get(place) for place in range(3)]
        there.append(sum(pixels is not None for pixels in got))
        assert all(pixels is None or np.array_equal(pixels, image(place)) for place, pixels in enumerate(got))
        assert (os.WIFSIGNALED(status), again.n_there() - again.n_damaged) == (k < 7, there[-1])

    assert there == ([0, 1, 1, 2, 2, 3, 3] if after else [0, 0, 1, 1, 2, 2, 3])


def test_two_writers_of_the_same_images_end_in_right_ones(tmp_path):
    sides, n = (40, 50), 60
    layout = layout_of([sides] * n)
    stores = [in_file(tmp_path / "a", layout) for _ in range(2)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=put_many, args=(store, n, sides)) for store in stores]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    fresh = in_file(tmp_path / "a", layout)
    assert all(np.array_equal(fresh.get(place), image(place, sides)) for place in range(n))
    assert [store.n_damaged for store in (*stores, fresh)] == [0, 0, 0]


def put_many(store, n, sides):
    for _ in range(3):
        for place in range(n):
            expected = image(place, sides)
            kept = store.get(place)
            assert kept is None or np.array_equal(kept, expected)
            store.put(place, expected, b"")


def test_a_closed_store_finds_and_keeps_nothing_and_what_it_handed_out_lives_on(tmp_path):
    before = n_open_files()
    store = in_file(tmp_path / "a", layout_of([(3, 2)] * 2))
    store.put(0, image(0), b"")
    pixels = store.get(0)

    store.close()
    store.close()
    store.put(1, image(1), b"")

    assert (store.get(0), store.get(1), store.n_damaged, store.is_full) == (None, None, 0, False)
    assert np.array_equal(pixels, image(0))
    del pixels, store
    assert n_open_files() <= before


def test_a_store_that_nobody_closed_is_given_back_too():
    before = n_open_files()

    for _ in range(3):
        memory_store(layout_of([(3, 2)]))

    assert n_open_files() <= before


def test_a_store_that_is_longer_than_all_memory_can_be_opened(tmp_path):
    side = 1_000_000
    layout = layout_of([(side, side)] * 3)  # 9 TB of holes
    try:
        store = in_file(tmp_path / "a", layout)
    except OSError as error:
        assert error.errno == errno.EFBIG
        pytest.skip("this file system has no files as long as that")

    assert (store.get(2), store.n_there()) == (None, 0)


@pytest.mark.slow
def test_workers_that_were_started_anew_share_the_store(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "choose_context", lambda: multiprocessing.get_context("spawn"))
    transforms = [ResizeFixed(4), RandomFlip()]
    wanted = epochs(Rows(9, transforms=transforms), epochs=2)
    rows = Rows(9, transforms=transforms)
    store = store_on_disk(tmp_path, rows)
    rows.put_all(store, [0, 3])
    damage(store, [3])
    store.close()
    store = store_on_disk(tmp_path, rows)

    got = epochs(rows, store, epochs=2, n_workers=1)  # a second one would load torch as well

    assert got == wanted
    assert (store.n_there(), store.n_damaged) == (9, 1)
