"""What reaches the two streams: results on stdout; hints, warnings, errors and logs on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol, TextIO

import click

from imagekit.cli.text import fitting, visible

SCHEMA_VERSION = 1
COLOURS = {"error": "red", "internal error": "red", "warning": "yellow", "next": "cyan", "interrupted": "yellow"}


class Outcome(Protocol):
    """What a command returns: the same facts for a person and for a program."""

    def summary(self) -> str:
        """Several lines for a person: found, selected, quarantined, bytes, seconds, output."""
        ...

    def to_dict(self) -> Mapping[str, object]:
        """The same facts in plain types."""
        ...

    @property
    def next_command(self) -> str | None:
        """What to type next, or None at the end of the way."""
        ...

    @property
    def exit_code(self) -> int:
        """0, or 3 when something was quarantined or a check found faults."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options that every command has."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    no_color: bool = False

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Settings:
        """Guess them from the command line alone, for errors that come before it is parsed."""
        options = set(words[: words.index("--")] if "--" in words else words)
        return cls(
            json="--json" in options,
            quiet=bool(options & {"-q", "--quiet"}),
            verbose=bool(options & {"-v", "--verbose"}),
            debug="--debug" in options or is_debug_asked(),
            no_color="--no-color" in options,
        )


class Screen:
    """The only thing that prints."""

    def __init__(self, settings: Settings, *, words: Sequence[str] = ()) -> None:
        self.settings = settings
        self.words = tuple(words)
        self.command: str | None = None
        self.resume_command: str | None = None

    def finish(self, outcome: Outcome) -> int:
        """Print the outcome, hint at the next command, return the exit code."""
        if self.settings.json:
            self.result_json({"exit_code": outcome.exit_code, **outcome.to_dict()})
        else:
            self.result(outcome.summary())
        if outcome.next_command and not self.settings.quiet:
            self.say("next", outcome.next_command)
        return outcome.exit_code

    def result(self, text: str) -> None:
        """Print to stdout. A reader that went away (`| head`) does not turn finished work into a failure."""
        stream = sys.stdout
        if stream is None:  # started with stdout closed
            return
        try:
            stream.write(fitting(visible(text.rstrip("\n")), stream.encoding) + "\n")
            stream.flush()
        except BrokenPipeError:
            _close_quietly(stream)
        except OSError:  # a full disk, say
            _close_quietly(stream)
            raise

    def result_json(self, facts: Mapping[str, object]) -> None:
        """Print the one JSON object of this call, ASCII only."""
        document = {"schema_version": SCHEMA_VERSION, "command": self.command, **facts}
        # DEL is the one control character that JSON leaves as it is, and what makes it visible is no JSON
        self.result(json.dumps(_plain(document), allow_nan=False).replace("\x7f", "\\u007f"))

    def fail(self, facts: Mapping[str, object], text: str, *, kind: str = "error") -> None:
        """Print an error as text on stderr and, under --json, as the one object on stdout."""
        if self.settings.json:
            with contextlib.suppress(OSError):  # stdout itself may be what failed; stderr still tells
                self.result_json(facts)
        self.say(kind, text)

    def say(self, kind: str, text: str) -> None:
        """Print `kind: text` on stderr; the kind alone if there is no text."""
        head = f"{kind}:" if text else kind
        if wants_color(sys.stderr, no_color=self.settings.no_color):
            head = click.style(head, fg=COLOURS.get(kind), bold=True)
        self.note(text, head=f"{head} " if text else head)

    def note(self, text: str, *, head: str = "") -> None:
        """Print a line on stderr; never fails, for work must not end because nobody listens."""
        stream = sys.stderr
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            stream.write(head + fitting(visible(text), stream.encoding) + "\n")
            stream.flush()

    def trace(self, error: BaseException) -> None:
        """Print the traceback, if --debug asked for it."""
        if self.settings.debug:
            self.note("".join(traceback.format_exception(error)).rstrip("\n"))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Show Python's warnings and imagekit's log on stderr for as long as a command runs."""
        handler = _LogLines(self)
        log = logging.getLogger("imagekit")
        level = log.level
        with warnings.catch_warnings():
            warnings.showwarning = self._show_warning
            log.addHandler(handler)
            try:
                yield
            finally:
                log.removeHandler(handler)
                log.setLevel(level)

    def set_log_level(self) -> None:
        """-v tells what is done, --debug everything, else warnings only. `listening` puts the level back."""
        debug, verbose = self.settings.debug, self.settings.verbose
        logging.getLogger("imagekit").setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self.say("warning", f"{message} ({filename}:{lineno})" if self.settings.debug else str(message))


class _LogLines(logging.Handler):
    """Log records as lines of the screen: `warning: ...`, and plain lines below that."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if record.levelno >= logging.WARNING:
            self.screen.say(record.levelname.lower(), record.getMessage())
        else:
            self.screen.note(record.getMessage())


def is_debug_asked() -> bool:
    """True when IMAGEKIT_DEBUG asks for tracebacks."""
    return os.environ.get("IMAGEKIT_DEBUG", "").lower() not in ("", "0", "false", "no")


def wants_color(stream: TextIO | None, *, no_color: bool) -> bool:
    """Colour only for a terminal that has not said no. Source: no-color.org, force-color.org."""
    if stream is None or no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0", "false"):
        return True
    return stream.isatty()


def _close_quietly(stream: TextIO) -> None:
    """Send what is left in the buffer nowhere, so that the interpreter does not complain at exit."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a stream in memory has no file number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _plain(value: object) -> object:
    """Copy `value` into what JSON can say: paths as text, numbers that are not finite as null."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(str(value)) if isinstance(value, PurePath) else value
