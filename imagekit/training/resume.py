"""Go on with a run that was interrupted or killed, from where its last checkpoint is, as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from imagekit.environment import versions
from imagekit.errors import CheckpointError, SourceError, UsageError
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.manifest.schema import ChannelStats
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_rows
from imagekit.runs.status import read_status, write_status
from imagekit.training.channels import RunStats
from imagekit.training.checks import Checked, check_all
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import require_same_classes
from imagekit.training.fitting import Place
from imagekit.training.run_files import Beginning
from imagekit.training.running import Running
from imagekit.training.settings import Settings
from imagekit.training.train import begin_session, fit_and_report, learner_of, load
from imagekit.training.train_report import TrainReport

REQUIRED = (
    *("model", "optimizer", "epochs_done", "batches_done", "n_iter", "callbacks", "config"),
    *("vocab", "rows_sha256", "mean", "std", "stats", "threads", "versions"),
)
_WHOLE = ("epoch",)
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

    On one machine with the thread count that the run began with, the weights that it ends with are those of a run that
    was never stopped, bit for bit. The configuration is the checkpoint's. manifest, root: where they are now, if
    not where the run says. changes: of Running, what is to be otherwise than in the run so far.
    Raises SourceError for a folder that is no run, UsageError for one that is done or where nothing was saved,
    CheckpointError for a manifest with other rows or classes and for a checkpoint that cannot be read, LockedError
    where the run is still going on, and what `train` raises.
    """
    layout, session = RunLayout(Path(run)), begin_session(quiet=quiet, more=extra_callbacks)
    _require_run(layout)
    with session.signals.caught(), output_lock(layout.root):
        state = _state(layout)
        begin = _beginning(layout, state, manifest=manifest, root=root, changes=changes or {}, command=command)
        config = begin.settings.config
        for remark in _same_machine(state):
            session.say(remark)
        with closing(load(begin.checked, config, begin.running, root=begin.root)) as cached:
            if cached.line:
                session.say(cached.line)
            # what these did is in the checkpoint
            learner = learner_of(begin.checked, cached, replace(config, lsuv=False, weights=None), begin.stats)
            place = Place(
                epoch=learner.load_state_dict(state),
                batch=learner.batches_done,
                rows=_rows(layout, n_epochs=state["epochs_done"]),
            )
            session.say(f"going on in epoch {place.epoch + 1} of {config.epochs}, after {place.batch:,} of its steps")
            layout.failure.unlink(missing_ok=True)
            write_status(layout.status, state="running", epoch=place.epoch, n_epochs=config.epochs)
            return fit_and_report(learner, layout, begin, place=place, cached=cached, session=session)


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
    facts, config = _read(layout.data), TrainConfig.from_dict(state["config"])
    place = _root(root, facts)
    # weights to start from are in the checkpoint by now, and their file may be gone
    checked = check_all(
        Path(manifest or facts["manifest"]), None, config=replace(config, weights=None), root=place, overwrite=False
    )
    _require_same_data(checked, state, layout)
    return Beginning(
        settings=Settings(config=config, origins={}),
        checked=checked,
        stats=_stats(state),
        command=command,
        root=place,
        running=replace(_running(layout), **changes),
    )


def _require_run(layout: RunLayout) -> None:
    if not layout.status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train",
            where=str(layout.root),
            fix="give the folder that train wrote with -o; imagekit runs lists them",
        )


def _state(layout: RunLayout) -> dict[str, Any]:
    """The last checkpoint. Raises UsageError where there is none, and where nothing is left to do."""
    status = read_status(layout.status)
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
    return load_checkpoint(layout.last, required=REQUIRED)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} of the run cannot be read", where=str(path), fix="train again; a copy of the run may have it"
        ) from error


def _root(told: Path | None, facts: Mapping[str, Any]) -> Path | None:
    recorded = facts.get("root")
    return told or (Path(recorded) if isinstance(recorded, str) else None)


def _running(layout: RunLayout) -> Running:
    """As the run was executed so far."""
    recorded = _read(layout.command).get("running")
    return Running.from_dict(recorded) if isinstance(recorded, dict) else Running()


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


def _same_machine(state: Mapping[str, Any]) -> list[str]:
    """Compute with as many threads as the run did; remarks on what makes the last digits differ all the same."""
    remarks, threads = [], int(state["threads"])
    if threads != torch.get_num_threads():
        remarks.append(f"computing with {threads} threads, as the run did, not with {torch.get_num_threads()}")
        torch.set_num_threads(threads)
    now = versions()
    changed = [
        f"{name} {before} -> {now.get(name)}" for name, before in state["versions"].items() if before != now.get(name)
    ]
    if changed:
        remarks.append(f"other versions than the run began with, so weights may differ a little: {', '.join(changed)}")
    return remarks


def _stats(state: Mapping[str, Any]) -> RunStats:
    facts = state["stats"]
    channels = ChannelStats(
        mean=tuple(state["mean"]), std=tuple(state["std"]), n_images=facts["n_images"], n_pixels=facts["n_pixels"]
    )
    return RunStats(channels=channels, source=facts["source"])


def _rows(layout: RunLayout, *, n_epochs: int) -> list[dict[str, Any]]:
    """The rows of the epochs that are done, as the fit made them."""
    return [{key: _value(key, text) for key, text in row.items()} for row in read_rows(layout.metrics)[:n_epochs]]


def _value(key: str, text: str) -> Any:
    if text == "":
        return None
    number: Callable[[str], Any] = int if key in _WHOLE else float
    return text == "1" if key in _YES_OR_NO else number(text)
