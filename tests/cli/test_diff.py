"""The command diff."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from manifest.handmade import row, table, write

from imagekit.cli.main import cli


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["diff", *map(str, words)])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old.parquet", table([row("a.png"), row("b.png")]))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write(tmp_path / "new.parquet", table([row("a.png"), row("b.png", "bee")]))


def test_differences_are_no_fault_unless_asked(old: Path, new: Path) -> None:
    plain, asked, same = run(old, new), run(old, new, "--exit-code"), run(old, old, "--exit-code")

    assert (plain.exit_code, asked.exit_code, same.exit_code) == (0, 3, 0)
    assert plain.stdout == asked.stdout
    assert plain.stdout.splitlines() == [
        f"{old}: 2 rows; {new}: 2 rows",
        "1 class added: bee (1)",
        "1 row relabelled: b.png was ant, is bee",
        "rows that differ in other columns: target 1",
    ]
    assert same.stdout == f"{old}: 2 rows; {old}: 2 rows; they say the same\n"
    assert plain.stderr == ""


def test_json_holds_everything(old: Path, new: Path) -> None:
    facts = json.loads(run(old, new, "--json").stdout)

    assert facts["command"] == "diff"
    assert facts["differs"] is True
    assert facts["relabelled"] == [{"file_name": "b.png", "from": "ant", "to": "bee"}]


def test_what_is_no_manifest_is_an_error(old: Path, tmp_path: Path) -> None:
    result = run(old, tmp_path / "gone.parquet")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: the manifest is not there\n")
