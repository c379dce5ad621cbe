"""A run's checkpoint, ready to be used: its model with its weights, its classes, its way of seeing images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.data.loaders import Loader
from imagekit.errors import CheckpointError, SourceError
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.manifest.schema import ChannelStats
from imagekit.models.registry import create_model
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import batch_callbacks, choose_device
from imagekit.training.config import TrainConfig

REQUIRED = ("model", "model_name", "model_args", "vocab", "mean", "std", "size", "config")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a checkpoint says. path: its file; state: all of it; model: on the CPU, with its weights."""

    path: Path
    state: dict[str, Any]
    config: TrainConfig
    model: nn.Module

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

    def learner(self, loader: Loader[Any], *, loss_func: Any, device: str, callbacks: Iterable[Callback]) -> Learner:
        """A Learner that can validate on the loader as training did, and learns nothing."""
        batches = batch_callbacks(self.stats, self.config, choose_device(device))
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


def load_trained(run: Path | str, *, checkpoint: str = "best") -> Trained:
    """A run's `best` or `last` checkpoint.

    Raises SourceError for a folder that is no run, CheckpointError for a checkpoint that cannot be read or whose
    weights do not fit its model.
    """
    layout = RunLayout(Path(run))
    if not layout.status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train", where=str(run), fix="give the folder that train wrote with -o"
        )
    path = layout.last if checkpoint == "last" else layout.best
    state = load_checkpoint(path, required=REQUIRED)
    config = TrainConfig.from_dict(state["config"])
    return Trained(path=path, state=state, config=config, model=load_model(state, where=path))


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
