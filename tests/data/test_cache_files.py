"""Stores on disk: found again by what they hold, bounded, and whole or made anew."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from files.faults import FaultAt
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data import cache_files
from imagekit.data.cache_files import LOCK_NAME, Room, default_folder, entries, make_room, open_store, store_path
from imagekit.data.store import HEADER_BYTES, Layout
from imagekit.errors import DiskFullError, OutputError
from imagekit.files.sizes import display_bytes

WHAT = {
    "format": 1,
    "transforms": [{"name": "MakeRGB"}, {"name": "ResizeFixed", "size": [64, 64], "filter": "bilinear"}],
    "versions": {"pillow": "12.0", "torch": "2.13"},
}
SIDE = 4


def layout(*seeds, side=SIDE):
    """A layout of square images, each known by a number."""
    digests_N = np.array([(np.arange(32) + 13 * seed) % 256 for seed in seeds], np.uint8)
    sides_N = np.full(len(seeds), side, np.int64)
    return Layout(heights_N=sides_N, widths_N=sides_N, digests_N=digests_N.reshape(-1, 32))


def image(place):
    return np.full((SIDE, SIDE, 3), place, np.uint8)


def room(folder, limit_bytes=2**40):
    return Room(folder=folder, limit_bytes=limit_bytes)


@pytest.fixture(autouse=True)
def without_digests(monkeypatch):
    """Let any bytes be an image's file."""
    monkeypatch.setattr("imagekit.data.store.sha256_bytes", AnyDigest)


class AnyDigest:
    """Equal to every digest."""

    def __init__(self, data):
        self.data = data

    def __ne__(self, other):
        return False


def use(folder, *seeds, what=WHAT, put=0, **options):
    """Open a store, put some images there, close it; its file."""
    with closing(open_store(room(folder, **options), what, layout(*seeds))) as store:
        for place in range(put):
            store.put(place, image(place), b"")
    return store_path(folder, what, layout(*seeds))


def set_used(path, seconds):
    os.utime(path, (seconds, seconds))


def stores_in(folder):
    return {path.name for path in folder.iterdir()} - {LOCK_NAME}


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        WHAT | {"format": 2},
        WHAT | {"transforms": WHAT["transforms"][::-1]},
        WHAT | {"transforms": WHAT["transforms"][1:]},
        WHAT | {"transforms": [WHAT["transforms"][0], WHAT["transforms"][1] | {"size": [64, 65]}]},
        WHAT | {"transforms": [WHAT["transforms"][0], WHAT["transforms"][1] | {"filter": "bicubic"}]},
        WHAT | {"versions": {"pillow": "12.0", "torch": "2.14"}},
        WHAT | {"versions": {"pillow": "12.0"}},
    ],
)
def test_all_that_decides_the_pixels_changes_the_name(other):
    assert store_path(Path("c"), other, layout(1, 2)) != store_path(Path("c"), WHAT, layout(1, 2))


@settings(deadline=None, max_examples=30)
@given(
    one=st.lists(st.integers(0, 9), max_size=4),
    other=st.lists(st.integers(0, 9), max_size=4),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_the_same_images_of_the_same_sides_have_the_same_name_and_no_others_have(one, other, sides):
    names = [
        store_path(Path("c"), WHAT, layout(*each, side=side)) for each, side in zip((one, other), sides, strict=True)
    ]

    assert (names[0] == names[1]) == (one == other and (sides[0] == sides[1] or not one))


def test_an_image_that_is_laid_down_is_another_one():
    upright = replace(layout(1), heights_N=np.array([8]), widths_N=np.array([2]))
    laid = replace(layout(1), heights_N=np.array([2]), widths_N=np.array([8]))

    assert upright.n_bytes == laid.n_bytes
    assert store_path(Path("c"), WHAT, upright) != store_path(Path("c"), WHAT, laid)


def test_the_order_in_which_the_words_are_said_does_not_matter():
    assert store_path(Path("c"), dict(reversed(WHAT.items())), layout(1)) == store_path(Path("c"), WHAT, layout(1))


def test_the_name_never_changes():
    # golden: what was decoded once is found by later versions
    assert store_path(Path("c"), WHAT, layout(1, 2)) == Path("c/00027af46f2eb5b32e2e4789db81ff54.pixels")


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        (None, "home/.cache/imagekit"),
        ("", "home/.cache/imagekit"),
        ("caches", "home/.cache/imagekit"),
        ("/c", "/c/imagekit"),
    ],
)
def test_the_cache_lies_in_the_cache_folder_of_the_user(value, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)

    assert default_folder() == tmp_path / folder


# -- opening ----------------------------------------------------------------------------------------------------------


def test_what_a_run_put_there_is_found_by_the_next(tmp_path):
    path = use(tmp_path / "a/b", 1, 2, 3, put=2)

    with closing(open_store(room(tmp_path / "a/b"), WHAT, layout(1, 2, 3))) as store:
        assert (store.n_there(), store.where) == (2, str(path))
        assert np.array_equal(store.get(1), image(1))
    assert stores_in(tmp_path / "a/b") == {path.name}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_says_to_people_what_it_is(tmp_path):
    path = use(tmp_path, 1)

    assert path.read_bytes()[:HEADER_BYTES].rstrip(b"\0").decode().splitlines() == [
        "imagekit pixels 1",
        path.name,
        '{"format": 1, "transforms": [{"name": "MakeRGB"}, {"filter": "bilinear", "name": "ResizeFixed", '
        '"size": [64, 64]}], "versions": {"pillow": "12.0", "torch": "2.13"}}',
    ]


def test_words_that_fill_the_first_page_are_cut_there(tmp_path):
    what = WHAT | {"transforms": [{"name": "x" * 5000}]}

    path = use(tmp_path, 1, what=what, put=1)

    assert path.stat().st_size == layout(1).n_bytes
    with closing(open_store(room(tmp_path), what, layout(1))) as store:
        assert store.n_there() == 1


def spoil_nothing(path):
    """It stays as it is."""


def shorten(path):
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path):
    os.truncate(path, path.stat().st_size + 1)


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"x" * path.stat().st_size)


def flip_in_header(path):
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)


def put_another_there(path):
    use(path.parent, 7, 8, 9, put=3).replace(path)


@pytest.mark.parametrize("spoil", [shorten, lengthen, empty, overwrite, flip_in_header, put_another_there])
def test_a_file_that_is_not_this_store_is_made_anew(spoil, tmp_path):
    path = use(tmp_path, 1, 2, 3, put=3)
    spoil(path)

    with closing(open_store(room(tmp_path), WHAT, layout(1, 2, 3))) as store:
        assert (store.n_there(), store.get(0)) == (0, None)
        store.put(0, image(0), b"")

    with closing(open_store(room(tmp_path), WHAT, layout(1, 2, 3))) as store:
        assert (store.n_there(), store.n_damaged) == (1, 0)


def test_a_store_that_was_cut_while_another_run_uses_it_is_left_alone(tmp_path):
    with closing(open_store(room(tmp_path), WHAT, layout(1))) as store:
        shorten(Path(store.where))

        with pytest.raises(OutputError) as caught:
            open_store(room(tmp_path), WHAT, layout(1))

        assert Path(store.where).stat().st_size == layout(1).n_bytes - 1
    assert str(caught.value) == (
        f"the cache file is damaged, and another run uses it\n  where: {store_path(tmp_path, WHAT, layout(1))}\n"
        "  fix: wait until that run has ended, or use --cache ram or none"
    )
    use(tmp_path, 1)


def test_a_symlink_in_the_place_of_the_file_is_refused_and_its_target_untouched(tmp_path):
    path = store_path(tmp_path / "c", WHAT, layout(1))
    path.parent.mkdir()
    (tmp_path / "diary").write_text("mine")
    path.symlink_to(tmp_path / "diary")

    with pytest.raises(OutputError) as caught:
        open_store(room(tmp_path / "c"), WHAT, layout(1))

    assert str(caught.value) == (
        f"the cache cannot be written: Too many levels of symbolic links\n  where: {path}\n"
        "  fix: set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"
    )
    assert (tmp_path / "diary").read_text() == "mine"


@pytest.mark.parametrize("name", ["0.pixels", LOCK_NAME])
def test_symlinks_folders_and_pipes_beside_it_are_no_stores(name, tmp_path):
    (tmp_path / "diary").write_text("mine")
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "0.pixels").symlink_to(tmp_path / "diary")
    (folder / "1.pixels").mkdir()
    os.mkfifo(folder / "2.pixels")
    (folder / "3.pixels").symlink_to(folder / "nowhere")
    (folder / "notes.txt").write_text("x" * 9999)

    path = use(folder, 1, limit_bytes=layout(1).n_bytes)

    assert [entry.path for entry in entries(folder)] == [path]
    assert len(stores_in(folder)) == 6


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "c").write_text("mine")

    with pytest.raises(OutputError) as caught:
        open_store(room(tmp_path / "c"), WHAT, layout(1))

    assert str(caught.value) == (
        f"the cache cannot be written: File exists\n  where: {tmp_path / 'c'}\n"
        "  fix: set XDG_CACHE_HOME to a folder that you may write to, or use --cache ram or none"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(OutputError, match="the cache cannot be written: Permission denied"):
        open_store(room(tmp_path), WHAT, layout(1))


def test_a_store_of_somebody_else_that_may_not_be_opened_counts_as_one_in_use(tmp_path, monkeypatch):
    theirs, real = use(tmp_path, 1), os.open

    def refuse(path, *arguments):
        if path == theirs:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(cache_files.os, "open", refuse)

    use(tmp_path, 2, limit_bytes=2 * layout(1).n_bytes)
    with pytest.raises(OutputError, match="are in use by other runs"):
        use(tmp_path, 3, limit_bytes=2 * layout(1).n_bytes - 1)
    assert theirs.exists()


def test_a_disk_without_room_for_a_header_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("files.faults.OPERATIONS", ("write_at",))

    def fail(operation, arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = store_path(tmp_path, WHAT, layout(1))
    with FaultAt(1, fail), pytest.raises(DiskFullError) as caught:
        open_store(room(tmp_path), WHAT, layout(1))

    assert str(caught.value) == (
        f"the disk is full while writing {path.name}\n  where: {path}\n"
        "  fix: free some space there and run the same command again"
    )
    use(tmp_path, 1)


# -- room -------------------------------------------------------------------------------------------------------------


def test_the_store_that_was_used_longest_ago_goes_first(tmp_path):
    paths = [use(tmp_path, seed, put=1) for seed in (1, 2, 3)]
    for path, seconds in zip(paths, (300, 100, 200), strict=True):
        set_used(path, seconds)
    use(tmp_path, 2)  # used now
    taken = sum(entry.n_bytes for entry in entries(tmp_path))

    new = use(tmp_path, 4, limit_bytes=taken + layout(4).n_bytes - 1)

    assert stores_in(tmp_path) == {paths[0].name, paths[1].name, new.name}


def test_a_limit_holds_to_the_byte(tmp_path):
    old = use(tmp_path, 1, put=1)
    taken = entries(tmp_path)[0].n_bytes
    new = layout(2)

    kept = make_room(room(tmp_path, taken + new.n_bytes), tmp_path / "new.pixels", new.n_bytes)
    gone = make_room(room(tmp_path, taken + new.n_bytes - 1), tmp_path / "new.pixels", new.n_bytes)

    assert (kept, gone, stores_in(tmp_path)) == ([], [old], set())


def test_a_store_need_not_make_room_for_itself_twice(tmp_path):
    use(tmp_path, 1, put=1)

    path = use(tmp_path, 1, limit_bytes=layout(1).n_bytes)

    assert stores_in(tmp_path) == {path.name}


def test_one_that_is_larger_than_the_room_is_told_and_removes_nothing(tmp_path):
    kept = use(tmp_path, 1)

    with pytest.raises(OutputError) as caught:
        open_store(room(tmp_path, 5_000_000), WHAT, layout(2, side=2000))

    assert str(caught.value) == (
        f"the cache would take {display_bytes(layout(2, side=2000).n_bytes)}, the limit is 5 MB\n  where: {tmp_path}\n"
        "  fix: give a greater --cache-limit, or use --cache none"
    )
    assert stores_in(tmp_path) == {kept.name}


def test_only_what_is_wanted_of_it_needs_room(tmp_path):
    large = layout(1, side=2000)

    with closing(open_store(room(tmp_path, 5_000_000), WHAT, large, n_bytes=5_000_000)) as store:
        assert Path(store.where).stat().st_size == large.n_bytes


def test_a_store_in_use_is_never_removed_and_counts_as_if_it_were_full(tmp_path):
    used = layout(1, side=2000)  # 12 MB when it is full, and empty
    unused = use(tmp_path, 2)
    with closing(open_store(room(tmp_path), WHAT, used)) as store:
        set_used(store.where, 0)

        with pytest.raises(OutputError) as caught:
            open_store(room(tmp_path, used.n_bytes + layout(3).n_bytes - 1), WHAT, layout(3))
        left = stores_in(tmp_path)
        new = use(tmp_path, 3, limit_bytes=used.n_bytes + layout(3).n_bytes)

        assert str(caught.value) == (
            "the cache would take 8.24 KB, the limit is 12 MB, and 12 MB are in use by other runs\n"
            f"  where: {tmp_path}\n  fix: give a greater --cache-limit, or use --cache none"
        )
        assert left == {unused.name, Path(store.where).name}
        assert stores_in(tmp_path) == {new.name, Path(store.where).name}
    newer = use(tmp_path, 4, limit_bytes=layout(4).n_bytes)
    assert stores_in(tmp_path) == {newer.name}


def test_a_store_that_was_closed_is_held_as_long_as_an_image_of_it_is(tmp_path):
    with closing(open_store(room(tmp_path), WHAT, layout(1))) as store:
        store.put(0, image(0), b"")
        pixels = store.get(0)

    assert cache_files._is_used(Path(store.where))
    del pixels
    assert not cache_files._is_used(Path(store.where))


def test_the_lock_of_a_run_that_was_killed_holds_nobody_up(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    process.start()
    while not entries(tmp_path) or not cache_files._is_used(entries(tmp_path)[0].path):
        time.sleep(0.002)

    process.kill()
    process.join()

    new = use(tmp_path, 2, limit_bytes=layout(2).n_bytes)
    assert stores_in(tmp_path) == {new.name}


def hold(folder):
    with closing(open_store(room(folder), WHAT, layout(1))):
        time.sleep(30)


def test_a_store_that_is_removed_while_it_is_looked_at_is_no_error(tmp_path, monkeypatch):
    paths = [use(tmp_path, seed) for seed in (1, 2)]
    real = Path.lstat

    def vanish(path):
        paths[0].unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(Path, "lstat", vanish)

    assert [entry.path for entry in entries(tmp_path)] == paths[1:]
    monkeypatch.undo()
    assert entries(tmp_path / "nowhere") == []
    assert not cache_files._is_used(paths[0])


def test_an_entry_tells_what_it_takes_now_and_what_it_may_come_to(tmp_path):
    path = use(tmp_path, *range(100))
    set_used(path, 5)

    (entry,) = entries(tmp_path)

    assert entry.path == path
    assert entry.n_bytes == path.stat().st_blocks * 512 < entry.size_bytes == layout(*range(100)).n_bytes
    assert entry.used_at == 5_000_000_000


# -- several at once, and killed --------------------------------------------------------------------------------------


def test_two_processes_that_open_it_at_once_share_one_file(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=open_and_put, args=(tmp_path, barrier, number)) for number in range(4)]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    with closing(open_store(room(tmp_path), WHAT, layout(*range(4)))) as store:
        assert [int(store.get(place)[0, 0, 0]) for place in range(4)] == [0, 1, 2, 3]
    assert len(stores_in(tmp_path)) == 1


def open_and_put(folder, barrier, number):
    barrier.wait()
    for _ in range(20):
        with closing(open_store(room(folder), WHAT, layout(*range(4)))) as store:
            store.put(number, image(number), b"")
            assert store.get(number) is not None


def test_two_processes_at_once_stay_within_the_limit(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, limit_bytes = context.Barrier(3), 2 * layout(0).n_bytes
    opened = context.Value("i", 0)
    processes = [
        context.Process(target=open_and_hold, args=(tmp_path, limit_bytes, barrier, opened, seed)) for seed in range(3)
    ]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 3
    assert opened.value == 2


def open_and_hold(folder, limit_bytes, barrier, opened, seed):
    barrier.wait()
    try:
        store = open_store(room(folder, limit_bytes), WHAT, layout(seed))
    except OutputError:
        store = None
    if store is not None:
        with opened.get_lock():
            opened.value += 1
    barrier.wait()  # nobody lets go before all have tried


CHANGES = ("open", "ftruncate", "utime")  # of the system; beside them write_at and unlink of the seam


@pytest.mark.parametrize("spoil", [None, spoil_nothing, overwrite])
def test_a_kill_at_any_change_on_disk_leaves_a_store_that_the_next_run_uses_or_makes_anew(spoil, tmp_path):
    k, killed, found = 0, True, []
    while killed:
        k += 1
        folder = tmp_path / f"{k}"
        use(folder, 7, put=1)  # which has to go
        if spoil is not None:
            spoil(use(folder, 1, 2, put=2))

        killed = open_and_be_killed(folder, k)

        with closing(open_store(room(folder), WHAT, layout(1, 2))) as store:
            found.append(store.n_there())
            assert store.n_damaged == 0
            store.put(0, image(0), b"")
        with closing(open_store(room(folder), WHAT, layout(1, 2))) as store:
            assert np.array_equal(store.get(0), image(0))

    assert k > (4 if spoil is spoil_nothing else 6)
    assert set(found) == ({2} if spoil is spoil_nothing else {0})


def open_and_be_killed(folder, k):
    """Whether the child that opens a store was killed, at its k-th change on disk; of a write a half is done."""
    pid = os.fork()
    if pid == 0:
        left, real_write = [k], os.pwrite

        def dying(call):
            def wrapped(*arguments, **options):
                left[0] -= 1
                if left[0] == 0:
                    if call is write_at:
                        real_write(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return wrapped

        write_at = cache_files.seam.write_at
        for name in CHANGES:
            setattr(os, name, dying(getattr(os, name)))
        for name in ("write_at", "unlink"):
            setattr(cache_files.seam, name, dying(getattr(cache_files.seam, name)))
        try:
            open_store(room(folder, layout(1, 2).n_bytes), WHAT, layout(1, 2))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_process_that_was_forked_while_one_was_opened_holds_nobody_up(tmp_path, monkeypatch):
    forked, real = [], cache_files.make_room

    def fork_and_make_room(*arguments):
        if not forked:
            forked.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,)))
            forked[0].start()
        return real(*arguments)

    monkeypatch.setattr(cache_files, "make_room", fork_and_make_room)
    use(tmp_path, 1)

    use(tmp_path, 2)

    forked[0].kill()
    forked[0].join()
    assert len(stores_in(tmp_path)) == 2


def test_who_opens_one_waits_for_whoever_is_opening_one(tmp_path):
    tmp_path.joinpath(LOCK_NAME).touch()
    process = multiprocessing.get_context("fork").Process(target=use, args=(tmp_path, 1))
    with (tmp_path / LOCK_NAME).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process.start()
        process.join(0.1)
        waits = process.is_alive() and not stores_in(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_UN)

    process.join()
    assert (waits, process.exitcode, len(stores_in(tmp_path))) == (True, 0, 1)
