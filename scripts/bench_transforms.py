"""What each transform of one image costs, and the loader's chain per core beside torchvision's.

    python scripts/bench_transforms.py IMAGENETTE [--peer PYTHON] [--peer-setup CODE] [--rounds 5] [--images 300]

One thread. First a table of microseconds for every transform on made pictures of 500 x 375 and 224 x 224 pixels, and
its share of the lesson's budget of 7.7 ms an image (ImageNet in five minutes on 8 GPUs with 4 cores each).
Then decode, random resized crop to 128, flip, from bytes in memory to a uint8 tensor, on --images files of IMAGENETTE
(a folder of JPEGs), with Pillow's decoder and simplejpeg's; with --peer, an interpreter that has torchvision, beside
its v2 PILToTensor, RandomResizedCrop, RandomHorizontalFlip. Each round runs the three one after another in
processes of their own; each takes its best of five passes. --peer-setup: code that the peer runs before its imports.
Prints medians of the rounds and the ratios, and adds a JSON row a measurement to scripts/results/transforms.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from imagekit.environment import collect
from imagekit.transforms.crops import CenterCrop, GeneralCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.flips import AlternatingFlip, RandomDihedral, RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB, ToByteTensor, ToFloatTensor
from imagekit.transforms.warp import PerspectiveWarp, TiltRandomCrop

RESULTS = Path(__file__).with_name("results") / "transforms.jsonl"
BUDGET_US = 7_680.0
TIMING = """
import sys, time
from pathlib import Path
def measure(chain):
    files = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    n = int(sys.argv[2])
    payloads = [path.read_bytes() for path in files[:: max(1, len(files) // n)][:n]]
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for i, data in enumerate(payloads):
            chain(i, data)
        best = min(best, time.perf_counter() - begun)
    print(best / len(payloads) * 1e6)
"""
OURS = """
import torch
torch.set_num_threads(1)
from imagekit.pixels import turbo
from imagekit.pixels.decode import decode_rgb
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.crops import RandomResizedCrop
from imagekit.transforms.draws import make_keys
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.tensors import to_byte_tensor
if sys.argv[3] == "pillow":
    turbo._module = None
elif turbo.load_turbo() is None:
    raise SystemExit("simplejpeg is not installed")
pipeline = ItemPipeline([RandomResizedCrop(128), RandomFlip(), to_byte_tensor])
draws = pipeline.draw(make_keys(seed=0, epoch=0, ids_B=torch.arange(100_000))).tolist()
measure(lambda i, data: pipeline(decode_rgb(data), draws[i]))
"""
TORCHVISION = """
import io, torch
torch.set_num_threads(1)
from PIL import Image
from torchvision.transforms import v2
crop = v2.RandomResizedCrop(128, scale=(0.35, 1), antialias=True)
chain = v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip()])
measure(lambda i, data: chain(Image.open(io.BytesIO(data)).convert("RGB")))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("imagenette", type=Path)
    parser.add_argument("--peer", help="interpreter that has torchvision")
    parser.add_argument("--peer-setup", default="", help="code that it runs first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=300)
    told = parser.parse_args()
    torch.set_num_threads(1)
    measure_each()
    measure_chain(told)


def measure_each() -> None:
    """The table of every transform, on both sizes."""
    print(f"{'us an image':40s} {'500 x 375':>10s} {'224 x 224':>10s}   share of 7.7 ms")
    for name, transform in every_transform():
        costs = [cost_us(transform, *size) for size in ((500, 375), (224, 224))]
        print(f"{name:40s} {costs[0]:10.1f} {costs[1]:10.1f}   {costs[0] / BUDGET_US:6.1%}", flush=True)
        keep({"what": "transform", "name": name, "us_500x375": round(costs[0], 1), "us_224x224": round(costs[1], 1)})


def every_transform() -> list[tuple[str, ItemTransform]]:
    """Each transform with the options that one would use."""
    filters = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
    return [
        ("MakeRGB, of a grey picture", MakeRGB()),
        *((f"ResizeFixed(128, filter={name})", ResizeFixed(128, filter=name)) for name in filters),
        ("CenterCrop(128)", CenterCrop(128)),
        ("GeneralCrop(128)", GeneralCrop(128)),
        ("RandomCrop(128, crop_size=200)", RandomCrop(128, crop_size=200)),
        ("RandomResizedCrop(128)", RandomResizedCrop(128)),
        ("RandomResizedCrop(128), six filters", RandomResizedCrop(128, filter=filters)),
        ("TiltRandomCrop(128, crop_size=200)", TiltRandomCrop(128, crop_size=200)),
        ("PerspectiveWarp(128)", PerspectiveWarp(128)),
        ("PerspectiveWarp(128, filter=nearest)", PerspectiveWarp(128, filter="nearest")),
        ("RandomFlip(p=1.0)", RandomFlip(p=1.0)),
        ("AlternatingFlip(p=1.0)", AlternatingFlip(p=1.0)),
        ("RandomDihedral(p=1.0)", RandomDihedral(p=1.0)),
        ("ToByteTensor", ToByteTensor()),
        ("ToFloatTensor", ToFloatTensor()),
    ]


def cost_us(transform: ItemTransform, width: int, height: int, *, n: int = 60) -> float:
    """Median microseconds of one application, over draws of `n` images."""
    picture = make_picture(width, height)
    item: object = picture
    if isinstance(transform, MakeRGB):
        item = Image.fromarray(picture).convert("L")
    elif isinstance(transform, ToFloatTensor):
        item = ToByteTensor()(picture)
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(n))
    rows = uniform(keys, stream=transform.stream, n=transform.n_draws).tolist()
    transform(item, rows[0])
    return median(seconds(lambda row=row: transform(item, row)) for row in rows) * 1e6


def make_picture(width: int, height: int) -> np.ndarray:
    """Soft patches with some noise, as a photograph has: uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    return (np.asarray(coarse) + rng.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8)


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def measure_chain(told: argparse.Namespace) -> None:
    """Ours with both decoders and the peer, in turn."""
    files = [str(told.imagenette), str(told.images)]
    systems: dict[str, Sequence[str]] = {
        "imagekit, Pillow": [sys.executable, "-c", TIMING + OURS, *files, "pillow"],
        "imagekit, simplejpeg": [sys.executable, "-c", TIMING + OURS, *files, "turbo"],
    }
    if told.peer:
        systems["torchvision v2"] = [told.peer, "-c", told.peer_setup + "\n" + TIMING + TORCHVISION, *files]
    costs: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(told.rounds):
        for name, command in systems.items():
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            costs[name].append(float(done.stdout.split()[-1]))
    print(f"\ndecode, random resized crop to 128, flip: us an image and core, median of {told.rounds} rounds")
    peer = costs.get("torchvision v2")
    for name, values in costs.items():
        ratios = [theirs / ours for theirs, ours in zip(peer, values, strict=True)] if peer else []
        shown = f"{median(ratios):5.2f} x ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        print(f"{name:24s} {median(values):8.1f}  {shown}")
        row = {"what": "chain", "name": name, "us": [round(value, 1) for value in values]}
        keep(row | ({"torchvision / it": round(median(ratios), 3)} if ratios else {}))


def keep(row: dict[str, object]) -> None:
    """Add one measurement to the results file."""
    facts = collect()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"cpu": facts["cpu"], "versions": facts["versions"]}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
