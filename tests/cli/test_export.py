"""`imagekit export` as it is typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from interop.manifests import make_manifest

from imagekit.cli import export as command
from imagekit.cli.main import cli
from imagekit.manifest import export


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_manifest(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_choice_is_that_of_the_library() -> None:
    assert command.FORMATS == export.FORMATS
    assert set(export.FORMATS) == set(export.FILES) | set(export.FOLDERS) == set(export.READ_WITH)


@pytest.mark.parametrize("to", export.FORMATS)
def test_an_export_says_what_it_wrote(work: Path, to: str) -> None:
    result = CliRunner().invoke(cli, ["export", "pets/rows.parquet", "--to", to, "-o", "out"])

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("exported 7 rows: train 3, valid 2, test 1, unsup 1\n")
    assert (work / "out").exists()


def test_json_tells_the_same(work: Path) -> None:
    result = CliRunner().invoke(cli, ["export", "pets/rows.parquet", "--to", "csv", "-o", "out.csv", "--json"])

    facts = json.loads(result.stdout)
    assert (facts["command"], facts["exit_code"], facts["to"], facts["n_rows"]) == ("export", 0, "csv", 7)


def test_root_says_where_the_images_are_now(work: Path) -> None:
    (work / "pets/images").rename(work / "moved")
    words = ["export", "pets/rows.parquet", "--to", "imagefolder", "-o", "out"]

    assert CliRunner().invoke(cli, words).exit_code == 2
    assert not (work / "out").exists()
    assert CliRunner().invoke(cli, [*words, "--root", "moved"]).exit_code == 0


def test_an_output_that_exists_is_exit_2(work: Path) -> None:
    (work / "out").mkdir()

    result = CliRunner().invoke(cli, ["export", "pets/rows.parquet", "--to", "hf", "-o", "out"])

    assert result.exit_code == 2
    assert result.stderr == (
        "error: the output exists, an export replaces nothing\n  where: out\n  fix: give another -o, or remove it\n"
    )


def test_a_format_that_is_none_names_the_nearest(work: Path) -> None:
    result = CliRunner().invoke(cli, ["export", "pets/rows.parquet", "--to", "croisant", "-o", "out"])

    assert result.exit_code == 2
    assert 'Did you mean "croissant"?' in result.stderr


def test_the_help_has_examples_of_it() -> None:
    result = CliRunner().invoke(cli, ["export", "--help"])

    assert "imagekit export nette160/metadata.parquet --to hf -o nette160-hf" in result.stdout
    for name in export.FORMATS:
        assert name in result.stdout
