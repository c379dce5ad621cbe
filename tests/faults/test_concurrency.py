"""Row 25 of the threat table: two builders of one output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from faults import commands
from subset.trees import tree, two_classes

from imagekit.cli.main import cli
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.subset.build import make_subset

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}

# builds, and waits at its first image until a file appears
PATIENT = """
import sys, time
from pathlib import Path
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.subset.build import make_subset

source, output = Path(sys.argv[1]), Path(sys.argv[2])

def wait(done, total, **more):
    output.with_name("begun").touch()
    while not output.with_name("go").exists():
        time.sleep(0.01)

recipe = find_recipe("tiny", load_recipes(source.with_name("recipes.toml")))
make_subset(recipe, source, output=output, n_workers=1, progress=wait)
"""


def make_fresh(source: Path, output: Path) -> None:
    """What the command makes where nobody disturbs it; in this process, which is faster and by promise the same."""
    recipe = find_recipe("tiny", load_recipes(source.with_name("recipes.toml")))
    assert make_subset(recipe, source, output=output, n_workers=1).exit_code == 0


def start_patient(source: Path, output: Path) -> subprocess.Popen[bytes]:
    source.with_name("recipes.toml").write_text(commands.RECIPES)
    process = subprocess.Popen([sys.executable, "-c", PATIENT, str(source), str(output)], env=ENVIRONMENT)
    commands.wait_for(output.with_name("begun"))
    return process


def test_the_second_of_two_builders_exits_4_naming_the_first_which_goes_on(source: Path, output: Path) -> None:
    first = start_patient(source, output)

    code, out, err = commands.run(source, output)
    again = ["make-subset", "tiny", str(source), "-o", str(output), "--recipes", str(source.with_name("recipes.toml"))]
    as_json = json.loads(CliRunner().invoke(cli, [*again, "--json"]).stdout)
    (output.parent / "go").touch()

    assert (code, out) == (4, "")
    assert err == (
        f"error: another process (pid {first.pid}) is writing out\n  where: {output}\n"
        "  fix: wait until it has ended, or choose another output\n"
    )
    assert (as_json["exit_code"], as_json["error"]) == (4, "LockedError")
    assert first.wait() == 0
    assert {name: data for name, data in tree(output).items() if not name.startswith(".")} == two_classes()
    assert sorted(path.name for path in output.parent.iterdir()) == ["begun", "go", "out"]


def test_the_lock_of_a_builder_that_was_killed_holds_nobody_up(source: Path, output: Path, tmp_path: Path) -> None:
    first = start_patient(source, output)
    first.send_signal(signal.SIGKILL)
    first.wait()

    assert output.with_name(".out.imagekit-lock").exists()
    code, _, err = commands.run(source, output)

    assert code == 0, err
    make_fresh(source, tmp_path / "fresh")
    assert tree(output) == tree(tmp_path / "fresh")
    assert sorted(path.name for path in output.parent.iterdir()) == ["begun", "out"]


@pytest.mark.slow
def test_builders_that_start_at_once_end_in_one_whole_subset(source: Path, output: Path, tmp_path: Path) -> None:
    processes = [commands.start(source, output, "--workers", "1") for _ in range(3)]

    codes = [(process.communicate(), process.returncode)[1] for process in processes]

    assert set(codes) <= {0, 4}
    assert 0 in codes
    make_fresh(source, tmp_path / "fresh")
    assert tree(output) == tree(tmp_path / "fresh")
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_a_dry_run_beside_a_builder_is_not_held_up(source: Path, output: Path) -> None:
    first = start_patient(source, output)
    before = sorted(path.name for path in output.parent.iterdir())

    code, out, err = commands.run(source, output, "--dry-run")

    after = sorted(path.name for path in output.parent.iterdir())
    (output.parent / "go").touch()
    assert first.wait() == 0
    assert (code, err.splitlines()[0].startswith(f"next: imagekit make-subset tiny {source} -o {output}")) == (0, True)
    assert "would write 6 images" in out
    assert after == before
