"""What the lessons' callbacks got wrong, on this ground: bars that miscount, means of nothing, batches of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner.toy import Batch, Loaders, blobs, conv_net, images, loaders, make_learner
from torch import Tensor

from imagekit.callbacks import progress
from imagekit.callbacks.best import BestCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mix import CutMix, MixUp
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.progress import ProgressCallback
from imagekit.callbacks.recorder import StepRecorder
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.callbacks.timing import TimingCallback
from imagekit.learner.callback import Callback
from imagekit.optim.schedules import combine_scheds, sched_no


class Bar:
    """A bar that remembers what it was told."""

    made: list[Bar]

    def __init__(self, total: int, words: str, unit: str, *, initial: int = 0) -> None:
        self.total, self.words, self.n = total, words, initial
        self.made.append(self)

    def update(self, n: int = 1) -> None:
        self.n += n

    def close(self) -> None:
        """Stays in the list."""


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    Bar.made = []
    monkeypatch.setattr(progress, "_bar", Bar)
    return Bar.made


def fit_with_bars(dls: Any, *, n_epochs: int = 1) -> None:
    make_learner(dls, MetricsCallback(), ProgressCallback(write=lambda line: None, bars=True)).fit(n_epochs)


def test_a_bar_counts_every_batch_of_its_phase_and_ends_full(bars: list[Bar]):
    fit_with_bars(loaders([4, 4, 1], [8, 2]), n_epochs=2)

    assert [(bar.n, bar.total) for bar in bars] == [(2, 2), (3, 3), (2, 2), (3, 3), (2, 2)]


def test_the_bar_of_a_single_batch_is_full_after_it(bars: list[Bar]):
    fit_with_bars(loaders([4], []))

    assert [bar.n for bar in bars if "train" in bar.words] == [1]


def test_a_fit_without_validation_images_divides_by_nothing():
    lines: list[str] = []
    callbacks = (TimingCallback(), MetricsCallback(), BestCallback(), StepRecorder())

    learner = make_learner(loaders([4], []), *callbacks, ProgressCallback(write=lines.append, bars=False))
    learner.fit(2)

    assert (learner.row["valid_loss"], learner.row["valid_accuracy"], learner.row["is_best"]) == (None, None, True)
    assert "valid_loss -" in lines[-1]


def test_the_epochs_accuracy_is_right_over_all_and_not_a_mean_of_means():
    hits, misses = blobs([99], seed=1)[0], blobs([1], seed=2)[0]
    wrong = Batch((misses[0], 1 - misses[1]))
    learner = make_learner(Loaders([hits], [hits, wrong]), MetricsCallback(), lr=0.5)

    learner.fit(1)

    per_image = [(learner.model(x).argmax(1) == y).tolist() for x, y in learner.data.valid_dl]
    right = sum(map(sum, per_image))
    assert learner.row["valid_accuracy"] == pytest.approx(right / 100, abs=1e-12)
    assert learner.row["valid_accuracy"] != pytest.approx((sum(per_image[0]) / 99 + sum(per_image[1])) / 2, abs=1e-3)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_a_training_batch_of_one_image_is_mixed_and_learnt_from(kind: type[MixUp]):
    class Targets(Callback):
        _order = 91

        def begin_batch(self) -> None:
            if self.in_train:
                self.seen: Tensor = self.yb

    [batch] = images([1], seed=1)
    batch.keys = torch.tensor([7])
    targets = Targets()
    model = conv_net().eval()
    learner = make_learner(Loaders([batch], []), kind(n_classes=2), targets, StepRecorder(), model=model)

    learner.fit(1)

    assert torch.equal(targets.seen, torch.nn.functional.one_hot(batch[1], 2).float())
    assert learner.loss.isfinite()


def test_after_mixing_validation_is_measured_with_the_loss_that_was_given():
    loss_func = make_learner().loss_func
    batches = blobs([4, 4], seed=1, with_keys=True)
    learner = make_learner(Loaders(batches, batches), MixUp(n_classes=2), loss_func=loss_func)

    learner.fit(1)

    assert learner.loss_func is loss_func and learner.valid_loss_func is loss_func
    assert torch.equal(learner.yb, batches[-1][1])


def test_half_precision_ends_with_the_fit_and_the_model_is_float32_again():
    learner = make_learner(Loaders(images([4], seed=1), images([4], seed=2)), MixedPrecision(), model=conv_net())

    learner.fit(1)

    assert learner.pred.dtype == torch.bfloat16
    assert {value.dtype for value in learner.model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }
    assert learner.model(images([2], seed=3)[0][0]).dtype == torch.float32


def test_three_phases_of_a_schedule_set_three_rates():
    recorder = StepRecorder()
    sched = combine_scheds([0.25, 0.25, 0.5], [sched_no(rate, rate) for rate in (0.1, 0.2, 0.3)])

    make_learner(loaders([2] * 8, []), recorder, ParamScheduler("lr", sched)).fit(1)

    assert recorder.lrs == [0.1] * 2 + [0.2] * 2 + [0.3] * 4
