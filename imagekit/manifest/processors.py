"""Processors encode a column; what they learn comes from train rows alone and travels in the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from imagekit.errors import LabelError, did_you_mean

SHOWN = 5


class CategoryProcessor:
    """Class name <-> index into a sorted vocab, fitted once.

    The first call of `process` fits the vocab unless one was given; later calls (valid, test, inference) only use it.
    Source: the data block of fast.ai's 2019 course, with a sorted vocab so that ids do not hang on the file system.
    """

    def __init__(self, vocab: Sequence[str] | None = None) -> None:
        self.vocab: tuple[str, ...] | None = None
        self._index: dict[str, int] = {}
        if vocab is not None:
            self._set(tuple(vocab))

    def _set(self, vocab: tuple[str, ...]) -> None:
        self.vocab = vocab
        self._index = {name: index for index, name in enumerate(vocab)}

    def fit(self, labels: Sequence[str]) -> None:
        """Learn the sorted vocab of the train labels."""
        self._set(tuple(sorted(set(labels))))

    def process(self, labels: Sequence[str], *, where: str = "labels") -> list[int]:
        """Indices of labels. Raises LabelError that lists every label the vocab does not have."""
        if self.vocab is None:
            self.fit(labels)
        unseen = Counter(label for label in labels if label not in self._index)
        if unseen:
            listed = ", ".join(f"{name} ({count:,} rows)" for name, count in sorted(unseen.items())[:SHOWN])
            more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
            raise LabelError(
                f"{len(unseen)} {'label is' if len(unseen) == 1 else 'labels are'} not in train: {listed}{more}",
                where=where,
                fix=f"add images of them to train, or take them out; {did_you_mean(min(unseen), self._index)}",
            )
        return [self._index[label] for label in labels]

    def deprocess(self, targets: Sequence[int]) -> list[str]:
        """Names of indices. Raises LabelError before a vocab is there, or for an index outside it."""
        if self.vocab is None:
            raise LabelError(
                "the CategoryProcessor has no vocab yet", fix="call fit or process with the train labels first"
            )
        outside = [target for target in targets if not 0 <= target < len(self.vocab)]
        if outside:
            raise LabelError(
                f"target {outside[0]} is outside the vocab", fix=f"targets run from 0 to {len(self.vocab) - 1}"
            )
        return [self.vocab[target] for target in targets]

    def to_dict(self) -> dict[str, Any]:
        """Name, column and state as the manifest stores them."""
        return {"name": "CategoryProcessor", "column": "label", "state": {"vocab": list(self.vocab or ())}}
