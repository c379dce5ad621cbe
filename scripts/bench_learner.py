"""What the Learner costs a batch, beside a loop written by hand: bare, and with the callbacks of imagekit train.

    python scripts/bench_learner.py [--device cpu|cuda] [--threads 1] [--batches 200] [--rounds 20]

A model of one layer, batches in memory, plain SGD: almost nothing to compute, so that the loop itself shows. Data is an
iterable that looks at the clock each time it is asked for a batch; the time from one question to the next is that of a
batch with everything that is done for it. What happens once an epoch (files, means) is counted apart. In each round an
epoch is made by hand and then by each learner, which have one callback more from line to line; a round's figure is the
median over its batches of the differences to the loop by hand, batch by batch. The loop by hand moves its batches to
the device, which a bare learner leaves to a callback.

The bar: 200 microseconds a batch. Prints a table and adds a JSON row to scripts/results/learner.jsonl.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.run_log import RunLog
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.callbacks.timing import TimingCallback
from imagekit.environment import collect
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.optim.schedules import cos_1cycle
from imagekit.runs.layout import RunLayout

RESULTS = Path(__file__).with_name("results") / "learner.jsonl"
BAR_US = 200.0
N_IN, N_CLASSES, BATCH = 32, 10, 64
LR = 0.01


class Batch(tuple[Tensor, Tensor]):
    """(x, y), and the rows that predictions are joined by."""

    rows: Tensor


class Clocked:
    """Batches that note when each was asked for, and when there were none left."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.times: list[float] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        self.times = []
        for batch in self.batches:
            self.times.append(time.perf_counter())
            yield batch
        self.times.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Of each batch of the last pass."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


class Loaders(NamedTuple):
    """What a Learner learns from."""

    train_dl: Clocked
    valid_dl: Clocked


class Cost(NamedTuple):
    """Seconds of each training and validation batch, and of the rest of the epoch."""

    train: list[float]
    valid: list[float]
    rest: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    with tempfile.TemporaryDirectory() as folder:
        rounds = measure(Path(folder), n_batches=told.batches, n_rounds=told.rounds, device=told.device)
    report(rounds, told)


def measure(folder: Path, *, n_batches: int, n_rounds: int, device: str) -> list[dict[str, Cost]]:
    """For each round what an epoch cost, by who made it: "by hand", then the learners in the order of `stages`."""
    data = Loaders(Clocked(batches(n_batches, seed=1)), Clocked(batches(n_batches // 2, seed=2)))
    runs: dict[str, Callable[[], object]] = {"by hand": partial(train_by_hand, model(device), data, device=device)}
    for name, callbacks in stages(folder, device=device).items():
        learner = Learner(
            model(device),
            data,
            loss_func=F.cross_entropy,
            opt_func=torch.optim.SGD,
            lr=LR,
            callbacks=[callback for make in callbacks for callback in make()],
        )
        bind_state(learner)
        runs[name] = partial(learner.fit, 1)
    rounds = [{name: cost_of(run, data) for name, run in runs.items()} for _ in range(n_rounds + 1)]
    return rounds[1:]  # the first makes what is made once


def stages(folder: Path, *, device: str) -> dict[str, list[Callable[[], list[Callback]]]]:
    """The learners: bare, then with one callback more each; the last has what imagekit train uses."""
    layout = RunLayout(folder)
    layout.create()
    added: dict[str, Callable[[], list[Callback]]] = {
        "device": lambda: [DeviceCallback(device)],
        "schedule": lambda: [ParamScheduler("lr", cos_1cycle(LR / 25, LR, LR / 1e4, peak=0.3))],
        "timing": lambda: [TimingCallback()],
        "metrics": lambda: [MetricsCallback()],
        "best": lambda: [BestCallback()],
        "predictions": lambda: [PredictionsCallback()],
        "NaN guard": lambda: [NanGuard(layout)],
        "recorder": lambda: [RecorderCallback(layout)],
        "checkpoint": lambda: [CheckpointCallback(layout, State())],
        "run log": lambda: [RunLog(layout)],
    }
    names = list(added)
    made = {f"+ {name}": [added[each] for each in names[: number + 1]] for number, name in enumerate(names)}
    # elsewhere than on a CPU nobody moves the batches of a bare one
    return {"bare Learner": [], **made} if device == "cpu" else made


class State:
    """The state of a learner, as a checkpoint holds it."""

    learner: Learner

    def __call__(self, *, best: bool = False) -> dict[str, Any]:
        return {**self.learner.state_dict(), "row": dict(self.learner.row)}


def bind_state(learner: Learner) -> None:
    """Tell the checkpoints whose state they are to save."""
    checkpoint = learner.find(CheckpointCallback)
    if checkpoint is not None and isinstance(checkpoint.state_fn, State):
        checkpoint.state_fn.learner = learner


def cost_of(run: Callable[[], object], data: Loaders) -> Cost:
    """Run one epoch and see what it cost."""
    begun = time.perf_counter()
    run()
    whole = time.perf_counter() - begun
    train, valid = data.train_dl.seconds(), data.valid_dl.seconds()
    return Cost(train=train, valid=valid, rest=whole - sum(train) - sum(valid))


def train_by_hand(net: nn.Module, data: Loaders, *, device: str) -> None:
    """The loop that one would write: an epoch of training, then of validation."""
    opt = torch.optim.SGD(net.parameters(), lr=LR)
    net.train()
    for x, y in data.train_dl:
        loss = F.cross_entropy(net(x.to(device, non_blocking=True)), y.to(device, non_blocking=True))
        loss.backward()  # type: ignore[no-untyped-call]
        opt.step()
        opt.zero_grad()
    net.eval()
    with torch.no_grad():
        for x, y in data.valid_dl:
            loss = F.cross_entropy(net(x.to(device, non_blocking=True)), y.to(device, non_blocking=True))


def model(device: str) -> nn.Module:
    """One layer."""
    torch.manual_seed(0)
    return nn.Linear(N_IN, N_CLASSES).to(device)


def batches(n: int, *, seed: int) -> list[Batch]:
    """n batches in memory."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(n):
        x = torch.randn(BATCH, N_IN, generator=generator)
        made.append(Batch((x, torch.randint(0, N_CLASSES, (BATCH,), generator=generator))))
        made[-1].rows = torch.arange(number * BATCH, (number + 1) * BATCH)
    return made


def over_by_hand_us(rounds: Sequence[dict[str, Cost]], name: str, phase: str) -> list[float]:
    """Of each round: the median over its batches of what they cost more than by hand, in microseconds."""
    pairs = [(getattr(costs[name], phase), getattr(costs["by hand"], phase)) for costs in rounds]
    return [1e6 * median(a - b for a, b in zip(ours, theirs, strict=True)) for ours, theirs in pairs]


def report(rounds: list[dict[str, Cost]], told: argparse.Namespace) -> None:
    """The table, and one row."""
    by_hand = 1e6 * median(median(costs["by hand"].train) for costs in rounds)
    print(f"{told.device}, {told.threads} threads, {told.rounds} rounds of {told.batches} batches of {BATCH}")
    print(f"by hand: {by_hand:.1f} us a training batch")
    print(f"{'':14s}  us a training batch more (least to greatest), ratio   a validation batch   ms an epoch besides")
    rows: dict[str, Any] = {}
    for name in [name for name in rounds[0] if name != "by hand"]:
        train, valid = (over_by_hand_us(rounds, name, phase) for phase in ("train", "valid"))
        rest = 1e3 * median(costs[name].rest for costs in rounds)
        ratio = (by_hand + median(train)) / by_hand
        rows[name] = {"train_us": train, "valid_us": median(valid), "rest_ms": rest, "ratio": ratio}
        print(
            f"{name:14s} {median(train):8.1f}  ({min(train):.1f} to {max(train):.1f})  {ratio:6.2f}"
            f"  {median(valid):8.1f}  {rest:8.2f}"
        )
    last = median(rows[name]["train_us"])
    print(f"all of them: {last:.1f} us a batch; the bar is {BAR_US:.0f}: {'kept' if last <= BAR_US else 'MISSED'}")
    facts = collect()
    row = {"device": told.device, "threads": told.threads, "batches": told.batches, "rounds": told.rounds}
    row |= {"by_hand_us": by_hand, "learners": rows, "bar_us": BAR_US, "cpu": facts["cpu"]}
    row |= {"versions": facts["versions"]}
    if told.device == "cuda":
        row["gpu"] = torch.cuda.get_device_name()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
