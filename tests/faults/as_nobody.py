"""Build a subset as a user who may not read everything: root may. `as_nobody.py SOURCE OUTPUT`; prints the report.

The interpreter may lie where nobody else can read it, so everything is loaded, by a first build, before the user is
changed; and no worker process is started after.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from faults.scenarios import quick
from subset.trees import picture, plant, recipe

from imagekit.subset.build import make_subset


def build(source: Path, output: Path) -> dict[str, object]:
    """The whole tree, whatever its classes."""
    with quick():
        report = make_subset(recipe(layout="class", split="none", classes={}), source, output=output)
    return {"exit_code": report.exit_code} | report.to_dict()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        build(plant(Path(folder) / "source", {"n01/a.jpg": picture(), "n01/b.jpg": b""}), Path(folder) / "out")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    print(json.dumps(build(Path(sys.argv[1]), Path(sys.argv[2]))))  # noqa: T201  (the answer to the test)
