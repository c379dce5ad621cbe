"""Old or new, never torn: faults and kills while a manifest is written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from files import faults
from manifest.albums import album, plant, png

from imagekit.errors import DiskFullError
from imagekit.manifest.build import build_manifest

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


def parquet(root: Path) -> bytes:
    return (root / "metadata.parquet").read_bytes()


@pytest.mark.usefixtures("in_process")
def test_a_fault_at_any_change_on_disk_leaves_the_old_manifest_or_the_new_one(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", album())
    build_manifest(root)
    old = parquet(root)
    plant(root, {"train/ant/new.png": png(40), "train/ant/bad.png": b""})
    twin = plant(tmp_path / "twin", album() | {"train/ant/new.png": png(40), "train/ant/bad.png": b""})
    build_manifest(twin)
    new = parquet(twin)

    def fail(operation: str, args: tuple[Any, ...]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    said, k, fired = [], 0, True
    while fired:
        k += 1
        with faults.FaultAt(k, fail) as fault:
            try:
                build_manifest(root)
            except DiskFullError as error:
                said.append(str(error))
        fired = fault.fired
        assert parquet(root) in (old, new), k
        assert not any(".imagekit-tmp" in path.name for path in root.iterdir())
    assert old != parquet(root) == new
    assert len(said) > 5
    assert (
        f"the disk is full while writing metadata.parquet\n  where: {root}/metadata.parquet\n"
        "  fix: free some space there and run the same command again"
    ) in said


KILLED = """
import os, signal, sys
from imagekit.files import seam
from imagekit.manifest.build import build_manifest

seam.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
build_manifest(sys.argv[1], n_workers=1)
"""


@pytest.mark.parametrize("had_output", [False, True])
def test_a_killed_build_leaves_no_manifest_or_the_old_one_and_the_next_run_tidies_up(
    tmp_path: Path, had_output: bool
) -> None:
    root = plant(tmp_path, album())
    if had_output:
        build_manifest(root)
    old = parquet(root) if had_output else None
    plant(root, {"train/ant/new.png": png(40)})

    process = subprocess.run([sys.executable, "-c", KILLED, str(root)], env=ENVIRONMENT, capture_output=True, text=True)

    assert process.returncode == -signal.SIGKILL, process.stderr
    assert (root / "metadata.parquet").exists() == had_output
    assert not had_output or parquet(root) == old
    assert any(path.name.startswith(".imagekit-tmp-") for path in root.iterdir())
    assert build_manifest(root).outcomes.selected == 7
    assert {path.name for path in root.iterdir()} == {"train", "val", "metadata.parquet", "metadata.parquet.state"}


def test_ctrl_c_leaves_nothing_half(tmp_path: Path) -> None:
    root = plant(tmp_path, album())

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_manifest(root, progress=interrupt, n_workers=1)

    assert {path.name for path in root.iterdir()} == {"train", "val", "metadata.parquet.state"}
