"""Accuracy and wall time of `imagekit train` beside another program and beside itself without a loader, run in turn.

    python scripts/bench_train.py MANIFEST --peer 'python plain.py DATA tuned {seed}' --synthetic --seeds 3

All are whole commands, start included. The peer is any command that ends by printing its accuracy as `acc 0.7123`
on its last line; {seed} is filled in. --synthetic: the same command with the same options, whose batches are one of
noise that is there already, in training and in validation, so that its time is what nothing but the loader adds to;
the bar is 1.15 times that. Prints a table and adds a row a run to scripts/results/train.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

import imagekit.training.train as training
from imagekit.cli.main import main as imagekit
from imagekit.data.batches import Batch
from imagekit.data.bunch import DataBunch
from imagekit.data.caching import Plan
from imagekit.data.images import Skipped
from imagekit.data.loaders import Loader
from imagekit.environment import collect
from imagekit.training.assemble import make_loaders
from imagekit.training.caches import Cached
from imagekit.training.checks import Checked
from imagekit.training.config import TrainConfig
from imagekit.training.running import Running

RESULTS = Path(__file__).resolve().parent / "results" / "train.jsonl"
AS_SYNTHETIC = "--as-synthetic"  # what makes this script `imagekit` with batches of noise
BAR = 1.15
DEFAULTS = tomllib.loads(TrainConfig().to_toml())
OF_TIMING = ("cache", "workers", "train_s", "data_wait_s", "valid_s", "batches", "images")


class Result(NamedTuple):
    """Accuracy after the last epoch, None where it says nothing; wall seconds; facts of the run."""

    accuracy: float | None
    seconds: float
    facts: Mapping[str, Any]


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == [AS_SYNTHETIC]:
        train_on_noise(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--peer", help="command of the other program, {seed} filled in")
    parser.add_argument("--synthetic", action="store_true", help="also train on one synthetic batch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="seeds from this one on, to go on")
    parser.add_argument("--only", choices=["peer", "imagekit", "synthetic"], help="run one of them, to go on")
    parser.add_argument("--options", default="--epochs 5 --size 128", help="options of imagekit train")
    told = parser.parse_args()
    systems = choose_systems(told)
    if "peer" in systems and told.peer is None:
        parser.error("--only peer needs --peer")
    results: dict[str, list[Result]] = {name: [] for name in systems}
    for seed in range(told.first_seed, told.first_seed + told.seeds):
        for system in systems:
            result = run(system, seed, told)
            results[system].append(result)
            record(system, seed, result, [] if system == "peer" else shlex.split(told.options))
    report(results)


def choose_systems(told: argparse.Namespace) -> list[str]:
    """What is to be run, in turn."""
    if told.only:
        return [told.only]
    return [*(["peer"] if told.peer else []), "imagekit", *(["synthetic"] if told.synthetic else [])]


def run(system: str, seed: int, told: argparse.Namespace) -> Result:
    """One run of one of them."""
    if system == "peer":
        return run_peer(told.peer, seed)
    program = ["-m", "imagekit"] if system == "imagekit" else [__file__, AS_SYNTHETIC]
    result = run_ours(program, told.manifest, seed, shlex.split(told.options))
    return result if system == "imagekit" else result._replace(accuracy=None)


def run_ours(program: Sequence[str], manifest: Path, seed: int, options: Sequence[str]) -> Result:
    """One training; its facts: of timing.json, the train accuracy, and the settings that are not the defaults."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as the command sets it for itself
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, *program, "train", str(manifest), "-o", str(output), "--seed", str(seed), *options]
        begun = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\nended with {done.returncode}:\n{done.stderr}")
        rows = list(csv.DictReader((output / "metrics.csv").read_text().splitlines()))
        timing = json.loads((output / "timing.json").read_bytes())
        config = tomllib.loads((output / "config.toml").read_text())
    facts = {key: timing[key] for key in OF_TIMING} | {"train_accuracy": float(rows[-1]["train_accuracy"])}
    facts["settings"] = {key: value for key, value in config.items() if value != DEFAULTS.get(key)}
    return Result(float(rows[-1]["valid_accuracy"]), seconds, facts)


def run_peer(template: str, seed: int) -> Result:
    """One run of the peer."""
    begun = time.perf_counter()
    done = subprocess.run(shlex.split(template.format(seed=seed)), check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    found = re.search(r"acc ([0-9.]+)", done.stdout.strip().splitlines()[-1])
    if found is None:
        raise SystemExit(f"the last line of the peer holds no accuracy: {done.stdout[-200:]!r}")
    return Result(float(found[1]), seconds, {})


# -- imagekit train on one batch ---------------------------------------------------------------------------------------


def train_on_noise(arguments: Sequence[str]) -> None:
    """Be `imagekit ARGUMENTS`, with batches that are there already; ends the process."""
    training.load = load_noise
    sys.argv = ["imagekit", *arguments]
    imagekit()


def load_noise(
    checked: Checked, config: TrainConfig, running: Running, *, root: Path | None, n_epochs: int | None = None
) -> Cached:
    """In place of the loaders that a training would have: as many batches of as many images."""
    real = make_loaders(checked.manifest, config, root=root, n_workers=0, pin=False)
    train, valid = (SameBatch(loader, checked.device) for loader in (real.train_dl, real.valid_dl))
    data: Any = DataBunch(train, valid, real.c_in, real.c_out)  # type: ignore[arg-type]
    return Cached(manifest=checked.manifest, data=data, plan=Plan(kind="none", why="one synthetic batch", n_bytes=0))


class SameBatch:
    """Stands for a loader: its length, its rows and targets in their order, and the same noise as images each time."""

    def __init__(self, loader: Loader[Any], device: torch.device) -> None:
        self.dataset, self.batch_size, self.n_samples = loader.dataset, loader.batch_size, loader.n_samples
        self.skipped: list[Skipped] = []
        self._first_batch = 0
        height, width = self.dataset.image_size
        n = min(self.batch_size, self.n_samples)
        noise = torch.Generator().manual_seed(0)
        x_BHWC = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=noise).to(device)
        rows = (torch.arange(self.n_samples) % len(self.dataset)).split(self.batch_size)
        y_N = self.dataset.targets()
        self._batches = [
            Batch(x=x_BHWC[: len(rows_B)].permute(0, 3, 1, 2), y=y_N[rows_B], keys=rows_B, rows=rows_B, number=number)
            for number, rows_B in enumerate(rows)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        first, self._first_batch = self._first_batch, 0
        return iter(self._batches[first:])

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """As Loader; every epoch has the same order."""
        self._first_batch = first_batch

    def close(self) -> None:
        """There is nothing to end."""


# -- what came of it ---------------------------------------------------------------------------------------------------


def record(system: str, seed: int, result: Result, options: Sequence[str]) -> None:
    """Add one measurement to the results file and show it."""
    facts = collect()
    row = {"system": system, "seed": seed, "accuracy": result.accuracy, "seconds": round(result.seconds, 1)}
    row |= {"options": list(options), "cpu": facts["cpu"], "versions": facts["versions"], **result.facts}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")
    reached = "" if result.accuracy is None else f"accuracy {result.accuracy:.4f}"
    how = f"  cache {result.facts['cache']}, {result.facts['workers']} workers" if system == "imagekit" else ""
    print(f"{system:<9} seed {seed}  {reached:<15} {result.seconds:7.1f} s{how}", flush=True)


def report(results: Mapping[str, Sequence[Result]]) -> None:
    """Means, and the ratios of our time to the others', seed by seed."""
    for system, runs in results.items():
        accuracies = [each.accuracy for each in runs if each.accuracy is not None]
        spread = stdev(accuracies) if len(accuracies) > 1 else 0.0
        reached = f"mean accuracy {mean(accuracies):.4f} (sd {spread:.4f}), " if accuracies else ""
        print(f"{system:<9} {reached}mean {mean(each.seconds for each in runs):.1f} s")
    for other in ("peer", "synthetic"):
        pairs = list(zip(results.get("imagekit", ()), results.get(other, ()), strict=False))
        if not pairs:
            continue
        ratios = [ours.seconds / theirs.seconds for ours, theirs in pairs]
        told = f", the bar is {BAR}: {'kept' if mean(ratios) <= BAR else 'MISSED'}" if other == "synthetic" else ""
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"wall time, imagekit / {other}: {each}, mean {mean(ratios):.2f}{told}")


if __name__ == "__main__":
    main()
