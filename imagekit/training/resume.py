"""Go on with a run that was interrupted or killed, from where its last checkpoint is, as if nothing had happened."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from imagekit.callbacks.skipped import SkippedCallback
from imagekit.environment import versions
from imagekit.errors import CheckpointError, ConfigError, SourceError, UsageError
from imagekit.files.jsonl import write_json
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.manifest.schema import ChannelStats
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import give_column, keep_rows, read_rows
from imagekit.runs.status import read_status, write_status
from imagekit.training.channels import RunStats
from imagekit.training.checks import Checked, check_all
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import require_same_classes
from imagekit.training.fitting import Place, Session
from imagekit.training.run_files import Beginning, precision_of
from imagekit.training.running import Running
from imagekit.training.settings import Settings
from imagekit.training.train import begin_session, fit_and_report, learner_of, load
from imagekit.training.train_report import TrainReport

REQUIRED = (
    *("model", "optimizer", "epochs_done", "batches_done", "n_iter", "callbacks", "config"),
    *("vocab", "rows_sha256", "mean", "std", "stats", "threads", "versions", "is_averaged"),
)
_YES_OR_NO = ("is_best",)


def resume(
    run: Path | str,
    *,
    manifest: Path | str | None = None,
    root: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    quiet: bool = False,
    command: Sequence[str] = (),
    extra_callbacks: Sequence[Callback] = (),
) -> TrainReport:
    """Go on with a run from its last checkpoint, in the middle of an epoch too, and finish it.

    On one machine it ends in the weights of a run that was never stopped, bit for bit: it computes with as many threads
    as the run began with. The configuration is the checkpoint's. manifest, root: where they are now, if not where the
    run says. changes: of Running, what is otherwise than in the run so far; it stays so if the run is stopped again.
    Raises SourceError for a folder that is no run and for a manifest that is elsewhere, UsageError for a run that is
    done or where nothing was saved, CheckpointError for a manifest with other rows or classes and for files of the run
    that cannot be read, LockedError where the run is still going on, and what `train` raises.
    """
    layout, session = RunLayout(Path(run)), begin_session(quiet=quiet, more=extra_callbacks)
    _require_run(layout)
    with session.signals.caught(), output_lock(layout.root):
        state = _state(layout, session)
        begin = _beginning(layout, state, manifest=manifest, root=root, changes=changes or {}, command=command)
        layout.heal()
        for remark in _remarks(state, begin):
            session.say(remark)
        with _threads(state["threads"]):
            return _go_on(layout, begin, state, session)


def _go_on(layout: RunLayout, begin: Beginning, state: dict[str, Any], session: Session) -> TrainReport:
    """Fit from the state on."""
    config = begin.settings.config
    n_left = max(0, config.epochs - int(state["epochs_done"]))
    with closing(load(begin.checked, config, begin.running, root=begin.root, n_epochs=n_left)) as cached:
        if cached.line:
            session.say(cached.line)
        # what these did is in the checkpoint
        learner = learner_of(begin.checked, cached, replace(config, lsuv=False, weights=None), begin.stats)
        epoch = learner.load_state_dict(state)
        counting = _count_skips(layout, state, begin.running, n_epochs=epoch)
        place = Place(epoch=epoch, batch=learner.batches_done, rows=_rows(layout, n_epochs=epoch, session=session))
        session.say(_where(place, config, n_batches=len(cached.data.train_dl)))
        _write_down(layout, begin)
        write_status(layout.status, state="running", epoch=epoch, n_epochs=config.epochs)
        session = replace(session, more=[*session.more, *counting])
        report = fit_and_report(learner, layout, begin, place=place, cached=cached, session=session)
        names = [each for callback in counting for each in callback.names.items()]
        return replace(report, skipped=names) if counting else report


def _beginning(
    layout: RunLayout,
    state: Mapping[str, Any],
    *,
    manifest: Path | str | None,
    root: Path | None,
    changes: Mapping[str, Any],
    command: Sequence[str],
) -> Beginning:
    """What is settled: all of it by the checkpoint and the run's files, but for what was told."""
    recorded, recorded_root = _recorded_place(layout)
    config, place = TrainConfig.from_dict(state["config"]), root or recorded_root
    if manifest is None and not recorded.exists():
        raise SourceError(
            "the manifest of the run is not where it was",
            where=str(recorded),
            fix=f"say where it is now: imagekit train FILE --resume {layout.root}; and --root DIR for its images",
        )
    # weights to start from are in the checkpoint by now, and their file may be gone
    running = _running(layout).changed(changes)
    checked = check_all(
        Path(manifest or recorded),
        None,
        config=replace(config, weights=None),
        root=place,
        overwrite=False,
        may_miss=running.on_error == "skip",
    )
    _require_same_data(checked, state, layout)
    return Beginning(
        settings=Settings(config=config, origins={}),
        checked=checked,
        stats=_stats(state),
        command=command or sys.argv[:1],
        root=place,
        running=running,
    )


def _require_run(layout: RunLayout) -> None:
    if not layout.status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train",
            where=str(layout.root),
            fix="give the folder that train wrote with -o; imagekit runs lists them",
        )


def _state(layout: RunLayout, session: Session) -> dict[str, Any]:
    """The last checkpoint. Raises UsageError where there is none, and where nothing is left to do."""
    try:
        status = read_status(layout.status)
    except CheckpointError as error:
        session.say(f"{error.what}: it is written anew")
    else:
        if status.state == "done":
            raise UsageError(
                f"the run is done: {status.epoch} of {status.n_epochs} epochs",
                where=str(layout.root),
                fix="evaluate it, or train a new run with more --epochs",
            )
    if not layout.last.exists():
        raise UsageError(
            "nothing of the run was saved yet",
            where=str(layout.root),
            fix="type the command that began it again, with --overwrite",
        )
    state = load_checkpoint(layout.last, required=REQUIRED)
    if state["is_averaged"]:
        raise CheckpointError(
            "the checkpoint holds averaged weights, which are to be used and not to be trained on",
            where=str(layout.last),
            fix="put back the last.pt that the run wrote, or train a new run with --weights",
        )
    return state


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.name} of the run cannot be read", where=str(path), fix="take it from a copy of the run, or train again"
    )


def _recorded_place(layout: RunLayout) -> tuple[Path, Path | None]:
    """Manifest and root as the run recorded them, from where they were told; or from here, where that is no more."""
    facts = _read(layout.data)
    manifest, root, folder = facts.get("manifest"), facts.get("root"), facts.get("cwd", "")
    if not isinstance(manifest, str) or not isinstance(root, str | None) or not isinstance(folder, str):
        raise _unreadable(layout.data)
    return _found(manifest, folder), None if root is None else _found(root, folder)


def _found(told: str, folder: str) -> Path:
    """What is there, whole where it was told from; else as it was told, which is from here."""
    whole = Path(folder, told)
    return whole if Path(folder) != Path.cwd() and whole.exists() else Path(told)


def _running(layout: RunLayout) -> Running:
    """As the run was executed so far."""
    recorded = _read(layout.command).get("running")
    if not isinstance(recorded, dict):
        raise _unreadable(layout.command)
    try:
        return Running.from_dict(recorded)
    except ConfigError as error:
        raise _unreadable(layout.command) from error


def _require_same_data(checked: Checked, state: Mapping[str, Any], layout: RunLayout) -> None:
    """Raises CheckpointError for a manifest with other classes or rows than the run's."""
    content = checked.manifest
    require_same_classes(state["vocab"], content, where=layout.last, fix="go on with the manifest of the run")
    if content.metadata.rows_sha256 != state["rows_sha256"]:
        raise CheckpointError(
            "the manifest has other rows than the one that the run was trained on",
            where=f"{content.path} and {layout.last}",
            fix="go on with the manifest of the run, or train a new run on this one",
        )


def _remarks(state: Mapping[str, Any], begin: Beginning) -> list[str]:
    """What a person should know of the machine."""
    remarks, threads, now = [], state["threads"], versions()
    precision = precision_of(begin)
    if precision != state["precision"]:
        before = state["precision"]
        remarks.append(f"computing in {precision} here, the run did so far in {before}: the weights will be others")
    if threads != torch.get_num_threads():
        remarks.append(f"computing with {threads} threads, as the run did, not with {torch.get_num_threads()}")
    changed = [
        f"{name} {before} -> {now.get(name)}" for name, before in state["versions"].items() if before != now.get(name)
    ]
    if changed:
        remarks.append(f"other versions than the run began with, so weights may differ a little: {', '.join(changed)}")
    return remarks


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Compute with so many: sums in another order end in other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _where(place: Place, config: TrainConfig, *, n_batches: int) -> str:
    if place.epoch >= config.epochs:
        return "every epoch is done already: what is left is to say so"
    inside = f", after {place.batch:,} of {n_batches:,} steps" if place.batch else ""
    return f"going on in epoch {place.epoch + 1} of {config.epochs}{inside}"


def _write_down(layout: RunLayout, begin: Beginning) -> None:
    """Where the data is now and how the run is executed from here on, for the next time; and who said so."""
    root = None if begin.root is None else str(begin.root)
    facts = {"manifest": str(begin.checked.manifest.path), "root": root, "cwd": str(Path.cwd())}
    write_json(layout.data, _read(layout.data) | facts)
    command = _read(layout.command)
    resumed = [*command.get("resumed", []), {"argv": list(begin.command)}]
    write_json(layout.command, command | {"running": begin.running.to_dict(), "resumed": resumed})
    layout.failure.unlink(missing_ok=True)


def _count_skips(
    layout: RunLayout, state: Mapping[str, Any], running: Running, *, n_epochs: int
) -> list[SkippedCallback]:
    """Keep the columns of metrics.csv equal, where images are skipped from now on or no longer.

    Returns what counts them in a run that no longer skips: it goes on with what it had counted.
    """
    callback = SkippedCallback(layout.events)
    was_counted = callback.name in state["callbacks"]
    is_counting = running.on_error == "skip"
    keep_rows(layout.metrics, n_epochs=n_epochs)
    # by what the file has: a resume that was killed before its first checkpoint has changed it already
    give_column(layout.metrics, callback.name, 0 if is_counting or was_counted else None)
    return [callback] if was_counted and not is_counting else []


def _stats(state: Mapping[str, Any]) -> RunStats:
    facts = state["stats"]
    channels = ChannelStats(
        mean=tuple(state["mean"]), std=tuple(state["std"]), n_images=facts["n_images"], n_pixels=facts["n_pixels"]
    )
    return RunStats(channels=channels, source=facts["source"])


def _rows(layout: RunLayout, *, n_epochs: int, session: Session) -> list[dict[str, Any]]:
    """The rows of the epochs that are done, as the fit made them."""
    rows = [{key: _value(key, text) for key, text in row.items()} for row in read_rows(layout.metrics)[:n_epochs]]
    if len(rows) < n_epochs:
        session.say(f"{layout.metrics.name} has {len(rows)} rows of the {n_epochs} epochs that are done")
    return rows


def _value(key: str, text: str) -> Any:
    """A field as it was before it was written: a whole number has neither a point nor an exponent."""
    if text == "":
        return None
    if key in _YES_OR_NO:
        return text == "1"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
