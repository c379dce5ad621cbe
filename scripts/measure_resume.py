"""Whether a training that was killed and gone on with ends as if it had never been: the same weights, bit for bit.

    python scripts/measure_resume.py MANIFEST [--kills 20] [--limit 400] [--model mini] [--options 'flip=0.3 mixup=0.4']

Trains without an interruption, once for each kind of settings. Then, for each kill, trains until the process kills
itself (SIGKILL) as it begins a batch drawn from a seed, in training, in validation, or with gradients of a step half
added up; goes on by `imagekit train --resume`, for some after a second kill; and compares the weights of last.pt and
best.pt (names, types, shapes, bytes in order), metrics.csv but for its columns of time, and predictions.parquet. The
kills go round through the variants: workers, caches, a cache on a disk that is deleted in between, averaged weights
with steps of two batches. A checkpoint is written every 7 steps.

Prints a line a kill and a verdict, adds a row a kill to scripts/results/resume.jsonl; exit code 1 where any differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from imagekit.data.loaders import valid_split
from imagekit.environment import collect
from imagekit.learner.callback import Callback
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.schema import METADATA_KEY
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import read_status
from imagekit.training.config import TrainConfig
from imagekit.training.resume import resume
from imagekit.training.running import Running
from imagekit.training.settings import resolve_settings
from imagekit.training.train import train

RESULTS = Path(__file__).with_name("results") / "resume.jsonl"
STEPS_BETWEEN = "7"
OF_TIME = ("images_per_s", "data_wait", "seconds")
AVERAGED: Mapping[str, Any] = {"ema": 0.9, "accumulate": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """How a run is executed, and whether it averages weights and adds up two batches a step."""

    n_workers: int
    cache: str
    is_deleted: bool = False
    is_averaged: bool = False

    @property
    def name(self) -> str:
        """For people."""
        extra = (", deleted" if self.is_deleted else "") + (", ema, accumulate" if self.is_averaged else "")
        return f"{self.n_workers} workers, cache {self.cache}{extra}"


VARIANTS = (
    Variant(n_workers=0, cache="none"),
    Variant(n_workers=2, cache="none"),
    Variant(n_workers=2, cache="disk", is_averaged=True),
    Variant(n_workers=0, cache="ram"),
    Variant(n_workers=2, cache="disk", is_deleted=True),
    Variant(n_workers=2, cache="ram"),
    Variant(n_workers=0, cache="none", is_averaged=True),
    Variant(n_workers=2, cache="disk"),
    Variant(n_workers=0, cache="disk", is_deleted=True),
)


class Place(NamedTuple):
    """A batch of a fit; compared, the earlier one is less."""

    epoch: int
    is_valid: bool
    batch: int

    @property
    def name(self) -> str:
        """For people, counted from 1."""
        return f"epoch {self.epoch + 1}, {'validation' if self.is_valid else 'training'} batch {self.batch + 1}"


class Kill(NamedTuple):
    """A variant, where it is killed first, and where for a second time, or None."""

    variant: Variant
    first: Place
    second: Place | None


class KillHere(Callback):
    """End this process by SIGKILL as it begins one batch."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def begin_batch(self) -> None:
        """Perhaps it is this one."""
        learner = self.learner
        if Place(learner.epoch, not learner.in_train, learner.i_batch) == self.place:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Kill, go on, compare; or be the process that is to be killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--options", default="", help="further settings, KEY=VALUE each")
    parser.add_argument("--limit", type=int, help="take so many rows of the manifest")
    parser.add_argument("--seed", type=int, default=0, help="of the places")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.task:
        be_killed(told.manifest, json.loads(told.task))
        return
    given = {"model": told.model, "size": told.size, "epochs": told.epochs, "batch_size": told.batch_size}
    config = resolve_settings(given, sets=told.options.split()).config
    with tempfile.TemporaryDirectory(prefix="measure-resume-") as name:
        manifest = read_manifest(told.manifest)
        path = told.manifest if told.limit is None else write_part(manifest, told.limit, Path(name) / "part.parquet")
        bench = Bench(folder=Path(name), manifest=path, root=manifest.root.absolute(), config=config)
        sys.exit(0 if kill_all(bench, told) else 1)


def write_part(manifest: Manifest, n_rows: int, path: Path) -> Path:
    """A manifest of some rows, spread over all."""
    picked = np.unique(np.linspace(0, manifest.table.num_rows - 1, n_rows).round().astype(np.int64))
    table = manifest.table.take(pa.array(picked))
    metadata = replace(manifest.metadata, rows_sha256=rows_sha256(table))
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata.to_json()}), path)
    return path


# -- what is done ------------------------------------------------------------------------------------------------------


def plan(n: int, *, n_epochs: int, n_train: int, n_valid: int, seed: int) -> list[Kill]:
    """Kills of all variants in turn. Each fifth is in validation, each third comes twice.

    n_train, n_valid: batches of an epoch. Where steps are of two batches, a kill in training is between the two.
    """
    if n_train < 2:
        raise SystemExit(
            f"an epoch has {n_train} training batch, and no step of two: take more rows, or smaller batches"
        )
    draw = random.Random(seed)
    valid = [Place(epoch, True, batch) for epoch in range(n_epochs) for batch in range(n_valid)]
    training = [Place(epoch, False, batch) for epoch in range(n_epochs) for batch in range(n_train)]
    kills = []
    for number in range(n):
        variant = VARIANTS[number % len(VARIANTS)]
        inside = [place for place in training if place.batch % 2] if variant.is_averaged else training
        first = draw.choice(valid if number % 5 == 4 else inside)
        is_twice = (number + number // len(VARIANTS)) % 3 == 2  # not always the same variants
        later = [place for place in (*training, *valid) if place >= first]
        kills.append(Kill(variant, first, draw.choice(later) if is_twice else None))
    return kills


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where it is done, and with what."""

    folder: Path
    manifest: Path
    root: Path
    config: TrainConfig

    def config_of(self, variant: Variant) -> TrainConfig:
        """The settings of a variant."""
        return replace(self.config, **AVERAGED) if variant.is_averaged else self.config

    def run(self, task: Mapping[str, Any], *, cache: Path, is_to_die: bool) -> None:
        """Have `be_killed` done in a process, which must die, or must not."""
        command = [sys.executable, __file__, str(self.manifest), "--task", json.dumps(task)]
        expect(command, code=-signal.SIGKILL if is_to_die else 0, cache=cache)

    def begin(self, run: Path, variant: Variant, place: Place | None, *, cache: Path) -> None:
        """Train until it is killed; to the end where no place is told."""
        running = Running(n_workers=variant.n_workers, cache=variant.cache, checkpoint_every=STEPS_BETWEEN)
        task = {"run": str(run), "root": str(self.root), "config": self.config_of(variant).to_dict()}
        task |= {"running": running.to_dict(), "place": place}
        self.run(task, cache=cache, is_to_die=place is not None)


def be_killed(manifest: Path, task: Mapping[str, Any]) -> None:
    """Train, or go on where the task has no config, until the place is reached."""
    callbacks = [] if task["place"] is None else [KillHere(Place(*task["place"]))]
    if "config" not in task:
        resume(task["run"], quiet=True, extra_callbacks=callbacks)
        return
    train(
        manifest,
        output=task["run"],
        config=TrainConfig.from_dict(task["config"]),
        root=Path(task["root"]),
        running=Running.from_dict(task["running"]),
        quiet=True,
        extra_callbacks=callbacks,
    )


def expect(command: Sequence[str], *, code: int, cache: Path) -> None:
    """Run a command that must end with this code."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != code:
        said = f"{done.stdout}{done.stderr}"
        raise SystemExit(f"{shlex.join(command)}\nended with {done.returncode}, not with {code}:\n{said}")


def kill_all(bench: Bench, told: argparse.Namespace) -> bool:
    """Every kill, a line each; whether all runs ended as they should."""
    content, config = read_manifest(bench.manifest), bench.config
    splits = content.table["split"].cast(pa.string())
    n_train, n_valid = (pc.sum(pc.equal(splits, each)).as_py() for each in ("train", valid_split(content)))
    n_batches = {"n_train": -(-n_train // config.batch_size), "n_valid": -(-n_valid // (2 * config.batch_size))}
    kills = plan(told.kills, n_epochs=config.epochs, **n_batches, seed=told.seed)
    print(f"{config.epochs} epochs of {n_batches['n_train']} training and {n_batches['n_valid']} validation batches")
    wanted = {kind: reference(bench, is_averaged=kind) for kind in sorted({each.variant.is_averaged for each in kills})}
    n_equal = 0
    for number, kill in enumerate(kills):
        begun = time.perf_counter()
        found, resumed = kill_one(bench, kill, bench.folder / f"{number}")
        differs = [name for name, digest in wanted[kill.variant.is_averaged].items() if found[name] != digest]
        n_equal += not differs
        seconds = time.perf_counter() - begun
        keep(kill, differs, config, resumed=resumed, seconds=seconds)
        again = f", again in {kill.second.name}" if kill.second else ""
        verdict = f"DIFFERS: {', '.join(differs)}" if differs else "the same"
        print(
            f"{number + 1:3d} {kill.variant.name:40s} {kill.first.name}{again}: {verdict} ({seconds:.1f} s)", flush=True
        )
    print(f"{n_equal} of {len(kills)} ended as if nothing had happened")
    return n_equal == len(kills)


def reference(bench: Bench, *, is_averaged: bool) -> dict[str, str]:
    """What a run without an interruption, workers or cache leaves."""
    run = bench.folder / f"reference-{is_averaged}"
    variant = Variant(n_workers=0, cache="none", is_averaged=is_averaged)
    bench.begin(run, variant, None, cache=bench.folder / "no-cache")
    return digests(run)


def kill_one(bench: Bench, kill: Kill, folder: Path) -> tuple[dict[str, str], list[tuple[int, int]]]:
    """What a run leaves that was killed, and gone on with by the command; epochs and batches done where it went on."""
    run, cache = folder / "run", folder / "cache"
    bench.begin(run, kill.variant, kill.first, cache=cache)
    if kill.variant.is_deleted:
        shutil.rmtree(cache)
    if kill.second is not None:
        bench.run({"run": str(run), "place": kill.second}, cache=cache, is_to_die=True)
        if kill.variant.is_deleted:
            shutil.rmtree(cache)
    expect([sys.executable, "-m", "imagekit", "train", "--resume", str(run), "-q"], code=0, cache=cache)
    found, events = digests(run), read_events(RunLayout(run).events)
    shutil.rmtree(folder)
    return found, [(each["epoch"], each.get("batch", 0)) for each in events if each["event"] == "resume"]


# -- what is compared --------------------------------------------------------------------------------------------------


def digests(run: Path) -> dict[str, str]:
    """sha256 of all that must be equal in two runs that are done, by name."""
    layout = RunLayout(run)
    if (state := read_status(layout.status).state) != "done":
        raise SystemExit(f"the run is {state}, not done: {run.name}")
    rows = [{key: text for key, text in row.items() if key not in OF_TIME} for row in read_rows(layout.metrics)]
    return {
        "last.pt": weights_sha256(load_checkpoint(layout.last)["model"]),
        "best.pt": weights_sha256(load_checkpoint(layout.best)["model"]),
        "metrics.csv": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "predictions.parquet": hashlib.sha256(layout.predictions.read_bytes()).hexdigest(),
    }


def weights_sha256(model: Mapping[str, torch.Tensor]) -> str:
    """Of names, types, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for name, tensor in model.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def keep(
    kill: Kill, differs: Sequence[str], config: TrainConfig, *, resumed: Sequence[tuple[int, int]], seconds: float
) -> None:
    """Add a row to the results."""
    facts = collect()
    row = {"variant": asdict(kill.variant), "first": kill.first, "second": kill.second, "differs": list(differs)}
    row |= {
        "resumed": list(resumed),
        "seconds": round(seconds, 1),
        "config": config.to_dict(),
        "threads": torch.get_num_threads(),
    }
    row |= {"steps_between": STEPS_BETWEEN, "cpu": facts["cpu"], "versions": facts["versions"]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
