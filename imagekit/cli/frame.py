"""The frame of a command: shared options, one way to print, one way to fail.

    @imagekit_command("recipes", examples=["imagekit recipes"])
    @click.argument("name", required=False)
    def recipes(name: str | None) -> Outcome:
        \"\"\"Show the recipes at hand.\"\"\"
        from imagekit.recipes.load import load_recipes      # heavy imports inside, so that --help stays fast

        return RecipeTable(load_recipes())

The function returns an Outcome; the frame prints it, says the next command and exits with its code. Errors are raised.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from imagekit.cli.options import (
    Choice,
    dry_run_option,
    max_bad_option,
    output_option,
    overwrite_option,
    recipes_option,
    root_option,
    seed_option,
    workers_option,
)
from imagekit.cli.progress import Progress, progress
from imagekit.cli.screen import Outcome, Screen, Settings, is_debug_asked
from imagekit.errors import ImagekitError, UsageError

__all__ = [
    "EXIT_CODES",
    "Choice",
    "FramedCommand",
    "Interrupted",
    "Outcome",
    "Progress",
    "dry_run_option",
    "guard",
    "imagekit_command",
    "max_bad_option",
    "output_option",
    "overwrite_option",
    "progress",
    "recipes_option",
    "resume_with",
    "root_option",
    "seed_option",
    "workers_option",
]

EXIT_CODES = {
    0: "complete",
    1: "failed, nothing published",
    2: "usage or configuration",
    3: "published, but something was quarantined or a check found faults",
    4: "output locked by another process",
    130: "interrupted",
}

SHARED_OPTIONS = (
    click.Option(["--json"], is_flag=True, help="Print one JSON object on stdout, errors too."),
    click.Option(["-q", "--quiet"], is_flag=True, help="No progress and no hints."),
    click.Option(["-v", "--verbose"], is_flag=True, help="Say more about what is done."),
    click.Option(["--debug"], is_flag=True, help="Show tracebacks; IMAGEKIT_DEBUG=1 does too."),
    click.Option(["--no-color"], is_flag=True, help="No colour; NO_COLOR=1 and TERM=dumb do too."),
)


class Interrupted(Exception):
    """Ctrl-C; `resume_command` goes on where it stopped."""

    def __init__(self, resume_command: str | None = None) -> None:
        super().__init__("interrupted")
        self.resume_command = resume_command


class FramedCommand(click.Command):
    """A command whose function returns an Outcome."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), resumes: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.resumes = resumes
        self.params.extend(SHARED_OPTIONS)

    def invoke(self, ctx: click.Context) -> int:
        """Run the function and print what it returns. Returns the exit code; raises what the function raises."""
        screen = ctx.find_object(Screen) or Screen(Settings())
        screen.settings = _settings_of(ctx)
        screen.set_log_level()
        if self.resumes:  # the same command again goes on where it stopped
            screen.resume_command = screen.resume_command or shlex.join(["imagekit", *screen.words])
        return screen.finish(super().invoke(ctx))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, then its examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those that every command has."""
        params = [param for param in self.get_params(ctx) if not isinstance(param, click.Argument)]
        own = [param for param in params if param not in SHARED_OPTIONS and param.name != "help"]
        shared = [param for param in params if param not in own]
        for title, group in (("Options", own), ("Options of every command", shared)):
            records = [record for param in group if (record := param.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def imagekit_command(
    name: str, *, examples: Sequence[str] = (), resumes: bool = False
) -> Callable[[Callable[..., Outcome]], FramedCommand]:
    """Make a function that returns an Outcome a command; its docstring is the help.

    examples: whole command lines, shown in the help. resumes: after Ctrl-C the same command line goes on.
    """

    def decorate(function: Callable[..., Outcome]) -> FramedCommand:
        return click.command(
            name,
            cls=FramedCommand,
            examples=examples,
            resumes=resumes,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )(function)

    return decorate


def resume_with(command: str) -> None:
    """Tell the frame which command goes on after Ctrl-C, once that is known; outside a command it does nothing."""
    context = click.get_current_context(silent=True)
    screen = context.find_object(Screen) if context else None
    if screen is not None:
        screen.resume_command = command


def guard(screen: Screen, work: Callable[[], object]) -> int:
    """Run `work` and turn whatever it raises into text, JSON and an exit code."""
    try:
        code = work()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        screen.note(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        return _fail(screen, _as_imagekit_error(error), cause=error)
    except ImagekitError as error:
        return _fail(screen, error, cause=error)
    except (Interrupted, KeyboardInterrupt, click.Abort) as error:
        return _interrupted(screen, error)
    except OSError as error:
        return _fail(screen, _from_system(error), cause=error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug must not greet people with a traceback
        return _internal(screen, error)


def _settings_of(ctx: click.Context) -> Settings:
    """Take the shared options out of the parameters, so that the function does not receive them."""
    names = asdict(Settings())
    settings = Settings(**{name: bool(ctx.params.pop(name)) for name in names})
    return replace(settings, debug=settings.debug or is_debug_asked())


def _fail(screen: Screen, error: ImagekitError, *, cause: BaseException) -> int:
    screen.trace(cause)
    screen.fail(error.to_dict(), str(error))
    return error.exit_code


def _interrupted(screen: Screen, error: BaseException) -> int:
    screen.trace(error)
    resume = getattr(error, "resume_command", None) or screen.resume_command
    facts = {"error": "Interrupted", "what": "interrupted", "where": None, "fix": resume, "exit_code": 130}
    screen.fail(facts, f"to go on: {resume}" if resume else "", kind="interrupted")
    return 130


def _internal(screen: Screen, error: Exception) -> int:
    what = f"{type(error).__name__}: {error}"
    fix = "this is a fault of imagekit: run it again with --debug and report what it prints"
    screen.trace(error)
    screen.fail(
        {"error": "InternalError", "what": what, "where": None, "fix": fix, "exit_code": 1},
        f"{what}\n  fix: {fix}",
        kind="internal error",
    )
    return 1


def _from_system(error: OSError) -> ImagekitError:
    """What the operating system refused, where it did."""
    where = error.filename if error.filename2 is None else f"{error.filename} -> {error.filename2}"
    return ImagekitError(
        error.strerror or str(error) or type(error).__name__,
        where=str(where) if where is not None else None,
        fix="check the path and its permissions; --debug shows what was being done",
    )


def _as_imagekit_error(error: click.ClickException) -> ImagekitError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "imagekit"
    return UsageError(error.format_message(), where=path, fix=f"{path} --help shows what it takes")
