"""Evaluate a run's checkpoint on the valid (or another) rows of a manifest.

Shapes: K classes.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader, check_one_label
from imagekit.errors import CheckpointError, SourceError
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy
from imagekit.learner.metrics import accuracy
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.schema import ChannelStats
from imagekit.models.registry import create_model
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training.assemble import batch_callbacks, choose_device, valid_item_transforms
from imagekit.training.config import TrainConfig

REQUIRED = ("model", "model_name", "model_args", "vocab", "mean", "std", "size", "config")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """Accuracy and loss of one checkpoint on one split."""

    checkpoint: Path
    manifest: Path
    split: str
    n_images: int
    accuracy: float
    loss: float
    per_class: dict[str, float | None]
    epoch: int
    exit_code: int = 0

    @property
    def next_command(self) -> str:
        """What to type next."""
        return f"imagekit report {self.checkpoint.parent.parent} -o report.html"

    def summary(self) -> str:
        """The result as text."""
        width = max(map(len, self.per_class))
        classes = [f"  {name:<{width}} {_percent(share)}" for name, share in self.per_class.items()]
        return "\n".join(
            [
                f"{self.split}: accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {self.n_images:,} images,"
                f" checkpoint {self.checkpoint.name} (epoch {self.epoch})",
                "accuracy per class:",
                *classes,
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        names = ("split", "n_images", "accuracy", "loss", "per_class", "epoch")
        facts = {name: getattr(self, name) for name in names}
        return {"checkpoint": str(self.checkpoint), "manifest": str(self.manifest), **facts}


def _percent(share: float | None) -> str:
    return "no image" if share is None else f"{share:.4f}"


class _PerClass(Callback):
    """Count the images of each class, and those that were told right."""

    _order = 55

    def __init__(self, n_classes: int) -> None:
        self.right_K = torch.zeros(n_classes, dtype=torch.int64)
        self.all_K = torch.zeros(n_classes, dtype=torch.int64)

    def after_loss(self) -> None:
        if self.learner.in_train:
            return
        target, pred = self.learner.yb.cpu(), self.learner.pred.argmax(dim=1).cpu()
        self.all_K += torch.bincount(target, minlength=len(self.all_K))
        self.right_K += torch.bincount(target[pred == target], minlength=len(self.all_K))


def evaluate(
    run: Path | str,
    manifest: Path | str,
    *,
    split: str = "valid",
    checkpoint: str = "best",
    root: Path | None = None,
    n_workers: int = 0,
    device: str = "auto",
) -> EvaluationReport:
    """Accuracy and loss of a run's `best` or `last` checkpoint on one split of a manifest.

    split: train, valid, test, or one of several validation sets as `valid:<name>`. The mean, std, size and vocab are
    the checkpoint's. Raises SourceError for a folder that is no run, CheckpointError where the manifest has another
    vocab, ManifestError where it lacks the split or has several label columns.
    """
    layout = RunLayout(Path(run))
    if not layout.status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train", where=str(run), fix="give the folder that train wrote with -o"
        )
    path = layout.last if checkpoint == "last" else layout.best
    state = load_checkpoint(path, required=REQUIRED)
    content = read_manifest(manifest)
    check_one_label(content)
    _require_same_vocab(state, content, path)
    model = load_model(state, where=path)
    loader = _loader(state, content, split=split, root=root, n_workers=n_workers)
    with closing(loader):
        learner, per_class = _learner(model, loader, state, device=device)
        learner.validate()
    row = learner.row
    pairs = zip(state["vocab"], per_class.right_K.tolist(), per_class.all_K.tolist(), strict=True)
    return EvaluationReport(
        checkpoint=path,
        manifest=Path(manifest),
        split=split,
        n_images=int(per_class.all_K.sum()),
        accuracy=row["valid_accuracy"],
        loss=row["valid_loss"],
        per_class={name: right / total if total else None for name, right, total in pairs},
        epoch=int(state.get("epochs_done", 0)),
    )


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


def _require_same_vocab(state: dict[str, Any], manifest: Manifest, path: Path) -> None:
    ours, theirs = list(state["vocab"]), list(manifest.vocab)
    if ours == theirs:
        return
    different = sorted(set(ours) ^ set(theirs))[:5]
    words = f"; not in both: {', '.join(different)}" if different else "; the order differs"
    raise CheckpointError(
        f"the checkpoint was trained on other classes than the manifest has{words}",
        where=f"{path} and {manifest.path}",
        fix="evaluate on a manifest of the same classes",
    )


def _loader(
    state: dict[str, Any], manifest: Manifest, *, split: str, root: Path | None, n_workers: int
) -> Loader[ManifestDataset]:
    config = TrainConfig.from_dict(state["config"])
    dataset = ManifestDataset(manifest, split, transforms=valid_item_transforms(config), root=root)
    return Loader(dataset, batch_size=2 * config.batch_size, shuffle=False, n_workers=n_workers)


def _learner(
    model: nn.Module, loader: Loader[ManifestDataset], state: dict[str, Any], *, device: str
) -> tuple[Learner, _PerClass]:
    config = TrainConfig.from_dict(state["config"])
    stats = ChannelStats(mean=tuple(state["mean"]), std=tuple(state["std"]), n_images=0, n_pixels=0)
    per_class = _PerClass(len(state["vocab"]))
    batches = batch_callbacks(stats, config, choose_device(device))
    return Learner(
        model,
        ValidOnly(loader),
        loss_func=cross_entropy,
        opt_func=torch.optim.SGD,
        lr=0.0,
        callbacks=[*batches, MetricsCallback({"accuracy": accuracy}), per_class],
    ), per_class


class ValidOnly:
    """Loaders with nothing to train on."""

    def __init__(self, valid: Loader[ManifestDataset]) -> None:
        self.train_dl: list[Any] = []
        self.valid_dl = valid
