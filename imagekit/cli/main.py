"""The entry point: the table of commands, each loaded when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from imagekit.cli.frame import Interrupted, guard
from imagekit.cli.screen import Screen, Settings
from imagekit.errors import UsageError, did_you_mean


class Entry(NamedTuple):
    """One command: its name, where it lives, one line of help."""

    name: str
    target: str
    help: str


COMMANDS = (
    Entry("recipes", "imagekit.cli.recipes:recipes", "Show the recipes at hand, or one in full."),
    Entry("make-subset", "imagekit.cli.make_subset:make_subset", "Build a subset folder from a source folder."),
    Entry("manifest", "imagekit.cli.manifest:manifest", "List every image of a folder in one Parquet file."),
    Entry("inspect", "imagekit.cli.inspect:inspect", "Show what a manifest holds."),
    Entry("show", "imagekit.cli.show:show", "Draw a picture of the images, to look at them."),
    Entry("export", "imagekit.cli.export:export", "Write a manifest in another program's format."),
    Entry("verify", "imagekit.cli.verify:verify", "Read a subset or the images of a manifest again and compare."),
    Entry("diff", "imagekit.cli.diff:diff", "Tell what changed between two manifests."),
    Entry("find-lr", "imagekit.cli.find_lr:find_lr", "Search for the learning rate of a training."),
    Entry("cache", "imagekit.cli.cache:cache", "Decode a manifest's images ahead of training."),
    Entry("train", "imagekit.cli.train:train", "Train a model on a manifest."),
    Entry("evaluate", "imagekit.cli.evaluate:evaluate", "Measure a trained run on a manifest."),
    Entry("predict", "imagekit.cli.predict:predict", "Say what images show, by a trained run."),
    Entry("report", "imagekit.cli.report:report", "Write a run's report as one HTML file."),
    Entry("runs", "imagekit.cli.runs:runs", "List the runs in a folder, and how to go on with them."),
    Entry("demo", "imagekit.cli.demo:demo", "Draw a small data set and take it through every step, offline."),
    Entry("doctor", "imagekit.cli.doctor:doctor", "Check this machine and installation."),
)


class LazyGroup(click.Group):
    """A group that knows its commands by a table and imports only the one that is called."""

    def __init__(self, *args: Any, entries: Sequence[Entry] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [*self.entries, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if the table has no such name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that is none gets its nearest neighbour. Raises UsageError."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"no such command: {name}", where="imagekit", fix=did_you_mean(name, known))
        screen = ctx.find_object(Screen)
        if screen is not None:
            screen.command = name
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing a single command."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.help) for entry in self.entries.values()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C becomes Interrupted before click prints a blank line for it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted(getattr(stop, "resume_command", None)) from stop

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command line and exit with its code; without standalone_mode, return the code."""
        words = list(sys.argv[1:] if args is None else args)
        screen = Screen(Settings.from_words(words), words=words)
        run = super().main
        with screen.listening():
            code = guard(screen, lambda: run(words, "imagekit", complete_var, standalone_mode=False, obj=screen))
        if standalone_mode:
            sys.exit(code)
        return code


def _print_versions(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from imagekit.environment import version_line

    click.echo(version_line())
    ctx.exit()


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="imagekit COMMAND --help tells more, with examples and exit codes.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions, help="Print versions."
)
def cli() -> None:
    """From a folder of a million images to a trained baseline, reproducibly, in three commands.

    \b
      imagekit make-subset imagenette IMAGENET -o imagenette-160 --size 160
      imagekit manifest imagenette-160
      imagekit train imagenette-160/metadata.parquet -o runs/first

    No images at hand: imagekit demo
    """


def main() -> None:
    """Run the command line of this process and exit."""
    cli.main()
