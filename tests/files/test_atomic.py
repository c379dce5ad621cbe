"""Publishing: after any failure or kill the output is the old one or the new one, whole."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from imagekit.errors import DiskFullError, OutputError
from imagekit.files import atomic, seam
from imagekit.files.atomic import (
    atomic_file,
    explain_disk_full,
    heal_file,
    heal_folder,
    publish_folder,
    sibling,
    staging_folder,
    sync_tree,
    write_bytes,
    write_text,
)

FAULTS = Path(__file__).with_name("faults.py")
spec = importlib.util.spec_from_file_location("files_faults", FAULTS)
assert spec is not None
assert spec.loader is not None
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def raise_code(code: int) -> Any:
    def fault(operation: str, args: tuple[Any, ...]) -> None:
        raise OSError(code, os.strerror(code))

    return fault


@pytest.mark.parametrize("data", [b"", b"x", bytes(100_000)])
def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path: Path, data: bytes) -> None:
    write_bytes(tmp_path / "a.bin", data)

    assert (tmp_path / "a.bin").read_bytes() == data
    assert names_in(tmp_path) == ["a.bin"]


def test_text_is_written_as_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(str(tmp_path / "a.txt"), "é\r\n\n")

    assert (tmp_path / "a.txt").read_bytes() == "é\r\n\n".encode()


def test_a_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    write_bytes("a.bin", b"data")

    assert (tmp_path / "a.bin").read_bytes() == b"data"


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")

    write_bytes(tmp_path / "a.bin", b"")

    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_names_of_255_bytes_can_be_written_and_healed(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".txt" + "x")
    with pytest.raises(KeyboardInterrupt), mock.patch.object(seam, "unlink"), atomic_file(path):
        raise KeyboardInterrupt
    assert len(names_in(tmp_path)) == 1

    write_bytes(path, b"data")
    heal_file(path)

    assert names_in(tmp_path) == [path.name]


def test_a_missing_folder_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "missing" / "a.bin", b"data")


def test_an_atomic_file_appears_only_when_its_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"old")

    with atomic_file(path) as temporary:
        temporary.write_bytes(b"new")
        during = path.read_bytes()

    assert during == b"old"
    assert path.read_bytes() == b"new"
    assert temporary.suffix == ".parquet"
    assert temporary.parent == path.parent
    assert names_in(tmp_path) == ["a.parquet"]


def test_an_atomic_file_that_a_writer_replaced_is_published(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as temporary:
        (tmp_path / "other").write_bytes(b"new")
        (tmp_path / "other").replace(temporary)

    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise error

    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_data_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path: Path) -> None:
    calls: list[str] = []

    def note(name: str) -> Any:
        real = getattr(seam, name)

        def call(*args: Any) -> Any:
            what = args[0]
            calls.append(f"{name} {'folder' if isinstance(what, int) and is_folder(what) else ''}".strip())
            return real(*args)

        return mock.patch.object(seam, name, call)

    def is_folder(fd: int) -> bool:
        return bool(os.fstat(fd).st_mode & 0o40000)

    with note("write_all"), note("fsync"), note("replace"):
        write_bytes(tmp_path / "a", b"data")

    assert calls == ["write_all", "fsync", "replace", "fsync folder"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))

    write_bytes(tmp_path / "a", b"0123456789")

    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_healing_a_file_removes_its_own_leftovers_only(tmp_path: Path) -> None:
    keep = [
        "a.txt",
        ".imagekit-tmp-0123456789ab-b-a.txt",
        ".imagekit-tmp-short-a.txt",
        "x.imagekit-tmp-0123456789ab-a.txt",
    ]
    for name in [*keep, ".imagekit-tmp-0123456789ab-a.txt"]:
        (tmp_path / name).write_bytes(b"")

    heal_file(tmp_path / "a.txt")

    assert names_in(tmp_path) == sorted(keep)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_how_much_to_free(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    with pytest.raises(DiskFullError) as caught, faults.FaultAt(1, raise_code(code)):
        write_bytes(path, bytes(123_456))

    assert str(caught.value) == (
        f"the disk is full while writing a.bin\n  where: {path}\n"
        "  fix: free at least 123,456 bytes there and run the same command again"
    )
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_full_disk_of_unknown_need_says_so(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError) as caught, explain_disk_full(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert str(caught.value) == (
        f"the disk is full while writing out\n  where: {tmp_path / 'out'}\n"
        "  fix: free some space there and run the same command again"
    )


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(OSError, match="Input/output") as caught, explain_disk_full(Path("out")):
        raise OSError(errno.EIO, "Input/output error")

    assert not isinstance(caught.value, DiskFullError)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("exchanging", [True, False])
@pytest.mark.parametrize("case_name", sorted(faults.CASES))
def test_a_failure_at_any_operation_leaves_old_or_new(
    tmp_path: Path, case_name: str, exchanging: bool, code: int
) -> None:
    outcomes = []
    expected = DiskFullError if code == errno.ENOSPC else OSError
    fired = True
    while fired:
        place = tmp_path / str(len(outcomes))
        place.mkdir()
        case = faults.CASES[case_name](place)
        with mock.patch.object(seam, "exchange", seam.exchange if exchanging else lambda one, other: False):
            with faults.FaultAt(len(outcomes) + 1, raise_code(code)) as fault:
                try:
                    case.run()
                    failed = False
                except expected:
                    failed = True
            fired = fault.fired
            outcomes.append((failed, faults.state(case.target)))
            assert faults.state(case.target) in (case.before, "new")
            assert failed or faults.state(case.target) == "new"
            case.run()
        assert names_in(place) == [case.target.name]
        assert faults.state(case.target) == "new"

    assert len(outcomes) >= 4
    assert outcomes[0] == (True, case.before)
    assert outcomes[-1] == (False, "new")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["before", "after", "before, without exchange", "after, without exchange"])
@pytest.mark.parametrize("case_name", sorted(faults.CASES))
def test_a_kill_at_any_operation_leaves_old_or_new_and_the_next_run_ends_alike(
    tmp_path: Path, case_name: str, mode: str
) -> None:
    command = [sys.executable, FAULTS, mode, case_name, tmp_path]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert len(rows) >= 4
    assert [row["killed"] for row in rows] == [True] * (len(rows) - 1) + [False]
    for row in rows:
        assert not row["torn"], row
        assert row["healed"] in (row["before"], "new"), row
        assert row["again"] == "new", row
        assert row["rest"] == [], row


def test_the_staging_folder_is_always_the_same_hidden_sibling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert staging_folder("out") == staging_folder(tmp_path / "out") == tmp_path / ".out.imagekit-staging"
    assert not (tmp_path / ".out.imagekit-staging").exists()


def test_siblings_of_long_names_are_short_enough_and_differ(tmp_path: Path) -> None:
    one, other = sibling(tmp_path / ("é" * 127), ".imagekit-old"), sibling(tmp_path / ("è" * 127), ".imagekit-old")

    one.mkdir()
    other.mkdir()

    assert one != other


def test_a_folder_is_published_under_a_free_name(tmp_path: Path) -> None:
    staging = staging_folder(tmp_path / "out")
    faults.fill(staging, faults.NEW)

    publish_folder(staging, tmp_path / "out")

    assert names_in(tmp_path) == ["out"]
    assert faults.state(tmp_path / "out") == "new"


@pytest.mark.parametrize("exchanging", [True, False])
def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path, exchanging: bool) -> None:
    faults.fill(tmp_path / "out", faults.OLD)
    (tmp_path / "out" / "only in the old one").write_bytes(b"")
    staging = staging_folder(tmp_path / "out")
    faults.fill(staging, faults.NEW)

    with mock.patch.object(seam, "exchange", seam.exchange if exchanging else lambda one, other: False):
        publish_folder(staging, tmp_path / "out")

    assert names_in(tmp_path) == ["out"]
    assert faults.state(tmp_path / "out") == "new"


def test_with_an_exchange_the_output_is_never_absent(tmp_path: Path) -> None:
    target = tmp_path / "out"
    faults.fill(target, faults.OLD)
    faults.fill(staging_folder(target), faults.NEW)
    if not seam.exchange(target, staging_folder(target)):
        pytest.skip("this file system cannot exchange two folders in one call")
    seam.exchange(target, staging_folder(target))
    seen: list[str] = []
    rename = seam.rename

    def watch(source: Path, other: Path) -> None:
        seen.append(faults.state(target))
        rename(source, other)
        seen.append(faults.state(target))

    with mock.patch.object(seam, "rename", watch):
        publish_folder(staging_folder(target), target)

    assert seen == ["old", "old", "new", "new"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_not_a_folder_is_never_replaced_by_one(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "file":
        target.write_bytes(b"mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to("elsewhere")
    faults.fill(staging_folder(target), faults.NEW)

    with pytest.raises(OutputError) as caught:
        publish_folder(staging_folder(target), target)

    assert str(caught.value) == (
        f"the output exists and is not a folder\n  where: {target}\n  fix: remove it or choose another output"
    )
    assert target.is_symlink() or target.read_bytes() == b"mine"
    assert faults.state(staging_folder(target)) == "new"


def test_an_exchange_that_fails_gives_the_staging_folder_its_name_back(tmp_path: Path) -> None:
    target = tmp_path / "out"
    faults.fill(target, faults.OLD)
    faults.fill(staging_folder(target), faults.NEW)

    with (
        pytest.raises(OSError, match="Input/output"),
        mock.patch.object(seam, "exchange", side_effect=OSError(5, "Input/output error")),
    ):
        publish_folder(staging_folder(target), target)

    assert faults.state(target) == "old"
    assert faults.state(staging_folder(target)) == "new"


def test_an_old_version_that_cannot_be_removed_does_not_fail_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    faults.fill(target, faults.OLD)
    faults.fill(staging_folder(target), faults.NEW)

    with mock.patch.object(seam, "remove_tree", side_effect=PermissionError):
        publish_folder(staging_folder(target), target)
    left = names_in(tmp_path)
    heal_folder(target)

    assert left == [".out.imagekit-trash", "out"]
    assert names_in(tmp_path) == ["out"]
    assert faults.state(target) == "new"


def test_healing_puts_the_old_version_back_where_none_is_left(tmp_path: Path) -> None:
    faults.fill(tmp_path / ".out.imagekit-old", faults.OLD)

    heal_folder(tmp_path / "out")

    assert names_in(tmp_path) == ["out"]
    assert faults.state(tmp_path / "out") == "old"


def test_healing_removes_the_old_version_where_a_new_one_is(tmp_path: Path) -> None:
    faults.fill(tmp_path / ".out.imagekit-old", faults.OLD)
    faults.fill(tmp_path / "out", faults.NEW)

    heal_folder(tmp_path / "out")

    assert names_in(tmp_path) == ["out"]
    assert faults.state(tmp_path / "out") == "new"


def test_healing_leaves_a_sound_output_and_its_staging_folder_alone(tmp_path: Path) -> None:
    faults.fill(tmp_path / "out", faults.OLD)
    faults.fill(staging_folder(tmp_path / "out"), faults.NEW)

    heal_folder(tmp_path / "out")

    assert names_in(tmp_path) == [".out.imagekit-staging", "out"]
    assert faults.state(tmp_path / "out") == "old"


def test_a_half_removed_version_is_never_put_back(tmp_path: Path) -> None:
    faults.fill(tmp_path / ".out.imagekit-trash", faults.OLD)

    heal_folder(tmp_path / "out")

    assert names_in(tmp_path) == []


def test_without_a_system_call_every_file_and_folder_of_a_tree_is_synced(tmp_path: Path) -> None:
    faults.fill(tmp_path / "out", faults.NEW)
    (tmp_path / "out" / "dangling").symlink_to("nowhere")
    synced: list[int] = []

    with (
        mock.patch.object(seam, "sync_filesystem", lambda fd: False),
        mock.patch.object(seam, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino)),
    ):
        sync_tree(tmp_path / "out")

    expected = [tmp_path / "out", tmp_path / "out" / "n01", *(tmp_path / "out" / name for name in faults.FILES)]
    assert sorted(synced) == sorted(path.stat().st_ino for path in expected)


def test_a_tree_is_synced_by_one_call_where_the_system_has_it(tmp_path: Path) -> None:
    with mock.patch.object(seam, "fsync") as fsync:
        done = atomic._on_descriptor(tmp_path, seam.sync_filesystem)
        sync_tree(tmp_path)

    assert fsync.called != done


def test_a_tree_that_is_missing_is_not_synced_in_silence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_tree(tmp_path / "missing")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_exchange_is_told_from_a_failing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    libc = mock.Mock()
    libc.renameat2.return_value = -1
    libc.syncfs.return_value = -1
    monkeypatch.setattr(seam, "_libc", lambda: libc)
    monkeypatch.setattr(seam.ctypes, "get_errno", lambda: code)

    assert seam.exchange(tmp_path / "a", tmp_path / "b") is False
    assert seam.sync_filesystem(0) is False

    monkeypatch.setattr(seam.ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        seam.exchange(tmp_path / "a", tmp_path / "b")
    if sys.platform.startswith("linux"):
        with pytest.raises(OSError, match="Input/output"):
            seam.sync_filesystem(0)
