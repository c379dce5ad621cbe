"""The frame of the commands: what is printed where, how errors read, which code they exit with, what is loaded when."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.cli.frame import (
    EXIT_CODES,
    Choice,
    FramedCommand,
    dry_run_option,
    imagekit_command,
    max_bad_option,
    output_option,
    overwrite_option,
    progress,
    resume_with,
    root_option,
    seed_option,
    workers_option,
)
from imagekit.cli.main import COMMANDS, LazyGroup, cli
from imagekit.cli.screen import Screen, Settings, wants_color
from imagekit.cli.text import fitting, visible
from imagekit.errors import ImageError, LockedError, OutputError, SourceError
from imagekit.files.names import display_name

REPOSITORY = Path(__file__).resolve().parent.parent.parent
HEAVY = ("torch", "PIL", "pyarrow", "numpy", "tqdm")


@dataclass
class Built:
    """An outcome for tests."""

    text: str = "found 3\nselected 2"
    facts: Mapping[str, object] = field(default_factory=lambda: {"found": 3, "selected": 2})
    next_command: str | None = "imagekit manifest out"
    exit_code: int = 0

    def summary(self) -> str:
        return self.text

    def to_dict(self) -> Mapping[str, object]:
        return self.facts


def call(function: Callable[..., Any], *words: str, env: dict[str, str] | None = None, **options: Any) -> Result:
    """Run `function` as the command `build` of a group of its own."""
    group = LazyGroup(name="imagekit")
    group.add_command(imagekit_command("build", **options)(function))
    return CliRunner().invoke(group, ["build", *words], env={"IMAGEKIT_DEBUG": None, **(env or {})})


def raising(error: BaseException) -> Callable[[], Built]:
    def build() -> Built:
        raise error

    return build


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **env},
        check=False,
    )


# -- results -------------------------------------------------------------------------------------------------------


def test_the_summary_goes_to_stdout_and_the_next_command_to_stderr() -> None:
    result = call(Built)

    assert (result.stdout, result.stderr) == ("found 3\nselected 2\n", "next: imagekit manifest out\n")
    assert result.exit_code == 0


def test_json_is_one_object_with_the_same_facts() -> None:
    result = call(lambda: Built(exit_code=3), "--json")

    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {
        "schema_version": 1,
        "command": "build",
        "exit_code": 3,
        "found": 3,
        "selected": 2,
    }
    assert result.exit_code == 3


def test_quiet_leaves_the_result_and_drops_the_hint() -> None:
    result = call(Built, "-q")

    assert (result.stdout, result.stderr) == ("found 3\nselected 2\n", "")


def test_no_next_command_no_hint() -> None:
    assert call(lambda: Built(next_command=None)).stderr == ""


def test_json_says_numbers_that_are_not_finite_as_null_and_paths_as_text() -> None:
    facts = {"loss": float("nan"), "rows": [1.5, float("inf")], "output": Path("a/b"), "name": "caf\udce9"}

    document = json.loads(call(lambda: Built(facts=facts), "--json").stdout)

    assert [document[key] for key in facts] == [None, [1.5, None], "a/b", "caf\\xe9"]


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (
            SourceError("there is no folder", where="photos", fix="check the path"),
            "error: there is no folder\n  where: photos\n  fix: check the path\n",
            2,
        ),
        (OutputError("it exists"), "error: it exists\n", 2),
        (ImageError("bomb", "too many pixels", where="a.png"), "error: bomb: too many pixels\n  where: a.png\n", 1),
        (LockedError("process 7 writes it", where="out"), "error: process 7 writes it\n  where: out\n", 4),
        (
            PermissionError(13, "Permission denied", "out/a.jpg"),
            "error: Permission denied\n  where: out/a.jpg\n"
            "  fix: check the path and its permissions; --debug shows what was being done\n",
            1,
        ),
        (
            OSError(18, "Invalid cross-device link", "a", None, "b"),
            "error: Invalid cross-device link\n  where: a -> b\n"
            "  fix: check the path and its permissions; --debug shows what was being done\n",
            1,
        ),
        (
            KeyError("lost"),
            "internal error: KeyError: 'lost'\n"
            "  fix: this is a fault of imagekit: run it again with --debug and report what it prints\n",
            1,
        ),
        (KeyboardInterrupt(), "interrupted\n", 130),
    ],
)
def test_an_error_is_text_on_stderr_and_the_exit_code_of_its_class(error: BaseException, text: str, code: int) -> None:
    result = call(raising(error))

    assert (result.stdout, result.stderr, result.exit_code) == ("", text, code)
    assert code in EXIT_CODES


def test_an_error_under_json_is_one_object_on_stdout() -> None:
    result = call(raising(SourceError("there is no folder", where="photos", fix="check the path")), "--json")

    assert json.loads(result.stdout) == {
        "schema_version": 1,
        "command": "build",
        "error": "SourceError",
        "what": "there is no folder",
        "where": "photos",
        "fix": "check the path",
        "exit_code": 2,
    }


@pytest.mark.parametrize(
    ("error", "kind", "code"), [(KeyError("lost"), "InternalError", 1), (KeyboardInterrupt(), "Interrupted", 130)]
)
def test_faults_and_interrupts_are_objects_under_json_too(error: BaseException, kind: str, code: int) -> None:
    document = json.loads(call(raising(error), "--json").stdout)

    assert (document["error"], document["exit_code"], document["command"]) == (kind, code, "build")


@pytest.mark.parametrize("error", [SourceError("no folder"), KeyError("lost"), KeyboardInterrupt()])
def test_a_traceback_is_shown_only_on_request(error: BaseException) -> None:
    plain = call(raising(error))
    by_option = call(raising(error), "--debug")
    by_variable = call(raising(error), env={"IMAGEKIT_DEBUG": "1"})

    assert "Traceback" not in plain.output
    assert "Traceback" in by_option.stderr
    assert "Traceback" in by_variable.stderr
    assert by_option.exit_code == by_variable.exit_code == plain.exit_code


def test_debug_variable_set_to_zero_asks_for_nothing() -> None:
    assert "Traceback" not in call(raising(KeyError("lost")), env={"IMAGEKIT_DEBUG": "0"}).stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["build", "--ovrwrite"],
            "error: No such option '--ovrwrite'. Did you mean '--overwrite'?\n"
            "  where: imagekit build\n  fix: imagekit build --help shows what it takes\n",
        ),
        (
            ["biuld"],
            'error: no such command: biuld\n  where: imagekit\n  fix: did you mean "build"? known: build\n',
        ),
        (
            ["build", "--format", "jpg"],
            "error: Invalid value for '--format': 'jpg' is not one of 'jpeg', 'png'. Did you mean \"jpeg\"?\n"
            "  where: imagekit build\n  fix: imagekit build --help shows what it takes\n",
        ),
        (
            ["build", "--format", "zzz"],
            "error: Invalid value for '--format': 'zzz' is not one of 'jpeg', 'png'.\n"
            "  where: imagekit build\n  fix: imagekit build --help shows what it takes\n",
        ),
        (
            ["build", "--max-bad", "lots"],
            'error: "lots" is neither a count nor a percentage\n  where: --max-bad\n'
            "  fix: give a whole number such as 12, or a percentage such as 0.5%\n",
        ),
        (
            ["build", "more"],
            "error: Got unexpected extra argument (more)\n"
            "  where: imagekit build\n  fix: imagekit build --help shows what it takes\n",
        ),
    ],
)
def test_a_usage_error_says_where_and_how_to_go_on(words: list[str], text: str) -> None:
    @imagekit_command("build")
    @click.option("--format", type=Choice(["jpeg", "png"]), default="jpeg")
    @overwrite_option
    @max_bad_option
    def build(format: str, overwrite: bool, max_bad: float | None) -> Built:
        """Build."""
        return Built()

    group = LazyGroup(name="imagekit", commands={"build": build})

    wrong = CliRunner().invoke(group, words)
    right = CliRunner().invoke(group, ["build", "--format", "png", "--overwrite", "--max-bad", "2%"])
    as_json = CliRunner().invoke(group, [*words, "--json"])

    assert (wrong.stdout, wrong.stderr, wrong.exit_code) == ("", text, 2)
    assert right.exit_code == 0
    assert json.loads(as_json.stdout)["error"] == "UsageError"
    assert as_json.exit_code == 2


def test_json_behind_two_dashes_is_a_name_and_not_an_option() -> None:
    result = call(Built, "--nosuch", "--", "--json")

    assert result.stdout == ""
    assert result.exit_code == 2


def test_no_command_shows_the_help_on_stderr_and_exits_2() -> None:
    result = CliRunner().invoke(cli, [])

    assert (result.stdout, result.exit_code) == ("", 2)
    assert "make-subset" in result.stderr


# -- interrupts ----------------------------------------------------------------------------------------------------


def test_ctrl_c_offers_the_same_command_again_where_that_resumes() -> None:
    result = call(raising(KeyboardInterrupt()), "-v", resumes=True)

    assert (result.stderr, result.exit_code) == ("interrupted: to go on: imagekit build -v\n", 130)


def test_ctrl_c_offers_what_the_command_said_meanwhile() -> None:
    def build() -> Built:
        resume_with("imagekit train --resume runs/first")
        raise KeyboardInterrupt

    assert call(build, resumes=True).stderr == "interrupted: to go on: imagekit train --resume runs/first\n"


def test_ctrl_c_prefers_what_the_interrupt_itself_carries() -> None:
    stop = KeyboardInterrupt()
    stop.resume_command = "imagekit train --resume runs/second"  # type: ignore[attr-defined]

    assert call(raising(stop), resumes=True).stderr == "interrupted: to go on: imagekit train --resume runs/second\n"


@pytest.mark.slow
def test_a_real_sigint_ends_in_one_line_and_130() -> None:
    code = """
import sys, time
from imagekit.cli.frame import imagekit_command
from imagekit.cli.main import LazyGroup

def build():
    print("ready", flush=True)
    time.sleep(60)

LazyGroup(name="imagekit", commands={"build": imagekit_command("build", resumes=True)(build)}).main(["build"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)

    assert (stderr, process.returncode) == ("interrupted: to go on: imagekit build\n", 130)


# -- what is safe to print -----------------------------------------------------------------------------------------


def test_control_characters_in_names_are_shown_not_sent() -> None:
    error = call(raising(SourceError("strange name", where="a\x1b[31m\rb\u202e.png")))
    result = call(lambda: Built(text="kept\ta\x1b]0;title\x07\nnext line", next_command="imagekit \x9b"))

    assert error.stderr == "error: strange name\n  where: a\\x1b[31m\\x0db\\u202e.png\n"
    assert result.stdout == "kept\ta\\x1b]0;title\\x07\nnext line\n"
    assert result.stderr == "next: imagekit \\x9b\n"


@settings(deadline=None)
@given(st.text())
def test_visible_text_holds_no_control_character_and_says_plain_text_as_it_is(text: str) -> None:
    shown = visible(text)

    assert visible(shown) == shown
    assert shown.isprintable() or not text.isprintable()
    assert text.isascii() is False or not text.isprintable() or shown == text
    assert not any(ord(sign) < 32 and sign not in "\n\t" for sign in shown)


@settings(deadline=None)
@given(st.binary(max_size=20))
def test_a_name_made_displayable_by_files_passes_unchanged(raw: bytes) -> None:
    name = display_name(raw)

    assert visible(name) == name or not name.isprintable()


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(["ascii", "latin-1", "utf-8", None]))
def test_fitting_text_can_be_encoded(text: str, encoding: str | None) -> None:
    assert fitting(text, encoding).encode(encoding or "ascii") is not None


def test_a_narrow_stream_gets_ascii_twins_and_escapes() -> None:
    assert fitting("a → b × 2 … caf\u00e9 \u2713", "ascii") == "a -> b x 2 ... caf\\xe9 \\u2713"
    assert fitting("a → b", "utf-8") == "a → b"


def test_a_terminal_without_unicode_gets_a_result() -> None:
    code = "from imagekit.cli.screen import *; Screen(Settings()).result('5 × 7 → café')"

    run = python(code, PYTHONIOENCODING="ascii")

    assert (run.stdout, run.stderr) == ("5 x 7 -> caf\\xe9\n", "")


# -- colour --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "no_color", "terminal", "wanted"),
    [
        ({}, False, True, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"NO_COLOR": "1"}, False, True, False),
        ({"NO_COLOR": ""}, False, True, True),
        ({"TERM": "dumb"}, False, True, False),
        ({"FORCE_COLOR": "1"}, False, False, True),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True, False),
        ({"FORCE_COLOR": "1"}, True, True, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], no_color: bool, terminal: bool, wanted: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert wants_color(Terminal() if terminal else io.StringIO(), no_color=no_color) is wanted


def test_colour_marks_the_kind_only() -> None:
    coloured = call(raising(SourceError("no folder")), env={"FORCE_COLOR": "1", "NO_COLOR": None, "TERM": "xterm"})
    plain = call(raising(SourceError("no folder")), "--no-color", env={"FORCE_COLOR": "1", "TERM": "xterm"})

    assert coloured.stderr == "\x1b[31m\x1b[1merror:\x1b[0m no folder\n"
    assert plain.stderr == "error: no folder\n"


# -- warnings and logs ---------------------------------------------------------------------------------------------


def test_warnings_and_logs_are_lines_on_stderr() -> None:
    def build() -> Built:
        warnings.simplefilter("always")
        warnings.warn("an odd\x1bfile", stacklevel=1)
        log = logging.getLogger("imagekit.subset")
        log.warning("disk is nearly full")
        log.info("reading %s", "a.jpg")
        return Built(next_command=None)

    usual = call(build)
    verbose = call(build, "-v")

    assert usual.stderr == "warning: an odd\\x1bfile\nwarning: disk is nearly full\n"
    assert verbose.stderr == usual.stderr + "reading a.jpg\n"
    assert usual.stdout == "found 3\nselected 2\n"


def test_a_command_leaves_logging_as_it_was() -> None:
    log = logging.getLogger("imagekit")
    before = (log.level, list(log.handlers), warnings.showwarning)

    call(Built, "-v")

    assert (log.level, log.handlers, warnings.showwarning) == before


# -- streams that go away ------------------------------------------------------------------------------------------


def _stream_of(code: str, stdout: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -c '{code}' {stdout}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )


FINISH = """
from imagekit.cli.screen import *
class Long:
    next_command = None
    exit_code = 3
    def summary(self): return "line\\n" * 100_000
def work(): return Screen(Settings()).finish(Long())
from imagekit.cli.frame import guard
raise SystemExit(guard(Screen(Settings()), work))
"""


def test_a_reader_that_goes_away_does_not_change_the_exit_code() -> None:
    run = _stream_of(FINISH, "| head -n 1")

    assert (run.stdout, run.stderr, run.returncode) == ("line\n", "", 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_result_that_cannot_be_written_is_an_error() -> None:
    run = _stream_of(FINISH, "> /dev/full")

    assert run.stderr == (
        "error: No space left on device\n  fix: check the path and its permissions; --debug shows what was being done\n"
    )
    assert run.returncode == 1


def test_closed_streams_do_not_stop_the_work() -> None:
    assert _stream_of(FINISH, ">&- 2>&-").returncode == 3


# -- options -------------------------------------------------------------------------------------------------------


def test_shared_options_have_one_spelling_and_one_default() -> None:
    seen: dict[str, Any] = {}

    @output_option("File to write.")
    @workers_option
    @seed_option
    @overwrite_option
    @dry_run_option
    @root_option
    @max_bad_option
    def build(**options: Any) -> Built:
        seen.update(options)
        return Built()

    assert call(build, "-o", "out.parquet").exit_code == 0
    assert seen.pop("workers") >= 1
    assert seen == {
        "output": Path("out.parquet"),
        "seed": 0,
        "overwrite": False,
        "dry_run": False,
        "root": None,
        "max_bad": None,
    }


def test_a_missing_output_is_a_usage_error() -> None:
    @output_option("File to write.")
    def build(output: Path) -> Built:
        return Built()

    assert call(build).stderr.startswith("error: Missing option '-o' / '--output'.\n  where: imagekit build\n")


# -- progress ------------------------------------------------------------------------------------------------------


def test_progress_without_a_terminal_is_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 10.0, 40.0, 40.0, 40.0, 50.0])

    with progress(100, "images", clock=lambda: next(times)) as bar:
        bar.update(10)
        bar.comment("2 quarantined")
        bar.update(30)
        bar.report(41, 100)

    assert capsys.readouterr() == ("", "40 of 100 images, 1.0/s, 60 s left, 2 quarantined\n")


def test_progress_is_silent_under_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(0, 10_000, 100))

    with progress(None, "images", quiet=True, clock=lambda: float(next(times))) as bar:
        bar.update(10)
        bar.update(10)

    assert bar.done == 20
    assert capsys.readouterr() == ("", "")


def test_progress_takes_quiet_from_the_running_command() -> None:
    def build() -> Built:
        times = iter(range(0, 10_000, 100))
        with progress(None, "images", clock=lambda: float(next(times))) as bar:
            bar.update(10)
        return Built(next_command=None)

    assert call(build, "-q").stderr == ""
    assert call(build).stderr == "10 images, 0.1/s\n"


def test_progress_on_a_terminal_is_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")

    with progress(10, "images") as bar:
        bar.report(10, 20)
        bar.comment("1 quarantined")

    assert "images" in screen.getvalue()
    assert "/20" in screen.getvalue()


# -- every command -------------------------------------------------------------------------------------------------


THERE = [entry for entry in COMMANDS if find_spec(entry.target.partition(":")[0]) is not None]


def command_of(name: str) -> FramedCommand:
    command = cli.get_command(click.Context(cli), name)
    assert isinstance(command, FramedCommand)
    return command


def test_the_help_lists_the_commands_in_the_order_of_the_work() -> None:
    result = CliRunner().invoke(cli, ["--help"])

    names = [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines() if line.strip()]
    assert names[: len(COMMANDS)] == [entry.name for entry in COMMANDS]
    assert result.exit_code == 0


def test_version_names_what_decides_about_bytes() -> None:
    result = CliRunner().invoke(cli, ["--version"])

    words = [part.split()[0] for part in result.stdout.replace(";", ",").split(",")]
    assert words == ["imagekit", "Python", "torch", "Pillow", "pyarrow", "formats:", "receipt", "checkpoint"]


@pytest.mark.parametrize("entry", THERE, ids=lambda entry: entry.name)
def test_every_command_shows_examples_and_exit_codes(entry: Any) -> None:
    command = command_of(entry.name)

    result = CliRunner().invoke(cli, [entry.name, "--help"])

    assert result.exit_code == 0
    assert command.name == entry.name
    assert command.examples
    assert all(f"  {example}\n" in result.stdout for example in command.examples)
    assert all(meaning in result.stdout for meaning in EXIT_CODES.values())
    assert result.stdout.isascii()


@pytest.mark.parametrize("entry", THERE, ids=lambda entry: entry.name)
def test_every_command_spells_shared_options_alike(entry: Any) -> None:
    spellings = {"output": ["-o", "--output"], "dry_run": ["-n", "--dry-run"], "seed": ["--seed"], "root": ["--root"]}
    spellings |= {"workers": ["--workers"], "overwrite": ["--overwrite"], "max_bad": ["--max-bad"], "json": ["--json"]}
    options = {param.name: param for param in command_of(entry.name).params if isinstance(param, click.Option)}

    assert {name: options[name].opts for name in spellings if name in options} == {
        name: opts for name, opts in spellings.items() if name in options
    }
    assert "json" in options
    # the manifest command takes the seed of an older manifest where it is given one
    assert "seed" not in options or options["seed"].default == 0 or "or the one of OLD" in options["seed"].help


LOADED = """
import sys
from imagekit.cli.main import cli
sys.stdout = None
try:
    cli.main({words!r})
except SystemExit as stop:
    print(stop.code, [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("nosuch", 2),
        ("", 2),
        *((f"{entry.name} --help", 0) for entry in THERE),
        *((f"{entry.name} --nosuch", 2) for entry in THERE),
    ],
)
def test_help_and_usage_errors_load_nothing_heavy(words: str, code: int) -> None:
    run = python(LOADED.format(words=words.split(), heavy=HEAVY))

    assert run.stderr.splitlines()[-1] == f"{code} []"


def test_python_dash_m_is_the_same_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "imagekit", "nosuch"], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )

    assert run.stderr.startswith("error: no such command: nosuch\n")
    assert run.returncode == 2


def test_settings_are_guessed_from_the_words_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEKIT_DEBUG", raising=False)

    assert Settings.from_words(["train", "--json", "-q", "--", "--debug"]) == Settings(json=True, quiet=True)
    assert Screen(Settings()).settings == Settings()
