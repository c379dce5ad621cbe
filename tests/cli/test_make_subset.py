"""`imagekit make-subset` as it is typed: what only the command line can get wrong."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from subset.trees import InlineWorkers, picture, plant, tree, two_classes

from imagekit.cli.main import cli


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source, photos of my own, and a recipes file, mine.toml."""
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
    monkeypatch.chdir(tmp_path)
    plant(tmp_path / "my photos", two_classes() | {"train/n01/cut.JPEG": picture((60, 40))[:-60]})
    (tmp_path / "mine.toml").write_text('[mine]\nlayout = "split/class"\nsplit = "folders"\nsizes = ["full", 4]\n')
    return tmp_path


def typed(line: str) -> Result:
    return CliRunner().invoke(cli, shlex.split(line)[1:])


def hint(result: Result) -> str:
    """The command that is told to be typed next."""
    return next(line.removeprefix("next: ") for line in result.stderr.splitlines() if line.startswith("next: "))


WHOLE = "imagekit make-subset mine 'my photos' -o out --recipes mine.toml --size 4 --mode fit --format png --workers 1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{WHOLE} -n", WHOLE),
        (f"{WHOLE} --dry-run", WHOLE),
        (f"{WHOLE} -nv", f"{WHOLE} -v"),
        (
            "imagekit make-subset -n --recipes mine.toml -o out -- mine 'my photos'",
            "imagekit make-subset --recipes mine.toml -o out -- mine 'my photos'",
        ),
    ],
    ids=["short", "long", "beside another flag", "words after two dashes"],
)
def test_a_dry_run_hints_at_the_very_command_that_builds_it(work: Path, line: str, expected: str) -> None:
    result = typed(line)

    assert (result.exit_code, hint(result)) == (0, expected)
    built = typed(expected)
    assert built.exit_code == 3, built.output
    assert (work / "out/.imagekit/receipt.json").exists()


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e999"])
def test_a_timeout_that_is_no_finite_number_is_refused(work: Path, value: str) -> None:
    result = typed(f"imagekit make-subset mine 'my photos' -o out --recipes mine.toml --timeout={value}")

    assert result.exit_code == 2
    assert "error: Invalid value for '--timeout': " in result.stderr
    if value != "-inf":
        assert f"'{value}' is not a finite number." in result.stderr
    assert not (work / "out").exists()


def test_reasons_to_retry_may_have_blanks_around_their_commas(work: Path) -> None:
    line = "imagekit make-subset mine 'my photos' -o out --recipes mine.toml --workers 1"
    typed(line)
    before = tree(work / "out")
    plain = typed(f"{line} -n --json")

    again = typed(f"{line} -n --json --retry ' truncated , timeout,'")

    assert '"n_changed": 0' in plain.stdout
    assert '"n_changed": 1' in again.stdout
    assert tree(work / "out") == before
