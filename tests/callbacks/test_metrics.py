"""The row of an epoch: means over images, the learning rate, and whether it is the best so far."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from learner.toy import EventLog, Loaders, blobs, loaders, make_learner

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException
from imagekit.learner.metrics import accuracy, top_k


class Rows(Callback):
    _order = 90

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def after_epoch(self) -> None:
        self.rows.append(dict(self.row))


def rows_of(dls: Any, *callbacks: Callback, n_epochs: int = 2, **options: Any) -> list[dict[str, Any]]:
    rows = Rows()
    make_learner(dls, *callbacks, rows, **options).fit(n_epochs)
    return rows.rows


def test_row_has_its_columns_in_order():
    assert [list(row) for row in rows_of(None, MetricsCallback())] == [
        ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr", "is_best"]
    ] * 2


def test_valid_values_are_those_of_all_images_at_once():
    dls = loaders([4], [5, 3, 1])
    rows = Rows()
    learner = make_learner(dls, MetricsCallback(), rows)

    learner.fit(1)

    x, y = (torch.cat(parts) for parts in zip(*dls.valid_dl, strict=True))
    with torch.no_grad():
        pred = learner.model(x)
    assert rows.rows[0]["valid_loss"] == pytest.approx(F.cross_entropy(pred, y).item(), rel=1e-6)
    assert rows.rows[0]["valid_accuracy"] == (pred.argmax(1) == y).double().mean().item()


def test_each_epoch_starts_from_nothing():
    rows = rows_of(loaders([4, 2], [3]), MetricsCallback(), lr=0.0, n_epochs=3)

    assert rows[0]["train_loss"] == rows[1]["train_loss"] == rows[2]["train_loss"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_other_metrics_name_their_columns():
    row = rows_of(None, MetricsCallback({"top_2": top_k(2), "accuracy": accuracy}), n_epochs=1)[0]

    measured = ("loss", "top_2", "accuracy")
    assert list(row)[1:7] == [f"{phase}_{name}" for phase in ("train", "valid") for name in measured]
    assert row["valid_top_2"] == 1.0


def test_an_empty_valid_set_gives_none_and_every_epoch_is_the_best():
    rows = rows_of(Loaders(blobs([4], seed=1), []), MetricsCallback())

    assert [(row["valid_loss"], row["valid_accuracy"], row["is_best"]) for row in rows] == [(None, None, True)] * 2


def test_a_cancelled_batch_counts_only_if_it_had_a_loss():
    dls = loaders([4, 2], [3])
    log = EventLog("after_pred", CancelBatchException())
    metrics = MetricsCallback()

    rows_of(dls, metrics, log, n_epochs=1)

    assert (metrics.train_stats.n_images, metrics.valid_stats.n_images) == (2, 3)


def best_flags(values: list[float | None], **options: Any) -> list[bool]:
    callback = MetricsCallback(**options)
    return [callback._is_best(value) for value in values]


def test_best_is_the_highest_and_of_equals_the_later():
    assert best_flags([0.5, 0.4, 0.5, 0.6, 0.1]) == [True, False, True, True, False]


def test_nan_is_never_the_best():
    assert best_flags([float("nan"), 0.1, float("nan"), 0.1]) == [False, True, False, True]


def test_best_of_an_earlier_fit_counts():
    assert best_flags([0.4, 0.5], best=0.45) == [False, True]


def test_lr_is_that_of_the_last_group():
    def split(model: Any) -> list[dict[str, Any]]:
        return [{"params": [model.weight], "lr": 0.5}, {"params": [model.bias]}]

    assert rows_of(None, MetricsCallback(), splitter=split, lr=0.25)[0]["lr"] == 0.25
