"""One fit of a run: all that watches, keeps and tells, and where it can be stopped and gone on with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.early_stopping import EarlyStopping
from imagekit.callbacks.ema import ModelEma
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.callbacks.progress import ProgressCallback, choose_columns, choose_voice
from imagekit.callbacks.recorder import RecorderCallback, was_stopped
from imagekit.callbacks.run_log import RunLog
from imagekit.callbacks.skipped import SkippedCallback
from imagekit.callbacks.step_seeds import StepSeeds
from imagekit.callbacks.telemetry import Telemetry
from imagekit.callbacks.timing import TimingCallback
from imagekit.data.loaders import valid_split
from imagekit.environment import count_cores, version_line
from imagekit.files.jsonl import write_json
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import choose_metrics
from imagekit.training.caches import Cached
from imagekit.training.config import TrainConfig
from imagekit.training.hints import loader_hint
from imagekit.training.interrupt import StopOnSignal
from imagekit.training.predictions import write_predictions
from imagekit.training.run_files import Beginning, checkpoint_state, is_of_average
from imagekit.training.running import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What a fit leaves in memory: its rows, where the time went, whether it was stopped, what it left out."""

    rows: list[dict[str, Any]]
    timing: dict[str, Any]
    interrupted: str | None
    skipped: list[tuple[str, str]]
    hint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a fit begins: whole epochs, batches of the next one, and the rows of those epochs."""

    epoch: int = 0
    batch: int = 0
    rows: Sequence[dict[str, Any]] = field(default=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One call of train or resume: when it began, by time.monotonic, whether it may talk, what can stop it, and what a
    caller added to its callbacks.
    """

    begun: float
    quiet: bool
    signals: StopOnSignal
    more: Sequence[Callback]

    def say(self, line: str) -> None:
        """A line on stderr, unless it is quiet."""
        choose_voice(quiet=self.quiet)(line)


class _Rows(Callback):
    """Keep every epoch's row for the report."""

    _order = 200

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = list(rows)

    def after_epoch(self) -> None:
        self.rows.append(dict(self.learner.row))


def fit(
    learner: Learner,
    layout: RunLayout,
    begin: Beginning,
    *,
    place: Place,
    cached: Cached,
    session: Session,
) -> Fitted:
    """Fit from a place on; times are written down also when it is interrupted."""
    config, n_classes = begin.settings.config, len(begin.checked.manifest.vocab)
    running, timing, kept = begin.running, TimingCallback(), _Rows(place.rows)
    skipped = SkippedCallback(layout.events) if running.on_error == "skip" else None
    columns = choose_columns(_measured(config, n_classes))
    callbacks: list[Callback] = [session.signals, StepSeeds(config.seed), *([skipped] if skipped else [])]
    callbacks += _watching(config, n_classes, layout, cached)
    callbacks += [timing, kept, *_keeping(layout, config, running, checkpoint_state(learner, begin))]
    callbacks += [RunLog(layout, head=_head(begin, cached), columns=columns)]
    callbacks += [] if session.quiet else [ProgressCallback(columns=columns)]
    callbacks += [EarlyStopping(config.best_by, patience=config.early_stop)] if config.early_stop else []
    earlier = _earlier_times(layout.timing) if place.epoch or place.batch else []
    try:
        learner.fit(config.epochs, [*callbacks, *session.more], first_epoch=place.epoch, first_batch=place.batch)
    finally:
        try:
            cached.data.close()  # ended workers are those whose memory is known
        finally:
            totals = {**timing.totals(), "cache": cached.plan.kind, "workers": running.n_workers}
            totals["seconds"] = time.monotonic() - session.begun
            write_json(layout.timing, {**totals, **({"earlier": earlier} if earlier else {})})
    return Fitted(
        rows=kept.rows,
        timing=totals,
        interrupted=_interruption(learner) if was_stopped(learner, n_done=learner.epochs_done) else None,
        skipped=list(skipped.names.items()) if skipped else [],
        hint=_hint(totals, begin, cached, running),
    )


def _watching(config: TrainConfig, n_classes: int, layout: RunLayout, cached: Cached) -> list[Callback]:
    """What measures, in the network's own weights and in the averaged ones, and says which epoch is the best."""
    metrics = choose_metrics(n_classes)
    ema = ModelEma(config.ema, metrics=metrics) if config.ema else None
    is_averaged = ema is not None and is_of_average(config.best_by)

    def save(predictions: PredictionsCallback) -> None:
        write_predictions(layout.predictions, cached.data.valid_ds, predictions)

    predictions = PredictionsCallback(of=ema if is_averaged else None, save=save)
    watching = [MetricsCallback(metrics), *([ema] if ema is not None else []), BestCallback(config.best_by)]
    return [*watching, predictions]


def _keeping(
    layout: RunLayout, config: TrainConfig, running: Running, state: Callable[..., Mapping[str, object]]
) -> list[Callback]:
    """What writes the run down."""
    checkpoint = CheckpointCallback(
        layout,
        state,
        top_k=config.keep_best,
        monitor=config.best_by,
        every=running.steps_between,
        every_s=running.seconds_between,
    )
    keeping: list[Callback] = [NanGuard(layout), RecorderCallback(layout), checkpoint]
    return keeping + ([Telemetry(layout.telemetry_data)] if config.telemetry else [])


def _head(begin: Beginning, cached: Cached) -> list[str]:
    config = begin.settings.config
    settings = ", ".join(f"{key} {value}" for key, value in config.to_dict().items())
    data = f"validating on {valid_split(begin.checked.manifest)}, mean and std from {begin.stats.source}"
    loaded = begin.checked.weights
    weights = [] if loaded is None else [f"weights: {loaded}"]
    cache = [] if cached.line is None else [cached.line]
    return [version_line(), f"manifest {begin.checked.manifest.path}", settings, data, *weights, *cache]


def _measured(config: TrainConfig, n_classes: int) -> list[str]:
    """Columns of the row beyond those that every run has."""
    return [*(["valid_top5"] if n_classes > 5 else []), *(["valid_ema_accuracy"] if config.ema else [])]


def _interruption(learner: Learner) -> str:
    """Where it was stopped, in words."""
    n_batches = len(learner.data.train_dl)
    part = f"after {learner.batches_done:,} of {n_batches:,} steps"
    if learner.batches_done >= n_batches and len(learner.dl):  # nothing to go through, where it is not validated
        part = "in validation"
    return f"interrupted in epoch {learner.epochs_done + 1} of {learner.n_epochs}, {part}; everything is saved"


def _earlier_times(path: Path) -> list[dict[str, Any]]:
    """Of a run that is gone on with, the times of the fits before, the first one first; none where none can be read."""
    try:
        before = dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):  # killed before it could write them, or damaged since
        return []
    return [*before.pop("earlier", []), before]


def _hint(totals: dict[str, Any], begin: Beginning, cached: Cached, running: Running) -> str | None:
    config = begin.settings.config
    sizes = begin.checked.manifest.metadata.sizes
    median = min(sizes["width"][1], sizes["height"][1]) if sizes else None
    return loader_hint(
        totals,
        n_workers=running.n_workers,
        n_cores=count_cores(),
        cache=cached.plan.kind,
        can_cache=cached.can_cache() if cached.plan.kind == "none" else None,
        median_side_px=median,
        size_px=config.presize or config.size,
    )
