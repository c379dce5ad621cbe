"""Reading: regular files only, whole, and the same from first to last byte."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.errors import ImageError
from imagekit.files import read
from imagekit.files.hashes import sha256_bytes, sha256_file
from imagekit.files.read import Stamp, read_file, read_stamped

UNREADABLE = """
import os, sys
from imagekit.files.read import read_file
from imagekit.errors import ImageError
if os.getuid() == 0:
    os.setuid(65534)
try:
    read_file(sys.argv[1])
except ImageError as error:
    print(error)
"""


def change_during(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], *, times: int) -> None:
    """Run `change` between the bytes and the second look, in the first `times` readings."""
    read_all = read._read_all
    left = iter(range(times))

    def read_then_change(fd: int, size: int) -> bytes:
        data = read_all(fd, size)
        if next(left, None) is not None:
            change()
        return data

    monkeypatch.setattr(read, "_read_all", read_then_change)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_a_file_is_read_whole(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)

    assert read_file(path) == data
    assert read_file(str(path), max_bytes=len(data)) == data


def test_the_stamp_is_of_the_very_file_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")

    data, stamp = read_stamped(path)

    status = path.stat()
    assert data == b"data"
    assert stamp == Stamp(4, status.st_mtime_ns, status.st_ino, status.st_dev)


@pytest.mark.parametrize("change", ["written to", "replaced by the same bytes"])
def test_a_file_that_changes_has_another_stamp(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")
    before = read_stamped(path).stamp

    if change == "written to":
        path.write_bytes(b"atad")
        os.utime(path, ns=(1, 1))
    else:
        (tmp_path / "b.jpg").write_bytes(b"data")
        os.utime(tmp_path / "b.jpg", ns=(before.mtime_ns, before.mtime_ns))
        (tmp_path / "b.jpg").replace(path)

    assert read_stamped(path).stamp != before


def test_a_file_is_looked_at_once_before_it_is_opened_and_twice_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data" * 50_000)
    calls: list[str] = []
    for name in ("stat", "open", "fstat", "read", "close"):
        call = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, _name=name, _call=call, **options: calls.append(_name) or _call(*args, **options)
        )

    read_file(path)

    monkeypatch.undo()
    assert calls == ["stat", "open", "fstat", "read", "fstat", "close"]  # one call more is a million calls more


def test_a_file_that_comes_in_short_pieces_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"0123456789")
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda fd, n: real_read(fd, min(n, 3)))

    assert read_file(path) == b"0123456789"


def test_a_file_over_the_limit_is_a_bomb_and_says_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1001))

    with pytest.raises(ImageError) as caught:
        read_file(path, max_bytes=1000)

    assert caught.value.reason == "bomb"
    assert str(caught.value) == f"bomb: the file has 1,001 bytes, the limit is 1,000\n  where: {path}"


@pytest.mark.parametrize("name", ["gone.jpg", "file/inside.jpg", "dangling.jpg"])
def test_a_file_that_is_gone_has_vanished(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")

    with pytest.raises(ImageError) as caught:
        read_file(tmp_path / name, follow_symlinks=True)

    words = "Not a directory" if "inside" in name else "No such file or directory"
    assert str(caught.value) == f"vanished: {words}\n  where: {tmp_path / name}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fifo", "a FIFO"),
        ("socket", "a socket"),
        ("folder", "a folder"),
        ("link", "a symbolic link, which is not followed"),
        ("device", "a device"),
    ],
)
def test_what_is_not_a_regular_file_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 108 bytes
    path = Path("/dev/null") if kind == "device" else Path("x.jpg")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/null")
    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("opened"))

    with pytest.raises(ImageError) as caught:
        read_file(path)

    assert str(caught.value) == f"special-file: not a regular file but {words}\n  where: {path}"


def test_a_fifo_that_takes_the_place_of_a_file_is_refused_and_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"data")
    open_file = os.open

    def swap_then_open(name: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return open_file(name, flags)

    monkeypatch.setattr(os, "open", swap_then_open)

    with pytest.raises(ImageError, match="special-file: not a regular file but a FIFO"):
        read_file(path)


def test_a_link_to_a_file_is_read_only_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"data")
    (tmp_path / "link.jpg").symlink_to("a.jpg")

    assert read_file(tmp_path / "link.jpg", follow_symlinks=True) == b"data"
    with pytest.raises(ImageError, match="special-file"):
        read_file(tmp_path / "link.jpg")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")
    path.chmod(0)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)

    shown = subprocess.run([sys.executable, "-c", UNREADABLE, path], capture_output=True, text=True, check=True)

    assert shown.stdout == f"unreadable: Permission denied\n  where: {path}\n"


@pytest.mark.parametrize("change", ["grown", "shrunk", "touched"])
def test_a_file_that_changed_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old data")
    after = {"grown": b"old data and more", "shrunk": b"old", "touched": b"new data"}[change]

    def rewrite() -> None:
        path.write_bytes(after)
        os.utime(path, ns=(1, 1))

    change_during(monkeypatch, rewrite, times=1)

    assert read_file(path) == after


def test_a_file_that_keeps_changing_is_given_up_after_two_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")
    change_during(monkeypatch, lambda: path.write_bytes(path.read_bytes() + b"+"), times=2)

    with pytest.raises(ImageError) as caught:
        read_file(path)

    assert str(caught.value) == f"changed-during-read: the file changed twice while it was read\n  where: {path}"


def test_a_failing_disk_is_reported_as_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")

    def fail(fd: int, n: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)

    with pytest.raises(ImageError) as caught:
        read_file(path)

    assert str(caught.value) == f"unreadable: Input/output error\n  where: {path}"


def test_no_descriptor_is_left_open_by_any_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"data")
    with path.open("rb") as probe:
        lowest = probe.fileno()

    read_file(path)
    with pytest.raises(ImageError):
        read_file(path, max_bytes=1)
    sha256_file(path)

    with path.open("rb") as probe:
        assert probe.fileno() == lowest


def test_odd_names_are_escaped_in_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_file(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.jpg"))

    assert str(caught.value) == f"vanished: No such file or directory\n  where: {tmp_path}/\\xff\\n.jpg"


def test_hashes_are_sha256_as_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)

    assert sha256_bytes(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).digest()


def test_the_hash_of_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    with pytest.raises(ImageError, match="special-file"):
        sha256_file(tmp_path / "pipe.jpg")
