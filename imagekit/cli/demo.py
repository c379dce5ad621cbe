"""`imagekit demo`: the whole way on a drawn data set, by the commands that a user would type."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.frame import Outcome, imagekit_command, seed_option, workers_option
from imagekit.errors import ImagekitError, OutputError

if TYPE_CHECKING:
    from imagekit.look.shapes import Planted

MARKER = ".imagekit-demo"
N_TRAIN_PER_CLASS, SIZE_PX, LEAST_ACCURACY = 160, 64, 0.80
# 0.93 to 0.96 for seeds 0 to 3; 15 s of one core, half of what lesson-cnn takes for as much
TRAINING = shlex.split("--model mini --epochs 6 --size 32 --batch-size 32 --lr 0.1")
WHY_3 = {
    "make-subset": "exit code 3 is expected here: the source holds files that cannot be used, planted on purpose",
    "manifest": "exit code 3 is expected here: one picture was planted in both train and val, a leak",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What the demo made, what became of the planted files, and how well the model tells the shapes apart."""

    folder: Path
    accuracy: float
    planted: tuple[dict[str, str], ...]
    seconds: float
    exit_code: int = 0

    @property
    def outputs(self) -> dict[str, str]:
        """Every output, by what it is."""
        run = self.folder / "run"
        return {
            "drawn source": str(self.folder / "source"),
            "subset": str(self.folder / "subset"),
            "quarantine list": str(self.folder / "subset/.imagekit/quarantine.jsonl"),
            "manifest": str(self.folder / "subset/metadata.parquet"),
            "checkpoint": str(run / "checkpoints/best.pt"),
            "predictions": str(run / "predictions.parquet"),
            "curves": str(run / "curves.png"),
            "report": str(run / "report.html"),
        }

    @property
    def next_command(self) -> str:
        """What to type next, on images of one's own."""
        return "imagekit recipes"

    def summary(self) -> str:
        """The result as text."""
        widths = [max(len(row[key]) for row in self.planted) for key in ("path", "kind")]
        return "\n".join(
            [
                "planted files and what became of them:",
                *(
                    f"  {row['path']:<{widths[0]}}  {row['kind']:<{widths[1]}}  {row['outcome']}"
                    for row in self.planted
                ),
                f"top-1 accuracy {self.accuracy:.4f} on the valid images (chance is 0.10); {self.seconds:.0f} s in all",
                "outputs:",
                *(f"  {name:<16} {path}" for name, path in self.outputs.items()),
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "folder": str(self.folder),
            "accuracy": self.accuracy,
            "planted": list(self.planted),
            "seconds": round(self.seconds, 1),
            "outputs": self.outputs,
        }


@imagekit_command("demo", examples=["imagekit demo"])
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("imagekit-demo"),
    show_default=True,
    help="Folder for everything; an earlier demo's is replaced.",
)
@seed_option
@workers_option
def demo(output: Path, seed: int, workers: int) -> Outcome:
    """Draw a small data set with faulty files in it and take it through every step, offline, in about a minute.

    Draws an ImageNet-like tree of twelve classes of shapes, then runs make-subset, manifest, inspect, train and
    evaluate, echoing each command. The planted faults show what quarantine, orientation and leak reports look like.
    """
    return run_demo(output, seed=seed, n_workers=workers, say=lambda line: click.echo(line, err=True))


def run_demo(folder: Path, *, seed: int, n_workers: int, say: Callable[[str], None]) -> DemoReport:
    """Every step of the demo in `folder`; `say` takes one text for the screen.

    Raises OutputError for a folder that is not a demo's, ImagekitError if a step fails or the accuracy is too low.
    """
    from imagekit.look.shapes import draw_shapes

    begun = time.monotonic()
    _clear(folder)
    say(f"drawing the source: {folder / 'source'}")
    source = draw_shapes(folder / "source", n_train_per_class=N_TRAIN_PER_CLASS, seed=seed)
    subset, run = folder / "subset", folder / "run"
    manifest = subset / "metadata.parquet"
    workers = ["--workers", str(n_workers)]
    _step(["make-subset", "shapes", str(source.root), "-o", str(subset), "--size", str(SIZE_PX), *workers], say=say)
    _step(["manifest", str(subset), "--recipe", "shapes", *workers], say=say)
    _step(["inspect", str(manifest)], say=say)
    _step(["train", str(manifest), "-o", str(run), *TRAINING, "--seed", str(seed), *workers], say=say)
    measured = json.loads(_step(["evaluate", str(run), str(manifest), *workers, "--json"], say=say))
    accuracy = float(measured["accuracy"])
    if accuracy < LEAST_ACCURACY:
        raise ImagekitError(
            f"top-1 accuracy is {accuracy:.4f}, a sound installation reaches at least {LEAST_ACCURACY:.2f}",
            where=str(run),
            fix="run imagekit doctor, and try another --seed",
        )
    planted = tuple(_outcome_rows(source.planted, subset))
    return DemoReport(folder=folder, accuracy=accuracy, planted=planted, seconds=time.monotonic() - begun)


def _clear(folder: Path) -> None:
    """Make an empty demo folder; an earlier demo's content goes, anybody else's is refused."""
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise OutputError(
            "the folder exists and is not an earlier demo's",
            where=str(folder),
            fix="give another -o, or move it away yourself",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


def _step(words: list[str], *, say: Callable[[str], None]) -> str:
    """Run one command as a user would, show it and what it prints, and return that."""
    line = shlex.join(["imagekit", *words])
    say(f"\n$ {line}")
    # -P: the folder that the demo was started in must not shadow a module
    command = [sys.executable, "-P", "-m", "imagekit", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    say(done.stdout.rstrip())
    if done.returncode not in (0, 3):
        raise ImagekitError(
            f"a step of the demo ended with exit code {done.returncode}",
            where=line,
            fix="see its own message above; imagekit doctor looks at the installation",
        )
    if done.returncode == 3:
        say(f"({WHY_3.get(words[0], 'exit code 3: a check found faults')})")
    return done.stdout


def _outcome_rows(planted: tuple[Planted, ...], subset: Path) -> list[dict[str, str]]:
    """What files.parquet says of each planted file."""
    import pyarrow.parquet as pq

    rows = {row["file_name"]: row for row in pq.read_table(subset / ".imagekit/files.parquet").to_pylist()}
    return [
        {"path": item.path, "kind": item.kind, "outcome": _describe(rows.get(item.path)), "expected": item.expected}
        for item in planted
    ]


def _describe(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not seen: its name begins with a dot"
    if row["outcome"] == "selected":
        return f"selected, as {row['out_name']}"
    return f"{row['outcome']}: {row['reason']}" if row["reason"] != row["outcome"] else str(row["outcome"])
