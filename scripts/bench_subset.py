"""What make-subset costs, beside what people would write or call instead: whole commands, start included, interleaved.

    python scripts/bench_subset.py PHOTOS [--cases photos,large,full,nothing,memory] [--rounds 5] [--times 40]
        [--peers peers_resize.py --peers-python PYTHON] [--nette FOLDER]

PHOTOS: a flat folder of JPEGs of the usual sizes; it is copied --times over (files of their own, so that reading costs
what it costs). Two workers everywhere.

photos    to shortest side 160, bicubic, quality 90, with and without the `turbo` extra, beside a pool of two processes
          with plain Pillow and the same filter. Then how far the pixels are from Pillow's full decode and same filter.
          --peers runs a script of further peers on the same folder in the same run, best of three each.
large     128 made JPEGs of 12 megapixels to 320, beside plain Pillow.
full      `--size full --check none` beside cp -r (with and without a sync at the end, as make-subset ends in one), and
          `--check decode` beside a pool of two that decodes with Pillow and writes nothing.
nothing   the same command again with nothing to do, over --nette or the photos.
memory    a dry run over 1,281,000 files: the sum of the proportional set sizes of the whole process tree, sampled.

Prints medians and appends a JSON row a measurement to scripts/results/subset.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

RESULTS = Path(__file__).with_name("results") / "subset.jsonl"
LOAD_AT_START = round(os.getloadavg()[0], 2)  # of the other processes: a number taken beside them says so
IMAGEKIT = [str(Path(sys.executable).with_name("imagekit"))]
RECIPES = """
[photos]
layout = "flat"
label = 'name:^(?P<label>[A-Za-z0-9]+)_'
sizes = ["full", 160, 320]
[large]
layout = "class"
sizes = [320]
"""
# What a person writes in an evening: a pool of two, plain Pillow, the same filter and quality, nothing checked.
PILLOW = """
import os, sys
from multiprocessing import Pool
from PIL import Image
source, out, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
def shrink(path):
    image = Image.open(path).convert("RGB")
    scale = side / min(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    image.resize(size, Image.BICUBIC).save(os.path.join(out, os.path.basename(path)), quality=90)
def decode(path):
    Image.open(path).convert("RGB")
if __name__ == "__main__":
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names)
    with Pool(2) as pool:
        pool.map(shrink if side else decode, paths, chunksize=16)
"""


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--cases", default="photos,large,full,nothing,memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--nette", type=Path)
    told = parser.parse_args()
    cases = {"photos": photos, "large": large, "full": full, "nothing": nothing, "memory": memory}
    with tempfile.TemporaryDirectory(prefix="bench-subset-") as name:
        work = Path(name)
        (work / "recipes.toml").write_text(RECIPES)
        (work / "pillow_pool.py").write_text(PILLOW)
        (work / "no_turbo").mkdir()
        (work / "no_turbo/simplejpeg.py").write_text("raise ImportError('left out by the benchmark')\n")
        for case in told.cases.split(","):
            print(f"== {case}")
            cases[case](work, told)


def photos(work: Path, told: argparse.Namespace) -> None:
    """Shortest side 160."""
    source = copies(work, told)
    n_files = len(list(source.iterdir()))
    commands = {
        "imagekit turbo": lambda out: subset(work, "photos", source, out, "--size", "160"),
        "imagekit": lambda out: subset(work, "photos", source, out, "--size", "160", turbo=False),
        "pillow bicubic": lambda out: pillow(work, source, out, 160),
    }
    interleave("photos", commands, work, n_files=n_files, rounds=told.rounds, peer="pillow bicubic")
    compare_pixels(work, told.photos, 160)
    if told.peers:
        run_peers(told, source)


def large(work: Path, told: argparse.Namespace) -> None:
    """Twelve megapixels to 320."""
    source = work / "large"
    make_large(told.photos, source, n_files=128)
    commands = {
        "imagekit turbo": lambda out: subset(work, "large", source, out, "--size", "320"),
        "imagekit": lambda out: subset(work, "large", source, out, "--size", "320", turbo=False),
        "pillow bicubic": lambda out: pillow(work, source, out, 320),
    }
    interleave("large", commands, work, n_files=128, rounds=told.rounds, peer="pillow bicubic")
    compare_pixels(work, source, 320)
    shutil.rmtree(source)


def full(work: Path, told: argparse.Namespace) -> None:
    """Every byte kept."""
    source = copies(work, told)
    n_files = len(list(source.iterdir()))
    commands: dict[str, Callable[[Path], list[str]]] = {
        "imagekit check none": lambda out: subset(work, "photos", source, out, "--check", "none"),
        "imagekit check none, hard": lambda out: subset(
            work, "photos", source, out, "--check", "none", "--link", "hard"
        ),
        "cp -r": lambda out: ["cp", "-r", str(source), str(out / "copy")],
        "cp -r and sync": lambda out: ["sh", "-c", f"cp -r '{source}' '{out}/copy' && sync -f '{out}'"],
    }
    interleave("full none", commands, work, n_files=n_files, rounds=told.rounds, peer="cp -r")
    commands = {
        "imagekit check decode": lambda out: subset(work, "photos", source, out),
        "pillow decode": lambda out: pillow(work, source, out, 0),
    }
    interleave("full decode", commands, work, n_files=n_files, rounds=told.rounds, peer="pillow decode")


def nothing(work: Path, told: argparse.Namespace) -> None:
    """Nothing to do."""
    source, recipe = (told.nette, "imagenette") if told.nette else (copies(work, told), "photos")
    out = work / "nothing"
    command = subset(work, recipe, source, out, "--size", "160")
    settle()
    subprocess.run(command, check=True, capture_output=True)
    times = [timed(command) for _ in range(told.rounds)]
    n_files = sum(len(names) for _, _, names in os.walk(source))
    note("nothing", "imagekit", times, n_files=n_files)
    shutil.rmtree(out)


def memory(work: Path, told: argparse.Namespace) -> None:
    """The proportional set size of a dry run over an ImageNet of empty files."""
    tree = work / "tree"
    make_tree = Path(__file__).with_name("make_tree.py")
    subprocess.run([sys.executable, str(make_tree), str(tree), "--folders", "1000", "--files", "1281"], check=True)
    command = [*IMAGEKIT, "make-subset", "all", str(tree / "train"), "-o", str(work / "none"), "--size", "160", "-n"]
    begun = time.perf_counter()
    process = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE)
    peak = 0
    with watching(process.pid) as seen:
        process.communicate()
        peak = seen()
    seconds = time.perf_counter() - begun
    if process.returncode:
        sys.exit(f"the dry run ended with {process.returncode}")
    print(f"imagekit --dry-run, 1,281,000 files: {peak / 1e6:.0f} MB (PSS of the tree), {seconds:.1f} s")
    append({"case": "memory", "system": "imagekit", "n_files": 1_281_000, "peak_pss_mb": peak / 1e6, "wall_s": seconds})
    shutil.rmtree(tree)


def copies(work: Path, told: argparse.Namespace) -> Path:
    """The photos --times over, as files of their own, under names that keep their beginning."""
    source = work / "photos"
    if not source.exists():
        source.mkdir()
        for path in sorted(told.photos.iterdir()):
            for i in range(told.times):
                shutil.copy(path, source / f"{path.stem}_{i}{path.suffix}")
        settle()
    return source


def make_large(photos: Path, folder: Path, *, n_files: int) -> None:
    """JPEGs of 4000 x 3000: mosaics of photographs, so that their detail is that of photographs."""
    from PIL import Image

    paths = sorted(photos.iterdir())
    for number in range(n_files):
        draw = random.Random(number)
        canvas = Image.new("RGB", (4000, 3000))
        for left in range(0, 4000, 500):
            for top in range(0, 3000, 375):
                tile = Image.open(draw.choice(paths)).convert("RGB").resize((500, 375), Image.Resampling.LANCZOS)
                canvas.paste(tile, (left, top))
        path = folder / f"c{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path, quality=85)
    settle()


def settle() -> None:
    """A file younger than two seconds is read again by a rerun; and what was just written goes to disk first."""
    subprocess.run(["sync"], check=True)
    time.sleep(2.5)


def subset(work: Path, recipe: str, source: Path, out: Path, *more: str, turbo: bool = True) -> list[str]:
    """The command line of make-subset."""
    recipes = ["--recipes", str(work / "recipes.toml")]
    command = [*IMAGEKIT, "make-subset", recipe, str(source), "-o", str(out), *recipes, "--workers", "2", *more]
    return command if turbo else ["env", f"PYTHONPATH={work / 'no_turbo'}", *command]


def pillow(work: Path, source: Path, out: Path, side: int) -> list[str]:
    """The command line of the plain pool."""
    return [sys.executable, str(work / "pillow_pool.py"), str(source), str(out), str(side)]


def interleave(
    case: str,
    commands: dict[str, Callable[[Path], list[str]]],
    work: Path,
    *,
    n_files: int,
    rounds: int,
    peer: str,
) -> None:
    """Every command once a round, in an order that changes; one unmeasured round first."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        order = list(commands)
        random.Random(number).shuffle(order)
        for name in order:
            out = work / "out"
            makes_its_own = name.startswith("imagekit")
            if not makes_its_own:
                out.mkdir()
            seconds = timed(commands[name](out))
            shutil.rmtree(out, ignore_errors=True)
            if number:
                times[name].append(seconds)
    for name, seconds_each in times.items():
        note(case, name, seconds_each, n_files=n_files, peer=times[peer])


def timed(command: list[str]) -> float:
    """Seconds of a whole command that must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


def note(case: str, system: str, times: list[float], *, n_files: int, peer: list[float] | None = None) -> None:
    """Print and store one row. ratio: how many times the peer's rate, by medians; paired: the median over rounds."""
    median = statistics.median(times)
    row = {
        "case": case,
        "system": system,
        "n_files": n_files,
        "wall_s": round(median, 3),
        "wall_s_each": [round(one, 3) for one in times],
        "images_per_s": round(n_files / median),
    }
    words = f"{case:12} {system:26} {median:7.2f} s  {n_files / median:7.0f} images/s"
    if peer:
        row["ratio"] = round(statistics.median(peer) / median, 3)
        row["paired"] = round(statistics.median(p / one for p, one in zip(peer, times, strict=True)), 3)
        words += f"  {row['ratio']:5.2f} x (paired {row['paired']:.2f})"
    print(words, flush=True)
    append(row)


def compare_pixels(work: Path, photos: Path, side: int) -> None:
    """Mean absolute difference in grey levels from Pillow's full decode and the same filter, over all photos."""
    import numpy as np
    from PIL import Image

    source, out = work / "compared_source", work / "compared"
    for path in (path for path in photos.rglob("*") if path.is_file()):
        target = source / "c" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    done = subset(work, "large", source, out, "--size", str(side))
    subprocess.run(done, check=True, capture_output=True)
    differences = []
    for path in sorted((source / "c").iterdir()):
        image = Image.open(path).convert("RGB")
        ours = np.asarray(Image.open(out / "c" / path.name).convert("RGB"), np.int16)
        buffer = io.BytesIO()
        image.resize((ours.shape[1], ours.shape[0]), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        theirs = np.asarray(Image.open(buffer), np.int16)
        differences.append(float(np.abs(ours - theirs).mean()))
    mean, worst = statistics.mean(differences), max(differences)
    print(f"difference from Pillow at {side}: mean {mean:.2f}, worst image {worst:.2f} grey levels of 255")
    append({"case": f"difference at {side}", "n_files": len(differences), "mean": mean, "worst": worst})
    shutil.rmtree(source)
    shutil.rmtree(out)


def run_peers(told: argparse.Namespace, source: Path) -> None:
    """A script of further peers, which prints a line each: name, images/s."""
    command = [told.peers_python, str(told.peers), str(source), "160"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout, end="")
    for line in done.stdout.splitlines():
        name, rate, *_ = line.split()
        if rate == "failed":
            continue  # printed above; there is nothing to store
        append({"case": "photos", "system": name, "images_per_s": float(rate), "by": told.peers.name})


@contextlib.contextmanager
def watching(pid: int) -> Iterator[Callable[[], int]]:
    """Sample the summed PSS of a process and all below it every 50 ms; the callable gives the peak in bytes."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], sum(map(pss_of, tree_of(pid))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stop.set()
        thread.join()


def tree_of(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in tree_of(int(child)))]


def pss_of(pid: int) -> int:
    """Proportional set size in bytes; 0 once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def append(row: dict[str, object]) -> None:
    """Add what tells where and with what a row was measured."""
    names = ("imagekit", "torch", "pillow", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    about = {
        # where things lie on this machine is nobody's business
        "command": " ".join(["scripts/bench_subset.py", *(word.rsplit("/", 1)[-1] for word in sys.argv[1:])]),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": LOAD_AT_START,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(row | about) + "\n")


if __name__ == "__main__":
    main()
