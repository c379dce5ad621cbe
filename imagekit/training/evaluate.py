"""Evaluate a run's checkpoint on the valid (or another) rows of a manifest.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from torch import Tensor

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader, check_one_label
from imagekit.errors import CheckpointError, ManifestError
from imagekit.files.plain import plain
from imagekit.learner.calibration import CalibrationError
from imagekit.learner.callback import Callback
from imagekit.learner.confusion import ClassScores, ConfusionMatrix, score_classes
from imagekit.learner.losses import cross_entropy
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.views import view
from imagekit.training.assemble import choose_metrics, valid_item_transforms
from imagekit.training.trained import Trained, load_trained

N_CONFUSIONS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """How good one checkpoint is on one split.

    scores: of each class and over all; counts_KK: images by truth (rows) and prediction (columns), int64.
    top5: the share with the truth among the five largest, None for five classes or fewer. notes: what was done
    otherwise than in training.
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
    notes: tuple[str, ...] = ()
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
                f"{self.split}: accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {_images(self.n_images)},"
                f" checkpoint {self.checkpoint.name} (epoch {self.epoch})",
                ", ".join(more),
                *self._class_lines(),
                *self._confusion_lines(),
                *(f"note: {note}" for note in self.notes),
            ]
        )

    def _class_lines(self) -> list[str]:
        scores, names = self.scores, [plain(name) for name in self.vocab]  # the width is that of what is shown
        width = max(len("class"), *map(len, names))
        rows = zip(names, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
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
            f"  {int(wrong_KK[truth, taken]):,} of {_images(int(self.counts_KK[truth].sum()))} of"
            f" {plain(self.vocab[truth])} taken for {plain(self.vocab[taken])}"
            for truth, taken in pairs
        ]
        return ["most taken for another:", *lines] if lines else []

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        names = ("split", "n_images", "accuracy", "loss", "top5", "calibration_error", "per_class", "epoch")
        facts: Mapping[str, object] = {name: getattr(self, name) for name in names}
        scores = {"vocab": list(self.vocab), **self.scores.to_dict(), "confusion": self.counts_KK.tolist()}
        files = {"checkpoint": str(self.checkpoint), "manifest": str(self.manifest)}
        return {**files, **facts, "scores": scores, "notes": list(self.notes)}


def _number(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


def _images(n: int) -> str:
    return f"{n:,} image{'s' * (n != 1)}"


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
    target_column: str | None = None,
    fold: int | None = None,
    root: Path | None = None,
    n_workers: int = 0,
    device: str = "auto",
) -> EvaluationReport:
    """Accuracy, loss and scores of a run's checkpoint on one split of a manifest.

    split: train, valid, test, or one of several validation sets as `valid:<name>`. checkpoint: `best`, `last`, or one
    that was kept, `epoch-0007`. The mean, std, size, vocab and precision are the checkpoint's, and so are target column
    and fold, unless these are told; a manifest without folds is measured on its own split, which `notes` says.
    Raises SourceError for a folder that is no run, a checkpoint that it has not or files that are not there,
    CheckpointError for a run without one, and where the manifest has another vocab, ManifestError where it lacks the
    split, the column or the fold, where the split has no labels, or where there are several label columns and the
    checkpoint was trained on none of them.
    """
    trained = load_trained(run, checkpoint=checkpoint, device=device)
    content, notes = _seen(trained, read_manifest(manifest), target_column=target_column, fold=fold)
    check_one_label(content)
    require_same_vocab(trained, content)
    _require_labels(content, split)
    replace(content, table=content.rows(split)).require_files(root=root)
    n_classes = len(trained.vocab)
    metrics = MetricsCallback(choose_metrics(n_classes))
    scores = _Scores(n_classes)
    with closing(_loader(trained, content, split=split, root=root, n_workers=n_workers)) as loader:
        row = trained.learner(loader, loss_func=cross_entropy, callbacks=[metrics, scores]).validate()
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
        notes=(*notes, *trained.notes),
    )


def _seen(
    trained: Trained, manifest: Manifest, *, target_column: str | None, fold: int | None
) -> tuple[Manifest, list[str]]:
    """The manifest with the target and the fold that are told, or else those of the training."""
    column = trained.config.target_column if target_column is None else target_column
    has_folds = manifest.table["fold"].null_count < manifest.table.num_rows
    if fold is None and trained.config.fold is not None and not has_folds:
        note = f"the manifest has no folds: its own split was used, not fold {trained.config.fold} of the training"
        return view(manifest, target_column=column), [note]
    return view(manifest, target_column=column, fold=trained.config.fold if fold is None else fold), []


def _require_labels(manifest: Manifest, split: str) -> None:
    """Raise ManifestError where a row of the split has no target."""
    target_N = manifest.rows(split, columns=("target",))["target"]
    n_without = pc.sum(pc.less(pc.fill_null(target_N, -1), 0)).as_py()
    if n_without:
        raise ManifestError(
            f"{n_without:,} of the {len(target_N):,} rows of split {split} have no label to compare with",
            where=str(manifest.path),
            fix="give another --split; imagekit predict says what images without a label show",
        )


def require_same_vocab(trained: Trained, manifest: Manifest) -> None:
    """Raise CheckpointError where the checkpoint knows other classes than the manifest."""
    require_same_classes(trained.vocab, manifest, where=trained.path, fix="evaluate on a manifest of the same classes")


def require_same_classes(vocab: Sequence[str], manifest: Manifest, *, where: Path, fix: str) -> None:
    """Raise CheckpointError where a checkpoint, at `where`, was trained on other classes than the manifest has."""
    ours, theirs = list(vocab), list(manifest.vocab)
    if ours == theirs:
        return
    different = sorted(set(ours) ^ set(theirs))[:5]
    words = f"; not in both: {', '.join(different)}" if different else "; the order differs"
    raise CheckpointError(
        f"the checkpoint was trained on other classes than the manifest has{words}",
        where=f"{where} and {manifest.path}",
        fix=fix,
    )


def _loader(trained: Trained, manifest: Manifest, *, split: str, root: Path | None, n_workers: int) -> Loader[Any]:
    config = trained.config
    dataset = ManifestDataset(manifest, split, transforms=valid_item_transforms(config), root=root)
    return Loader(dataset, batch_size=2 * config.batch_size, shuffle=False, n_workers=n_workers)
