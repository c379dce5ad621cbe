"""A designed screen of training settings: what each of several changes is worth, with its standard error.

    python scripts/screen.py SCREEN.toml MANIFEST [--only 0-7]
    python scripts/screen.py SCREEN.toml --report

A screen is a two-level fractional factorial. SCREEN.toml has `[base]`, the settings of every run, and a table
`[factors.NAME]` each with `low` and `high`, settings that this factor brings, and `column`: a letter of a base factor,
the first ones of A to E, or a product of three or five of them (then main effects are free of what two factors do
together; of more factors than letters these are mixed with one another). A key that ends in `*` multiplies what was set
before. Two to the power of the letters are the runs, 32 for five, in an order drawn by lot, each a whole
`imagekit train` with a seed of its own; a row a run is added to scripts/results/screens.jsonl, and runs that are there
already are not made again.

MANIFEST should hold no image that a finished recipe is judged by. The report has, for every factor, the mean over the
runs with it less that over those without, and the standard error from what main effects leave unexplained.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagekit.environment import collect
from imagekit.training.toml_text import toml

RESULTS = Path(__file__).with_name("results") / "screens.jsonl"
LETTERS = "ABCDE"
MEASURED = ("valid_accuracy", "valid_ema_accuracy", "valid_loss", "train_s")


def main() -> None:
    """Run what is left of the screen, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen", type=Path)
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--only", help="places in the drawn order to make now, FIRST-LAST, from 0")
    parser.add_argument("--report", action="store_true", help="make no run")
    told = parser.parse_args()
    screen = tomllib.loads(told.screen.read_text(encoding="utf-8"))
    check(screen)
    if not told.report:
        if told.manifest is None:
            parser.error("MANIFEST is needed to make runs")
        numbers = order(n_runs(screen))
        places = re.fullmatch(r"(\d+)-(\d+)", told.only or f"0-{len(numbers) - 1}")
        if places is None:
            parser.error(f"--only got {told.only!r}, must be FIRST-LAST, 0-3 say")
        first, last = map(int, places.groups())
        for number in numbers[first : last + 1]:
            make_run(told.screen.stem, screen, int(number), told.manifest)
    report(told.screen.stem, screen)


def check(screen: Mapping[str, Any]) -> None:
    """Exit where the design is none of resolution IV."""
    columns = [factor["column"] for factor in screen["factors"].values()]
    letters = LETTERS[: n_letters(screen)]
    for column in columns:
        if len(column) % 2 == 0 or not set(column) <= set(letters) or len(set(column)) != len(column):
            raise SystemExit(f"column {column!r} is no product of one, three or five of the letters {letters}")
    if len(set(columns)) != len(columns):
        raise SystemExit("two factors have the same column: their effects could not be told apart")


def n_letters(screen: Mapping[str, Any]) -> int:
    """How many base factors there are: as many as stand alone in a column."""
    return sum(len(factor["column"]) == 1 for factor in screen["factors"].values())


def n_runs(screen: Mapping[str, Any]) -> int:
    """All runs of a screen."""
    return int(2 ** n_letters(screen))


def order(n: int) -> npt.NDArray[np.int64]:
    """The order in which n runs are made, so that a drift of the machine is no effect."""
    return np.random.default_rng(0).permutation(n)


def levels(screen: Mapping[str, Any], number: int) -> dict[str, int]:
    """-1 or 1 for each factor in a run."""
    bits = {letter: 1 if number >> place & 1 else -1 for place, letter in enumerate(LETTERS)}
    return {name: math.prod(bits[letter] for letter in factor["column"]) for name, factor in screen["factors"].items()}


def settings(screen: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Every setting of a run by dotted key."""
    made: dict[str, Any] = dict(_dotted(screen["base"]))
    for name, level in levels(screen, number).items():
        for key, value in _dotted(screen["factors"][name]["high" if level > 0 else "low"]):
            if key.endswith("*"):
                made[key[:-1]] *= value
            else:
                made[key] = value
    return made


def _dotted(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in table.items():
        pairs += _dotted(value, f"{before}{key}.") if isinstance(value, dict) else [(before + key, value)]
    return pairs


def make_run(name: str, screen: Mapping[str, Any], number: int, manifest: Path) -> None:
    """Train, and keep a row; nothing where that is kept already."""
    told = settings(screen, number)
    if any(row["settings"] == told for row in rows_of(name)):
        return
    options = [word for key, value in told.items() for word in ("--set", f"{key}={toml(value)}")]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "imagekit", "train", str(manifest), "-o", str(run), "--quiet", *options]
        done = subprocess.run([*command, "--seed", str(number)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"run {number} ended with {done.returncode}:\n{done.stderr}")
        last = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))[-1]
        timing = json.loads((run / "timing.json").read_bytes())
    measured = {key: float(last[key]) for key in MEASURED if last.get(key)} | {"train_s": timing["train_s"]}
    facts = collect()
    row = {"screen": name, "run": number, "levels": levels(screen, number), "settings": told, "measured": measured}
    row |= {"seconds": time.perf_counter() - begun, "cpu": facts["cpu"], "versions": facts["versions"]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")
        os.fsync(file.fileno())
    words = ", ".join(f"{key} {value:.4g}" for key, value in measured.items())
    print(f"run {number:2d}: {words}, {row['seconds']:.0f} s in all", flush=True)


def rows_of(name: str) -> list[dict[str, Any]]:
    """What is kept of a screen."""
    if not RESULTS.exists():
        return []
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["screen"] == name]


def report(name: str, screen: Mapping[str, Any]) -> None:
    """The effects of every factor on everything that was measured."""
    factors = list(screen["factors"])
    n_all = n_runs(screen)
    wanted = [settings(screen, number) for number in range(n_all)]
    rows = [row for row in rows_of(name) if row["settings"] in wanted]
    n_free = len(rows) - len(factors) - 1
    print(f"{name}: {len(rows)} of {n_all} runs, {len(factors)} factors")
    signs = np.array([[1, *(row["levels"][factor] for factor in factors)] for row in rows], dtype=float)
    if n_free < 1 or np.linalg.matrix_rank(signs) < signs.shape[1]:
        print("too few runs to tell the effects apart")
        return
    if len(rows) < n_all:
        print("some runs are missing: what two factors do together is mixed into the effects")
    for response in MEASURED:
        values = np.array([row["measured"].get(response, math.nan) for row in rows])
        if np.isnan(values).any():
            continue
        is_time = response.endswith("_s")
        effects, errors = estimate(signs, np.log(values) if is_time else values)
        print(f"\n{response}: mean {values.mean():.4f}, {n_free} degrees of freedom")
        for effect, error, factor in sorted(zip(effects, errors, factors, strict=True), key=lambda each: -abs(each[0])):
            shown = f"x {math.exp(effect):.3f}" if is_time else f"{effect:+.4f}"
            print(f"  {factor:20s} {shown} +- {error:.4f}")


def estimate(signs: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[Sequence[float], Sequence[float]]:
    """High less low of each factor and its standard error. signs: [N, 1 + K], the first column all 1; values: [N]."""
    solved, *_ = np.linalg.lstsq(signs, values, rcond=None)
    left = values - signs @ solved
    variance = float(left @ left) / (len(values) - signs.shape[1])
    spread = np.sqrt(np.diag(np.linalg.inv(signs.T @ signs)) * variance)
    return (2 * solved[1:]).tolist(), (2 * spread[1:]).tolist()


if __name__ == "__main__":
    main()
