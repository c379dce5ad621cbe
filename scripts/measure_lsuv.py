"""Mean and deviation of every layer before and after LSUV, on images of a manifest.

    python scripts/measure_lsuv.py MANIFEST [--root DIR] [--batch 64] [--size 128] [--model lesson-cnn,xresnet18]

The first training batch, normalised with the manifest's mean and deviation; models of seed 0. Prints a table a model
and adds a JSON row each to scripts/results/lsuv.jsonl. What is checked afterwards is a second look, by hooks of its
own, at the same batch.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.data.bunch import DataBunch
from imagekit.environment import collect
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.models.hooks import Hooks, LayerStats, stack_stats
from imagekit.models.lsuv import LSUVReport, lsuv_init
from imagekit.models.registry import create_model
from imagekit.transforms.crops import CenterCrop
from imagekit.transforms.tensors import MakeRGB

RESULTS = Path(__file__).with_name("results") / "lsuv.jsonl"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", default="lesson-cnn,xresnet18")
    told = parser.parse_args()
    manifest = read_manifest(told.manifest)
    x = first_batch(manifest, told.root, told.batch, told.size)
    for name in told.model.split(","):
        model = create_model(name, c_in=3, c_out=len(manifest.vocab))
        begun = time.perf_counter()
        report = lsuv_init(model, x)
        seconds = time.perf_counter() - begun
        worst = second_look(model, report, x)
        print(f"{name}, batch {told.batch} of {told.size} px, {seconds:.1f} s\n{report}")
        print(f"seen again: |mean| at most {worst[0]:.2e}, |std - 1| at most {worst[1]:.2e}\n", flush=True)
        record(name, told, report, worst)


def first_batch(manifest: Manifest, root: Path | None, n: int, size: int) -> Tensor:
    """Normalised images [n, 3, size, size]."""
    if manifest.metadata.stats is None:
        raise SystemExit("the manifest has no mean and deviation: build it with --check decode")
    transforms = [MakeRGB(), CenterCrop(size, scale=1.0)]
    data = DataBunch.from_manifest(
        manifest, train_transforms=transforms, valid_transforms=transforms, batch_size=n, root=root
    )
    batch = next(iter(data.train_dl))
    stats = manifest.metadata.stats
    return BatchPipeline([ToFloat(), Normalize(stats.mean, stats.std)])(batch.x, batch.keys)


def second_look(model: nn.Module, report: LSUVReport, x: Tensor) -> tuple[float, float]:
    """The largest |mean| and |std - 1| of the layers that were set, by a forward in training mode."""
    parts = [measured_part(model, row.name, row.measured) for row in report.rows]
    with torch.no_grad(), Hooks(parts, LayerStats()) as hooks:
        model.train()(x)
    found = stack_stats(hooks)
    return float(abs(found.means_LT).max()), float(abs(found.stds_LT - 1).max())


def measured_part(model: nn.Module, name: str, kind: str) -> nn.Module:
    """The part of a layer that was measured, by the name of its class."""
    layer = model.get_submodule(name)
    return next(part for part in [*layer.children(), layer] if type(part).__name__ == kind)


def record(name: str, told: argparse.Namespace, report: LSUVReport, worst: tuple[float, float]) -> None:
    """One row."""
    facts = collect()
    row = {"model": name, "batch": told.batch, "size": told.size, "worst_mean": worst[0], "worst_std": worst[1]}
    row |= {"rows": [asdict(each) for each in report.rows], "skipped": report.skipped}
    row |= {"cpu": facts["cpu"], "versions": facts["versions"]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
