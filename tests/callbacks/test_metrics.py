"""The row of an epoch: means over images, and the learning rate."""

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
        ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr"]
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


def test_an_empty_valid_set_gives_none():
    rows = rows_of(Loaders(blobs([4], seed=1), []), MetricsCallback())

    assert [(row["valid_loss"], row["valid_accuracy"]) for row in rows] == [(None, None)] * 2


def test_a_cancelled_batch_counts_only_if_it_had_a_loss():
    dls = loaders([4, 2], [3])
    log = EventLog("after_pred", CancelBatchException())
    metrics = MetricsCallback()

    rows_of(dls, metrics, log, n_epochs=1)

    assert (metrics.train_stats.n_images, metrics.valid_stats.n_images) == (2, 3)


def test_lr_is_that_of_the_last_group():
    def split(model: Any) -> list[dict[str, Any]]:
        return [{"params": [model.weight], "lr": 0.5}, {"params": [model.bias]}]

    assert rows_of(None, MetricsCallback(), splitter=split, lr=0.25)[0]["lr"] == 0.25


def test_what_others_measured_before_stands_behind_the_metrics():
    class Early(Callback):
        _order = 5

        def after_epoch(self) -> None:
            self.learner.row["valid_early"] = 1.0

    row = rows_of(None, MetricsCallback(), Early(), n_epochs=1)[0]

    assert list(row)[-3:] == ["valid_accuracy", "valid_early", "lr"]


def test_a_second_validation_forgets_the_first():
    learner = make_learner(None, MetricsCallback(), lr=0.0)

    first, second = learner.validate(), learner.validate()

    assert first == second


def test_only_a_begun_epoch_has_a_state():
    class States(Callback):
        def __init__(self) -> None:
            self.seen: list[bool] = []

        def _look(self) -> None:
            self.seen.append("metrics" in self.learner.state_dict()["callbacks"])

        begin_epoch = after_batch = begin_validate = after_epoch = _look

    states = States()

    make_learner(loaders([4, 4], [4]), MetricsCallback(), states).fit(1)

    assert states.seen == [False, True, True, True, True, False]
    assert MetricsCallback().state_dict() == {}
