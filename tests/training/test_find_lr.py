"""The search for the learning rate of a training: by the command and by the function."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trees import draw_tree

from imagekit.cli.main import cli
from imagekit.errors import ManifestError
from imagekit.learner.lr_find import LRCurve
from imagekit.manifest.build import build_manifest
from imagekit.training.config import TrainConfig
from imagekit.training.find_lr import FindLRReport, find_rate

QUICK: dict[str, Any] = {"size": 16, "batch_size": 4, "precision": "fp32", "device": "cpu"}
OPTIONS = ["--size", "16", "--batch-size", "4", "--device", "cpu", "--set", "precision=fp32", "--workers", "1"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(build_manifest(draw_tree(tmp_path_factory.mktemp("lr") / "pictures"), n_workers=1).output)


def run(*words: str) -> int:
    return int(cli.main(["find-lr", *words], standalone_mode=False))


def curve_of(*losses: float) -> LRCurve:
    return LRCurve(lrs=tuple(10.0**i for i in range(-6, len(losses) - 6)), losses=losses, stopped_early=False)


def report_of(curve: LRCurve, **facts: Any) -> FindLRReport:
    told = {"manifest": Path("m.parquet"), "n_steps": 100, "opt": "sgd", "seed": 0, "seconds": 1.5, "picture": None}
    return FindLRReport(curve=curve, **{**told, "options": (), **facts})


def test_the_command_prints_the_table_draws_the_curve_and_leaves_nothing_else(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(manifest.parent.rglob("*"))

    code = run(str(manifest), "-o", str(tmp_path / "lr.png"), "--steps", "12", *OPTIONS)

    printed = capsys.readouterr()
    assert code == 0
    assert printed.out.splitlines()[0].split() == ["lr", "loss", "smoothed"]
    assert printed.out.splitlines()[-1] == f"curve: {tmp_path / 'lr.png'}"
    with Image.open(tmp_path / "lr.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (820, 480))
    assert sorted(manifest.parent.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["lr.png"]


def test_json_holds_the_curve_and_the_next_command_the_options_that_were_given(
    manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    # three steps suggest nothing themselves
    monkeypatch.setattr(LRCurve, "suggestion", property(lambda self: 0.0123))

    code = run(str(manifest), "--steps", "3", "--json", "--opt", "adam", "--balance", *OPTIONS, "--set", "lr = 0.1")

    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert code == 0
    assert len(facts["lrs"]) == len(facts["losses"]) == 3
    assert (facts["command"], facts["suggestion"]) == ("find-lr", 0.0123)
    words = ["imagekit", "train", str(manifest), "-o", "run"]
    words += ["--size", "16", "--batch-size", "4", "--opt", "adam", "--balance", "--set", "precision=fp32"]
    words += ["--device", "cpu", "--workers", "1", "--lr", "0.012"]
    assert printed.err.splitlines()[-1] == f"next: {shlex.join(words)}"


def test_a_picture_that_is_somebody_else_s_stops_the_command_before_it_begins(manifest: Path, tmp_path: Path):
    (tmp_path / "lr.png").write_bytes(b"mine")

    code = run("none.parquet", "-o", str(tmp_path / "lr.png"), "--overwrite")

    assert code == 2
    assert (tmp_path / "lr.png").read_bytes() == b"mine"


def test_the_function_gives_the_curve_of_the_training_that_is_described(manifest: Path):
    told: list[tuple[int, int]] = []
    config = TrainConfig(**QUICK, opt="adam", mixup=0.4, accumulate=2, clip=1.0, schedule="constant", body_lr=0.1)

    first, again = (
        find_rate(manifest, config=config, n_steps=3, quiet=True, progress=lambda *at: told.append(at)) for _ in "ab"
    )

    assert first.curve == again.curve
    assert told == [(1, 3), (2, 3), (3, 3)] * 2
    assert first.curve.lrs == pytest.approx([1e-6 * 1e7 ** (i / 3) for i in range(3)])
    assert first.opt == "adam"


def test_a_manifest_that_cannot_be_trained_on_is_refused(tmp_path: Path):
    path = build_manifest(draw_tree(tmp_path / "pictures", classes=["cat"]), n_workers=1).output

    with pytest.raises(ManifestError, match="there are 1 classes, training needs at least 2"):
        find_rate(path, config=TrainConfig(**QUICK), quiet=True)


def test_the_table_shows_some_steps_and_marks_the_suggested_one():
    losses = [2.0] * 40 + [2.0 - 0.05 * i for i in range(20)] + [1.1 + 0.3 * i for i in range(20)]
    lrs = tuple(1e-6 * 1e7 ** (i / 100) for i in range(80))
    report = report_of(LRCurve(lrs=lrs, losses=tuple(losses), stopped_early=True))

    lines = report.summary().splitlines()

    assert len([line for line in lines if "falls fastest" in line]) == 2  # in the table and below it
    assert 13 <= len(lines) - 2 <= 14
    assert lines[-2] == "80 of 100 steps, 1.5 s, sgd, seed 0; stopped where the loss exploded"
    assert lines[-1] == (
        f"the loss falls fastest at {report.curve.suggestion:.2g};"
        f" a tenth of where it is least: {report.curve.at_minimum_over_10:.2g}"
    )
    assert report.marked == {
        "falls fastest": report.curve.suggestion,
        "least / 10": report.curve.at_minimum_over_10,
    }
    assert report.next_command == f"imagekit train m.parquet -o run --lr {report.curve.suggestion:.2g}"


@pytest.mark.parametrize("losses", [(), (1.0,), (1.0,) * 12])
def test_a_curve_that_suggests_nothing_says_why_and_leads_nowhere(losses: tuple[float, ...]):
    report = report_of(curve_of(*losses))

    assert report.next_command is None
    assert report.marked == {}
    assert report.summary().splitlines()[-1] == report.curve.remark
