"""Everything that can be known before the work starts, checked, and all that is wrong told in one list."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from torch import nn

from imagekit.data.loaders import check_one_label, valid_split
from imagekit.errors import ConfigError, ImagekitError, ManifestError, OutputError, SourceError, UsageError
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.views import n_without_target, view
from imagekit.models.hooks import undisturbed
from imagekit.models.registry import create_model
from imagekit.optim.presets import create_optimizer
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import choose_device
from imagekit.training.config import TrainConfig
from imagekit.training.weights import Loaded, load_weights

N_FILES_CHECKED = 200  # spread over the manifest; enough to notice a tree that moved, quick on a network disk
# last.pt, best.pt and the one that is being written, of weights, two moments and averaged weights
CHECKPOINT_TENSORS = 3 * 4


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


def check_all(path: Path, run: Path | None, *, config: TrainConfig, root: Path | None, overwrite: bool) -> Checked:
    """Check manifest, device, output, model and weights. run: None where nothing will be written.

    Raises the one problem as it is, several as a UsageError that lists them.
    """
    problems: list[ImagekitError] = []

    def attempt(check: Callable[[], Any]) -> Any:
        try:
            return check()
        except ImagekitError as error:
            problems.append(error)
            return None

    found = attempt(lambda: _usable_manifest(path, config, root))
    device = attempt(lambda: choose_device(config.device))
    if run is not None:
        attempt(lambda: _check_output(run, overwrite=overwrite))
    if found is not None:  # how many classes there are is the manifest's to say
        made = attempt(lambda: _usable_model(config, found[0]))
        if made is not None and run is not None:
            attempt(lambda: _check_space(run, made[0]))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"- {problem}".replace("\n", "\n  ") for problem in problems)
        raise UsageError(f"{len(problems)} problems stand in the way of training:\n{listed}")
    (manifest, remarks), (model, weights) = found, made
    remarks += [str(weights)] if weights is not None else []
    return Checked(manifest=manifest, device=device, model=model, weights=weights, remarks=tuple(remarks))


def _usable_manifest(path: Path, config: TrainConfig, root: Path | None) -> tuple[Manifest, list[str]]:
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
    missing = manifest.missing_files(root=root, sample=N_FILES_CHECKED)
    if missing:
        raise SourceError(
            f"{len(missing)} of {min(N_FILES_CHECKED, manifest.table.num_rows)} files looked for are not there,"
            f" {missing[0]} for one",
            where=str(root or manifest.root),
            fix="give --root DIR, the folder that the manifest's names are relative to",
        )
    return manifest, _remarks(whole, manifest, config)


def _remarks(whole: Manifest, manifest: Manifest, config: TrainConfig) -> list[str]:
    split, n_left_out = valid_split(manifest), n_without_target(whole, manifest)
    remarks = [f"no row has split valid: validating on {split}"] if split != "valid" else []
    if n_left_out:
        remarks.append(f"{n_left_out:,} rows have no value of {config.target_column} and are left out")
    return remarks


def _usable_model(config: TrainConfig, manifest: Manifest) -> tuple[nn.Module, Loaded | None]:
    """The model, with what it starts from, after a trial on two blank images."""
    n_classes = len(manifest.vocab)
    model = create_model(config.model, c_in=3, c_out=n_classes, seed=config.seed, **config.model_options)
    _try_out(model, config, n_classes)
    n_samples = _n_samples(manifest, config)
    if n_samples % config.batch_size == 1 % config.batch_size:
        _try_one(model, config, n_samples)
    # refuses hypers that the optimizer has not, or cannot have
    create_optimizer(config.opt, model.parameters(), lr=config.lr, **config.opt_hypers)
    return model, None if config.weights is None else load_weights(model, Path(config.weights))


def _try_out(model: nn.Module, config: TrainConfig, n_classes: int) -> None:
    """Raises ConfigError where the model does not take the images, or gives something else than a logit a class."""
    x_BCHW = torch.zeros(2, 3, config.size, config.size)
    try:
        with undisturbed(model, training=False):
            pred = model(x_BCHW)
    except (RuntimeError, ValueError, TypeError, IndexError, ImagekitError) as error:
        words = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{config.model} does not take images of {config.size} pixels: {words}",
            where="model, size",
            fix="give another --size or --model",
        ) from error
    shape = list(pred.shape) if isinstance(pred, torch.Tensor) else type(pred).__name__
    if shape != [2, n_classes]:
        raise ConfigError(
            f"{config.model} makes {shape} of 2 images, must make [2, {n_classes}], a logit a class",
            where="model",
            fix="let the model end in a linear layer with c_out outputs",
        )


def _n_samples(manifest: Manifest, config: TrainConfig) -> int:
    """Images of an epoch; balanced, each class has as many as there are on average, rounded up."""
    targets = manifest.rows("train", columns=("target",))["target"]
    n_classes = pc.count_distinct(targets).as_py()
    return len(targets) if not config.balance else n_classes * -(-len(targets) // n_classes)


def _try_one(model: nn.Module, config: TrainConfig, n_samples: int) -> None:
    """Raises ConfigError where a last batch of one image is too small, as it is for a batch norm of single pixels."""
    try:
        with undisturbed(model, training=True):
            model(torch.zeros(1, 3, config.size, config.size))
    except (RuntimeError, ValueError, ImagekitError) as error:
        words = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{n_samples:,} train images in batches of {config.batch_size} leave a last batch of one,"
            f" which {config.model} cannot learn from: {words}",
            where="batch_size",
            fix="give another --batch-size, or a greater --size",
        ) from error


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


def _check_space(run: Path, model: nn.Module) -> None:
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    needed = CHECKPOINT_TENSORS * n_bytes
    folder = next(parent for parent in (run, *run.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{free / 1e6:,.0f} MB are free and the checkpoints may take {needed / 1e6:,.0f} MB",
            where=str(run),
            fix="make room, or give an -o on another disk",
        )
