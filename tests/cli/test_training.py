"""`imagekit train`, `predict` and `report` as they are typed."""

import json
import shutil
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from trees import draw_tree

from imagekit.cli.main import cli
from imagekit.cli.running_options import NAMES
from imagekit.cli.train import train
from imagekit.manifest.build import build_manifest

SMALL = ("--size", 16, "--batch-size", 4, "--workers", 1, "--set", "model_options.nfs=[8]", "--set", "precision=fp32")


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """A manifest, a run on it and what its command printed."""
    folder = tmp_path_factory.mktemp("training")
    manifest = build_manifest(draw_tree(folder / "pictures"), n_workers=1).output
    words = ("train", manifest, "-o", folder / "run", *SMALL, "--epochs", 1, "--lr", 0.01, "--set", "ema=0.5")
    return manifest, folder / "run", typed(*words)


def test_flags_sets_and_defaults_reach_the_run(trained: tuple[Path, Path, Result]) -> None:
    _, run, result = trained

    config = tomllib.loads((run / "config.toml").read_text())
    assert (result.exit_code, config["lr"], config["ema"], config["model_options"]) == (0, 0.01, 0.5, {"nfs": [8]})
    assert "lr = 0.01  # flag\n" in (run / "config.toml").read_text()
    assert "  valid_ema_accuracy 0." in result.stderr
    assert (run / "report.html").exists()


def test_the_report_shows_where_settings_come_from_and_the_data(trained: tuple[Path, Path, Result]) -> None:
    _, run, _ = trained

    page = (run / "report.html").read_text()

    assert "default of sgd" in page
    assert json.loads((run / "data.json").read_text())["rows_sha256"] in page
    assert "valid EMA accuracy" in page


def test_settings_are_printed_with_their_origins_and_nothing_is_trained(trained: tuple[Path, Path, Result]) -> None:
    manifest, run, _ = trained
    before = sorted(run.parent.iterdir())

    result = typed("train", manifest, "--preset", "lesson-cnn", "--epochs", 7, "--print-config")

    assert result.exit_code == 0
    assert "epochs = 7  # flag\n" in result.stdout
    assert "lr = 0.3  # preset lesson-cnn\n" in result.stdout
    assert tomllib.loads(result.stdout)["momentum"] == 0.0
    assert sorted(run.parent.iterdir()) == before


def test_printed_settings_come_as_json_too(trained: tuple[Path, Path, Result]) -> None:
    facts = json.loads(typed("train", trained[0], "--print-config", "--balance", "--json").stdout)

    assert facts["balance"] == {"value": True, "origin": "flag"}
    assert facts["fold"] == {"value": None, "origin": "default"}


def test_training_needs_an_output(trained: tuple[Path, Path, Result]) -> None:
    result = typed("train", trained[0])

    assert result.exit_code == 2
    assert result.stderr == (
        "error: no -o was given\n  where: imagekit train\n  fix: name the run directory to write: -o RUN\n"
    )


def test_predictions_are_printed_and_written(trained: tuple[Path, Path, Result], tmp_path: Path) -> None:
    manifest, run, _ = trained
    image = manifest.parent / "val/cat/0.JPEG"

    result = typed("predict", run, image, manifest.parent / "train/dog", "-o", tmp_path / "p.parquet", "--workers", 1)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].endswith(str(image))
    assert result.stdout.endswith(f"predictions: {tmp_path / 'p.parquet'}\n")
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 7


def test_a_file_that_cannot_be_used_is_exit_3(trained: tuple[Path, Path, Result], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"none")

    result = typed("predict", trained[1], tmp_path / "bad.jpg", "-o", tmp_path / "p.parquet", "--json", "--workers", 1)

    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["exit_code"], facts["bad"][0]["reason"]) == (3, 3, "unidentified")


def test_a_report_drawn_again_is_the_one_that_train_drew(trained: tuple[Path, Path, Result], tmp_path: Path) -> None:
    run = trained[1]

    again = typed("report", run, "-o", tmp_path / "a.html")
    elsewhere = typed("report", run, "-o", tmp_path / "b.html", "--root", tmp_path)

    assert (again.exit_code, elsewhere.exit_code) == (0, 0)
    assert "data:image/jpeg" in (tmp_path / "a.html").read_text()
    assert (tmp_path / "a.html").read_text() == (run / "report.html").read_text()
    assert "data:image/jpeg" not in (tmp_path / "b.html").read_text()
    note = f"note: no pictures: no image was found below {tmp_path}, give another --root DIR\n"
    assert note in elsewhere.stdout
    assert " of the averaged weights in epoch 1\n" in again.stdout


def test_a_checkpoint_that_is_not_there_is_exit_2_and_lists_those_that_are(trained: tuple[Path, Path, Result]) -> None:
    manifest, run, _ = trained

    results = [
        typed("evaluate", run, manifest, "--checkpoint", "epoch-7"),
        typed("predict", run, manifest.parent, "-o", run.parent / "p.parquet", "--checkpoint", "epoch-7"),
    ]

    text = f'error: the run has no checkpoint "epoch-7"\n  where: {run}/checkpoints\n  fix: known: best, last\n'
    assert [(result.exit_code, result.stderr) for result in results] == [(2, text)] * 2


def test_evaluate_takes_another_column_and_fold(trained: tuple[Path, Path, Result]) -> None:
    manifest, run, _ = trained

    label = typed("evaluate", run, manifest, "--target-column", "label", "--workers", 1)
    fold = typed("evaluate", run, manifest, "--fold", 1, "--workers", 1)

    assert label.exit_code == 0
    assert (fold.exit_code, fold.stderr.splitlines()[0]) == (1, "error: the manifest has no folds, not fold 1")


def test_evaluate_tells_precision_recall_and_what_is_taken_for_what(trained: tuple[Path, Path, Result]) -> None:
    manifest, run, _ = trained

    lines = typed("evaluate", run, manifest, "--workers", 1).stdout.splitlines()
    facts = json.loads(typed("evaluate", run, manifest, "--workers", 1, "--json").stdout)

    assert lines[1].startswith("balanced accuracy ")
    assert lines[2] == "  class  precision  recall  F1      images"
    assert sum(map(sum, facts["scores"]["confusion"])) == facts["n_images"] == 6
    assert facts["accuracy"] == pytest.approx(facts["scores"]["accuracy"])


def test_how_a_run_is_executed_is_explained_option_by_option() -> None:
    section = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8").split("## How it is")[1]
    told = {
        row.split("`")[1].split()[0]: row.split("|")[2].strip() for row in section.splitlines() if row[:4] == "| `-"
    }

    options = {option.opts[-1]: option for option in train.params if option.name in NAMES}

    assert set(told) == set(options)
    assert [told[name] for name in ("--cache", "--checkpoint-every", "--on-error")] == ["auto", "10m", "stop"]


def test_a_cache_is_filled_once_and_then_used(trained: tuple[Path, Path, Result], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = shutil.copytree(trained[0].parent, tmp_path / "my pictures") / "metadata.parquet"
    options = ("--size", 16, "--set", "model_options.nfs=[8]", "--cache-limit", "1MB", "--workers", 1)

    first = typed("cache", manifest, *options)
    second = typed("cache", manifest, *options, "--json")
    used = typed("train", manifest, "-o", tmp_path / "run", *options, "--epochs", 1, "--set", "precision=fp32")

    assert (first.exit_code, second.exit_code, used.exit_code) == (0, 0, 0)
    assert first.stdout.startswith("18 of 18 images are in the cache, 18 of them new, 13.8 KB\n")
    assert first.stderr.splitlines()[-1] == (
        f"next: imagekit train '{manifest}' -o run --size 16 --set 'model_options.nfs=[8]' --cache-limit 1MB"
        " --workers 1 --cache disk"
    )
    assert (json.loads(second.stdout)["n_there_before"], json.loads(second.stdout)["n_there"]) == (18, 18)
    assert used.stderr.startswith("cache: disk; all 18 images lie decoded on the disk, 13.8 KB\n")


def test_a_cache_tells_what_it_could_not_decode(
    trained: tuple[Path, Path, Result], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = shutil.copytree(trained[0].parent, tmp_path / "pictures") / "metadata.parquet"
    (manifest.parent / "val/cat/1.JPEG").write_bytes(b"none")

    result = typed("cache", manifest, "--size", 16, "--workers", 1)

    assert result.exit_code == 3
    assert result.stdout.startswith("17 of 18 images are in the cache, 17 of them new, 13.8 KB\n")
    assert "\nval/cat/1.JPEG: cannot be used any more: unidentified: " in result.stdout
