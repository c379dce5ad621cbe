"""The figures of the lessons and of other presets: accuracy over seeds, beside what the course printed.

    python scripts/measure_lessons.py MANIFEST [--seeds 3] [--only lesson-cnn,running-norm] [--workers 2]

MANIFEST is of Imagenette, version 2 (3,925 validation images; the course had version 1 with 500, so bands compare, not
digits). Each preset of `imagekit train` named after a lesson is trained once a seed, or any other that --only names,
its images kept in memory where that pays; `running-norm` and `batch-norm` train the lesson's small network at batch
size 2 on the demo's shapes, which the script draws. Prints a table and adds a JSON row a series to
scripts/results/lessons.jsonl. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: as `imagekit train` does

import torch

from imagekit.cli.torch_process import prepare_for_torch
from imagekit.environment import collect
from imagekit.look.shapes import draw_shapes
from imagekit.manifest.build import build_manifest
from imagekit.training.config import TrainConfig
from imagekit.training.running import Running
from imagekit.training.settings import resolve_config
from imagekit.training.train import train

RESULTS = Path(__file__).with_name("results") / "lessons.jsonl"

# what the course printed; its accuracies are of 500 images, so one standard error is about 0.02
LESSONS = {
    "lesson-cnn": "notebook 8: .364 .616 .674 .736 .736",
    "lesson-lsuv": "notebook 7a, on MNIST: .9588 before, .9733 after",
    "lesson-adam": "notebook 9: .532 .626 .672",
    "lesson-lamb": "notebook 9: .486 .484 .646",
    "batch-norm": "notebook 7, on MNIST: .2604",
    "running-norm": "notebook 7, on MNIST: .9730",
}
# the lesson's small network, one epoch of pairs, at a rate that the better of the two norms bears
PAIRS = TrainConfig(
    model_options={"nfs": [16, 32, 32]},
    epochs=1,
    size=48,
    batch_size=2,
    lr=0.1,
    momentum=0.0,
    weight_decay=0.0,
    schedule="constant",
    flip=0.0,
)
SHAPES_PER_CLASS = 200


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(LESSONS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lr", type=float, help="rate of the two norm series, to see where each of them breaks")
    told = parser.parse_args()
    prepare_for_torch()
    with tempfile.TemporaryDirectory() as folder:
        for name in told.only.split(","):
            rows = [run(name, seed, told, Path(folder)) for seed in range(told.seeds)]
            report(name, rows, told)


def run(name: str, seed: int, told: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The rows of one training."""
    manifest = told.manifest
    if name in ("batch-norm", "running-norm"):
        manifest = shapes(folder)
        norm = {"batch-norm": "batch", "running-norm": "running"}[name]
        config = replace(PAIRS, model_options={**PAIRS.model_options, "norm": norm}, lr=told.lr or PAIRS.lr)
    else:
        config = resolve_config({}, preset=name)
    output = folder / f"{name}-{seed}"
    running = Running(n_workers=told.workers, cache="auto")
    return list(train(manifest, output=output, config=replace(config, seed=seed), running=running, quiet=True).rows)


def shapes(folder: Path) -> Path:
    """A manifest of the demo's shapes; drawn once."""
    root = folder / "shapes"
    if not root.exists():
        draw_shapes(root, n_train_per_class=SHAPES_PER_CLASS, n_valid_per_class=50)
    manifest = folder / "shapes.parquet"
    if not manifest.exists():
        build_manifest(root, output=manifest, recipe="shapes")
    return manifest


def report(name: str, series: list[list[dict[str, Any]]], told: argparse.Namespace) -> None:
    """Print a line and keep a row."""
    accuracies = [[row["valid_accuracy"] for row in rows] for rows in series]
    last = [each[-1] for each in accuracies]
    mean, sd = statistics.fmean(last), statistics.stdev(last) if len(last) > 1 else 0.0
    by_epoch = " ".join(f"{statistics.fmean(column):.3f}" for column in zip(*accuracies, strict=True))
    seconds = statistics.fmean(sum(row["seconds"] for row in rows) for rows in series)
    course = LESSONS.get(name, "no figure of the course")
    print(
        f"{name}: {mean:.4f} +- {sd:.4f} (n = {len(last)}), epochs {by_epoch}, {seconds:.0f} s; {course}",
        flush=True,
    )
    facts = collect()
    row = {"name": name, "lr": told.lr, "accuracies": accuracies, "mean": mean, "sd": sd, "n": len(last)}
    row |= {"seconds": seconds, "threads": torch.get_num_threads(), "cpu": facts["cpu"], "versions": facts["versions"]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
