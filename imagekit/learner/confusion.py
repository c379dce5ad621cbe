"""Which class was taken for which, counted batch by batch, and what the counts say of each class.

Shapes: B batch, K classes. In counts_KK rows are the truth and columns the prediction. What is not defined is NaN in a
tensor and None in `ClassScores`, never 0: a class without an image has no recall, one that was never predicted no
precision, one with neither no F1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from imagekit.errors import ConfigError, ShapeError, TrainingError
from imagekit.learner.metrics import hard_targets, wide_dtype

NO_LABEL = -1


class ConfusionMatrix:
    """Counts of truth and prediction over all batches since the last reset; they stay on the device until `compute`."""

    def __init__(self, n_classes: int) -> None:
        if n_classes < 1:
            raise ConfigError(
                f"n_classes is {n_classes}, must be at least 1",
                where="ConfusionMatrix",
                fix="give the length of the vocab",
            )
        self.n_classes = n_classes
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._cells: Tensor | None = None  # K * K counts, and one for targets that are no class

    def accumulate(self, pred_BK: Tensor, target: Tensor) -> None:
        """Add one batch; it waits for no device.

        pred_BK: logits or probabilities. target: class ids [B], -1 for an image without a label, which is not counted;
        or soft targets [B, K], of which the largest counts. Raises ShapeError where the classes or images do not fit.
        """
        check_batch(pred_BK, target, n_classes=self.n_classes, where="ConfusionMatrix.accumulate")
        n, target_B = self.n_classes, hard_targets(target.detach()).to(torch.int64)
        prediction_B = pred_BK.detach().argmax(dim=1)
        is_class_B = (target_B >= 0) & (target_B < n)
        cells_B = torch.where(is_class_B, target_B * n + prediction_B, n * n)
        if self._cells is None:
            self._cells = torch.zeros(n * n + 1, dtype=torch.int64, device=pred_BK.device)
        # not bincount: on CUDA it waits, to learn how long its result will be
        self._cells.index_add_(0, cells_B, (target_B != NO_LABEL).to(torch.int64))

    @property
    def counts_KK(self) -> Tensor:
        """The counts so far, int64, on the device of the predictions; zeros on the CPU before the first batch."""
        n = self.n_classes
        cells = torch.zeros(n * n, dtype=torch.int64) if self._cells is None else self._cells[:-1]
        return cells.reshape(n, n).clone()

    def compute(self) -> Tensor:
        """counts_KK on the CPU. Waits for the device.

        Raises TrainingError where a target was neither a class nor -1.
        """
        if self._cells is not None:
            check_targets(int(self._cells[-1]), n_classes=self.n_classes, where="ConfusionMatrix.compute")
        return self.counts_KK.cpu()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScores:
    """What a confusion matrix says, in plain numbers ready for JSON; None for what is not defined.

    precision, recall, f1, support: one a class, in the order of the vocab; support is its number of images. accuracy:
    the share of all images that is right. balanced_accuracy: the mean recall. The means, macro_precision and macro_f1
    too, go over the classes that have images, each weighing the same; a precision without a prediction counts as 0
    there, since leaving it out would reward a model that never names the class.
    """

    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    support: tuple[int, ...]
    n_images: int
    accuracy: float | None
    balanced_accuracy: float | None
    macro_precision: float | None
    macro_f1: float | None

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def score_classes(counts_KK: Tensor) -> ClassScores:
    """Everything that the counts say; waits for their device. Raises ShapeError where they are not square."""
    _check_square(counts_KK, where="score_classes")
    counts_KK = counts_KK.cpu()
    precision_K, recall_K, f1_K = precision(counts_KK), recall(counts_KK), f1(counts_KK)
    support_K = support(counts_KK)
    n_images, n_right = int(support_K.sum()), int(counts_KK.diagonal().sum())
    return ClassScores(
        precision=_plain(precision_K),
        recall=_plain(recall_K),
        f1=_plain(f1_K),
        support=tuple(support_K.tolist()),
        n_images=n_images,
        accuracy=n_right / n_images if n_images else None,
        balanced_accuracy=_number(_mean_of_present(recall_K, support_K)),
        macro_precision=_number(_mean_of_present(precision_K, support_K)),
        macro_f1=_number(_mean_of_present(f1_K, support_K)),
    )


def support(counts_KK: Tensor) -> Tensor:
    """Images of each class: int64 [K]. Raises ShapeError where the counts are not square, as the three below."""
    _check_square(counts_KK, where="support")
    return counts_KK.sum(dim=1)


def precision(counts_KK: Tensor) -> Tensor:
    """Of what was taken for the class, the share that is it: [K]; NaN for a class that was never predicted."""
    _check_square(counts_KK, where="precision")
    return counts_KK.diagonal() / counts_KK.sum(dim=0).to(wide_dtype(counts_KK.device))


def recall(counts_KK: Tensor) -> Tensor:
    """Of the images of the class, the share that was taken for it: [K]; NaN for a class without an image."""
    _check_square(counts_KK, where="recall")
    return counts_KK.diagonal() / support(counts_KK).to(wide_dtype(counts_KK.device))


def f1(counts_KK: Tensor) -> Tensor:
    """The harmonic mean of precision and recall: [K]; NaN for a class with neither an image nor a prediction.

    Written as 2 right / (images + predictions), it is 0 where only one of the two is defined.
    """
    _check_square(counts_KK, where="f1")
    return 2 * counts_KK.diagonal() / (support(counts_KK) + counts_KK.sum(dim=0)).to(wide_dtype(counts_KK.device))


def balanced_accuracy(counts_KK: Tensor) -> Tensor:
    """The mean recall of the classes that have images, a tensor without axes; NaN where none has."""
    return _mean_of_present(recall(counts_KK), support(counts_KK))


def macro_precision(counts_KK: Tensor) -> Tensor:
    """The mean precision of the classes that have images, 0 for one that was never predicted; NaN where none has."""
    return _mean_of_present(precision(counts_KK), support(counts_KK))


def macro_f1(counts_KK: Tensor) -> Tensor:
    """The mean F1 of the classes that have images; NaN where none has."""
    return _mean_of_present(f1(counts_KK), support(counts_KK))


def check_batch(pred_BK: Tensor, target: Tensor, *, n_classes: int, where: str) -> None:
    """Raise ShapeError where a batch is none of B images and `n_classes` classes; only shapes are looked at."""
    n_images = pred_BK.shape[0] if pred_BK.ndim else 0
    fits = pred_BK.ndim == 2 and pred_BK.shape[1] == n_classes
    if fits and list(target.shape) in ([n_images], [n_images, n_classes]):
        return
    raise ShapeError(
        f"predictions are {list(pred_BK.shape)} and targets {list(target.shape)}, for {n_classes} classes",
        where=where,
        fix="give predictions [B, K], and targets [B] or [B, K]",
    )


def check_targets(n_strange: int, *, n_classes: int, where: str) -> None:
    """Raise TrainingError where targets were counted that are neither a class nor -1."""
    if n_strange:
        raise TrainingError(
            f"{n_strange} targets are neither a class from 0 to {n_classes - 1} nor -1, which stands for no label",
            where=where,
            fix="give targets of the vocab that the model was made for",
        )


def _check_square(counts_KK: Tensor, *, where: str) -> None:
    if counts_KK.ndim != 2 or counts_KK.shape[0] != counts_KK.shape[1]:
        raise ShapeError(
            f"the counts are {list(counts_KK.shape)}, not square",
            where=where,
            fix="give counts [K, K], rows the truth and columns the prediction",
        )


def _mean_of_present(values_K: Tensor, support_K: Tensor) -> Tensor:
    """The mean over classes with images, 0 for a value that is not defined there."""
    is_present_K = support_K > 0
    return torch.where(is_present_K, values_K.nan_to_num(nan=0.0), 0.0).sum() / is_present_K.sum()


def _plain(values_K: Tensor) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values_K.tolist())


def _number(value: Tensor) -> float | None:
    return _plain(value[None])[0]
