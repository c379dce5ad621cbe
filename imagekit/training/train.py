"""Train on a manifest: check everything first, fit, leave a run directory behind."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from imagekit.data.bunch import DataBunch
from imagekit.data.feed import DeviceFeed
from imagekit.data.loaders import valid_split
from imagekit.errors import TrainingError
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import make_learner, make_loaders
from imagekit.training.caches import Cached, with_cache
from imagekit.training.channels import RunStats, find_stats
from imagekit.training.checks import Checked, check_all, check_output
from imagekit.training.config import TrainConfig
from imagekit.training.fitting import Place, Session, fit
from imagekit.training.interrupt import StopOnSignal
from imagekit.training.run_files import Beginning, start_run
from imagekit.training.running import Running
from imagekit.training.settings import Settings
from imagekit.training.train_report import TrainReport

__all__ = ["TrainReport", "train"]


def train(
    manifest: Path | str,
    *,
    output: Path | str,
    config: TrainConfig | Settings | None = None,
    root: Path | None = None,
    running: Running | None = None,
    n_workers: int = 0,
    quiet: bool = False,
    overwrite: bool = False,
    command: Sequence[str] = (),
    extra_callbacks: Sequence[Callback] = (),
) -> TrainReport:
    """Fit a model to a manifest's train rows, validating as it goes, and write a run directory.

    It validates on `valid`, or where the manifest has none on the first `valid:<name>`. Mean and std are the
    manifest's, or measured on a sample of its train images where it was built without decoding them.
    config: settings with their origins are written down with these. root: where the images are if not where the
    manifest says. running: workers, cache, checkpoints; n_workers alone where nothing else is told. In the main thread
    Ctrl-C and SIGTERM end it after the step under way, saved, and the report says how to go on.
    Raises UsageError with every problem found before work starts (exit 2), a single one as it is; ManifestError for an
    image that cannot be used; TrainingError when the loss is not finite; WorkerError.
    """
    run, path = Path(output), Path(manifest)
    settings = config if isinstance(config, Settings) else Settings(config=config or TrainConfig(), origins={})
    config, running = settings.config, running or Running(n_workers=n_workers)
    session = begin_session(quiet=quiet, more=extra_callbacks)
    with session.signals.caught():
        skips = running.on_error == "skip"
        checked = check_all(path, run, config=config, root=root, overwrite=overwrite, may_miss=skips)
        with output_lock(run), closing(load(checked, config, running, root=root)) as cached:
            check_output(run, overwrite=overwrite)  # again: another may have made a run of it before the lock was ours
            for remark in [*checked.remarks, *([cached.line] if cached.line else [])]:
                session.say(remark)
            # before the files of an overwritten run go: an image that cannot be used must not cost them
            stats = find_stats(
                checked.manifest, root=root, seed=config.seed, n_workers=running.n_workers, say=session.say
            )
            learner = learner_of(checked, cached, config, stats)
            begin = Beginning(
                settings=settings, checked=checked, stats=stats, command=command, root=root, running=running
            )
            return fit_and_report(learner, start_run(run, begin), begin, place=Place(), cached=cached, session=session)


def begin_session(*, quiet: bool, more: Sequence[Callback]) -> Session:
    """The clock starts."""
    return Session(begun=time.monotonic(), quiet=quiet, signals=StopOnSignal(quiet=quiet), more=more)


def learner_of(checked: Checked, cached: Cached, config: TrainConfig, stats: RunStats) -> Learner:
    """The learner of a run."""
    return make_learner(
        checked.manifest, cached.data, config, stats=stats.channels, device=checked.device, model=checked.model
    )


def load(
    checked: Checked, config: TrainConfig, running: Running, *, root: Path | None, n_epochs: int | None = None
) -> Cached:
    """The loaders of a run with their cache; what comes from them lies on a CUDA device, or is on its way there.

    n_epochs: that are still to be trained, None for all of the config.
    """
    device = checked.device
    data = make_loaders(
        checked.manifest,
        config,
        root=root,
        n_workers=running.n_workers,
        pin=device.type == "cuda",
        on_error=running.on_error,
    )
    n_epochs = config.epochs if n_epochs is None else n_epochs
    cached = with_cache(checked.manifest, data, config, running, n_epochs=n_epochs, device=device)
    if device.type != "cuda" or cached.plan.kind == "device":
        return cached
    train, valid = (DeviceFeed(loader, device) for loader in (data.train_dl, data.valid_dl))
    return replace(cached, data=DataBunch(train, valid, data.c_in, data.c_out))


def fit_and_report(
    learner: Learner, layout: RunLayout, begin: Beginning, *, place: Place, cached: Cached, session: Session
) -> TrainReport:
    """Fit from a place on, and say what came of it. An error says how to go on, where something was saved."""
    content, config = begin.checked.manifest, begin.settings.config
    try:
        fitted = fit(learner, layout, begin, place=place, cached=cached, session=session)
    except Exception as error:
        # a loss that is no number would be none again: the same steps come to the same
        if layout.last.exists() and not isinstance(error, TrainingError):
            command = shlex.join(["imagekit", "train", "--resume", str(layout.root)])
            session.say(f"to go on from the last checkpoint: {command}")
        raise
    for remark in cached.remarks():
        session.say(remark)
    return TrainReport(
        run=layout.root,
        manifest=content.path,
        images_root=Path(begin.root or content.root),
        rows=fitted.rows,
        seed=config.seed,
        seconds=time.monotonic() - session.begun,
        timing=fitted.timing,
        valid_split=valid_split(content),
        monitor=config.best_by,
        stopped=learner.stop_reason,
        interrupted=fitted.interrupted,
        skipped=fitted.skipped,
        hint=fitted.hint,
    )
