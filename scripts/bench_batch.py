"""What batch transforms cost: from bytes to normalised floats, [64, 3, 128, 128], beside the bare operations and peers.

    python scripts/bench_batch.py [--peer PYTHON] [--peer-setup CODE] [--rounds 5] [--size 64,128] [--device cpu|cuda]

affine    ToFloat, flip, rotation, zoom, shift, reflection padding, Normalize
full      the same with perspective warp, brightness, contrast, saturation and hue
bare      F.affine_grid and F.grid_sample on floats, one rotation an image, reflection: nothing else; of two series in
          each round the faster one
normalise ToFloat and Normalize alone

--peer: an interpreter that has kornia and fastai: kornia's flip and affine, with and without colour jitter and
normalisation; fastai's affine, and its affine, warp and lighting; on floats that were made before. --peer-setup: code
that it runs before its imports. Rounds interleave ours, bare and the peers' process; each takes the median of 15
calls. The batch is on its device already. On a GPU [256, 3, 128, 128] is taken, each call waited for, beside the time
of reading the bytes and writing float32 once at the measured rate of a copy. Prints medians, ratios to bare within each
round, and adds JSON rows to scripts/results/batch.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from imagekit.batch.geometry import Flip, Rotate, Shift, Warp, Zoom
from imagekit.batch.lighting import Brightness, Contrast, Hue, Saturation
from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.environment import collect
from imagekit.transforms.draws import make_keys

RESULTS = Path(__file__).with_name("results") / "batch.jsonl"
MEAN, STD = [0.47, 0.48, 0.45], [0.29, 0.28, 0.30]
PEERS = """
import sys, time, statistics, warnings
warnings.filterwarnings("ignore")
import torch
n, side, device = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
x = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, device=device).float().div(255)
wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
def measure(name, run):
    for _ in range(3): run()
    times = []
    for _ in range(15):
        wait(); begun = time.perf_counter(); run(); wait(); times.append(time.perf_counter() - begun)
    print(f"{name}\\t{statistics.median(times) * 1e3}")
import kornia.augmentation as K
affine = K.RandomAffine(degrees=10, translate=(.1, .1), scale=(.9, 1.1), padding_mode="reflection", p=1.)
plain = K.AugmentationSequential(K.RandomHorizontalFlip(p=.5), affine, data_keys=["input"])
measure("kornia flip, affine", lambda: plain(x))
norm = K.Normalize(torch.tensor([.47, .48, .45]), torch.tensor([.29, .28, .30]))
jitter = K.ColorJitter(.2, .2, .2, .05, p=1.)
light = K.AugmentationSequential(K.RandomHorizontalFlip(p=.5), affine, jitter, norm, data_keys=["input"])
measure("kornia flip, affine, jitter, normalise", lambda: light(x))
from fastai.vision.all import *
image = TensorImage(x)
tfms = aug_transforms(size=side, do_flip=True, max_rotate=10., max_zoom=1.1, max_lighting=0., max_warp=0.)
measure("fastai affine", lambda: compose_tfms(image, tfms, split_idx=0))
more = aug_transforms(size=side, do_flip=True, max_rotate=10., max_zoom=1.1, max_lighting=.2, max_warp=.2)
measure("fastai affine, warp, lighting", lambda: compose_tfms(image, more, split_idx=0))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter that has kornia and fastai")
    parser.add_argument("--peer-setup", default="", help="code that it runs first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", help="images, side; default 64,128, or 256,128 on a GPU")
    parser.add_argument("--device", default="cpu")
    told = parser.parse_args()
    n, side = map(int, (told.size or ("64,128" if told.device == "cpu" else "256,128")).split(","))
    runs = systems(n, side, told.device)
    times: dict[str, list[float]] = {}
    for _ in range(told.rounds):
        found = {name: cost_ms(run, told.device) for name, run in runs.items()}
        if told.peer:
            found |= peers_ms(told, n, side)
        for name, value in found.items():
            times.setdefault(name, []).append(value)
    floor = byte_floor_ms(n, side) if told.device == "cuda" else None
    report(times, n, side, told.device, floor)


def systems(n: int, side: int, device: str) -> dict[str, Callable[[], Tensor]]:
    """Ours and the bare operations."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=generator)
    x8 = packed.permute(0, 3, 1, 2).to(device)
    xf = x8.float().div(255).contiguous()
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(n))
    geometry, normalise = [Flip(), Rotate(), Zoom(), Shift()], Normalize(MEAN, STD)
    affine = BatchPipeline([ToFloat(), *geometry, normalise])
    light = [Brightness(), Contrast(), Saturation(), Hue()]
    full = BatchPipeline([ToFloat(), *geometry, Warp(), *light, normalise])
    only = BatchPipeline([ToFloat(), normalise])
    angles = (torch.rand(n, generator=generator) * 2 - 1).mul(torch.pi / 18).to(device)
    zero = torch.zeros_like(angles)
    theta = torch.stack([angles.cos(), -angles.sin(), zero, angles.sin(), angles.cos(), zero], 1).view(n, 2, 3)

    def bare() -> Tensor:
        grid = F.affine_grid(theta, [n, 3, side, side], align_corners=True)
        return F.grid_sample(xf, grid, padding_mode="reflection", align_corners=True)

    return {
        "bare": bare,
        "affine": lambda: affine(x8, keys),
        "full": lambda: full(x8, keys),
        "normalise": lambda: only(x8, keys),
        "bare again": bare,
    }


def cost_ms(run: Callable[[], object], device: str, *, n: int = 15) -> float:
    """Median of n calls, each waited for, after three."""
    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    for _ in range(3):
        run()
    times = []
    for _ in range(n):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begun)
    return median(times) * 1e3


def _nothing() -> None:
    """For a CPU, where a call is over when it returns."""


def peers_ms(told: argparse.Namespace, n: int, side: int) -> dict[str, float]:
    """The peers, in a process of theirs."""
    command = [told.peer, "-c", told.peer_setup + "\n" + PEERS, str(n), str(side), told.device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    pairs = (line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    return {name: float(value) for name, value in pairs}


def byte_floor_ms(n: int, side: int) -> float:
    """Bytes read once and float32 written once, at the rate of a copy of 1 GB on this device."""
    block = torch.empty(2**28, dtype=torch.float32, device="cuda")
    rate = 2 * block.numel() * 4 / cost_ms(block.clone, "cuda")  # bytes a ms
    return n * 3 * side * side * (1 + 4) / rate


def report(times: dict[str, list[float]], n: int, side: int, device: str, floor_ms: float | None) -> None:
    """Medians, and ratios to `bare` round by round."""
    facts = collect()
    bare = [min(pair) for pair in zip(times["bare"], times.pop("bare again"), strict=True)]
    print(f"[{n}, 3, {side}, {side}] on {device}: ms, and the ratio to bare in the same round (least to greatest)")
    for name, values in times.items():
        ratios = [value / b for value, b in zip(values, bare, strict=True)]
        span = f"{median(ratios):5.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
        over = f"  {median(values) / floor_ms:6.1f} x the floor of {floor_ms * 1e3:.1f} us" if floor_ms else ""
        print(f"{name:42s} {median(values):8.2f}  {span}{over}")
        row = {"name": name, "ms": [round(v, 3) for v in values], "to bare": round(median(ratios), 3), "device": device}
        row |= {"shape": [n, 3, side, side], "threads": torch.get_num_threads(), "floor_ms": floor_ms}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"cpu": facts["cpu"], "versions": facts["versions"]}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
