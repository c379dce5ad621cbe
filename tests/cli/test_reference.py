"""docs/reference.md against the commands."""

import importlib.util
from pathlib import Path

import click

from imagekit.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]


def page() -> str:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "scripts" / "write_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_reference_is_what_the_commands_say():
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    assert written == page(), "run python scripts/write_reference.py"


def test_every_option_of_every_command_stands_in_the_reference_with_a_help_text():
    text = page()
    context = click.Context(cli)

    for entry in COMMANDS:
        for param in cli.get_command(context, entry.name).params:
            if isinstance(param, click.Option):
                assert param.help, f"{entry.name} {param.name} has no help"
                assert all(option in text for option in param.opts)
