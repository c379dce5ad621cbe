"""docs/checkpoints.md: it names every field of a checkpoint, and its script gives the accuracy that evaluate gives."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from imagekit.manifest.build import build_manifest
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import evaluate
from imagekit.training.train import train

PAGE = (Path(__file__).parent.parent / "docs" / "checkpoints.md").read_text(encoding="utf-8")
[SCRIPT] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COLOURS = {"ant": (110, 90, 90), "bee": (90, 110, 90), "cow": (90, 90, 110)}

pytestmark = pytest.mark.slow


class Run(NamedTuple):
    manifest: Path
    layout: RunLayout
    epoch: int


def draw(root: Path) -> None:
    """JPEGs of three classes whose colours lie close together, of several sizes, some of them grey."""
    for split, n_images in (("train", 12), ("val", 9)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            (root / split / name).mkdir(parents=True)
            for i in range(n_images):
                rng = np.random.default_rng([number, i, n_images])
                width, height = (int(side) for side in rng.integers(50, 100, 2))
                pixels = rng.normal(np.array(colour) + rng.normal(0, 12, 3), 40, (height, width, 3)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                (image.convert("L") if i == 4 else image).save(root / split / name / f"{i}.JPEG", quality=90)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """The manifest of images that are hard to tell apart."""
    root = tmp_path_factory.mktemp("pictures")
    draw(root)
    return build_manifest(root, n_workers=1).output


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def run(request, manifest, tmp_path_factory) -> Run:
    """A run of two epochs in either precision."""
    config = TrainConfig(epochs=2, size=48, batch_size=6, lr=0.05, precision=request.param, device="cpu")
    report = train(manifest, output=tmp_path_factory.mktemp("runs") / "run", config=config, quiet=True)
    return Run(manifest, RunLayout(report.run), int(report.best["epoch"]))


@pytest.fixture
def left(run, tmp_path, monkeypatch) -> dict[str, Any]:
    """What the script leaves behind, run beside best.pt and the validation images."""
    shutil.copy(run.layout.best, tmp_path)
    shutil.copytree(run.manifest.parent / "val", tmp_path / "val")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "checkpoints_page"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(SCRIPT, "docs/checkpoints.md", "exec", dont_inherit=True), names)
    return names | {"printed": printed.getvalue()}


def test_the_script_prints_the_accuracy_of_evaluate_to_the_last_digit(run, left):
    report = evaluate(run.layout.root, run.manifest)

    assert left["printed"] == f"{report.accuracy}\n"
    assert 1 / 3 <= report.accuracy < 1
    assert len(left["files"]) == report.n_images == 27


def test_the_script_predicts_what_the_run_wrote_down_row_by_row(run, left):
    table = pq.read_table(run.layout.predictions)

    names = [file.relative_to(Path()).as_posix() for file in left["files"]]
    assert names == table["file_name"].to_pylist()
    assert left["found"] == table["prediction"].to_pylist()
    assert len(set(left["found"])) > 1


def test_the_script_has_ten_statements_and_needs_torch_and_pillow_alone():
    statements = [node for node in ast.walk(ast.parse(SCRIPT)) if isinstance(node, ast.stmt)]
    imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]

    modules = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert len(statements) - len(imports) == 10
    assert modules == {"pathlib", "torch", "PIL", "torch.nn"}
    assert max(map(len, SCRIPT.splitlines())) <= 120


def test_every_field_of_a_checkpoint_is_on_the_page_and_no_other(run):
    listed = [
        name
        for line in PAGE.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]

    assert sorted(listed) == sorted(load_checkpoint(run.layout.best))
    assert listed == list(dict.fromkeys(listed))


def test_the_pages_words_on_best_and_last_hold(run):
    best, last = load_checkpoint(run.layout.best), load_checkpoint(run.layout.last)

    assert (best["epochs_done"], last["epochs_done"]) == (run.epoch, 2)
    assert (TrainConfig().model, best["model_name"], last["position"]) == ("lesson-cnn", "lesson-cnn", 1.0)
    assert (best["crop"], best["cursor"], best["is_averaged"]) == (1.0, 0, False)
    assert {value.dtype for value in best["model"].values()} == {torch.float32, torch.int64}
