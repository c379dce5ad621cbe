"""Old or new, never torn: locks, faults, kills and Ctrl-C while a subset is built."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from files import faults
from subset.trees import InlineWorkers, picture, plant, recipe, tree, two_classes

from imagekit.errors import DiskFullError, LockedError
from imagekit.files import seam
from imagekit.files.lock import output_lock
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
HALF = SubsetOptions(size=4)


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


KILLED = """
import os, signal, sys
from pathlib import Path
from subset.trees import recipe
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions

def kill(done, total, **more):
    if done == 17:
        os.kill(os.getpid(), signal.SIGKILL)

make_subset(recipe(), Path(sys.argv[1]), output=Path(sys.argv[2]), n_workers=2, progress=kill, overwrite=True,
            options=SubsetOptions(size=4))
"""


@pytest.mark.slow
@pytest.mark.parametrize("had_output", [False, True])
def test_a_builder_killed_among_its_images_leaves_no_output_or_the_old_one_and_the_next_run_succeeds(
    source: Path, output: Path, tmp_path: Path, had_output: bool
) -> None:
    plant(source, {f"train/n01/x{i}.JPEG": picture((40, 30), seed=i) for i in range(60)})
    if had_output:
        build(source, output)
    before = tree(output)

    command = [sys.executable, "-c", KILLED, str(source), str(output)]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)

    assert process.returncode == -signal.SIGKILL, process.stderr
    assert output.exists() == had_output
    assert tree(output) == before
    assert ".out.imagekit-staging" in names_in(output.parent)
    again = build(source, output, options=HALF, overwrite=True, n_workers=2)
    build(source, tmp_path / "fresh", options=HALF)
    assert again.exit_code == 0
    assert tree(output) == tree(tmp_path / "fresh")
    assert names_in(output.parent) == ["out"]


@pytest.mark.slow
def test_a_kill_at_any_change_on_disk_leaves_the_old_version_or_the_new_one(source: Path, tmp_path: Path) -> None:
    (tmp_path / "kills").mkdir()
    program = [sys.executable, str(Path(__file__).with_name("kill_program.py")), str(source), str(tmp_path / "kills")]

    process = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True)

    assert process.returncode == 0, process.stderr
    rows = json.loads(process.stdout)
    assert len(rows) > 20
    assert [row["killed"] for row in rows] == [True] * (len(rows) - 1) + [False]
    for row in rows:
        assert row["found"] in (["old"], ["new"]), row
        assert row["again"], row
        assert row["rest"] == [], row
    assert rows[0]["found"] == ["old"]
    assert rows[-1]["found"] == ["new"]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_fault_at_any_change_on_disk_leaves_the_old_version_or_the_new_one(
    source: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(seam, "sync_filesystem", lambda fd: True)
    build(source, output)
    build(source, tmp_path / "fresh", options=HALF)
    old, new = tree(output), tree(tmp_path / "fresh")

    def fail(operation: str, args: tuple[Any, ...]) -> None:
        raise OSError(code, os.strerror(code))

    seen, k, fired = [], 0, True
    while fired:
        k += 1
        failed = None
        with faults.FaultAt(k, fail) as fault:
            try:
                build(source, output, options=HALF, overwrite=True)
            except (OSError, DiskFullError) as error:
                failed = error
        fired = fault.fired
        state = "old" if tree(output) == old else "new" if tree(output) == new else "torn"
        seen.append(state)
        assert state != "torn", k
        assert isinstance(failed, DiskFullError | None) or code != errno.ENOSPC
        if state == "new":
            build(source, output, overwrite=True)
    assert len(seen) > 20
    assert (seen[0], seen[-1]) == ("old", "new")
    assert names_in(output.parent) == ["out"]


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


def test_what_a_kill_left_aside_does_not_get_into_the_next_build(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(output.parent / ".out.imagekit-staging", {"train/n01/stale.JPEG": b"stale"})
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)

    build(source, output)

    assert not (output / "train/n01/stale.JPEG").exists()
    assert names_in(output.parent) == ["out"]


@pytest.mark.usefixtures("in_process")
def test_an_old_version_that_a_kill_left_aside_is_put_back_before_anything_else(source: Path, output: Path) -> None:
    build(source, output)
    before = tree(output)
    output.rename(output.with_name(".out.imagekit-old"))

    assert build(source, output).state == "up to date"
    assert tree(output) == before
