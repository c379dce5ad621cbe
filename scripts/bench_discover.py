"""How long it takes to list a tree of images, beside `find` and the usual Python ways, in one interleaved run.

    python scripts/bench_discover.py TREE [--rounds 5]

Every measurement is a process of its own. "process" is its wall time with the start of Python; "call" is the listing
alone, inside a process that has imported what it needs. Peak memory is that of the whole process. One unmeasured round
warms the file system's cache. Prints medians and appends one JSON row a system to scripts/results/discover.jsonl.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import mimetypes
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).with_name("results") / "discover.jsonl"
FIND = "find -type f"
LOAD_AT_START = round(os.getloadavg()[0], 2)  # of the other processes: a number taken beside them says so


class Sample(NamedTuple):
    """One run of one system."""

    process_s: float
    call_s: float
    n_files: int
    peak_mb: float


def list_imagekit(root: str) -> Callable[[], int]:
    """This library: names sorted, as Arrow buffers."""
    from imagekit.files.discover import discover

    return lambda: len(discover(root))


def list_os_walk(root: str) -> Callable[[], int]:
    """os.walk and a filter by extension, unsorted, a list of str."""
    extensions = image_types()

    def run() -> int:
        found = []
        for parent, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions:  # noqa: PTH122
                    found.append(os.path.join(parent, name))  # noqa: PTH118, PERF401
        return len(found)

    return run


def list_rglob(root: str) -> Callable[[], int]:
    """Path.rglob and a filter by suffix, unsorted, a list of Path."""
    extensions = image_types()
    return lambda: len([path for path in Path(root).rglob("*") if path.suffix.lower() in extensions])


def list_lesson(root: str) -> Callable[[], int]:
    """The walk of the lessons: os.walk, then a Path for every file."""
    extensions = image_types()

    def of_folder(parent: str, names: list[str]) -> list[Path]:
        folder = Path(parent)
        return [
            folder / name
            for name in names
            if not name.startswith(".") and f".{name.split('.')[-1].lower()}" in extensions
        ]

    def run() -> int:
        found: list[Path] = []
        for parent, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += of_folder(parent, names)
        return len(found)

    return run


def image_types() -> set[str]:
    """Extensions of images, as every peer here takes them."""
    return {ext for ext, kind in mimetypes.types_map.items() if kind.startswith("image/")}


WORKERS = {
    "imagekit discover": list_imagekit,
    "os.walk + filter": list_os_walk,
    "Path.rglob + filter": list_rglob,
    "lesson walk": list_lesson,
}


def work(name: str, root: str) -> None:
    """The child's side: prepare, time one call, print it."""
    run = WORKERS[name](root)
    started = time.perf_counter()
    n_files = run()
    print(json.dumps([time.perf_counter() - started, n_files]))


def measure(name: str, root: str) -> Sample:
    """Run one system once in a child."""
    if name == FIND:
        command = ["find", root, "-type", "f"]
        output = subprocess.DEVNULL
    else:
        command = [sys.executable, __file__, root, "--worker", name]
        output = subprocess.PIPE
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=output, text=True) as child:
        printed = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name} failed with exit code {child.returncode}")
    peak_mb = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    call_s, n_files = json.loads(printed) if printed else (seconds, -1)
    return Sample(seconds, call_s, n_files, peak_mb)


def count_with_find(root: str) -> int:
    """How many files `find` lists; counted outside the clock."""
    with subprocess.Popen(["find", root, "-type", "f", "-print0"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        return sum(block.count(b"\0") for block in iter(lambda: child.stdout.read(2**20), b""))


def facts() -> dict[str, object]:
    """What the numbers depend on; no host name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    find = subprocess.run(["find", "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "versions": {
            "python": platform.python_version(),
            "numpy": importlib.metadata.version("numpy"),
            "pyarrow": importlib.metadata.version("pyarrow"),
            "find": find.splitlines()[0] if find else "not GNU",
            "system": f"{platform.system()} {platform.release()}",
        },
        "cpu": models[0] if models else platform.processor(),
        "n_cores": os.cpu_count(),
        "load_1min": LOAD_AT_START,
    }


def report(tree: str, samples: dict[str, list[Sample]], n_find: int) -> None:
    """Print the table and append the rows."""
    base = statistics.median(sample.process_s for sample in samples[FIND])
    width = shutil.get_terminal_size((100, 24)).columns
    print(f"{'system':28} {'files':>10} {'median s':>9} {'min s':>8} {'max s':>8} {'/ find':>7} {'peak MB':>8}"[:width])
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as out:
        for name, runs in samples.items():
            for kind in ("process",) if name == FIND else ("process", "call"):
                seconds = [getattr(run, f"{kind}_s") for run in runs]
                median = statistics.median(seconds)
                n_files = n_find if name == FIND else runs[0].n_files
                peak_mb = max(run.peak_mb for run in runs)
                label = f"{name} ({kind})"
                spread = f"{median:9.3f} {min(seconds):8.3f} {max(seconds):8.3f}"
                print(f"{label:28} {n_files:10,} {spread} {median / base:7.2f} {peak_mb:8.0f}")
                row = {
                    "name": label,
                    "tree": tree,
                    "n_files": n_files,
                    "seconds": [round(value, 4) for value in seconds],
                    "median_s": round(median, 4),
                    "ratio_to_find": round(median / base, 3),
                    "peak_mb": round(peak_mb, 1),
                    **facts(),
                }
                out.write(json.dumps(row) + "\n")


def main() -> None:
    """Parse, run the rounds interleaved, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", help="folder to list")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--worker", choices=sorted(WORKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.tree)
        return
    names = [FIND, *WORKERS]
    for name in names:
        measure(name, options.tree)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            samples[name].append(measure(name, options.tree))
    report(Path(options.tree).name, samples, count_with_find(options.tree))


if __name__ == "__main__":
    main()
