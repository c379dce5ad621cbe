"""Which epoch is the best: by any column, up or down, of equals the later."""

from __future__ import annotations

from typing import Any

import pytest
from learner.toy import Loaders, blobs, loaders, make_learner

from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.callback import Callback


class Scripted(Callback):
    """One value an epoch, as if it had been measured."""

    _order = 15

    def __init__(self, column: str, values: list[float | None]) -> None:
        self.column, self.values = column, values

    def after_epoch(self) -> None:
        self.learner.row[self.column] = self.values[self.learner.epoch]


class Flags(Callback):
    _order = 90

    def __init__(self) -> None:
        self.flags: list[bool] = []

    def after_epoch(self) -> None:
        self.flags.append(self.learner.row["is_best"])


def best_flags(values: list[float | None], column: str = "valid_accuracy", **options: Any) -> list[bool]:
    flags = Flags()
    callbacks = [Scripted(column, values), BestCallback(column, **options), flags]
    make_learner(loaders([2], []), *callbacks).fit(len(values))
    return flags.flags


def test_best_is_the_highest_and_of_equals_the_later():
    assert best_flags([0.5, 0.4, 0.5, 0.6, 0.1]) == [True, False, True, True, False]


def test_of_a_loss_the_lowest_is_best():
    assert best_flags([0.5, 0.6, 0.5, 0.4], "valid_loss") == [True, False, True, True]


def test_the_direction_can_be_told():
    assert best_flags([0.5, 0.6, 0.4], "valid_temperature", mode="min") == [True, False, True]


def test_nan_is_never_the_best():
    assert best_flags([float("nan"), 0.1, float("nan"), 0.1]) == [False, True, False, True]


def test_without_validation_every_epoch_is_the_best():
    flags = Flags()

    make_learner(Loaders(blobs([4], seed=1), []), MetricsCallback(), BestCallback(), flags).fit(2)

    assert flags.flags == [True, True]


def test_an_epoch_that_was_not_measured_is_the_best_until_one_is():
    assert best_flags([None, 0.5, None, 0.4, 0.6]) == [True, True, False, False, True]


def test_a_resumed_fit_compares_with_the_best_before_it():
    first, second, flags = BestCallback(), BestCallback(), Flags()
    learner = make_learner(None, Scripted("valid_accuracy", [0.45]), first)
    learner.fit(1)
    state = learner.state_dict()
    again = make_learner(None, Scripted("valid_accuracy", [0.0, 0.4, 0.5]), second, flags)

    again.fit(3, first_epoch=again.load_state_dict(state))

    assert state["callbacks"] == {"best": {"monitor": "valid_accuracy", "best": 0.45}}
    assert flags.flags == [False, True]


def test_the_best_of_another_column_does_not_count():
    best = BestCallback("valid_loss")

    best.load_state_dict({"monitor": "valid_accuracy", "best": 0.9})

    assert best.best is None


def test_a_column_that_is_not_there_is_an_error_that_lists_those_that_are():
    learner = make_learner(None, MetricsCallback(), BestCallback("valid_acuracy"))

    with pytest.raises(ConfigError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        'no column "valid_acuracy" was measured in this epoch\n  where: BestCallback: monitor\n'
        '  fix: did you mean "valid_accuracy"? known: lr, train_accuracy, train_loss, valid_accuracy, valid_loss'
    )


def test_a_state_that_does_not_fit_is_said():
    learner = make_learner(None, MetricsCallback(), BestCallback())
    learner.fit(1)
    state = learner.state_dict()
    state["callbacks"] = {"best": {"value": 1.0}}
    again = make_learner(None, MetricsCallback(), BestCallback())
    again.load_state_dict(state)

    with pytest.raises(CheckpointError) as caught:
        again.fit(2, first_epoch=1)

    assert str(caught.value) == (
        "the saved state of best does not fit it: 'monitor'\n  where: Learner.fit: callbacks\n"
        "  fix: go on with the configuration that the run was trained with"
    )
