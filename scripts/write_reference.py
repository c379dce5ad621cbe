"""Write docs/reference.md: every command with its options, as --help shows them. A test compares the two.

python scripts/write_reference.py
"""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.main import COMMANDS, cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
HEAD = """# Commands

Written by `python scripts/write_reference.py` from the commands themselves. `imagekit COMMAND --help` shows the same.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for entry in COMMANDS:
        with click.Context(cli, info_name="imagekit") as parent:
            command = cli.get_command(parent, entry.name)
        assert command is not None
        settings = {**command.context_settings, "terminal_width": 100}
        with click.Context(command, info_name=entry.name, parent=parent, **settings) as context:
            parts.append(f"## {entry.name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
