"""A lock, a full disk and Ctrl-C during a build; tests/faults has a fault and a kill at every change on disk."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from subset.trees import plant, recipe, tree, two_classes

from imagekit.errors import DiskFullError, LockedError
from imagekit.files import seam
from imagekit.files.lock import output_lock
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

HALF = SubsetOptions(size=4, filter="lanczos")  # a filter of Pillow's: no worker has to load torch


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "out"


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(recipe(), source, output=output, **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_output_that_another_process_writes_is_locked(source: Path, output: Path) -> None:
    with output_lock(output), pytest.raises(LockedError) as caught:
        build(source, output)

    assert str(caught.value) == (
        f"another process (pid {os.getpid()}) is writing out\n  where: {output}\n"
        "  fix: wait until it has ended, or choose another output"
    )
    assert LockedError.exit_code == 4
    assert names_in(output.parent) == []


@pytest.mark.usefixtures("in_process")
def test_a_full_disk_is_told_with_how_much_is_needed(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = two_classes()["train/n01/0.JPEG"]

    def full(fd: int, payload: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(seam, "write_all", full)
        with pytest.raises(DiskFullError) as caught:
            build(source, output)

    assert str(caught.value) == (
        "the disk is full while writing 0.JPEG\n"
        f"  where: {output.parent}/.out.imagekit-staging/train/n01/0.JPEG\n"
        f"  fix: free at least {len(data):,} bytes there and run the same command again"
    )
    assert names_in(output.parent) == [".out.imagekit-staging"]
    assert build(source, output).exit_code == 0
    assert names_in(output.parent) == ["out"]


@pytest.mark.usefixtures("in_process")
def test_a_disk_too_full_for_folders_is_told_as_well(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def full(path: Path, *args: Any, **options: Any) -> None:
        if "staging" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", full)

    with pytest.raises(DiskFullError) as caught:
        build(source, output)

    staging = output.with_name(".out.imagekit-staging")
    assert str(caught.value) == (
        f"the disk is full while writing {staging.name}\n  where: {staging}\n"
        "  fix: free some space there and run the same command again"
    )


@pytest.mark.parametrize("had_output", [False, True])
def test_ctrl_c_leaves_nothing_half(source: Path, output: Path, had_output: bool) -> None:
    if had_output:
        build(source, output)
    before = tree(output)

    def interrupt(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, output, options=HALF, overwrite=True, progress=interrupt, n_workers=2)

    assert tree(output) == before
    assert names_in(output.parent) == [".out.imagekit-staging", *(["out"] if had_output else [])]
    again = build(source, output, options=HALF, overwrite=True)
    assert (again.state, again.n_resumed >= 3) == ("built", True)
    assert names_in(output.parent) == ["out"]


@pytest.mark.usefixtures("in_process")
def test_an_old_version_that_a_kill_left_aside_is_put_back_before_anything_else(source: Path, output: Path) -> None:
    build(source, output)
    before = tree(output)
    output.rename(output.with_name(".out.imagekit-old"))

    assert build(source, output).state == "up to date"
    assert tree(output) == before
