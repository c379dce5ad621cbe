"""Train on a manifest: check everything first, fit, leave a run directory behind."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.callbacks.progress import COLUMNS, COLUMNS_TOP5, ProgressCallback, write_line
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.run_log import RunLog
from imagekit.callbacks.timing import TimingCallback
from imagekit.data.loaders import check_one_label, valid_split
from imagekit.environment import collect, version_line, versions
from imagekit.errors import ImagekitError, ManifestError, OutputError, SourceError, UsageError
from imagekit.files.atomic import write_text
from imagekit.files.jsonl import write_json
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.learner.metrics import Metric, accuracy, top_k
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import VALID_CROP_SCALE, choose_device, make_learner, make_loaders
from imagekit.training.channels import RunStats, find_stats
from imagekit.training.config import TrainConfig
from imagekit.training.predictions import write_predictions

N_FILES_CHECKED = 200  # spread over the manifest; enough to notice a tree that moved, quick on a network disk


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """The outcome of one training: where it lies, what it reached, how long it took."""

    run: Path
    manifest: Path
    images_root: Path
    rows: Sequence[dict[str, Any]]
    seed: int
    seconds: float
    timing: dict[str, float]
    valid_split: str = "valid"
    exit_code: int = 0

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best epoch, the latest of equals."""
        return next(row for row in reversed(self.rows) if row["is_best"])

    @property
    def next_command(self) -> str:
        """What to type next."""
        option = "" if self.valid_split == "valid" else f" --split {self.valid_split}"
        return f"imagekit evaluate {self.run} {self.manifest}{option}"

    def summary(self) -> str:
        """The result as text."""
        best, last = self.best, self.rows[-1]
        lines = [
            f"{self.valid_split} accuracy {last['valid_accuracy']:.4f} after {last['epoch']} epochs,"
            f" best {best['valid_accuracy']:.4f} in epoch {best['epoch']}",
            f"{self.seconds:.1f} s, {last['images_per_s']:,.0f} training images/s,"
            f" {last['data_wait']:.0%} of the time waiting for data",
            f"run: {self.run}, seed {self.seed}",
        ]
        if last["data_wait"] > 0.3:
            lines.insert(2, "the loader is the bottleneck: try more --workers, or make a smaller subset")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "run": str(self.run),
            "manifest": str(self.manifest),
            "seed": self.seed,
            "epochs": list(self.rows),
            "best": self.best,
            "seconds": round(self.seconds, 3),
            "timing": self.timing,
        }


class _Rows(Callback):
    """Keep every epoch's row for the report."""

    _order = 200

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def after_epoch(self) -> None:
        self.rows.append(dict(self.learner.row))


def train(
    manifest: Path | str,
    *,
    output: Path | str,
    config: TrainConfig | None = None,
    root: Path | None = None,
    n_workers: int = 0,
    quiet: bool = False,
    overwrite: bool = False,
    command: Sequence[str] = (),
    extra_callbacks: Sequence[Callback] = (),
) -> TrainReport:
    """Fit a model to a manifest's train rows, validating after each epoch, and write a run directory.

    It validates on `valid`, or where the manifest has none on the first `valid:<name>`. Mean and std are the
    manifest's, or measured on a sample of its train images where it was built without decoding them.
    root: where the images are if not where the manifest says. n_workers: decoding processes, 0 for none.
    Raises UsageError with every problem found before work starts (exit 2), a single one as it is; ManifestError for an
    image that cannot be used; TrainingError when the loss is not finite.
    """
    begun, config, run, path = time.monotonic(), config or TrainConfig(), Path(output), Path(manifest)
    content, device = _check_all(path, run, config=config, root=root, overwrite=overwrite)
    data = make_loaders(content, config, root=root, n_workers=n_workers, pin=device.type == "cuda")
    with output_lock(run), closing(data):
        say = _say_nothing if quiet else write_line
        # before the files of an overwritten run go: an image that cannot be used must not cost them
        stats = find_stats(content, root=root, seed=config.seed, n_workers=n_workers, say=say)
        _say_valid_split(content, say)
        layout = _start_run(run, content, config, command=command)
        learner = make_learner(content, data, config, stats=stats.channels, device=device)
        metrics, timing, kept = MetricsCallback(_metrics(len(content.vocab))), TimingCallback(), _Rows()
        predictions = PredictionsCallback()
        state = _checkpoint_state(learner, content, config, stats)
        columns = COLUMNS_TOP5 if len(content.vocab) > 5 else COLUMNS
        log = RunLog(layout, head=_head(config, path, valid_split(content), stats), columns=columns)
        callbacks: list[Callback] = [metrics, timing, predictions, kept, NanGuard(layout), RecorderCallback(layout)]
        callbacks += [CheckpointCallback(layout, state), log]
        callbacks += [*([] if quiet else [ProgressCallback(columns=columns)]), *extra_callbacks]
        learner.fit(config.epochs, callbacks)
        write_predictions(layout.predictions, data.valid_ds, predictions)
        seconds = time.monotonic() - begun
        write_json(layout.timing, {**timing.totals(), "seconds": seconds})
    return TrainReport(
        run=run,
        manifest=path,
        images_root=Path(root or content.root),
        rows=kept.rows,
        seed=config.seed,
        seconds=seconds,
        timing=timing.totals(),
        valid_split=valid_split(content),
    )


def _say_nothing(line: str) -> None:
    """For a quiet command."""


def _say_valid_split(manifest: Manifest, say: Callable[[str], object]) -> None:
    split = valid_split(manifest)
    if split != "valid":
        say(f"no row has split valid: validating on {split}")


def _head(config: TrainConfig, manifest: Path, split: str, stats: RunStats) -> list[str]:
    settings = ", ".join(f"{key} {value}" for key, value in config.to_dict().items())
    data = f"validating on {split}, mean and std from {stats.source}"
    return [version_line(), f"manifest {manifest}", settings, data]


def _metrics(n_classes: int) -> dict[str, Metric]:
    return {"accuracy": accuracy, **({"top5": top_k(5)} if n_classes > 5 else {})}


def _check_all(
    path: Path, run: Path, *, config: TrainConfig, root: Path | None, overwrite: bool
) -> tuple[Manifest, torch.device]:
    """Everything that can be known beforehand; all problems at once."""
    found: dict[str, Any] = {}
    checks: list[tuple[str, Callable[[], Any]]] = [
        ("manifest", lambda: _usable_manifest(path, root)),
        ("device", lambda: choose_device(config.device)),
        ("output", lambda: _check_output(run, overwrite=overwrite)),
    ]
    problems: list[ImagekitError] = []
    for name, check in checks:
        try:
            found[name] = check()
        except ImagekitError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"- {problem}".replace("\n", "\n  ") for problem in problems)
        raise UsageError(f"{len(problems)} problems stand in the way of training:\n{listed}")
    return found["manifest"], found["device"]


def _usable_manifest(path: Path, root: Path | None) -> Manifest:
    manifest = read_manifest(path)
    check_one_label(manifest)
    if len(manifest.vocab) < 2:
        raise ManifestError(
            f"there are {len(manifest.vocab)} classes, training needs at least 2",
            where=str(path),
            fix="choose a folder with more class folders, or another --label",
        )
    for split in ("train", valid_split(manifest)):
        manifest.rows(split)
    missing = manifest.missing_files(root=root, sample=N_FILES_CHECKED)
    if missing:
        raise SourceError(
            f"{len(missing)} of {min(N_FILES_CHECKED, manifest.table.num_rows)} files looked for are not there,"
            f" {missing[0]} for one",
            where=str(root or manifest.root),
            fix="give --root DIR, the folder that the manifest's names are relative to",
        )
    return manifest


def _check_output(run: Path, *, overwrite: bool) -> None:
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    layout = RunLayout(run)
    if not run.is_dir() or not layout.status.exists():
        raise OutputError(
            "the output exists and is not a run of imagekit train",
            where=str(run),
            fix="give another -o, or move it away yourself",
        )
    if not overwrite:
        raise OutputError("the run exists already", where=str(run), fix="give another -o, or --overwrite to train anew")


def _start_run(run: Path, manifest: Manifest, config: TrainConfig, *, command: Sequence[str]) -> RunLayout:
    """Make the folder and write down what is about to happen; files of an overwritten run go first."""
    layout = RunLayout(run)
    layout.clear()
    layout.create()
    write_text(layout.config, config.to_toml())
    write_json(layout.command, {"argv": list(command or sys.argv[:1]), "rows_sha256": manifest.metadata.rows_sha256})
    write_json(layout.environment, collect(run))
    names = {"vocab": list(manifest.vocab), "class_names": list(manifest.metadata.class_names)}
    write_text(layout.vocab, json.dumps(names, indent=2, ensure_ascii=False) + "\n")
    return layout


def _checkpoint_state(
    learner: Learner, manifest: Manifest, config: TrainConfig, stats: RunStats
) -> Callable[[], dict[str, Any]]:
    """A function that gives the whole state; `model` alone is enough to use the weights elsewhere."""
    metadata = manifest.metadata

    def state() -> dict[str, Any]:
        loop = learner.state_dict()
        return {
            "model": loop["model"],
            "model_name": config.model,
            "model_args": {"c_in": 3, "c_out": len(metadata.vocab)},
            "vocab": list(metadata.vocab),
            "class_names": list(metadata.class_names),
            "mean": list(stats.channels.mean),
            "std": list(stats.channels.std),
            "stats": stats.to_dict(),
            "size": config.size,
            "crop": VALID_CROP_SCALE,
            "optimizer": loop["optimizer"],
            "epochs_done": loop["epochs_done"],
            "n_iter": learner.n_iter,
            "row": dict(learner.row),
            "config": config.to_dict(),
            "rows_sha256": metadata.rows_sha256,
            "versions": versions(),
            "threads": torch.get_num_threads(),
        }

    return state
