"""Rows 5, 22, 23 and 24 of the threat table: full and failing disks, and disks that forget."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import hostile
from faults.scenarios import SCENARIOS, Stage, without_disk
from files.faults import FaultAt
from subset.trees import picture, plant, recipe, tree

from imagekit.errors import DiskFullError
from imagekit.subset.build import make_subset
from imagekit.subset.verify import verify_subset

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [
    *((name, errno.EDQUOT if "hard" in name else errno.ENOSPC) for name in SCENARIOS), ("update, resized", errno.EIO)
])  # fmt: skip
def test_a_fault_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new(
    name: str, code: int, tmp_path: Path
) -> None:
    def fail(operation: str, args: tuple[Any, ...]) -> None:
        if operation == "write_all":
            os.write(args[0], args[1][: len(args[1]) // 2])  # as a full disk does: a part of it fits
        raise OSError(code, os.strerror(code))

    stage, seen, k, fired = Stage(name, tmp_path), [], 0, True
    while fired:
        k += 1
        output = stage.place(k)
        failed: Exception | None = None
        with without_disk(), FaultAt(k, fail) as fault:
            try:
                stage.build(output)
            except OSError as error:
                failed = error
            except DiskFullError as error:
                failed = error
                assert error.exit_code == 1
        fired = fault.fired
        seen.append(stage.found(output))
        assert seen[-1] in ("old", "new"), k
        assert failed is None or isinstance(failed, DiskFullError) == (code in (errno.ENOSPC, errno.EDQUOT))
        assert failed or seen[-1] == "new", k  # silence means success
        with without_disk():
            assert stage.build(output).exit_code == 0
        assert stage.found(output) == "new", k
        assert [path.name for path in output.parent.iterdir()] == ["out"], k
    # the first need not be "old": where a second name for an old file is refused, a copy serves
    assert (k > 20, set(seen), seen[-1]) == (True, {"old", "new"}, "new")
    assert stage.is_clean()


TINY_DISK = """
import subprocess, sys
from pathlib import Path
from subset.trees import recipe, tree
from imagekit.errors import DiskFullError
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions

source, disk, fresh = map(Path, sys.argv[1:4])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
print("mounted", flush=True)

def build(output, **options):
    # of images that are made smaller nobody knows beforehand how much room they need; this filter needs no torch
    small = SubsetOptions(size=45, format="png", filter="lanczos")
    return make_subset(recipe(), source, output=output, n_workers=2, options=small, **options)

try:
    build(disk / "out")
except DiskFullError as error:
    print(str(error).splitlines()[0].rsplit(" ", 1)[0], error.exit_code, sorted(path.name for path in disk.iterdir()))
subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
report = build(disk / "out")
build(fresh)
print(report.n_resumed > 0, tree(disk / "out") == tree(fresh), sorted(path.name for path in disk.iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_of_one_megabyte_is_full_once_and_the_build_goes_on_when_it_has_grown(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {
        f"{split}/n0{c}/{i}.png": hostile.saved(hostile.noise(size=(50, 50), seed=i), "PNG")
        for split in ("train", "val") for c in (1, 2) for i in range(50)
    })  # fmt: skip
    (tmp_path / "disk").mkdir()

    program = [sys.executable, "-c", TINY_DISK, str(source), str(tmp_path / "disk"), str(tmp_path / "fresh")]
    process = subprocess.run(  # a mount name space of its own: the disk is gone with the process
        ["unshare", "--mount", *program], env=ENVIRONMENT, capture_output=True, text=True
    )

    if not process.stdout:
        pytest.skip(f"this system lets nobody mount: {process.stderr.strip().splitlines()[-1]}")
    assert process.stdout.splitlines() == [
        "mounted",
        "the disk is full while writing 1 ['.out.imagekit-staging']",
        "True True ['out']",
    ], process.stderr


@pytest.mark.usefixtures("in_process")
def test_one_flipped_bit_in_an_output_is_found_by_verify_and_mended_by_a_build(source: Path, output: Path) -> None:
    make_subset(recipe(), source, output=output)
    before = tree(output)
    victim = output / "train/n01/1.JPEG"
    status = victim.stat()
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk forgets: without a trace outside

    report = verify_subset(output)

    assert report.exit_code == 3
    assert [(fault.kind, fault.name) for fault in report.faults] == [("altered", "train/n01/1.JPEG")]
    victim.unlink()
    make_subset(recipe(), source, output=output)
    assert tree(output) == before
    assert verify_subset(output).exit_code == 0


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_ours_is_never_written_to(source: Path, output: Path, overwrite: bool) -> None:
    plant(output, {"diary.txt": b"mine", "train/n01/0.JPEG": picture(seed=9)})
    before = tree(output)

    with pytest.raises(Exception, match="this folder was not made by make-subset"):
        make_subset(recipe(), source, output=output, overwrite=overwrite)

    assert tree(output) == before
    assert [path.name for path in output.parent.iterdir()] == ["out"]


@pytest.mark.usefixtures("in_process")
def test_replacing_a_version_by_another_leaves_nothing_of_the_old_one(source: Path, output: Path) -> None:
    make_subset(recipe(), source, output=output)
    (source / "train/n01/0.JPEG").unlink()
    plant(source, {f"train/n01/more{i}.JPEG": picture(seed=i) for i in np.arange(5)})

    make_subset(recipe(), source, output=output, overwrite=True)

    assert not (output / "train/n01/0.JPEG").exists()
    assert (output / "train/n01/more4.JPEG").exists()
    assert [path.name for path in output.parent.iterdir()] == ["out"]
