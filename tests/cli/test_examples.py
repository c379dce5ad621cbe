"""Every example of every help text is typed, in order, in a folder that has what the examples name."""

import shlex

import click
import pytest
from cli.workspace import make_sources
from click.testing import CliRunner

from imagekit.cli.main import COMMANDS, cli
from imagekit.runs.status import write_status

ORDER = [
    *("recipes", "make-subset", "verify", "manifest", "inspect", "show", "export", "diff"),
    *("find-lr", "cache", "train", "evaluate", "predict", "report", "runs", "doctor"),
]
EXPECTED = (0, 3)  # 3: something was found and said; no example may fail


def examples() -> list[str]:
    context = click.Context(cli)
    return [line for name in ORDER for line in cli.get_command(context, name).examples]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    make_sources(folder)
    return folder


def test_every_command_but_the_demo_is_tried_here():
    # the demo has a test of its own, tests/cli/test_demo.py
    assert {entry.name for entry in COMMANDS} == {*ORDER, "demo"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", examples())
def test_an_example_runs_as_it_stands(work, monkeypatch, line):
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    if "--resume" in line:  # the run that an example before it made, as if its last word had been lost
        write_status(work / "run/status.json", state="interrupted", epoch=5, n_epochs=5)

    result = CliRunner().invoke(cli, shlex.split(line)[1:])

    assert result.exit_code in EXPECTED, result.output
