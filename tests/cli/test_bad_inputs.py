"""docs/bad_inputs.md against the commands: each row is typed, its exit code and its whole text compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cli.workspace import make_faults
from click.testing import CliRunner

from imagekit.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "bad_inputs.md"
ROW = re.compile(r"\| (?P<what>[^|]+) \| `(?P<command>[^|]+)` \| (?P<code>\d+) \| (?P<text>.+) \|")


def rows() -> list[tuple[str, str, int, str]]:
    """(what, command, exit code, text) of every row of the page."""
    found = [ROW.fullmatch(line) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return [(m["what"], m["command"], int(m["code"]), plain(m["text"])) for m in found if m]


def plain(cell: str) -> str:
    """A table cell as the terminal shows it."""
    return "\n".join(line.strip("`") for line in cell.split("<br>")).replace("\\|", "|")


def cell(text: str) -> str:
    """The other way round."""
    return "<br>".join(f"`{line}`" for line in text.replace("|", "\\|").splitlines())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    make_faults(folder)
    return folder


def type_in(work: Path, command: str) -> tuple[int, str]:
    """Exit code and stderr of a command line typed in `work`; the folder's own path reads WORK."""
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    return result.exit_code, result.stderr.rstrip("\n").replace(str(work.resolve()), "WORK")


@pytest.mark.parametrize(("what", "command", "code", "text"), rows(), ids=[row[0] for row in rows()])
def test_a_bad_input_gets_the_text_and_the_code_of_the_page(work, monkeypatch, what, command, code, text):
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))

    assert type_in(work, command) == (code, text)

    assert sorted(work.rglob("*")) == before, "a refused command must leave nothing behind"


def test_the_page_has_rows_for_each_command():
    commands = {row[1].split()[1] for row in rows()}

    assert {"make-subset", "manifest", "inspect", "train", "evaluate", "report", "recipes"} <= commands
    assert len(rows()) >= 15
