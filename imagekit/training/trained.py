"""A run's checkpoint, ready to be used: its model with its weights, its classes, its way of seeing images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagekit.callbacks.checkpoint import epoch_path
from imagekit.data.loaders import Loader
from imagekit.errors import CheckpointError, SourceError, did_you_mean
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.manifest.schema import ChannelStats
from imagekit.models.registry import create_model
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import autocast_dtype, batch_callbacks, choose_device
from imagekit.training.config import TrainConfig
from imagekit.training.limits import PRECISIONS

REQUIRED = ("model", "model_name", "model_args", "vocab", "mean", "std", "size", "config")
# the settings that decide how images are seen and computed with; one that is refused today must cost no finished run
SEEING = ("size", "presize", "crop_scale", "batch_size", "precision", "target_column", "fold")
_EPOCH = re.compile(r"epoch-([0-9]{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a checkpoint says. path: its file; state: all of it; model: on the CPU, with its weights.

    config: what the run's says of SEEING, with the precision that is computed in on the device; all else as by default.
    notes: what a person should hear of that.
    """

    path: Path
    state: dict[str, Any]
    config: TrainConfig
    model: nn.Module
    device: torch.device
    notes: tuple[str, ...]

    @property
    def vocab(self) -> list[str]:
        """The ordered classes."""
        return list(self.state["vocab"])

    @property
    def class_names(self) -> list[str]:
        """What people call them."""
        return list(self.state.get("class_names", self.state["vocab"]))

    @property
    def stats(self) -> ChannelStats:
        """What batches are normalized with; it does not say of how many images."""
        mean, std = self.state["mean"], self.state["std"]
        return ChannelStats(mean=tuple(mean), std=tuple(std), n_images=0, n_pixels=0)

    @property
    def epoch(self) -> int:
        """Epochs that it was trained for."""
        return int(self.state.get("epochs_done", 0))

    def learner(self, loader: Loader[Any], *, loss_func: Any, callbacks: Iterable[Callback]) -> Learner:
        """A Learner that can validate on the loader as training did, and learns nothing."""
        batches = batch_callbacks(self.stats, self.config, self.device)
        return Learner(
            self.model,
            ValidOnly(loader),
            loss_func=loss_func,
            opt_func=torch.optim.SGD,
            lr=0.0,
            callbacks=[*batches, *callbacks],
        )


class ValidOnly:
    """Loaders with nothing to train on."""

    def __init__(self, valid: Loader[Any]) -> None:
        self.train_dl: list[Any] = []
        self.valid_dl = valid


def no_loss(pred: Tensor, target: Tensor) -> Tensor:
    """The loss of images whose class nobody knows."""
    return pred.new_zeros(())


def load_trained(run: Path | str, *, checkpoint: str = "best", device: str = "auto") -> Trained:
    """A run's checkpoint: `best`, `last`, or one that was kept besides, as `epoch-0007` or `epoch-7`.

    It computes in the precision that the run was trained in; where the device cannot, in float32, which `notes` says.
    Raises SourceError for a folder that is no run and for a checkpoint that the run has not, CheckpointError for a run
    without a finished epoch and for a checkpoint that cannot be read or whose weights do not fit its model.
    """
    layout = RunLayout(Path(run))
    if not layout.status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train", where=str(run), fix="give the folder that train wrote with -o"
        )
    path = _find_checkpoint(layout, checkpoint)
    state, place = load_checkpoint(path, required=REQUIRED), choose_device(device)
    config = TrainConfig.from_dict({key: value for key, value in state["config"].items() if key in SEEING})
    precision, notes = _precision_on(place, state.get("precision", config.precision), where=path)
    return Trained(
        path=path,
        state=state,
        config=replace(config, precision=precision),
        model=load_model(state, where=path),
        device=place,
        notes=notes,
    )


def _find_checkpoint(layout: RunLayout, name: str) -> Path:
    found = _EPOCH.fullmatch(name)
    named = {"best": layout.best, "last": layout.last}
    path = epoch_path(layout, int(found[1])) if found else named.get(name)
    if path is not None and path.exists():
        return path
    kept = [each.stem for each in layout.checkpoints.glob("epoch-*.pt") if _EPOCH.fullmatch(each.stem)]
    known = [*(key for key, each in named.items() if each.exists()), *kept]
    if not known:
        raise CheckpointError(
            "no epoch was finished, so the run has no checkpoint",
            where=str(layout.root),
            fix="wait until its first epoch is over, or train again",
        )
    raise SourceError(
        f'the run has no checkpoint "{name}"',
        where=str(layout.checkpoints),
        fix=did_you_mean("" if found else name, known),  # another epoch is no typing error
    )


def _precision_on(device: torch.device, told: object, *, where: Path) -> tuple[str, tuple[str, ...]]:
    """The precision to compute in, and a word where it is another than the run's."""
    if told not in PRECISIONS:
        raise CheckpointError(
            f"the checkpoint's precision is {told!r}, must be one of {', '.join(PRECISIONS)}",
            where=str(where),
            fix="use a checkpoint that train wrote",
        )
    precision = str(told)
    dtype = autocast_dtype(precision, device)
    if dtype is None or _computes_in(dtype, device):
        return precision, ()
    return "fp32", (f"the run was trained in {precision}, which {device} does not compute in: float32 was used",)


def _computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    if device.type == "cpu" and dtype == torch.bfloat16:  # torch would imitate it, at a fraction of the speed
        return autocast_dtype("auto", device) == dtype
    ones = torch.ones(1, 1, 2, 2, device=device)
    try:
        with warnings.catch_warnings():  # where a type is not known, autocast warns and turns itself off
            warnings.simplefilter("ignore")
            with torch.autocast(device.type, dtype=dtype):
                return F.conv2d(ones, ones).dtype == dtype
    except RuntimeError:  # what torch raises for a type that a card has no units for
        return False


def load_model(state: dict[str, Any], *, where: Path) -> nn.Module:
    """The model of a checkpoint with its weights. Raises CheckpointError where they do not fit."""
    model = create_model(state["model_name"], **state["model_args"])
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        words = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the weights do not fit model {state['model_name']}: {words}",
            where=str(where),
            fix="use the checkpoint with the version of imagekit that wrote it",
        ) from error
    return model
