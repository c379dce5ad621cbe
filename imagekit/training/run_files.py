"""What a run writes down before it begins, and what its checkpoints hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from imagekit.callbacks.ema import ModelEma
from imagekit.data.loaders import valid_split
from imagekit.environment import collect, versions
from imagekit.files.atomic import write_text
from imagekit.files.jsonl import write_json
from imagekit.learner.learner import Learner
from imagekit.manifest.read import Manifest
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import write_status
from imagekit.training.assemble import autocast_dtype, valid_crop_scale
from imagekit.training.channels import RunStats
from imagekit.training.checks import Checked
from imagekit.training.running import Running
from imagekit.training.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """What is settled when a run begins: settings, data, device and weights that were checked, statistics.

    root: where the images are, if somebody said so. running: how it is executed.
    """

    settings: Settings
    checked: Checked
    stats: RunStats
    command: Sequence[str]
    root: Path | None
    running: Running


def start_run(run: Path, begin: Beginning) -> RunLayout:
    """Make the folder and write down what is about to happen; files of an overwritten run go first."""
    # all that could fail comes before anything of an overwritten run goes
    config, data, environment = begin.settings.to_toml(), data_facts(begin), collect(run)
    layout = RunLayout(run).create()
    # first: a folder without a status is no run, and would be refused even to --overwrite
    write_status(layout.status, state="running", epoch=0, n_epochs=begin.settings.config.epochs)
    layout.clear()
    layout.heal()
    manifest = begin.checked.manifest
    write_text(layout.config, config)
    argv = list(begin.command or sys.argv[:1])
    facts = {"argv": argv, "rows_sha256": manifest.metadata.rows_sha256, "running": begin.running.to_dict()}
    write_json(layout.command, facts)
    write_json(layout.environment, environment)
    write_json(layout.data, data)
    names = {"vocab": list(manifest.vocab), "class_names": list(manifest.metadata.class_names)}
    write_text(layout.vocab, json.dumps(names, indent=2, ensure_ascii=False) + "\n")
    return layout


def data_facts(begin: Beginning) -> dict[str, Any]:
    """data.json: which data it was, by name, rule and digest, and how many images of each class each split has.

    manifest and root stand there as they were told; cwd: the folder that they are told from.
    """
    manifest, config, channels = begin.checked.manifest, begin.settings.config, begin.stats.channels
    metadata, weights = manifest.metadata, begin.checked.weights
    return {
        "manifest": str(manifest.path),
        "root": None if begin.root is None else str(begin.root),
        "cwd": str(Path.cwd()),
        "rows_sha256": metadata.rows_sha256,
        "recipe": None if metadata.recipe is None else dict(metadata.recipe),
        "label_rule": metadata.label_rule,
        "split_rule": metadata.split_rule,
        "target_column": config.target_column,
        "fold": config.fold,
        "train_split": "train",
        "valid_split": valid_split(manifest),
        "counts": count_classes(manifest),
        "mean": list(channels.mean),
        "std": list(channels.std),
        "stats_source": begin.stats.source,
        "weights": None if weights is None else {"file": str(weights.file), "sha256": weights.sha256},
    }


def count_classes(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Of each split, its images and those of each class, the ones that have none left out."""
    table = manifest.table.select(["split", "target"])
    table = table.set_column(0, "split", table["split"].cast(pa.string()))
    counted = table.group_by(["split", "target"]).aggregate([([], "count_all")]).to_pylist()
    counts: dict[str, dict[str, Any]] = {
        split: {"images": 0, "classes": {}} for split in sorted(pc.unique(table["split"]).to_pylist())
    }
    for row in sorted(counted, key=lambda row: (row["split"], -1 if row["target"] is None else row["target"])):
        place = counts[row["split"]]
        place["images"] += row["count_all"]
        if row["target"] is not None and row["target"] >= 0:
            place["classes"][manifest.vocab[row["target"]]] = row["count_all"]
    return counts


def checkpoint_state(learner: Learner, begin: Beginning) -> Callable[..., Mapping[str, object]]:
    """A function that gives the whole state of a run; `model` alone is enough to use the weights elsewhere.

    With best=True it is told to be that of best.pt: where the best epoch is that of the averaged weights, these are
    `model`, and `is_averaged` says so.
    """
    config, channels = begin.settings.config, begin.stats.channels
    metadata = begin.checked.manifest.metadata
    fixed = {
        "model_name": config.model,
        "model_args": {"c_in": 3, "c_out": len(metadata.vocab), **config.model_options},
        "vocab": list(metadata.vocab),
        "class_names": list(metadata.class_names),
        "mean": list(channels.mean),
        "std": list(channels.std),
        "stats": begin.stats.to_dict(),
        "size": config.size,
        "crop": valid_crop_scale(config),
        # what `auto` came to
        "precision": precision_of(begin),
        "config": config.to_dict(),
        "rows_sha256": metadata.rows_sha256,
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }

    def state(*, best: bool = False) -> dict[str, object]:
        loop, ema = learner.state_dict(), learner.find(ModelEma)
        is_averaged = best and ema is not None and is_of_average(config.best_by)
        if is_averaged and ema is not None:
            loop["model"] = ema.weights()
        n_batches = max(1, len(learner.data.train_dl))
        progress = {
            # samples of the epoch under way that were learnt from or left out
            "cursor": min(loop["batches_done"] * config.batch_size, _n_samples(learner)),
            "epoch": loop["epochs_done"],
            "position": (loop["epochs_done"] + loop["batches_done"] / n_batches) / max(1, learner.n_epochs),
            "row": dict(learner.row),
            "is_averaged": is_averaged,
        }
        return {**loop, **progress, **fixed}

    return state


def precision_of(begin: Beginning) -> str:
    """The precision that a run computes in: bf16, fp16 or fp32."""
    return _PRECISIONS[autocast_dtype(begin.settings.config.precision, begin.checked.device)]


def _n_samples(learner: Learner) -> int:
    """Samples of an epoch."""
    data: Any = learner.data
    return int(data.train_dl.n_samples)


_PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", None: "fp32"}


def is_of_average(column: str) -> bool:
    """Whether a column of the row is about the averaged weights."""
    return column.startswith("valid_ema_")
