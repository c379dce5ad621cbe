"""A loss or a weight that is no number stops the training, says where, and spares the checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from learner.toy import Loaders, blobs, images, loaders, make_learner
from torch import nn

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.checkpoint import CheckpointCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mix import MixUp
from imagekit.callbacks.nan_guard import NanGuard, first_bad_tensor
from imagekit.callbacks.recorder import RecorderCallback
from imagekit.errors import TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events
from imagekit.runs.status import read_status


class Spoil(Callback):
    """Make the loss `value` in one batch of one phase of one epoch."""

    _order = 1

    def __init__(self, value: float, *, epoch: int, i_batch: int, in_train: bool) -> None:
        self.value, self.at = value, (epoch, i_batch, in_train)

    def after_loss(self) -> None:
        if (self.epoch, self.i_batch, self.in_train) == self.at:
            self.learner.loss = self.learner.loss * self.value


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path / "run").create()


def learner_with(
    layout: RunLayout, *callbacks: Callback, with_keys: bool = False, dls: Any = None, **options: Any
) -> Learner:
    dls = dls or loaders([4, 4], [4], with_keys=with_keys)
    watchers = (MetricsCallback(), BestCallback(), NanGuard(layout))
    learner = make_learner(dls, *watchers, *callbacks, **options)
    saver = CheckpointCallback(layout, lambda best: learner.state_dict())
    learner.add_callbacks([RecorderCallback(layout), saver])
    return learner


def failure(learner: Learner) -> str:
    with pytest.raises(TrainingError) as caught:
        learner.fit(3)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_training_loss_stops_at_its_step(layout: RunLayout, value: float):
    learner = learner_with(layout, Spoil(value, epoch=1, i_batch=1, in_train=True))

    text = failure(learner)

    assert text == (
        f"the training loss is {value} in epoch 2, step 2\n"
        f"  where: {layout.failure}\n"
        "  fix: lower the learning rate (it was 0.1); the checkpoints are of an earlier step, and finite"
    )
    assert all(torch.isfinite(param).all() for param in learner.model.parameters())
    assert json.loads(layout.failure.read_text()) == {
        "phase": "training",
        "epoch": 2,
        "step": 2,
        "loss": str(value),
        "lr": 0.1,
        "keys": None,
    }


def test_checkpoints_and_records_are_those_of_the_last_good_epoch(layout: RunLayout):
    failure(learner_with(layout, Spoil(float("nan"), epoch=1, i_batch=0, in_train=False)))

    assert load_checkpoint(layout.last)["epochs_done"] == 1
    assert load_checkpoint(layout.best)["epochs_done"] == 1
    assert layout.metrics.read_text().count("\n") == 2
    status = read_status(layout.status)
    assert (status.state, status.epoch) == ("failed", 1)
    last = read_events(layout.events)[-1]
    assert (last["event"], last["error"]) == ("failure", "TrainingError")
    assert last["what"] == "the validation loss is nan in epoch 2, step 1"


def test_keys_of_the_batch_are_kept(layout: RunLayout):
    failure(learner_with(layout, Spoil(float("nan"), epoch=0, i_batch=0, in_train=True), with_keys=True))

    assert json.loads(layout.failure.read_text())["keys"] == [0, 1, 2, 3]


def test_finite_losses_pass(layout: RunLayout):
    learner_with(layout, Spoil(1e30, epoch=1, i_batch=0, in_train=False)).fit(3)

    assert not layout.failure.exists()
    assert load_checkpoint(layout.last)["epochs_done"] == 3


@pytest.mark.parametrize("i_batch", [0, 1])
def test_in_a_group_of_accumulated_batches_the_one_is_named(layout: RunLayout, i_batch: int):
    learner = learner_with(
        layout, GradientAccumulation(2), Spoil(float("nan"), epoch=1, i_batch=i_batch, in_train=True)
    )

    text = failure(learner)

    assert text.startswith(f"the training loss is nan in epoch 2, step {i_batch + 1}\n")
    assert all(torch.isfinite(param).all() for param in learner.model.parameters())
    assert load_checkpoint(layout.last)["epochs_done"] == 1


def test_the_loss_of_mixed_images_is_looked_at(layout: RunLayout):
    pictures = Loaders(images([4, 4], seed=1), images([4], seed=2))
    for batch in pictures.train_dl:
        batch.keys = torch.arange(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    spoil = Spoil(float("inf"), epoch=0, i_batch=1, in_train=True)

    text = failure(learner_with(layout, MixUp(n_classes=2), spoil, dls=pictures, model=model))

    assert text.startswith("the training loss is inf in epoch 1, step 2\n")


# weights: a gradient can be no number where its loss is one


class SpoilGradient(Callback):
    """Make one gradient `value` in one batch."""

    def __init__(self, value: float, *, epoch: int, i_batch: int) -> None:
        self.value, self.at = value, (epoch, i_batch)

    def after_backward(self) -> None:
        if (self.epoch, self.i_batch) == self.at:
            next(self.learner.model.parameters()).grad.fill_(self.value)


def test_a_bad_gradient_shows_one_step_later(layout: RunLayout):
    text = failure(learner_with(layout, SpoilGradient(float("nan"), epoch=1, i_batch=0)))

    assert text.startswith("the training loss is nan in epoch 2, step 2\n")
    assert load_checkpoint(layout.last)["epochs_done"] == 1


def test_a_bad_gradient_in_the_last_step_shows_in_validation(layout: RunLayout):
    text = failure(learner_with(layout, SpoilGradient(float("nan"), epoch=1, i_batch=1)))

    assert text.startswith("the validation loss is nan in epoch 2, step 1\n")
    assert load_checkpoint(layout.last)["epochs_done"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_without_validation_images_the_weights_tell_of_the_last_step(layout: RunLayout, value: float):
    dls = Loaders(blobs([4, 4], seed=1), [])

    text = failure(learner_with(layout, SpoilGradient(value, epoch=1, i_batch=1), dls=dls))

    assert text == (
        "weight is no longer finite after epoch 2\n"
        f"  where: {layout.failure}\n"
        "  fix: lower the learning rate (it was 0.1); the checkpoints are of an earlier step, and finite"
    )
    facts = {"phase": "training", "epoch": 2, "step": 2, "loss": None, "lr": 0.1, "keys": None, "tensor": "weight"}
    assert json.loads(layout.failure.read_text()) == facts
    saved = load_checkpoint(layout.last)
    assert saved["epochs_done"] == load_checkpoint(layout.best)["epochs_done"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())
    assert (read_status(layout.status).state, read_status(layout.status).epoch) == ("failed", 1)


def test_weights_that_validation_does_not_see_are_looked_at(layout: RunLayout):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))  # a sigmoid makes 1 of infinity

    with pytest.raises(TrainingError) as caught:
        learner_with(layout, SpoilGradient(float("-inf"), epoch=0, i_batch=1), model=model).fit(1)

    assert caught.value.what == "0.weight is no longer finite after epoch 1"
    assert (load_checkpoint(layout.last)["epochs_done"], layout.best.exists()) == (0, False)
    assert all(torch.isfinite(tensor).all() for tensor in load_checkpoint(layout.last)["model"].values())


def test_a_running_mean_that_is_nan_is_named_and_an_infinite_mask_is_none():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    model[0].bias.requires_grad_(False).fill_(float("-inf"))

    well = first_bad_tensor(model)
    model[1].running_mean[1] = float("nan")

    assert (well, first_bad_tensor(model)) == (None, "1.running_mean")
    assert first_bad_tensor(nn.Flatten()) is None


# inside an epoch


def every_step(layout: RunLayout, *callbacks: Callback) -> Learner:
    """A learner that saves after each step."""
    learner = make_learner(loaders([4] * 3, [4]), MetricsCallback(), *callbacks)
    learner.add_callbacks([CheckpointCallback(layout, lambda best: learner.state_dict(), every=1)])
    return learner


@pytest.mark.parametrize("is_guarded", [True, False])
def test_weights_that_are_not_finite_are_never_saved_inside_an_epoch(layout: RunLayout, is_guarded: bool):
    spoil = SpoilGradient(float("inf"), epoch=1, i_batch=1)

    text = failure(every_step(layout, spoil, *([NanGuard(layout)] if is_guarded else [])))

    assert text == (
        "weight is no longer finite in epoch 2, after step 2\n"
        f"  where: {layout.failure}\n"
        "  fix: lower the learning rate (it was 0.1); the checkpoints are of an earlier step, and finite"
    )
    facts = {"phase": "training", "epoch": 2, "step": 2, "loss": None, "lr": 0.1, "keys": None, "tensor": "weight"}
    assert json.loads(layout.failure.read_text()) == facts
    saved = load_checkpoint(layout.last)
    assert (saved["epochs_done"], saved["batches_done"]) == (1, 1)
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


class StopAfterThree(Callback):
    """Ask for a stop after the third batch."""

    def after_batch(self) -> None:
        self.learner.stop = self.i_batch == 2


def test_a_stopped_fit_whose_weights_are_not_finite_fails(layout: RunLayout):
    guard, spoil = NanGuard(layout), SpoilGradient(float("nan"), epoch=0, i_batch=2)
    learner = learner_with(layout, guard, spoil, StopAfterThree(), dls=loaders([4] * 3, [4]))

    text = failure(learner)

    assert text.startswith("weight is no longer finite in epoch 1, after step 3\n")
    assert load_checkpoint(layout.last)["batches_done"] == 0
    assert learner.failure is not None


def test_an_interrupt_saves_no_weights_that_are_not_finite(layout: RunLayout):
    class Interrupt(Callback):
        def begin_validate(self) -> None:
            raise KeyboardInterrupt

    spoil = SpoilGradient(float("nan"), epoch=0, i_batch=2)
    learner = learner_with(layout, spoil, Interrupt(), dls=loaders([4] * 3, [4]))

    with pytest.raises(KeyboardInterrupt):
        learner.fit(1)

    assert load_checkpoint(layout.last)["batches_done"] == 0
    assert not layout.failure.exists()


# the path of accelerators, on a stand-in for a device: what is asked is asked once a phase


class Remote:
    """Losses of a device other than the CPU."""

    class Loss:
        def __init__(self, value: float) -> None:
            self.value = value
            self.device = torch.device("cuda")

        def detach(self) -> Remote.Loss:
            return self

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(torch.tensor(args[0].value))


@pytest.mark.parametrize(("values", "step"), [([1.0, float("nan"), 1.0, float("inf")], 2), ([float("inf")], 1)])
def test_elsewhere_the_first_bad_step_is_found_at_the_end_of_the_phase(
    layout: RunLayout, values: list[float], step: int
):
    learner = make_learner()
    learner.make_opt()
    guard = NanGuard(layout)
    guard.learner = learner
    guard.begin_epoch()
    for i, value in enumerate(values):
        learner.i_batch, learner.loss, learner.in_train = i, Remote.Loss(value), True
        guard.after_loss()
    learner.in_train = False

    with pytest.raises(TrainingError) as caught:
        guard.begin_validate()

    assert str(caught.value) == (
        f"the training loss is not a finite number in epoch 1, step {step}\n"
        f"  where: {layout.failure}\n"
        "  fix: lower the learning rate (it was 0.1); there is no checkpoint yet"
    )
    assert json.loads(layout.failure.read_text())["loss"] is None


def test_elsewhere_a_bad_step_is_known_before_anything_is_saved(layout: RunLayout):
    learner = make_learner()
    learner.make_opt()
    guard = NanGuard(layout)
    guard.learner = learner
    guard.begin_epoch()
    learner.i_batch, learner.loss, learner.in_train = 0, Remote.Loss(float("nan")), True
    guard.after_loss()

    assert not guard.is_well()
    assert not layout.failure.exists()
    with pytest.raises(TrainingError, match="the training loss is not a finite number in epoch 1, step 1"):
        guard.check()


def test_elsewhere_good_steps_pass_both_phases(layout: RunLayout):
    learner = make_learner()
    guard = NanGuard(layout)
    guard.learner = learner
    guard.begin_epoch()
    learner.loss = Remote.Loss(1.0)
    guard.after_loss()
    guard.check()
    guard.begin_validate()
    guard.after_loss()
    guard.after_epoch()

    assert guard.is_well()
    assert not layout.failure.exists()
