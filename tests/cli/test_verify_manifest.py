"""The command verify with a manifest, and the guard of what a stranger's manifest may print."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from manifest.albums import plant
from manifest.handmade import row, table, write

from imagekit.cli.main import cli


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = table([row("a.png", sha256=None), row("b\x7f\x1b[2J\n.png", sha256=None)])
    plant(tmp_path / "photos", {"a.png": b"nine byte"})
    return write(tmp_path / "m.parquet", rows, root="photos", check="none")


def test_a_file_is_a_manifest_and_faults_end_in_3(manifest: Path) -> None:
    result = run("verify", manifest, "--workers", 1)

    assert result.exit_code == 3
    assert result.stdout.splitlines()[1] == "  1 missing: b\\x7f\\x1b[2J\\n.png: it is not there"
    assert "\x1b" not in result.stdout


def test_json_of_hostile_names_is_json_and_gives_them_back(manifest: Path) -> None:
    result = run("verify", manifest, "--workers", 1, "--json")

    faults = json.loads(result.stdout)["faults"]
    assert faults == [{"kind": "missing", "name": "b\x7f\x1b[2J\n.png", "detail": "it is not there"}]
    assert "\x7f" not in result.stdout


def test_the_images_can_be_elsewhere(manifest: Path, tmp_path: Path) -> None:
    plant(tmp_path / "moved", {"a.png": b"nine byte", "b\x7f\x1b[2J\n.png": b"nine byte"})

    result = run("verify", manifest, "--root", tmp_path / "moved", "--workers", 1)

    assert (result.exit_code, result.stderr) == (0, "")


def test_a_manifest_that_is_not_there_is_told_as_one(tmp_path: Path) -> None:
    result = run("verify", tmp_path / "gone.parquet")

    assert result.exit_code == 2
    assert result.stderr == (
        f"error: the manifest is not there\n  where: {tmp_path / 'gone.parquet'}\n"
        "  fix: build it with imagekit manifest ROOT\n"
    )


def test_a_damaged_manifest_ends_in_1(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-4])

    assert run("verify", manifest).exit_code == 1


def test_a_folder_is_a_subset_and_takes_no_root(tmp_path: Path) -> None:
    plain, rooted = run("verify", tmp_path), run("verify", tmp_path, "--root", tmp_path)

    assert plain.stderr.startswith("error: this folder was not made by make-subset")
    assert rooted.exit_code == 2
    assert rooted.stderr == (
        f"error: --root belongs to a manifest, and this is not a file\n  where: {tmp_path}\n"
        "  fix: give the manifest, or no --root\n"
    )
