"""Evaluate a run's checkpoint on the valid (or another) rows of a manifest.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader, check_one_label
from imagekit.errors import CheckpointError
from imagekit.learner.calibration import CalibrationError
from imagekit.learner.callback import Callback
from imagekit.learner.confusion import ClassScores, ConfusionMatrix, score_classes
from imagekit.learner.losses import cross_entropy
from imagekit.learner.metrics import accuracy, top_k
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.views import view
from imagekit.training.assemble import valid_item_transforms
from imagekit.training.trained import Trained, load_trained

N_CONFUSIONS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """How good one checkpoint is on one split.

    scores: of each class and over all; counts_KK: images by truth (rows) and prediction (columns), int64.
    top5: the share with the truth among the five largest, None for five classes or fewer.
    """

    checkpoint: Path
    manifest: Path
    split: str
    n_images: int
    accuracy: float
    loss: float
    top5: float | None
    calibration_error: float | None
    vocab: tuple[str, ...]
    class_names: tuple[str, ...]
    scores: ClassScores
    counts_KK: Tensor
    epoch: int
    exit_code: int = 0

    @property
    def per_class(self) -> dict[str, float | None]:
        """The recall of each class, None for one without an image: of its images, the share that was told right."""
        return dict(zip(self.vocab, self.scores.recall, strict=True))

    @property
    def next_command(self) -> str:
        """What to type next."""
        return f"imagekit report {self.checkpoint.parent.parent} -o report.html"

    def summary(self) -> str:
        """The result as text."""
        scores = self.scores
        more = [f"balanced accuracy {_number(scores.balanced_accuracy)}", f"macro F1 {_number(scores.macro_f1)}"]
        more += [f"top-5 accuracy {self.top5:.4f}"] if self.top5 is not None else []
        more += [f"expected calibration error {_number(self.calibration_error)}"]
        return "\n".join(
            [
                f"{self.split}: accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {self.n_images:,} images,"
                f" checkpoint {self.checkpoint.name} (epoch {self.epoch})",
                ", ".join(more),
                *self._class_lines(),
                *self._confusion_lines(),
            ]
        )

    def _class_lines(self) -> list[str]:
        scores, width = self.scores, max(len("class"), *map(len, self.vocab))
        rows = zip(self.vocab, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
        head = f"  {'class':<{width}}  precision  recall  F1      images"
        return [
            head,
            *(
                f"  {name:<{width}}  {_number(precision):<9}  {_number(recall):<6}  {_number(f1):<6}  {support:,}"
                for name, precision, recall, f1, support in rows
            ),
        ]

    def _confusion_lines(self) -> list[str]:
        wrong_KK = self.counts_KK.clone().fill_diagonal_(0)
        order = wrong_KK.flatten().argsort(descending=True, stable=True)[:N_CONFUSIONS].tolist()
        n = len(self.vocab)
        pairs = [(place // n, place % n) for place in order if int(wrong_KK.flatten()[place])]
        lines = [
            f"  {int(wrong_KK[truth, taken]):,} of {int(self.counts_KK[truth].sum()):,} images of {self.vocab[truth]}"
            f" taken for {self.vocab[taken]}"
            for truth, taken in pairs
        ]
        return ["most taken for another:", *lines] if lines else []

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        names = ("split", "n_images", "accuracy", "loss", "top5", "calibration_error", "per_class", "epoch")
        facts: Mapping[str, object] = {name: getattr(self, name) for name in names}
        scores = {"vocab": list(self.vocab), **self.scores.to_dict(), "confusion": self.counts_KK.tolist()}
        return {"checkpoint": str(self.checkpoint), "manifest": str(self.manifest), **facts, "scores": scores}


def _number(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


class _Scores(Callback):
    """Count what was taken for what, and how sure the model was."""

    _order = 55

    def __init__(self, n_classes: int) -> None:
        self.confusion, self.calibration = ConfusionMatrix(n_classes), CalibrationError()

    def after_loss(self) -> None:
        self.confusion.accumulate(self.learner.pred, self.learner.yb)
        self.calibration.accumulate(self.learner.pred, self.learner.yb)


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
    """Accuracy, loss and scores of a run's `best` or `last` checkpoint on one split of a manifest.

    split: train, valid, test, or one of several validation sets as `valid:<name>`. The mean, std, size, vocab, target
    column and fold are the checkpoint's. Raises SourceError for a folder that is no run, CheckpointError where the
    manifest has another vocab, ManifestError where it lacks the split, the column or the fold, or has several label
    columns and the checkpoint was trained on none of them.
    """
    trained = load_trained(run, checkpoint=checkpoint)
    config = trained.config
    content = view(read_manifest(manifest), target_column=config.target_column, fold=config.fold)
    check_one_label(content)
    require_same_vocab(trained, content)
    n_classes = len(trained.vocab)
    metrics = MetricsCallback({"accuracy": accuracy, **({"top5": top_k(5)} if n_classes > 5 else {})})
    scores = _Scores(n_classes)
    with closing(_loader(trained, content, split=split, root=root, n_workers=n_workers)) as loader:
        learner = trained.learner(loader, loss_func=cross_entropy, device=device, callbacks=[metrics, scores])
        row = learner.validate()
    counts_KK = scores.confusion.compute()
    return EvaluationReport(
        checkpoint=trained.path,
        manifest=Path(manifest),
        split=split,
        n_images=int(counts_KK.sum()),
        accuracy=row["valid_accuracy"],
        loss=row["valid_loss"],
        top5=row.get("valid_top5"),
        calibration_error=scores.calibration.compute().expected_calibration_error,
        vocab=tuple(trained.vocab),
        class_names=tuple(trained.class_names),
        scores=score_classes(counts_KK),
        counts_KK=counts_KK,
        epoch=trained.epoch,
    )


def require_same_vocab(trained: Trained, manifest: Manifest) -> None:
    """Raise CheckpointError where the checkpoint knows other classes than the manifest."""
    ours, theirs = trained.vocab, list(manifest.vocab)
    if ours == theirs:
        return
    different = sorted(set(ours) ^ set(theirs))[:5]
    words = f"; not in both: {', '.join(different)}" if different else "; the order differs"
    raise CheckpointError(
        f"the checkpoint was trained on other classes than the manifest has{words}",
        where=f"{trained.path} and {manifest.path}",
        fix="evaluate on a manifest of the same classes",
    )


def _loader(trained: Trained, manifest: Manifest, *, split: str, root: Path | None, n_workers: int) -> Loader[Any]:
    config = trained.config
    dataset = ManifestDataset(manifest, split, transforms=valid_item_transforms(config), root=root)
    return Loader(dataset, batch_size=2 * config.batch_size, shuffle=False, n_workers=n_workers)
