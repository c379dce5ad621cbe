"""Build a subset and be killed at the k-th change on disk, for k = 1, 2, ... until none is left; print what was there.

`kill_program.py SOURCE FOLDER`: every k has a folder of its own with an old output (size full) that a build of
another size is to replace. A child is forked a k; nothing but the fork is done between its start and the kill.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from unittest import mock

from subset.trees import InlineWorkers, recipe, tree

from imagekit.files import seam
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions

spec = importlib.util.spec_from_file_location("files_faults", Path(__file__).parent.parent / "files" / "faults.py")
assert spec is not None
assert spec.loader is not None
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


def build(source: Path, output: Path, size: int | str) -> None:
    # one sync of the whole machine a kill would be slow, and says nothing about a process that is killed
    with (
        mock.patch("imagekit.subset.build.Workers", InlineWorkers),
        mock.patch.object(seam, "sync_filesystem", lambda fd: True),
    ):
        make_subset(recipe(), source, output=output, options=SubsetOptions(size=size), overwrite=True)


def killed_at(k: int, source: Path, output: Path) -> bool:
    pid = os.fork()
    if pid == 0:
        with faults.FaultAt(k, faults.die):
            build(source, output, 4)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def main(source: Path, folder: Path) -> None:
    build(source, folder / "old", "full")
    build(source, folder / "new", 4)
    versions = {"old": tree(folder / "old"), "new": tree(folder / "new")}
    rows, killed, k = [], True, 0
    while killed:
        k += 1
        output = folder / f"k{k}" / "out"
        build(source, output, "full")
        killed = killed_at(k, source, output)
        found = [name for name, files in versions.items() if output.exists() and tree(output) == files]
        build(source, output, 4)
        again = tree(output) == versions["new"]
        rest = sorted(path.name for path in output.parent.iterdir() if path != output)
        rows.append({"k": k, "killed": killed, "found": found, "again": again, "rest": rest})
    print(json.dumps(rows))  # noqa: T201  (the answer to the test that started this program)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
