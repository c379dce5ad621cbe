"""One stops at any moment of the loop, as often as one likes, and sees what is there."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from learner.toy import EventLog, loaders, make_learner

from imagekit.callbacks.debug import Debug, describe_batch
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS, CancelBatchException, CancelEpochException, CancelTrainException
from imagekit.learner.learner import Learner


@pytest.mark.parametrize("event", EVENTS)
def test_it_acts_at_every_event(event: str):
    cancels = {
        "after_cancel_batch": EventLog("after_pred", CancelBatchException()),
        "after_cancel_epoch": EventLog("after_pred", CancelEpochException()),
        "after_cancel_train": EventLog("after_pred", CancelTrainException()),
    }
    seen: list[Learner] = []
    learner = make_learner(None, Debug(event, act=seen.append), cancels.get(event, EventLog()))

    learner.fit(2)

    assert seen == [learner]


def test_it_acts_the_first_n_times():
    places: list[tuple[int, bool, int]] = []
    debug = Debug(
        "after_loss", act=lambda learner: places.append((learner.epoch, learner.in_train, learner.i_batch)), n=4
    )

    make_learner(loaders([2, 2], [2]), debug).fit(2)

    assert places == [(0, True, 0), (0, True, 1), (0, False, 0), (1, True, 0)]


def test_it_sees_what_the_other_callbacks_made_of_the_batch():
    class Double(Callback):
        _order = 105

        def begin_batch(self) -> None:
            self.learner.xb = self.xb * 0 + 2

    seen: list[float] = []

    make_learner(None, Debug(act=lambda learner: seen.append(learner.xb.mean().item())), Double()).fit(1)

    assert seen == [2.0]


def test_without_an_act_the_batch_is_described_on_stderr(capsys: pytest.CaptureFixture[str]):
    make_learner(loaders([2, 2], [2]), Debug("after_loss")).fit(1)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "after_loss: training, epoch 1 of 1, batch 1 of 2"
    assert [line.split()[:4] for line in lines[1:]] == [
        ["xb", "float32", "[2,", "2]"],
        ["yb", "int64", "[2]", "on"],
        ["pred", "float32", "[2,", "2]"],
        ["loss", "float32", "[]", "on"],
    ]


@pytest.mark.parametrize(
    ("event", "parts"),
    [("begin_fit", []), ("begin_epoch", []), ("begin_batch", ["xb", "yb"]), ("after_pred", ["xb", "yb", "pred"])],
)
def test_what_is_left_of_the_batch_before_is_not_shown(
    event: str, parts: list[str], capsys: pytest.CaptureFixture[str]
):
    make_learner(None, Debug(event, n=3)).fit(2)

    text = capsys.readouterr().err
    assert {line.split()[0] for line in text.splitlines() if line.startswith("  ")} == set(parts)


def test_breakpoint_opens_the_debugger_with_the_learner_at_hand(monkeypatch: pytest.MonkeyPatch):
    found: list[Any] = []

    def hook(*args: Any) -> None:
        found.append((args, sys._getframe(1).f_locals["learner"]))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    learner = make_learner(None, Debug("after_pred", act=breakpoint))

    learner.fit(1)

    assert found == [((), learner)]


# -- the description --------------------------------------------------------------------------------------------------


def described(**parts: Any) -> list[str]:
    learner = make_learner()
    for name, value in parts.items():
        setattr(learner, name, value)
    return describe_batch(learner, parts=list(parts)).splitlines()[1:]


def test_numbers_of_a_tensor_are_its_range_mean_and_deviation():
    assert described(xb=torch.tensor([[0.0, 2.0], [4.0, 6.0]])) == [
        "  xb  float32 [2, 2] on cpu, 0 to 6, mean 3, std 2.236"
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([3, 1_000_001]), "int64 [2] on cpu, 3 to 1000001"),
        (torch.tensor([True, True]), "bool [2] on cpu, 1"),
        (torch.tensor([255], dtype=torch.uint8), "uint8 [1] on cpu, 255"),
        (torch.tensor(0.5), "float32 [] on cpu, 0.5"),
        (torch.tensor([0.5, 1.5], dtype=torch.float16), "float16 [2] on cpu, 0.5 to 1.5, mean 1, std 0.5"),
        (torch.zeros(0, 3), "float32 [0, 3] on cpu"),
        (torch.zeros(1, dtype=torch.complex64), "complex64 [1] on cpu"),
        (
            torch.tensor([1.0, 3.0, float("nan"), float("inf"), float("-inf")]),
            "float32 [5] on cpu, 1 to 3, mean 2, std 1, 1 NaN, 2 infinite",
        ),
        (torch.full((2,), float("nan")), "float32 [2] on cpu, 2 NaN, 0 infinite"),
        (None, "none yet"),
        ("text", "str"),
    ],
)
def test_every_kind_of_value_is_described(value: Any, text: str):
    assert described(pred=value) == [f"  pred  {text}"]


def test_tensors_in_tuples_and_dicts_are_described_one_by_one():
    assert described(pred=(torch.tensor(1), {"boxes": torch.tensor(2)}), loss=torch.tensor(3)) == [
        "  pred[0]           int64 [] on cpu, 1",
        "  pred[1]['boxes']  int64 [] on cpu, 2",
        "  loss              int64 [] on cpu, 3",
    ]


def test_describing_leaves_the_graph_alone():
    learner = make_learner(None, Debug("after_loss", act=describe_batch, n=9))

    learner.fit(1)

    assert describe_batch(learner).startswith("validation, epoch 1 of 1, batch 1 of 1\n")


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_an_event_that_there_is_not_is_refused():
    with pytest.raises(ConfigError) as caught:
        Debug("after_predict")

    assert str(caught.value) == (
        'there is no event "after_predict"\n  where: Debug: event\n'
        f'  fix: did you mean "after_pred"? known: {", ".join(sorted(EVENTS))}'
    )


def test_acting_never_is_refused():
    with pytest.raises(ConfigError) as caught:
        Debug(n=0)

    assert str(caught.value) == "n is 0, must be at least 1\n  where: Debug: n\n  fix: give how many times to act"
