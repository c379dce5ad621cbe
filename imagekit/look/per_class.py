"""What a run reached on each class, and which classes it mixes up.

Shapes: K classes. No matrix of K x K is made: classes may be many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imagekit.look.facts import RunFacts
from imagekit.look.predictions import Floats, Ints, Predictions
from imagekit.look.wording import count_text, percent_text

N_MIXUPS = 10
MAX_CLASSES_SHOWN = 1000  # so that a page stays under 2 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCounts:
    """Images, predictions and right predictions of each class, and what follows from them.

    NaN: a class without an image has no recall, one that was never predicted no precision, one with neither no F1. The
    means go over the classes with images, a precision that is not defined counting as 0: as `learner.confusion` has it.
    """

    images_K: Ints
    predicted_K: Ints
    right_K: Ints

    @property
    def precision_K(self) -> Floats:
        """Right of those predicted."""
        return _share(self.right_K, self.predicted_K)

    @property
    def recall_K(self) -> Floats:
        """Right of those that are there."""
        return _share(self.right_K, self.images_K)

    @property
    def f1_K(self) -> Floats:
        """The harmonic mean of both."""
        return _share(2 * self.right_K, self.images_K + self.predicted_K)

    def mean(self, values_K: Floats) -> float | None:
        """The mean over the classes with images; None where none has."""
        present_K = self.images_K > 0
        return float(np.nan_to_num(values_K[present_K]).mean()) if present_K.any() else None

    def order(self) -> list[int]:
        """Classes by rising F1; those without an image last."""
        without_K = self.images_K == 0
        return [int(number) for number in np.lexsort((np.nan_to_num(self.f1_K, nan=2.0), without_K))]


def count_classes(predictions: Predictions, n_classes: int) -> ClassCounts:
    """The counts of the predictions."""
    right = predictions.target_N[predictions.is_right_N]
    images_K, predicted_K, right_K = (
        np.bincount(values, minlength=n_classes) for values in (predictions.target_N, predictions.prediction_N, right)
    )
    return ClassCounts(images_K=images_K, predicted_K=predicted_K, right_K=right_K)


def class_table(facts: RunFacts, predictions: Predictions | None) -> dict[str, Any]:
    """A row a class from the lowest F1 up, as text, and the means; no rows without predictions."""
    if predictions is None:
        return {"rows": [], "n": 0, "means": [], "has_train": False}
    counts = count_classes(predictions, len(facts.vocab))
    scores = {"precision": counts.precision_K, "recall": counts.recall_K, "f1": counts.f1_K}
    trained = [facts.data.n_train_images(name) if facts.data else None for name in facts.vocab]
    rows = [
        {
            "name": facts.class_names[number],
            "id": facts.vocab[number],
            "n": count_text(int(counts.images_K[number])),
            "n_train": count_text(trained[number]),
            "width": f"{100 * np.nan_to_num(scores['f1'][number]):.1f}",
            **{name: _defined(values_K[number]) for name, values_K in scores.items()},
        }
        for number in counts.order()[:MAX_CLASSES_SHOWN]
    ]
    names = ("macro precision", "balanced accuracy (macro recall)", "macro F1")
    means = [(name, percent_text(counts.mean(values_K))) for name, values_K in zip(names, scores.values(), strict=True)]
    return {"rows": rows, "n": len(facts.vocab), "means": means, "has_train": any(n is not None for n in trained)}


def mixup_table(facts: RunFacts, predictions: Predictions) -> list[dict[str, str]]:
    """The pairs of truth and wrong prediction that occur most."""
    wrong = ~predictions.is_right_N
    pairs = np.stack([predictions.target_N[wrong], predictions.prediction_N[wrong]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    all_K: Ints = np.bincount(predictions.target_N, minlength=len(facts.vocab))
    return [
        {
            "truth": facts.class_names[found[number, 0]],
            "prediction": facts.class_names[found[number, 1]],
            "count": f"{counts[number]:,}",
            "share": percent_text(counts[number] / all_K[found[number, 0]], 1),
        }
        for number in np.argsort(-counts, kind="stable")[:N_MIXUPS].tolist()
    ]


def _share(part_K: Ints, all_K: Ints) -> Floats:
    shares_K: Floats = np.divide(part_K, all_K, out=np.full(len(all_K), np.nan), where=all_K > 0)
    return shares_K


def _defined(value: float) -> str:
    return percent_text(None if np.isnan(value) else float(value), 1)
