"""Placing: the bytes that were read under a new name, by the way that was asked for, and never through an old link."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.errors import DiskFullError, ImageError, OutputError
from imagekit.files import link, seam
from imagekit.files.link import LINKS, place, write_new
from imagekit.files.read import Reading, read_stamped

DATA = b"the bytes of a picture" * 100


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "subset" / "a.jpg"
    path.parent.mkdir()
    return path


def copy_as_clone(source_fd: int, target: Path) -> None:
    """What a file system with reflinks does, seen from outside."""
    with target.open("xb") as file:
        file.write(os.pread(source_fd, 2**20, 0))


def failing(code: int) -> Callable[..., None]:
    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def reflinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that can share blocks."""
    monkeypatch.setattr(seam, "clone", copy_as_clone)


# -- what is asked for is what is made -----------------------------------------------------------------------------


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize(("asked", "made"), [(None, "reflink"), *((way, way) for way in LINKS)])
def test_a_file_is_placed_the_way_that_was_asked_for(source: Path, target: Path, asked: str | None, made: str) -> None:
    kind = place(read_stamped(source), source, target, link=asked)

    assert kind == made
    assert target.read_bytes() == DATA
    assert target.samefile(source) == (made == "hard")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_where_no_reflink_can_be_made_a_copy_is(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(seam, "clone", failing(code))

    kind = place(read_stamped(source), source, target, link=None)

    assert (kind, target.read_bytes()) == ("copy", DATA)


def test_this_file_system_gives_a_reflink_or_a_copy(source: Path, target: Path) -> None:
    kind = place(read_stamped(source), source, target, link=None)

    assert kind in ("reflink", "copy")
    assert target.read_bytes() == DATA
    assert not target.samefile(source)
    assert [path.name for path in target.parent.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(("code", "n_tries"), [(errno.ENOTSUP, 1), (errno.EINVAL, 3)])
def test_a_file_system_without_reflinks_is_asked_once_a_folder_and_one_that_refused_a_file_again(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int, n_tries: int
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(seam, "clone", lambda fd, path: tried.append(path) or failing(code)())

    for name in ("a", "b", "c"):
        place(read_stamped(source), source, target.with_name(name), link=None)

    assert len(tried) == n_tries


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_disk_that_fails_is_no_reason_to_copy(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(seam, "clone", failing(code))

    with pytest.raises(OSError, match=os.strerror(code)):
        place(read_stamped(source), source, target, link=None)


# -- what was asked for and cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EXDEV, "source and output lie on different file systems"),
        (errno.ENOTSUP, "the file system cannot share blocks between files"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_a_reflink_that_cannot_be_made_is_an_error_with_its_reason(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    monkeypatch.setattr(seam, "clone", failing(code))

    with pytest.raises(OutputError) as caught:
        place(read_stamped(source), source, target, link="reflink")

    assert str(caught.value) == (
        f"cannot reflink a source file: {words}\n"
        f"  where: {source}\n"
        "  fix: put both on one file system that can (btrfs, XFS, APFS), or leave --link out to copy instead"
    )
    assert not target.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EXDEV, "source and output lie on different file systems"),
        (errno.EPERM, "Operation not permitted"),
        (errno.EMLINK, "Too many links"),
    ],
)
def test_a_hard_link_that_cannot_be_made_is_an_error_with_its_reason(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    monkeypatch.setattr(seam, "link", failing(code))

    with pytest.raises(OutputError) as caught:
        place(read_stamped(source), source, target, link="hard")

    assert str(caught.value) == (
        f"cannot hard-link a source file: {words}\n"
        f"  where: {source}\n"
        "  fix: put the output on the source's file system, or give --link copy"
    )


@pytest.mark.parametrize("asked", [None, *LINKS])
def test_a_full_disk_is_said_for_every_way(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    for name in ("clone", "link", "write_all"):
        monkeypatch.setattr(seam, name, failing(errno.ENOSPC))

    with pytest.raises(DiskFullError) as caught:
        place(read_stamped(source), source, target, link=asked)

    assert str(caught.value) == (
        "the disk is full while writing a.jpg\n"
        f"  where: {target}\n"
        "  fix: free at least 2,200 bytes there and run the same command again"
    )


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize("asked", [None, *LINKS])
def test_a_folder_that_is_missing_is_no_fault_of_the_source(source: Path, tmp_path: Path, asked: str | None) -> None:
    with pytest.raises(FileNotFoundError):
        place(read_stamped(source), source, tmp_path / "nowhere" / "a.jpg", link=asked)


# -- a source that changes -----------------------------------------------------------------------------------------


def rewrite(path: Path) -> None:
    path.write_bytes(b"other bytes")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(DATA)
    os.utime(other, ns=(1, 1))
    other.replace(path)


def make_link(path: Path) -> None:
    path.rename(path.with_name("real.jpg"))
    path.symlink_to("real.jpg")


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize("asked", [None, "reflink", "hard"])
@pytest.mark.parametrize("change", [rewrite, replace])
def test_a_source_that_changed_since_it_was_read_is_not_linked(
    source: Path, target: Path, asked: str | None, change: Callable[[Path], None]
) -> None:
    reading = read_stamped(source)
    change(source)

    with pytest.raises(ImageError) as caught:
        place(reading, source, target, link=asked)

    assert str(caught.value) == (
        f"changed-during-read: the file changed between reading and linking it\n  where: {source}"
    )
    assert not target.exists()


@pytest.mark.parametrize(("asked", "name"), [("reflink", "clone"), ("hard", "link")])
def test_a_source_that_changes_while_it_is_linked_is_found_out(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, asked: str, name: str
) -> None:
    real = copy_as_clone if name == "clone" else seam.link

    def link_then_rewrite(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        rewrite(source)

    monkeypatch.setattr(seam, name, link_then_rewrite)

    with pytest.raises(ImageError, match="changed between reading and linking"):
        place(read_stamped(source), source, target, link=asked)

    assert not target.exists()
    assert source.read_bytes() == b"other bytes"


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize("asked", [None, "reflink", "hard"])
def test_a_source_that_is_gone_has_vanished(source: Path, target: Path, asked: str | None) -> None:
    reading = read_stamped(source)
    source.unlink()

    with pytest.raises(ImageError) as caught:
        place(reading, source, target, link=asked)

    assert str(caught.value) == f"vanished: No such file or directory\n  where: {source}"


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize(("asked", "reason"), [("reflink", "special-file"), ("hard", "changed-during-read")])
def test_a_source_that_became_a_symbolic_link_is_not_followed(
    source: Path, target: Path, asked: str, reason: str
) -> None:
    reading = read_stamped(source)
    make_link(source)

    with pytest.raises(ImageError) as caught:
        place(reading, source, target, link=asked)

    assert caught.value.reason == reason
    assert not os.path.lexists(target)


def test_a_copy_is_of_the_bytes_that_were_read_whatever_became_of_the_source(source: Path, target: Path) -> None:
    reading = read_stamped(source)
    source.unlink()

    assert place(reading, source, target, link="copy") == "copy"
    assert target.read_bytes() == DATA


# -- what stood there before ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize("asked", [None, *LINKS])
@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "file"])
def test_nothing_is_ever_written_through_what_stood_at_the_target(
    source: Path, target: Path, tmp_path: Path, asked: str | None, kind: str
) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"keep me")
    if kind == "hard link":
        target.hardlink_to(treasure)
    elif kind == "symbolic link":
        target.symlink_to(treasure)
    else:
        target.write_bytes(b"an unfinished file, longer than the new one" * 1000)

    place(read_stamped(source), source, target, link=asked)

    assert (treasure.read_bytes(), target.read_bytes()) == (b"keep me", DATA)
    assert not target.is_symlink()


def test_writing_over_a_hard_link_to_the_source_leaves_the_source_alone(source: Path, target: Path) -> None:
    place(read_stamped(source), source, target, link="hard")

    write_new(target, b"smaller")

    assert (source.read_bytes(), target.read_bytes()) == (DATA, b"smaller")


def test_no_descriptor_is_left_open_by_any_outcome(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = read_stamped(source)
    with source.open("rb") as probe:
        lowest = probe.fileno()

    for asked in (None, "hard", "copy"):
        place(reading, source, target, link=asked)
    for code in (errno.ENOTSUP, errno.EIO, errno.ENOSPC):
        monkeypatch.setattr(seam, "clone", failing(code))
        with pytest.raises((OutputError, OSError, DiskFullError)):
            place(reading, source, target, link="reflink")
    with pytest.raises(ImageError):
        place(Reading(b"", reading.stamp._replace(inode=1)), source, target, link="reflink")

    with source.open("rb") as probe:
        assert probe.fileno() == lowest


# -- the calls themselves ------------------------------------------------------------------------------------------


def test_a_clone_that_fails_leaves_no_file(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "_ficlone", failing(errno.ENOTSUP))
    monkeypatch.setattr(seam.sys, "platform", "linux")

    with source.open("rb") as file, pytest.raises(OSError, match=os.strerror(errno.ENOTSUP)):
        seam.clone(file.fileno(), target)

    assert not target.exists()


def test_a_clone_does_not_touch_a_file_that_is_there(source: Path, target: Path) -> None:
    target.write_bytes(b"mine")

    with source.open("rb") as file, pytest.raises(FileExistsError):
        seam.clone(file.fileno(), target)

    assert target.read_bytes() == b"mine"


def test_a_system_that_knows_no_clones_says_so(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam.sys, "platform", "freebsd14")

    with source.open("rb") as file, pytest.raises(OSError) as caught:
        seam.clone(file.fileno(), target)

    assert caught.value.errno == errno.ENOTSUP
    assert not target.exists()


@pytest.mark.parametrize("code", [0, errno.ENOTSUP])
def test_on_macos_the_clone_is_made_by_name(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    called: list[tuple[object, ...]] = []

    class Library:
        def fclonefileat(self, *args: object) -> int:
            called.append(args[:3])
            return -1 if code else 0

    monkeypatch.setattr(seam.sys, "platform", "darwin")
    monkeypatch.setattr(seam, "_libc", Library)
    monkeypatch.setattr(seam.ctypes, "get_errno", lambda: code)

    if code:
        with pytest.raises(OSError, match=os.strerror(code)):
            seam.clone(7, target)
    else:
        seam.clone(7, target)

    assert called == [(7, -2, os.fsencode(target))]


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_cannot_clone", set())
