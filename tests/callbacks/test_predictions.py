"""The answers of the best epoch are kept, and handed on before its checkpoint is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner.toy import Batch, Loaders, blobs, make_learner

from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.learner.callback import Callback


class Best(Callback):
    """Say which epochs are the best."""

    _order = 20

    def __init__(self, best: list[bool]) -> None:
        self.best = best

    def after_epoch(self) -> None:
        self.learner.row["is_best"] = self.best[self.epoch]


class Order(Callback):
    """What was there when a checkpoint would have been written."""

    _order = 60

    def __init__(self, saved: list[Any]) -> None:
        self.saved, self.seen = saved, []

    def after_epoch(self) -> None:
        self.seen.append(len(self.saved))


class Rows(Batch):
    rows: torch.Tensor


def validation() -> list[Any]:
    batches = [Rows(batch) for batch in blobs([3, 2], seed=2)]
    for batch, rows in zip(batches, ([4, 0, 2], [1, 3]), strict=True):
        batch.rows = torch.tensor(rows)
    return batches


@pytest.mark.parametrize(("always", "epochs"), [(False, [1, 3]), (True, [1, 2, 3])])
def test_new_answers_are_handed_on_before_the_checkpoint(always: bool, epochs: list[int]):
    saved: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def save(kept: PredictionsCallback) -> None:
        saved.append((kept.epochs_done, kept.logits_NK.clone(), kept.rows_N))

    order, dls = Order(saved), Loaders(blobs([4], seed=1), validation())
    learner = make_learner(dls, Best([True, False, True]), PredictionsCallback(always=always, save=save), order)

    learner.fit(3)

    assert [epoch for epoch, _, _ in saved] == epochs
    assert order.seen == [sum(each <= epoch for each in epochs) for epoch in (1, 2, 3)]
    assert saved[-1][2].tolist() == [4, 0, 2, 1, 3]
    with torch.no_grad():
        assert torch.equal(saved[-1][1], torch.cat([learner.model(batch[0]) for batch in dls.valid_dl]))


def test_without_a_best_epoch_nothing_is_handed_on():
    saved: list[PredictionsCallback] = []

    make_learner(Loaders(blobs([4], seed=1), validation()), Best([False]), PredictionsCallback(save=saved.append)).fit(
        1
    )

    assert saved == []
