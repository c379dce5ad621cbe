"""Accuracy and wall time of `imagekit train` beside another program on the same data, run in turn.

    python scripts/bench_train.py MANIFEST --peer 'python plain.py DATA tuned {seed}' --seeds 3

Both are whole commands, start included. The peer is any command that ends by printing its accuracy as `acc 0.7123`
on its last line; {seed} is filled in. Prints a table and adds a row a run to scripts/results/train.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from imagekit.environment import collect

RESULTS = Path(__file__).resolve().parent / "results" / "train.jsonl"


def run_ours(manifest: Path, seed: int, options: list[str]) -> tuple[float, float]:
    """(accuracy after the last epoch, wall seconds) of one training."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["imagekit", "train", str(manifest), "-o", str(run), "--seed", str(seed), *options]
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - begun
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    return float(rows[-1]["valid_accuracy"]), seconds


def run_peer(template: str, seed: int) -> tuple[float, float]:
    """(accuracy on the last line, wall seconds) of one run of the peer."""
    begun = time.perf_counter()
    done = subprocess.run(shlex.split(template.format(seed=seed)), check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    found = re.search(r"acc ([0-9.]+)", done.stdout.strip().splitlines()[-1])
    if found is None:
        raise SystemExit(f"the last line of the peer holds no accuracy: {done.stdout[-200:]!r}")
    return float(found[1]), seconds


def record(system: str, seed: int, result: tuple[float, float], options: list[str]) -> None:
    """Add one measurement to the results file and show it."""
    facts = collect()
    row = {"system": system, "seed": seed, "accuracy": result[0], "seconds": round(result[1], 1), "options": options}
    row |= {"cpu": facts["cpu"], "versions": facts["versions"]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")
    print(f"{system:<9} seed {seed}  accuracy {result[0]:.4f}  {result[1]:7.1f} s", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--peer", required=True, help="command of the other program, {seed} filled in")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["peer", "imagekit"], help="run one of the two, to go on with a series")
    parser.add_argument("--options", default="--epochs 5 --size 128", help="options of imagekit train")
    told = parser.parse_args()
    options = shlex.split(told.options)
    systems = [told.only] if told.only else ["peer", "imagekit"]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for seed in range(told.seeds):
        for system in results:
            ours = system == "imagekit"
            result = run_ours(told.manifest, seed, options) if ours else run_peer(told.peer, seed)
            results[system].append(result)
            record(system, seed, result, options if ours else [])
    for system, pairs in results.items():
        accuracies, seconds = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        spread = stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(f"{system:<9} mean accuracy {mean(accuracies):.4f} (sd {spread:.4f}), mean {mean(seconds):.1f} s")
    if len(results) < 2:
        return
    ratios = [ours[1] / peer[1] for ours, peer in zip(results["imagekit"], results["peer"], strict=True)]
    print(f"wall time, imagekit / peer: {', '.join(f'{ratio:.2f}' for ratio in ratios)}, mean {mean(ratios):.2f}")


if __name__ == "__main__":
    main()
