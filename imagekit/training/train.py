"""Train on a manifest: check everything first, fit, leave a run directory behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.early_stopping import EarlyStopping
from imagekit.callbacks.ema import ModelEma
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.callbacks.progress import ProgressCallback, choose_columns, choose_voice
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.callbacks.run_log import RunLog
from imagekit.callbacks.telemetry import Telemetry
from imagekit.callbacks.timing import TimingCallback
from imagekit.data.bunch import DataBunch
from imagekit.data.loaders import valid_split
from imagekit.environment import version_line
from imagekit.files.jsonl import write_json
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import choose_metrics, make_learner, make_loaders
from imagekit.training.channels import find_stats
from imagekit.training.checks import check_all
from imagekit.training.config import TrainConfig
from imagekit.training.predictions import write_predictions
from imagekit.training.run_files import Beginning, checkpoint_state, is_of_average, start_run
from imagekit.training.settings import Settings


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
    monitor: str = "valid_accuracy"
    stopped: str | None = None
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
        best, last, n = self.best, self.rows[-1], len(self.rows)
        lines = [
            f"{self.valid_split} accuracy {last['valid_accuracy']:.4f} after {n} epoch{'s' * (n != 1)},"
            f" best {self._best_in_words()} in epoch {best['epoch']}",
            f"{self.seconds:.1f} s, {last['images_per_s']:,.0f} training images/s,"
            f" {last['data_wait']:.0%} of the time waiting for data",
            f"run: {self.run}, seed {self.seed}",
        ]
        lines += [self.stopped] if self.stopped else []
        if last["data_wait"] > 0.3:
            lines.insert(2, "the loader is the bottleneck: try more --workers, or make a smaller subset")
        return "\n".join(lines)

    def _best_in_words(self) -> str:
        """The accuracy of the weights that were kept, which may be averaged, and what told them."""
        if self.monitor == "valid_accuracy":
            return f"{self.best['valid_accuracy']:.4f}"
        is_averaged = is_of_average(self.monitor)
        accuracy = self.best["valid_ema_accuracy" if is_averaged else "valid_accuracy"]
        words = f"{accuracy:.4f}{' of the averaged weights' * is_averaged}"
        is_told_by_it = self.monitor in ("valid_ema_accuracy", "valid_accuracy")
        return words if is_told_by_it else f"{words}, by {self.monitor} {self.best[self.monitor]:.4f},"

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
            "stopped": self.stopped,
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
    config: TrainConfig | Settings | None = None,
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
    config: settings with their origins are written down with these. root: where the images are if not where the
    manifest says. n_workers: decoding processes, 0 for none.
    Raises UsageError with every problem found before work starts (exit 2), a single one as it is; ManifestError for an
    image that cannot be used; TrainingError when the loss is not finite.
    """
    begun, run, path = time.monotonic(), Path(output), Path(manifest)
    settings = config if isinstance(config, Settings) else Settings(config=config or TrainConfig(), origins={})
    config = settings.config
    checked = check_all(path, run, config=config, root=root, overwrite=overwrite)
    content, say = checked.manifest, choose_voice(quiet=quiet)
    data = make_loaders(content, config, root=root, n_workers=n_workers, pin=checked.device.type == "cuda")
    with output_lock(run), closing(data):
        for remark in checked.remarks:
            say(remark)
        # before the files of an overwritten run go: an image that cannot be used must not cost them
        stats = find_stats(content, root=root, seed=config.seed, n_workers=n_workers, say=say)
        learner = make_learner(content, data, config, stats=stats.channels, device=checked.device, model=checked.model)
        begin = Beginning(settings=settings, checked=checked, stats=stats, command=command)
        layout = start_run(run, begin)
        fitted = _fit(learner, layout, begin, begun=begun, quiet=quiet, more=extra_callbacks)
    return TrainReport(
        run=run,
        manifest=path,
        images_root=Path(root or content.root),
        rows=fitted.rows,
        seed=config.seed,
        seconds=time.monotonic() - begun,
        timing=fitted.timing.totals(),
        valid_split=valid_split(content),
        monitor=config.best_by,
        stopped=learner.stop_reason,
    )


class _Fitted(NamedTuple):
    """What a fit leaves in memory: a row an epoch, and where the time went."""

    rows: list[dict[str, Any]]
    timing: TimingCallback


def _fit(
    learner: Learner, layout: RunLayout, begin: Beginning, *, begun: float, quiet: bool, more: Sequence[Callback]
) -> _Fitted:
    """Fit, with all that watches and keeps; predictions and times are written down also when it is interrupted.

    begun: when the whole work began, by time.monotonic.
    """
    config, n_classes = begin.settings.config, len(begin.checked.manifest.vocab)
    timing, kept, watching = TimingCallback(), _Rows(), _watching(config, n_classes)
    predictions = next(callback for callback in watching if isinstance(callback, PredictionsCallback))
    columns = choose_columns(_measured(config, n_classes))
    callbacks = [*watching, timing, kept, *_keeping(layout, config, checkpoint_state(learner, begin))]
    callbacks += [RunLog(layout, head=_head(begin), columns=columns)]
    callbacks += [] if quiet else [ProgressCallback(columns=columns)]
    callbacks += [EarlyStopping(config.best_by, patience=config.early_stop)] if config.early_stop else []
    try:
        learner.fit(config.epochs, [*callbacks, *more])
    finally:
        if predictions.logits_NK is not None or learner.failure is None:
            dataset = cast(DataBunch, learner.data).valid_ds
            write_predictions(layout.predictions, dataset, predictions)
        write_json(layout.timing, {**timing.totals(), "seconds": time.monotonic() - begun})
    return _Fitted(kept.rows, timing)


def _watching(config: TrainConfig, n_classes: int) -> list[Callback]:
    """What measures, in the network's own weights and in the averaged ones, and says which epoch is the best."""
    metrics = choose_metrics(n_classes)
    ema = ModelEma(config.ema, metrics=metrics) if config.ema else None
    is_averaged = ema is not None and is_of_average(config.best_by)
    predictions = PredictionsCallback(of=ema if is_averaged else None)
    watching = [MetricsCallback(metrics), *([ema] if ema is not None else []), BestCallback(config.best_by)]
    return [*watching, predictions]


def _keeping(layout: RunLayout, config: TrainConfig, state: Callable[..., Any]) -> list[Callback]:
    """What writes the run down."""
    checkpoint = CheckpointCallback(layout, state, top_k=config.keep_best, monitor=config.best_by)
    keeping: list[Callback] = [NanGuard(layout), RecorderCallback(layout), checkpoint]
    return keeping + ([Telemetry(layout.telemetry_data)] if config.telemetry else [])


def _head(begin: Beginning) -> list[str]:
    config = begin.settings.config
    settings = ", ".join(f"{key} {value}" for key, value in config.to_dict().items())
    data = f"validating on {valid_split(begin.checked.manifest)}, mean and std from {begin.stats.source}"
    loaded = begin.checked.weights
    weights = [] if loaded is None else [f"weights: {loaded}"]
    return [version_line(), f"manifest {begin.checked.manifest.path}", settings, data, *weights]


def _measured(config: TrainConfig, n_classes: int) -> list[str]:
    """Columns of the row beyond those that every run has."""
    return [*(["valid_top5"] if n_classes > 5 else []), *(["valid_ema_accuracy"] if config.ema else [])]
