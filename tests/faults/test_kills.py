"""Rows 23 and 24 of the threat table: kill -9 at every change on disk, of a first build and of an update."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults.scenarios import HALF, SCENARIOS
from subset.trees import picture, plant, recipe, tree

from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each kill left behind, by scenario."""
    program = [sys.executable, str(Path(__file__).with_name("kill_program.py")), str(tmp_path_factory.mktemp("kills"))]
    process = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    rows: dict[str, list[dict[str, Any]]] = json.loads(process.stdout)
    return rows


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new(
    name: str, kills: dict[str, list[dict[str, Any]]]
) -> None:
    rows = kills[name]

    assert len(rows) > 20
    operations = [row["operation"] for row in rows]
    assert operations[-1] is None
    assert {*ALWAYS, *MORE[name]} <= set(operations[:-1])
    # without an exchange there is an instant between two renames: the old version is aside, and comes back
    torn = [row["k"] for row in rows if row["found"] == "torn"]
    assert len(torn) == (0 if SCENARIOS[name].exchanging else 1), torn
    assert (rows[0]["found"], rows[-1]["found"]) == ("old", "new")
    assert {row["again"] for row in rows} == {"new"}
    assert {row["exit_code"] for row in rows} == {0}
    assert all(row["rest"] == [] for row in rows)
    assert all(row["clean"] for row in rows)


# the kinds of change on disk that a scenario comes to: a kill was tried at each single one
ALWAYS = ("write_all", "fsync", "sync_filesystem", "replace", "rename")
MORE = {
    "fresh, resized": (),
    "fresh, full": ("clone",),
    "fresh, hard links": ("link",),
    "update, resized": ("link", "exchange", "remove_tree"),
    "update, hard links": ("link", "exchange", "remove_tree"),
    "update without exchange": ("link", "clone", "remove_tree"),
    "another size": ("exchange", "remove_tree"),
}

# SOURCE OUTPUT N OPTIONS: killed at the N-th image
KILLED = """
import json, os, signal, sys
from pathlib import Path
from subset.trees import recipe
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions

def kill(done, total, **more):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

make_subset(recipe(), Path(sys.argv[1]), output=Path(sys.argv[2]), n_workers=2, progress=kill,
            options=SubsetOptions(**json.loads(sys.argv[4])))
"""


def kill_among_images(source: Path, output: Path, *, at: int, options: dict[str, Any]) -> None:
    command = [sys.executable, "-c", KILLED, str(source), str(output), str(at), json.dumps(options)]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_first_build_killed_among_its_images_leaves_no_output_and_the_next_run_succeeds(
    source: Path, output: Path, tmp_path: Path
) -> None:
    plant(source, {f"train/n01/x{i}.JPEG": picture((40, 30), seed=i) for i in range(60)})

    kill_among_images(source, output, at=17, options={"size": 4, "filter": "lanczos"})

    assert sorted(path.name for path in output.parent.iterdir()) == [".out.imagekit-lock", ".out.imagekit-staging"]
    report = make_subset(recipe(), source, output=output, options=HALF, n_workers=2)
    make_subset(recipe(), source, output=tmp_path / "fresh", options=HALF)
    assert report.exit_code == 0
    assert tree(output) == tree(tmp_path / "fresh")
    assert sorted(path.name for path in output.parent.iterdir()) == ["out"]


@pytest.mark.parametrize("link", ["copy", "hard"])
def test_an_update_killed_among_its_images_never_touches_the_files_of_the_old_version(
    tmp_path: Path, link: str
) -> None:
    source, output = tmp_path / "source", tmp_path / "place/out"
    plant(source, {f"{split}/n0{c}/{i}.JPEG": picture((40, 30), seed=i)
                   for split in ("train", "val") for c in (1, 2) for i in range(10)})  # fmt: skip
    options = SubsetOptions(link=link)
    make_subset(recipe(), source, output=output, options=options)
    before = tree(output)
    for i in range(0, 10, 2):
        (source / f"train/n01/{i}.JPEG").unlink()
        plant(source, {f"train/n01/{i}.JPEG": picture((40, 30), seed=i + 100)})

    kill_among_images(source, output, at=38, options={"link": link})

    assert tree(output) == before
    assert sorted(path.name for path in output.parent.iterdir()) == [
        ".out.imagekit-lock",
        ".out.imagekit-staging",
        "out",
    ]
    report = make_subset(recipe(), source, output=output, options=options)
    make_subset(recipe(), source, output=tmp_path / "fresh", options=options)
    assert report.exit_code == 0
    assert tree(output) == tree(tmp_path / "fresh")
    assert sorted(path.name for path in output.parent.iterdir()) == ["out"]


def test_a_staging_folder_full_of_rubbish_is_no_part_of_the_next_build(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"train/n01/0.JPEG": picture(), "train/n02/0.JPEG": picture(),
                                         "val/n01/0.JPEG": picture(), "val/n02/0.JPEG": picture()})  # fmt: skip
    staging = tmp_path / "place/.out.imagekit-staging"
    plant(
        staging, {"train/n01/0.JPEG": b"half", "train/n01/stale.JPEG": b"stale", ".imagekit/journal.jsonl": b'{"iden'}
    )
    os.mkfifo(staging / "train/n01/pipe")
    (staging / "val").symlink_to(tmp_path / "source")

    make_subset(recipe(), source, output=tmp_path / "place/out")

    make_subset(recipe(), source, output=tmp_path / "fresh")
    assert tree(tmp_path / "place/out") == tree(tmp_path / "fresh")
    assert len(tree(source)) == 4
