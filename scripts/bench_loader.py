"""Images a second that the loader gives: from JPEGs, from caches, and beside training; peers' loaders in turn.

    python scripts/bench_loader.py MANIFEST [--peer 'python peers_loader.py DATA tv']... [--workers 2] [--rounds 3]

Four parts, of which --only raw,cache,lesson,step takes some:

raw     random resized crop to 128 (at least .35 of the area) and a flip, of the JPEGs, with simplejpeg and without
cache   random crops of 128 from squares of 160, with a flip and without, kept in memory or on a disk; with workers, and
        with none: the epoch that fills the cache, then two more
lesson  the pipeline of the preset lesson-cnn, whole images squeezed to 128, without a cache and from one
step    the same beside 60 training steps of lesson-cnn in bfloat16 and channels_last on the CPU: batches of 0, 1 and
        more workers, of threads, and one synthetic batch that is already there

Each is a process of its own, once a round, in an order that changes, the peers among them. A peer is any command that
prints lines like `name 1234 img/s`. An epoch is told twice: whole, its start included, and as the peers count,
from batch 10 to 120. Files are in the page cache after the first round, and so is a cache on a disk.
Prints medians and ratios to the peer of the same round; adds a row a measurement to scripts/results/loader.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from imagekit.callbacks.timing import TimingCallback
from imagekit.data.batches import Batch, collate
from imagekit.data.cache_files import Room
from imagekit.data.caching import join, share_images
from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader
from imagekit.data.making import BatchMaker, Job
from imagekit.data.order import EpochBatches
from imagekit.data.workers import N_AHEAD
from imagekit.environment import collect
from imagekit.learner.callback import Callback
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.schema import ChannelStats
from imagekit.pixels import turbo
from imagekit.training.assemble import make_learner, train_item_transforms
from imagekit.training.config import TrainConfig
from imagekit.training.settings import resolve_config

RESULTS = Path(__file__).with_name("results") / "loader.jsonl"
PARTS = ("raw", "cache", "lesson", "step")
KEPT = ("ram", "disk")
CONFIGS = {
    "crop, flip": TrainConfig(crop_scale=0.35),
    "crop of 160": TrainConfig(presize=160, flip=0.0),
    "crop of 160, flip": TrainConfig(presize=160),
    "lesson": resolve_config({}, preset="lesson-cnn"),
}
# which batches the peers' rates are of
FIRST_COUNTED, LAST_COUNTED = 10, 120
N_EPOCHS_CACHED = 3
N_STEPS, N_WARM_STEPS = 60, 5
_LINE = re.compile(r"^(.*?)\s+([0-9]+(?:\.[0-9]+)?) img/s", re.MULTILINE)
_STATS = ChannelStats(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), n_images=1, n_pixels=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way of loading. by: loader, threads, or synthetic for a batch that is there already."""

    part: str
    transforms: str
    workers: int
    cache: str = "none"
    has_turbo: bool = True
    by: str = "loader"

    @property
    def name(self) -> str:
        """For the table."""
        if self.by == "synthetic":
            return "step: a synthetic batch"
        whose = "threads" if self.by == "threads" else "workers"
        source = ("JPEGs" if self.has_turbo else "JPEGs, no turbo") if self.cache == "none" else self.cache
        return f"{self.part}: {self.transforms}; {source}, {self.workers} {whose}"


class Feed:
    """The first `n` batches of whatever `make` gives, each time."""

    def __init__(self, make: Callable[[], Iterable[Any]], n: int) -> None:
        self._make, self._n = make, n

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Any]:
        return islice(self._make(), self._n)


class StepClock(Callback):
    """When each batch was done."""

    _order = 1000

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_batch(self) -> None:
        """Another one."""
        self.times.append(time.perf_counter())


def main() -> None:
    """Measure and print, or be the process that measures one variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--peer", action="append", default=[], help="command of a peer's loader")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS), help="the parts to measure")
    parser.add_argument("--limit", type=int, help="take so many rows of the manifest, to try it out")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.variant:
        variant = Variant(**json.loads(told.variant))
        print(json.dumps(measure(variant, told.manifest, batch_size=told.batch_size, limit=told.limit)))
        return
    variants = [each for each in every_variant(told.workers) if each.part in told.only.split(",")]
    rounds = [measure_round(number, variants, told) for number in range(told.rounds)]
    report(variants, rounds)


def every_variant(workers: int) -> list[Variant]:
    """All that is measured, with `workers` where there are any."""
    some = sorted({workers, 0}, reverse=True)
    raw = partial(Variant, part="raw", transforms="crop, flip", workers=workers)
    cache, lesson = partial(Variant, part="cache"), partial(Variant, part="lesson", transforms="lesson")
    step, crops = partial(Variant, part="step", transforms="lesson"), ("crop of 160", "crop of 160, flip")
    variants = [raw(has_turbo=has) for has in (True, False)]
    variants += [cache(transforms=each, workers=n, cache=kind) for kind in KEPT for each in crops for n in some]
    variants += [lesson(workers=n, cache=kind) for kind in ("none", *KEPT) for n in some]
    variants.append(step(workers=0, by="synthetic"))
    for kind in ("none", "ram"):
        variants += [step(workers=n, cache=kind) for n in sorted({0, 1, 2, workers})]
        variants.append(step(workers=workers, cache=kind, by="threads"))
    return variants


# -- one variant, in a process of its own ----------------------------------------------------------------------------


def measure(variant: Variant, path: Path, *, batch_size: int, limit: int | None) -> dict[str, Any]:
    """What one variant reaches."""
    if not variant.has_turbo:
        turbo._module = None
    elif turbo.load_turbo() is None:
        raise SystemExit("simplejpeg is not installed")
    manifest = part_of(read_manifest(path), limit)
    transforms = train_item_transforms(CONFIGS[variant.transforms])
    dataset = ManifestDataset(manifest, "train", transforms=transforms)
    with kept(manifest, dataset, variant.cache):
        n_workers = variant.workers if variant.by == "loader" else 0
        loader = Loader(dataset, batch_size=batch_size, shuffle=True, n_workers=n_workers)
        with closing(loader):
            if variant.part == "step":
                return measure_steps(variant, manifest, loader)
            n_epochs = 1 if variant.cache == "none" else N_EPOCHS_CACHED
            return {"epochs": [measure_epoch(loader) for _ in range(n_epochs)]}


def part_of(manifest: Manifest, limit: int | None) -> Manifest:
    """The manifest, or `limit` rows spread over it."""
    n_rows = manifest.table.num_rows
    if limit is None or limit >= n_rows:
        return manifest
    rows = np.unique(np.linspace(0, n_rows - 1, limit).round().astype(np.int64))
    return replace(manifest, table=manifest.table.take(pa.array(rows)))


@contextmanager
def kept(manifest: Manifest, dataset: ManifestDataset, kind: str) -> Iterator[None]:
    """Give the dataset a cache of this kind that holds nothing yet."""
    if kind == "none":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
        stores = join(share_images(manifest, [dataset]), kind, Room(folder=Path(folder), limit_bytes=10**12))
        try:
            yield
        finally:
            for store in stores:
                store.close()


def measure_epoch(batches: Iterable[Any]) -> dict[str, Any]:
    """Images a second of an epoch, whole and as the peers count; None where it is too short for that."""
    n_images, n_counted, since, until = 0, 0, 0.0, 0.0
    begun = time.perf_counter()
    for number, batch in enumerate(batches):
        n_images += len(batch.y)
        if FIRST_COUNTED <= number <= LAST_COUNTED:
            until = time.perf_counter()
            since = since or until  # like theirs, the clock starts with a batch that counts
            n_counted += len(batch.y)
    seconds = time.perf_counter() - begun
    counted = n_counted / (until - since) if until > since else None
    return {"images": n_images, "seconds": seconds, "images_per_s": n_images / seconds, "counted_per_s": counted}


def measure_steps(variant: Variant, manifest: Manifest, loader: Loader[Any]) -> dict[str, Any]:
    """Training steps on the batches of a variant; what a cache holds is there before they begin."""
    config = replace(CONFIGS["lesson"], precision="bf16", batch_size=loader.batch_size, epochs=1, device="cpu")
    feed = feed_of(variant, loader, size=config.size)
    if variant.cache != "none":
        for _ in feed:
            pass
        loader.set_epoch(0)
    data: Any = SimpleNamespace(train_dl=feed, valid_dl=[])
    learner = make_learner(manifest, data, config, stats=_STATS, device=torch.device("cpu"))
    clock, timing = StepClock(), TimingCallback()
    clock.times.append(time.perf_counter())
    learner.fit(1, [clock, timing])
    warm = clock.times[min(N_WARM_STEPS, len(feed) - 1) :]
    ms = 1e3 * (warm[-1] - warm[0]) / (len(warm) - 1)
    totals: dict[str, Any] = timing.totals()
    waiting = totals["data_wait_s"] / totals["train_s"]
    return {"ms_per_step": ms, "steps": len(feed), "seconds": clock.times[-1] - clock.times[0], "data_wait": waiting}


def feed_of(variant: Variant, loader: Loader[Any], *, size: int) -> Feed:
    """The batches of 60 steps, or of an epoch where that is shorter."""
    n = min(N_STEPS, len(loader))
    if variant.by == "synthetic":
        batch = synthetic_batch(loader.batch_size, size)
        return Feed(lambda: [batch] * n, n)
    if variant.by == "threads":
        return Feed(lambda: by_threads(loader.dataset, batch_size=loader.batch_size, n_threads=variant.workers), n)
    return Feed(lambda: loader, n)


def synthetic_batch(n: int, size: int) -> Batch:
    """Noise of two classes, as a loader would lay it out."""
    x_BHWC = torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8)
    y_B, rows_B = torch.arange(n) % 2, torch.arange(n)
    return Batch(x=x_BHWC.permute(0, 3, 1, 2), y=y_B, keys=rows_B, rows=rows_B, number=None)


def by_threads(dataset: ManifestDataset, *, batch_size: int, n_threads: int) -> Iterator[Any]:
    """The batches of epoch 0, made by threads of this process, as many ahead as workers would be."""
    maker = BatchMaker(dataset, collate, batch_size=batch_size, skip=False, pin=False)
    batches = EpochBatches(len(dataset), batch_size=batch_size, seed=dataset.seed, shuffle=True)
    rows_M, copies_M = (part.numpy() for part in batches.order(0))
    parts = (slice(number * batch_size, (number + 1) * batch_size) for number in range(len(batches)))
    jobs = (Job(number, 0, rows_M[part], copies_M[part]) for number, part in enumerate(parts))
    under_way: deque[Future[tuple[Any, Any]]] = deque()
    with ThreadPoolExecutor(max(1, n_threads)) as pool:
        under_way += [pool.submit(maker.batch, job) for job in islice(jobs, n_threads * (1 + N_AHEAD))]
        while under_way:
            batch, _ = under_way.popleft().result()
            under_way += [pool.submit(maker.batch, job) for job in islice(jobs, 1)]
            yield batch


# -- all of them, in turn --------------------------------------------------------------------------------------------


def measure_round(number: int, variants: Sequence[Variant], told: argparse.Namespace) -> dict[str, Any]:
    """Every variant and every peer once; results by name, those of the peers under `peers`."""
    load, jobs = os.getloadavg()[0], [*told.peer, *variants]
    random.Random(number).shuffle(jobs)
    results: dict[str, Any] = {"peers": {}}
    for job in jobs:
        if isinstance(job, str):
            results["peers"] |= read_rates(run(shlex.split(job)))
            continue
        options = ["--variant", json.dumps(asdict(job)), "--batch-size", str(told.batch_size)]
        options += [] if told.limit is None else ["--limit", str(told.limit)]
        said = run([sys.executable, __file__, str(told.manifest), *options])
        results[job.name] = json.loads(said.splitlines()[-1])
        print(f"round {number + 1}  {job.name:52s} {shown(job, results[job.name])}", flush=True)
    keep_round(number, variants, results, told, load=load)
    return results


def run(command: Sequence[str]) -> str:
    """What a command that must succeed prints."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def read_rates(said: str) -> dict[str, float]:
    """Images a second by name, of the lines that tell them."""
    rates = {name.strip(): float(rate) for name, rate in _LINE.findall(said)}
    if not rates:
        raise SystemExit(f"the peer printed no line like `name 1234 img/s`: {said[-500:]!r}")
    for name, rate in rates.items():
        print(f"         {name:52s} {rate:10,.0f} img/s", flush=True)
    return rates


def rate_of(variant: Variant, result: Mapping[str, Any]) -> float | None:
    """What is compared with the peers: images a second, of the epochs after the first where there is a cache."""
    if variant.part == "step":
        return None
    epochs = result["epochs"][1:] or result["epochs"]
    return median(epoch["counted_per_s"] or epoch["images_per_s"] for epoch in epochs)


def shown(variant: Variant, result: Mapping[str, Any]) -> str:
    """A result in a few words."""
    if variant.part == "step":
        return f"{result['ms_per_step']:8.1f} ms a step, {result['data_wait']:.0%} waiting"
    return f"{rate_of(variant, result):8,.0f} img/s"


def ratios_of(variant: Variant, results: Mapping[str, Any]) -> dict[str, float]:
    """How many times the rate of each peer of the round; of a step the time over that on a synthetic batch."""
    rate = rate_of(variant, results[variant.name])
    if rate is not None:
        return {name: rate / peer for name, peer in results["peers"].items()}
    synthetic = results.get("step: a synthetic batch")
    return {"synthetic": results[variant.name]["ms_per_step"] / synthetic["ms_per_step"]} if synthetic else {}


def keep_round(
    number: int, variants: Sequence[Variant], results: Mapping[str, Any], told: argparse.Namespace, *, load: float
) -> None:
    """Add a row for each measurement of a round."""
    facts = collect()
    versions = {**dict(facts["versions"]), "simplejpeg": version("simplejpeg")}  # type: ignore[call-overload]
    about = {"round": number, "batch_size": told.batch_size, "limit": told.limit, "load_at_start": load}
    about |= {"threads": torch.get_num_threads(), "cpu": facts["cpu"], "versions": versions}
    rows: list[dict[str, Any]] = [{"peer": name, "images_per_s": rate} for name, rate in results["peers"].items()]
    rows += [
        {**asdict(each), "name": each.name, **results[each.name], "ratios": ratios_of(each, results)}
        for each in variants
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row | about, sort_keys=True) + "\n" for row in rows)


def report(variants: Sequence[Variant], rounds: Sequence[Mapping[str, Any]]) -> None:
    """The table: medians over the rounds, and of the ratios least and greatest too."""
    print(f"\nmedians of {len(rounds)} rounds; images a second")
    print(f"{'':52s} {'1st, whole':>11s} {'counted':>9s} {'later':>9s}")
    for name in rounds[0]["peers"]:
        print(f"{name:52s} {'':11s} {median(each['peers'][name] for each in rounds):9,.0f}")
    for variant in variants:
        ratios = [ratios_of(variant, each) for each in rounds]
        words = [
            f"{median(values):.2f} x {name} ({min(values):.2f} to {max(values):.2f})"
            for name in ratios[0]
            for values in [[each[name] for each in ratios]]
        ]
        cells = cells_of(variant, [each[variant.name] for each in rounds])
        print(f"{variant.name:52s} {cells}  {'; '.join(words)}")


def cells_of(variant: Variant, results: Sequence[Mapping[str, Any]]) -> str:
    """A line of the table, behind its name."""
    if variant.part == "step":
        ms, waiting = (median(each[key] for each in results) for key in ("ms_per_step", "data_wait"))
        return f"{ms:11.1f} ms a step, {waiting:4.0%} waiting"
    firsts = [each["epochs"][0] for each in results]
    whole, counted = (middle(each[key] for each in firsts) for key in ("images_per_s", "counted_per_s"))
    later = middle(rate_of(variant, each) if len(each["epochs"]) > 1 else None for each in results)
    return f"{whole:>11s} {counted:>9s} {later:>9s}"


def middle(values: Iterable[float | None]) -> str:
    """The median as text; a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    return f"{median(known):,.0f}" if known else "-"


if __name__ == "__main__":
    main()
