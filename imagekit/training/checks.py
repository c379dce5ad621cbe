"""Everything that can be known before the work starts, checked, and all that is wrong told in one list."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from torch import nn

from imagekit.data.loaders import check_one_label, valid_split
from imagekit.errors import (
    CheckpointError,
    ConfigError,
    ImagekitError,
    ManifestError,
    OutputError,
    UsageError,
    did_you_mean,
)
from imagekit.manifest.read import N_FILES_CHECKED, Manifest, read_manifest
from imagekit.manifest.views import n_without_target, view
from imagekit.models.hooks import undisturbed
from imagekit.models.registry import create_model
from imagekit.optim.presets import create_optimizer
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import read_status
from imagekit.training.assemble import choose_device, choose_metrics
from imagekit.training.config import TrainConfig
from imagekit.training.limits import list_problems
from imagekit.training.weights import Loaded, load_weights

N_CHECKPOINTS = 3  # last.pt, best.pt and the one that is being written
N_OF_EACH_WEIGHT = 4  # in a checkpoint: the weight itself, two moments, its average
_MANY_CLASSES = 1000  # where their number is not known


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What was found to be usable. manifest: as the run sees it; model: with the weights it starts from; on the CPU.

    remarks: what a person should hear before the work starts.
    """

    manifest: Manifest
    device: torch.device
    model: nn.Module
    weights: Loaded | None
    remarks: tuple[str, ...]


def check_all(
    path: Path,
    run: Path | None,
    *,
    config: TrainConfig,
    root: Path | None,
    overwrite: bool,
    may_miss: bool = False,
) -> Checked:
    """Check manifest, device, output, model and weights. run: None where nothing will be written. may_miss: single
    files that are gone are no problem.

    Raises the one problem as it is, several as a UsageError that lists them.
    """
    problems: list[ImagekitError] = []

    def attempt(check: Callable[[], Any]) -> Any:
        try:
            return check()
        except ImagekitError as error:
            problems.append(error)
            return None

    found = attempt(lambda: _usable_manifest(path, config, root, may_miss=may_miss))
    device = attempt(lambda: choose_device(config.device))
    if run is not None:
        attempt(lambda: check_output(run, overwrite=overwrite))
    attempt(lambda: _check_monitor(config, None if found is None else len(found[0].vocab)))
    if found is not None:  # how many classes there are is the manifest's to say
        made = attempt(lambda: _usable_model(config, found[0]))
        if made is not None and run is not None:
            attempt(lambda: _check_space(run, made[0], n_kept=min(config.keep_best, config.epochs)))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UsageError(f"{len(problems)} problems stand in the way of training:\n{list_problems(problems)}")
    (manifest, remarks), (model, weights) = found, made
    remarks += [str(weights)] if weights is not None else []
    return Checked(manifest=manifest, device=device, model=model, weights=weights, remarks=tuple(remarks))


def _usable_manifest(
    path: Path, config: TrainConfig, root: Path | None, *, may_miss: bool
) -> tuple[Manifest, list[str]]:
    whole = read_manifest(path)
    manifest = view(whole, target_column=config.target_column, fold=config.fold)
    check_one_label(manifest)
    if len(manifest.vocab) < 2:
        raise ManifestError(
            f"there are {len(manifest.vocab)} classes, training needs at least 2",
            where=str(path),
            fix="choose a folder with more class folders, or another --label",
        )
    for split in ("train", valid_split(manifest)):
        manifest.rows(split)
    require_files(manifest, root=root, may_miss=may_miss)
    return manifest, _remarks(whole, manifest, config)


def require_files(manifest: Manifest, *, root: Path | None, may_miss: bool) -> None:
    """Raises SourceError where files are not there; with may_miss only where the whole tree is elsewhere."""
    missing = manifest.missing_files(root=root, sample=N_FILES_CHECKED)
    if not may_miss or len(missing) == min(N_FILES_CHECKED, manifest.table.num_rows):
        manifest.require_files(root=root)


def _remarks(whole: Manifest, manifest: Manifest, config: TrainConfig) -> list[str]:
    split, n_left_out = valid_split(manifest), n_without_target(whole, manifest)
    remarks = [f"no row has split valid: validating on {split}"] if split != "valid" else []
    if n_left_out:
        remarks.append(f"{n_left_out:,} rows have no value of {config.target_column} and are left out")
    if config.class_weights and config.balance:
        remarks.append("class_weights and balance both correct for rare classes: together they count these twice")
    return remarks


def monitors(config: TrainConfig, n_classes: int | None) -> list[str]:
    """The columns of a run by which the best epoch can be told. n_classes: None where it is not known."""
    measured = ["loss", *choose_metrics(n_classes or _MANY_CLASSES)]
    phases = ["train", "valid", *(["valid_ema"] if config.ema else [])]
    return [f"{phase}_{name}" for phase in phases for name in measured]


def _check_monitor(config: TrainConfig, n_classes: int | None) -> None:
    known = monitors(config, n_classes)
    if config.best_by in known:
        return
    hint = (
        "; valid_ema_... come with --set ema=0.99, say"
        if config.best_by.startswith("valid_ema_") and not config.ema
        else ""
    )
    hint += "; top5 is of more than five classes" if config.best_by.endswith("top5") else ""
    raise ConfigError(
        f'monitor is "{config.best_by}", which cannot tell the best epoch of this run',
        where="monitor",
        fix=did_you_mean(config.best_by, known) + hint,
    )


def _usable_model(config: TrainConfig, manifest: Manifest) -> tuple[nn.Module, Loaded | None]:
    """The model, with what it starts from, after a trial on two blank images."""
    n_classes = len(manifest.vocab)
    model = create_model(config.model, c_in=3, c_out=n_classes, seed=config.seed, **config.model_options)
    for size in _sizes(config):
        for in_training in (False, True):
            _try_out(model, config, n_classes, size=size, in_training=in_training)
    n_samples = _n_samples(manifest, config)
    if n_samples % config.batch_size == 1 % config.batch_size:
        for size in _sizes(config):
            _try_one(model, config, n_samples, size=size)
    _check_parameters(model, config)
    # refuses hypers that the optimizer has not, or cannot have
    create_optimizer(config.opt, model.parameters(), lr=config.lr, **config.opt_hypers)
    return model, None if config.weights is None else load_weights(model, Path(config.weights))


def _sizes(config: TrainConfig) -> list[int]:
    """The sizes of training images that ask most and least of a model, the largest first."""
    return sorted({config.size, config.start_size or config.size}, reverse=True)


def _try_out(model: nn.Module, config: TrainConfig, n_classes: int, *, size: int, in_training: bool) -> None:
    """Raises ConfigError where the model does not take the images, or gives something else than a logit a class."""
    when = " in training" if in_training else ""
    try:
        with undisturbed(model, training=in_training):
            pred = model(torch.zeros(2, 3, size, size))
    except _failures(config) as error:
        raise ConfigError(
            f"{config.model} does not take images of {size} pixels{when}: {_words(error, config)}",
            where="model, size" if size == config.size else "model, start_size",
            fix="give another --size or --model" if size == config.size else "give a greater start_size, or 0",
        ) from error
    shape = list(pred.shape) if isinstance(pred, torch.Tensor) else type(pred).__name__
    if shape != [2, n_classes]:
        raise ConfigError(
            f"{config.model} makes {shape} of 2 images{when}, must make [2, {n_classes}], a logit a class",
            where="model",
            fix="let the model end in a linear layer with c_out outputs",
        )


def _is_own(config: TrainConfig) -> bool:
    return ":" in config.model


def _failures(config: TrainConfig) -> tuple[type[Exception], ...]:
    """What a model may raise that does not take what it is given; one of somebody's own may raise anything."""
    return (Exception,) if _is_own(config) else (RuntimeError, ValueError, TypeError, IndexError, ImagekitError)


def _words(error: Exception, config: TrainConfig) -> str:
    kind = f"{type(error).__name__}: " if _is_own(config) else ""
    return kind + " ".join(str(error).split())[:200]


def _check_parameters(model: nn.Module, config: TrainConfig) -> None:
    """Raises ConfigError where there is nothing to learn, or nothing that `body_lr` could act on."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            f"{config.model} has no parameter that can be trained",
            where="model",
            fix="give another --model, or let its parameters require gradients",
        )
    n_layers = sum(1 for module in model.modules() if next(module.parameters(recurse=False), None) is not None)
    if config.has_two_groups and n_layers < 2:
        raise ConfigError(
            f"body_lr is {config.body_lr}, and {config.model} has one layer with parameters, no body and head",
            where="body_lr",
            fix="leave body_lr out",
        )


def _n_samples(manifest: Manifest, config: TrainConfig) -> int:
    """Images of an epoch; balanced, each class has as many as there are on average, rounded up."""
    targets = manifest.rows("train", columns=("target",))["target"]
    n_classes = pc.count_distinct(targets).as_py()
    return len(targets) if not config.balance else n_classes * -(-len(targets) // n_classes)


def _try_one(model: nn.Module, config: TrainConfig, n_samples: int, *, size: int) -> None:
    """Raises ConfigError where a last batch of one image is too small, as it is for a batch norm of single pixels."""
    try:
        with undisturbed(model, training=True):
            model(torch.zeros(1, 3, size, size))
    except _failures(config) as error:
        is_small = size != config.size
        at_size = f" at {size} pixels" if is_small else ""
        raise ConfigError(
            f"{n_samples:,} train images in batches of {config.batch_size} leave a last batch of one,"
            f" which {config.model} cannot learn from{at_size}: {_words(error, config)}",
            where="batch_size, start_size" if is_small else "batch_size",
            fix=f"give another --batch-size, or a greater {'start_size' if is_small else '--size'}",
        ) from error


def check_output(run: Path, *, overwrite: bool) -> None:
    """Raises OutputError for a folder that is no run, and without overwrite for one that is."""
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
        go_on = "" if _is_done(layout) else f", or go on with it: imagekit train --resume {shlex.quote(str(run))}"
        fix = f"give another -o, or --overwrite to train anew{go_on}"
        raise OutputError("the run exists already", where=str(run), fix=fix)


def _is_done(layout: RunLayout) -> bool:
    try:
        return read_status(layout.status).state == "done" or not layout.last.exists()
    except CheckpointError:
        return True


def _check_space(run: Path, model: nn.Module, *, n_kept: int) -> None:
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    needed = (N_CHECKPOINTS + n_kept) * N_OF_EACH_WEIGHT * n_bytes
    folder = next(parent for parent in (run, *run.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{free / 1e6:,.0f} MB are free and the checkpoints may take {needed / 1e6:,.0f} MB",
            where=str(run),
            fix="make room, or give an -o on another disk",
        )
