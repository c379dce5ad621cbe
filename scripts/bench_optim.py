"""What a step of each optimizer costs, over the parameters of a ResNet-50, beside torch.optim in the same run.

    python scripts/bench_optim.py [--device cpu|cuda] [--threads 1,2] [--steps 40] [--rounds 3] [--only adamw,lamb]

161 tensors, 23.5 million numbers (10 classes). On a CPU the peer is torch's fused step where it has one (SGD, Adam,
AdamW) and its plain loop otherwise; for optimizers that torch has not, its AdamW loop stands beside as a yardstick. On
a GPU the peers are fused and foreach. In each round both take `steps` steps in turn, first one of ours, then first one
of theirs; a round's ratio is that of the medians. Muon is compared on the same weights as matrices, for torch's takes
nothing else, and without the vectors.

Prints medians and ratios and adds JSON rows to scripts/results/optim.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

from imagekit.environment import collect
from imagekit.models.xresnet import xresnet50
from imagekit.optim.presets import OPTIMIZERS

RESULTS = Path(__file__).with_name("results") / "optim.jsonl"
LR = 1e-3
TORCH = torch.optim
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

# name -> torch's class, its hypers, whether it has a fused step
PEERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, object], bool]] = {
    "sgd": (TORCH.SGD, {}, True),
    "momentum": (TORCH.SGD, {"momentum": 0.9}, True),
    "adam": (TORCH.Adam, {}, True),
    "adamw": (TORCH.AdamW, {}, True),
    "rmsprop": (TORCH.RMSprop, {}, False),
    "nadam": (TORCH.NAdam, {}, False),
    "radam": (TORCH.RAdam, {}, False),
    "adafactor": (TORCH.Adafactor, {}, False),
    "muon": (TORCH.Muon, {}, False),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="names, separated by commas")
    told = parser.parse_args()
    names = told.only.split(",") if told.only else list(OPTIMIZERS)
    for threads in map(int, told.threads.split(",") if told.device == "cpu" else ["1"]):
        torch.set_num_threads(threads)
        print(f"{told.device}, {threads} threads: ms a step of ours, of the peer, ratio (least to greatest of rounds)")
        for name, peer, ours, theirs in cases(names, told.device):
            rounds = [measure(name, ours, theirs, told) for _ in range(told.rounds)]
            report(name, peer, rounds, told.device, threads)


def cases(names: list[str], device: str) -> Iterator[tuple[str, str, Make, Make]]:
    """(name, the peer's name, how to make ours, how to make theirs)."""
    for name in names:
        kind, hypers, has_fused = PEERS.get(name, (TORCH.AdamW, {}, False))
        ways = ["fused"] if has_fused else ["foreach"] if device == "cuda" else ["loop"]
        ways += ["loop"] if has_fused and device == "cpu" else ["foreach"] if has_fused else []
        if kind is TORCH.Muon:
            ways = ["loop"]
        for way in ways:
            how = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[way]
            how = {} if kind is TORCH.Muon else how
            executor = way if way in ("loop", "foreach") and has_fused else "auto"

            ours = partial(OPTIMIZERS[name], lr=LR, executor=executor)
            yield name, f"torch {kind.__name__} {way}", ours, partial(kind, lr=LR, **hypers, **how)


def parameters(device: str, *, as_matrices: bool) -> list[nn.Parameter]:
    """Those of ResNet-50, with gradients."""
    torch.manual_seed(0)
    params = [param.detach() for param in xresnet50(3, 10).parameters()]
    if as_matrices:
        params = [param.flatten(1) for param in params if param.dim() > 1]
    made = [nn.Parameter(param.clone().to(device)) for param in params]
    for param in made:
        param.grad = torch.randn_like(param) * 0.01
    return made


def measure(name: str, ours: Make, theirs: Make, told: argparse.Namespace) -> tuple[float, float]:
    """Median seconds of one step of either, taken in turn."""
    wait = torch.cuda.synchronize if told.device == "cuda" else _nothing
    opts = [make(parameters(told.device, as_matrices=name == "muon")) for make in (ours, theirs)]
    times: list[list[float]] = [[], []]
    for i in range(told.steps + 8):
        # who comes second finds the cache as the first left it: 2 to 3 % for the same optimizer twice
        for which in (0, 1) if i % 2 else (1, 0):
            wait()
            begun = time.perf_counter()
            opts[which].step()
            wait()
            if i >= 8:  # the first steps make state and plans
                times[which].append(time.perf_counter() - begun)
    return median(times[0]), median(times[1])


def _nothing() -> None:
    """For a CPU, where a call is over when it returns."""


def report(name: str, peer: str, rounds: list[tuple[float, float]], device: str, threads: int) -> None:
    """One line, one row."""
    ratios = [a / b for a, b in rounds]
    ours, theirs = (median(times) * 1e3 for times in zip(*rounds, strict=True))
    print(
        f"{name:10s} {ours:8.2f}  {peer:24s} {theirs:8.2f}"
        f"  {median(ratios):5.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )
    facts = collect()
    row = {"name": name, "peer": peer, "ms": ours, "peer_ms": theirs, "ratios": ratios, "device": device}
    row |= {"threads": threads, "cpu": facts["cpu"], "versions": facts["versions"]}
    if device == "cuda":
        row["gpu"] = torch.cuda.get_device_name()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
