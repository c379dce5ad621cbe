"""What building and opening a manifest costs, beside what people would call instead. A process for each measurement.

    python scripts/bench_manifest.py NETTE [--cases header,decode,rows,groups,nothing] [--rounds 5] [--tree TREE]

NETTE: Imagenette, or any folder of JPEGs in split and class folders. Two workers everywhere. "call" is the time of the
call in a process that has just started, imports done; "process" is the whole command, the start of Python included.

header    `--check header` (every byte read, sha256) beside load_dataset("imagefolder") of Hugging Face datasets.
decode    `--check decode`, with and without channel statistics and the `turbo` extra, beside a pool of two that decodes
          with Pillow alone.
rows      1,281,000 made-up images: from what is known of each to a published file; then the file opened as training
          opens it. Peak memory of each process.
groups    1,000,000 difference hashes, 1 % of them planted within three bits of another, 5 % flat: grouped; whether
          every planted pair was found, and peak memory.
nothing   the same command again with nothing to do, over TREE or 1,281,000 small JPEGs made for it (5 GB, a minute).

Prints medians and appends a JSON row a measurement to scripts/results/manifest.jsonl.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).with_name("results") / "manifest.jsonl"
LOAD_AT_START = round(os.getloadavg()[0], 2)  # of the other processes: a number taken beside them says so
N_ROWS = 1_281_000
WITHOUT_TURBO = ("imagekit without turbo", "the same, no statistics")
PEAK = """
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
"""
MANIFEST = """
import sys, time
from imagekit.manifest.build import ManifestOptions, build_manifest
import imagekit.manifest.image as image
import imagekit.manifest.looking as looking
if sys.argv[4] == "without":
    looking.DescribeImage = lambda **given: image.DescribeImage(with_sums=False, **given)
begun = time.perf_counter()
build_manifest(sys.argv[1], output=sys.argv[2], options=ManifestOptions(check=sys.argv[3]), n_workers=2)
print(time.perf_counter() - begun)
"""
DATASETS = """
import sys, time
import datasets
datasets.disable_progress_bars()
begun = time.perf_counter()
found = datasets.load_dataset("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2])
assert sum(split.num_rows for split in found.values()) == int(sys.argv[3]), found
print(time.perf_counter() - begun)
"""
PILLOW = """
import os, sys, time
from multiprocessing import Pool
from PIL import Image
def decode(path):
    Image.open(path).convert("RGB").load()
if __name__ == "__main__":
    begun = time.perf_counter()
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(sys.argv[1]) for name in names)
    with Pool(2) as pool:
        pool.map(decode, paths, chunksize=16)
    print(time.perf_counter() - begun)
"""
ROWS = (
    PEAK
    + """
import sys, time
from pathlib import Path
import numpy as np
import pyarrow as pa
from imagekit.engine.facts import FactTable
from imagekit.files.discover import Discovery
from imagekit.manifest.finish import Ingredients, finish
from imagekit.manifest.image import LAYOUT
from imagekit.manifest.naming import read_names
from imagekit.manifest.options import ManifestOptions
from imagekit.manifest.source import Source

n, folder, split = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
draw = np.random.default_rng(0)
def text():
    for group in range(0, n, 1281):
        for i in range(group, min(group + 1281, n)):
            part = "val" if i % 25 == 0 else "train"
            yield f"{part}/n{group // 1281 % 1000:08d}/{group // 1281 % 1000:08d}_{i}.JPEG".encode()
names = pa.array(text(), pa.large_binary())
names = names.take(pa.compute.sort_indices(names))
none = pa.array([], pa.large_binary())
kinds = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["not-image"]))
discovery = Discovery(root=folder, names=names, others=none, other_kinds=kinds, unreadable=(), n_hidden=0)
facts, rows = FactTable(n, LAYOUT), np.arange(n)
side = lambda: pa.array(draw.integers(100, 600, n).astype(np.int32))
put = lambda name, column: facts.put_columns(rows, name, column)
put("width", side()), put("height", side())
put("n_frames", pa.array(np.ones(n, np.int32))), put("exif_orientation", pa.array(np.ones(n, np.int8)))
put("size_bytes", pa.array(draw.integers(10_000, 200_000, n)))
put("dhash", pa.array(draw.integers(0, 2**64, n, np.uint64)))
put("stamp", pa.array(draw.integers(1, 2**64, n, np.uint64)))
for channel in "rgb":
    mean = draw.integers(60, 200, n)
    pixels = facts.numbers("width").astype(np.int64) * facts.numbers("height")
    put(f"sum_{channel}", pa.array(pixels * mean)), put(f"squares_{channel}", pa.array(pixels * (mean**2 + 3_000)))
one = lambda word: pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([word]))
put("format", one("JPEG")), put("mode", one("RGB"))
put("sha256", pa.Array.from_buffers(pa.binary(32), n, [None, pa.py_buffer(draw.bytes(32 * n))]))
before = peak()
begun = time.perf_counter()
options = ManifestOptions(split=split, label="folder:2").settled(None)
source = Source(root=folder, discovery=discovery, others=none, kinds=kinds)
given = Ingredients(
    source=source, path=folder / "rows.parquet", options=options, recipe=None,
    named=read_names(names, folder, options), joined=None, old=None,
)
finish(given, facts).write(folder / "rows.quarantine")
print(time.perf_counter() - begun, peak(), before)
"""
)
OPEN = (
    PEAK
    + """
import sys, time
from imagekit.manifest.read import read_manifest
begun = time.perf_counter()
manifest = read_manifest(sys.argv[1])
train = manifest.rows("train", columns=("file_name", "file_name_bytes", "target"))
names, targets = manifest.raw_names(train), train["target"].to_numpy()
print(time.perf_counter() - begun, peak())
assert len(names) == len(targets) > 0
"""
)
GROUPS = (
    PEAK
    + """
import sys, time
import numpy as np
from imagekit.rules.grouping import Components, Likeness, join_similar
n = int(sys.argv[1])
draw = np.random.default_rng(1)
hashes = draw.integers(0, 2**64, n, np.uint64)
flat = draw.permutation(n)[: n // 20]
planted = np.setdiff1d(draw.permutation(n)[: n // 50], flat)
planted = planted[: len(planted) // 2 * 2].reshape(-1, 2)[: n // 100]
for one, other in planted.tolist():
    turned = draw.permutation(64)[: draw.integers(0, 4)]
    hashes[other] = hashes[one] ^ np.bitwise_or.reduce(np.uint64(1) << turned.astype(np.uint64), initial=np.uint64(0))
hashes[flat] = draw.choice(np.array([0, 2**64 - 1, 0x0F0F0F0F0F0F0F0F, 1, 3], np.uint64), len(flat))
begun = time.perf_counter()
components = Components(n)
like = Likeness(contents=np.arange(n, dtype=np.int32), hashes=hashes, has_hash=np.ones(n, np.bool_))
join_similar(components, like)
seconds = time.perf_counter() - begun
from imagekit.rules.similar import is_flat
told = ~(is_flat(hashes[planted[:, 0]]) | is_flat(hashes[planted[:, 1]]))
found = components.labels[planted[:, 0]] == components.labels[planted[:, 1]]
assert found[told].all(), (~found[told]).sum()
assert (np.bincount(components.labels[flat]) <= 1).all()
print(seconds, peak(), int(told.sum()), len(planted))
"""
)


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nette", type=Path)
    parser.add_argument("--cases", default="header,decode,rows,groups,nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tree", type=Path)
    told = parser.parse_args()
    cases = {"header": header, "decode": decode, "rows": rows, "groups": groups, "nothing": nothing}
    with tempfile.TemporaryDirectory(prefix="bench-manifest-") as name:
        (Path(name) / "no_turbo").mkdir()
        (Path(name) / "no_turbo/simplejpeg.py").write_text("raise ImportError('left out by the benchmark')\n")
        for case in told.cases.split(","):
            print(f"== {case}")
            cases[case](Path(name), told)


def header(work: Path, told: argparse.Namespace) -> None:
    """Every byte and header, beside the loader that indexes the same folder."""
    n_files = count_files(told.nette)
    sources = {"imagekit": (MANIFEST, "header", ""), "datasets imagefolder": (DATASETS, str(n_files))}
    interleave("header", sources, work, told, n_files=n_files, peer="datasets imagefolder")


def decode(work: Path, told: argparse.Namespace) -> None:
    """Every pixel, beside decoding and nothing else."""
    sources = {
        "imagekit": (MANIFEST, "decode", ""),
        "imagekit, no statistics": (MANIFEST, "decode", "without"),
        "imagekit without turbo": (MANIFEST, "decode", ""),
        "the same, no statistics": (MANIFEST, "decode", "without"),
        "pillow pool": (PILLOW,),
    }
    interleave("decode", sources, work, told, n_files=count_files(told.nette), peer="pillow pool")


def rows(work: Path, told: argparse.Namespace) -> None:
    """1,281,000 rows written and opened."""
    for split in ("folders", "stratified:0.1"):
        written = [run(ROWS, str(N_ROWS), str(work), split) for _ in range(told.rounds)]
        megabytes, before = (max(one[i] for one in written) for i in (1, 2))
        note(
            "rows", f"written, {split}", [one[0] for one in written], n_files=N_ROWS, peak_mb=megabytes, start_mb=before
        )
        opened = [run(OPEN, str(work / "rows.parquet")) for _ in range(told.rounds)]
        note("rows", "opened", [one[0] for one in opened], n_files=N_ROWS, peak_mb=max(one[1] for one in opened))


def groups(work: Path, told: argparse.Namespace) -> None:
    """A million hashes."""
    done = [run(GROUPS, "1000000") for _ in range(told.rounds)]
    print(f"planted pairs that say something: {done[0][2]:,.0f} of {done[0][3]:,.0f}; all found")
    note("groups", "imagekit", [one[0] for one in done], n_files=1_000_000, peak_mb=max(one[1] for one in done))


def nothing(work: Path, told: argparse.Namespace) -> None:
    """Nothing to do over very many files."""
    tree = told.tree
    if tree is None:
        tree = work / "tree"
        make_tree(tree)
    command = [str(Path(sys.executable).with_name("imagekit")), "manifest", str(tree), "-o", str(work / "big.parquet")]
    command += ["--check", "header", "--workers", "2", "-q"]
    first = [timed(command)]
    note("nothing", "imagekit, first run", first, n_files=N_ROWS)
    times = [timed(command) for _ in range(told.rounds)]
    note("nothing", "imagekit, again", times, n_files=N_ROWS)


def make_tree(tree: Path) -> None:
    """1,281,000 JPEGs that differ in a comment."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 90, 30)).save(buffer, "JPEG", quality=20)
    data = buffer.getvalue()
    for number in range(1_000):
        folder = tree / ("val" if number % 2 else "train") / f"n{number // 2:08d}"
        folder.mkdir(parents=True)
        for i in range(N_ROWS // 1_000):
            comment = b"\xff\xfe\x00\x0a" + struct.pack("<Q", number * 10_000 + i)
            (folder / f"{number}_{i}.JPEG").write_bytes(data[:2] + comment + data[2:])
    subprocess.run(["sync"], check=True)
    time.sleep(2.5)


def interleave(
    case: str,
    sources: dict[str, tuple[str, ...]],
    work: Path,
    told: argparse.Namespace,
    *,
    n_files: int,
    peer: str,
) -> None:
    """Every system once a round, in an order that changes; one unmeasured round first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    for number in range(told.rounds + 1):
        order = list(sources)
        random.Random(number).shuffle(order)
        for name in order:
            source, *more = sources[name]
            out = work / f"{case}-{number}-{name}"
            begun = time.perf_counter()
            plain = {"PYTHONPATH": str(work / "no_turbo")} if name in WITHOUT_TURBO else {}
            call = run(source, str(told.nette), str(out), *more, environment=plain)[0]
            if number:
                times[name].append((call, time.perf_counter() - begun))
    for name, each in times.items():
        theirs = [call for call, _ in times[peer]]
        note(case, name, [call for call, _ in each], n_files=n_files, peer=theirs, process=[whole for _, whole in each])


def run(source: str, *arguments: str, environment: dict[str, str] | None = None) -> list[float]:
    """The numbers that a program prints in its last line; it must succeed."""
    command = [sys.executable, "-c", source, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return [float(number) for number in done.stdout.splitlines()[-1].split()]


def timed(command: list[str]) -> float:
    """Seconds of a whole command that must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begun


def count_files(folder: Path) -> int:
    """Files below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def note(
    case: str,
    system: str,
    times: list[float],
    *,
    n_files: int,
    peer: list[float] | None = None,
    process: list[float] | None = None,
    **more: float,
) -> None:
    """Print and store one row. ratio: the peer's time over this one's, by medians; paired: the median over rounds."""
    median = statistics.median(times)
    row: dict[str, object] = {
        "case": case,
        "system": system,
        "n_files": n_files,
        "call_s": round(median, 3),
        "call_s_each": [round(one, 3) for one in times],
        **more,
    }
    words = f"{case:8} {system:26} {median:7.3f} s"
    if process:
        row["process_s"] = round(statistics.median(process), 3)
        words += f"  process {row['process_s']:.2f} s"
    if peer:
        row["ratio"] = round(statistics.median(peer) / median, 3)
        row["paired"] = round(statistics.median(p / one for p, one in zip(peer, times, strict=True)), 3)
        words += f"  {row['ratio']:.2f} x (paired {row['paired']:.2f})"
    print(words + "".join(f"  {name} {value:.0f}" for name, value in more.items()), flush=True)
    about = {
        # where things lie on this machine is nobody's business
        "command": " ".join(["scripts/bench_manifest.py", *(word.rsplit("/", 1)[-1] for word in sys.argv[1:])]),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("imagekit", "pillow", "pyarrow", "datasets")},
        "load_at_start": LOAD_AT_START,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(row | about) + "\n")


if __name__ == "__main__":
    main()
