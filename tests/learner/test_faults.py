"""What the lessons' runner got wrong, on this ground: batches for a summary, scaled losses, means of uneven batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import EventLog, Loaders, blobs, conv_net, images, linear, loaders, make_learner
from torch import Tensor, nn

from imagekit.batch.normalize import Normalize
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.progress import ProgressCallback
from imagekit.callbacks.recorder import StepRecorder
from imagekit.errors import CheckpointError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy
from imagekit.models.summary import model_summary

NO_BATCH = (
    "the training data has no batch\n"
    "  where: Learner.get_batch: data\n"
    "  fix: check that the train split has images, and that no incomplete batch was dropped"
)


class Scaler(Callback):
    """Scales the loss of every batch, and keeps what reached the weights of the first training batch."""

    def __init__(self, factor: Tensor | float) -> None:
        self.factor = factor
        self.grads: list[Tensor] = []
        self.losses: list[Tensor] = []

    def after_loss(self) -> None:
        self.learner.scale_loss(self.factor)

    def after_backward(self) -> None:
        self.grads.append(self.learner.model.weight.grad.clone())
        self.losses.append(self.loss.detach())


def image_learner(*callbacks: Callback) -> Learner:
    return make_learner(Loaders(images([4, 4], seed=1), images([6], seed=2)), *callbacks, model=conv_net())


def state_of(learner: Learner) -> dict[str, Any]:
    """Everything that a Learner holds, tensors and modules by their values."""
    values = {name: value for name, value in vars(learner).items() if name not in ("model", "_handlers")}
    return values | {name: value.clone() for name, value in learner.model.state_dict().items()}


def assert_same_state(learner: Learner, before: dict[str, Any]) -> None:
    after = state_of(learner)
    assert after.keys() == before.keys()
    for name, value in before.items():
        is_weight = isinstance(value, Tensor) and name in learner.model.state_dict()
        assert torch.equal(after[name], value) if is_weight else after[name] is value or after[name] == value, name


# -- a batch for a summary --------------------------------------------------------------------------------------------


def test_a_summary_takes_its_batch_from_the_learner_it_is_told_of():
    learner = image_learner()
    other = make_learner(Loaders(images([2], seed=3), images([3], seed=4)), model=nn.Sequential(nn.Flatten()))

    rows = model_summary(learner.model, learner.get_batch()[0]).rows

    assert rows[-1].output_shape == (6, 2)
    assert model_summary(other.model, other.get_batch()[0]).rows[-1].output_shape == (3, 192)


def test_getting_a_batch_prints_no_header_and_begins_no_fit(capsys: pytest.CaptureFixture[str]):
    log, lines = EventLog(), []
    learner = image_learner(log, ProgressCallback(write=lines.append, bars=True))

    learner.get_batch()

    assert log.log == ["begin_batch", "after_batch"]
    assert lines == []
    assert capsys.readouterr() == ("", "")


def test_the_batch_has_been_through_the_callbacks_of_its_phase():
    halve, keep = Normalize([0.0] * 3, [2.0] * 3), Normalize([1.0] * 3, [1.0] * 3)
    learner = image_learner(BatchTransforms([halve], [keep]))
    train, valid = learner.data.train_dl[0], learner.data.valid_dl[0]

    x, y = learner.get_batch(in_train=True)
    valid_x, valid_y = learner.get_batch()

    assert torch.allclose(x, train[0] / 2) and torch.equal(y, train[1])
    assert torch.allclose(valid_x, valid[0] - 1) and torch.equal(valid_y, valid[1])


def test_the_batch_of_training_is_the_one_that_a_fit_begins_with():
    class First(Callback):
        def begin_batch(self) -> None:
            if self.in_train and self.i_batch == 0:
                self.x = self.xb

    learner = image_learner()

    x, _ = learner.get_batch(in_train=True)
    learner.fit(1, [first := First()])

    assert torch.equal(x, first.x)


def test_model_and_batch_are_on_one_device():
    learner = image_learner(DeviceCallback("meta"))

    x, y = learner.get_batch()

    assert (x.device.type, y.device.type) == ("meta", "meta")
    assert {parameter.device.type for parameter in learner.model.parameters()} == {"meta"}
    assert learner.model(x).shape == (6, 2)


@pytest.mark.parametrize("in_train", [True, False])
def test_getting_a_batch_leaves_the_learner_as_it_was(in_train: bool):
    learner = image_learner(BatchTransforms(), MixedPrecision())
    learner.fit(1)
    before = state_of(learner)

    learner.get_batch(in_train=in_train)

    assert_same_state(learner, before)


def test_no_hook_and_no_autocast_is_left_by_a_batch_and_its_summary():
    learner = image_learner(MixedPrecision())

    model_summary(learner.model, learner.get_batch()[0])

    assert not torch.is_autocast_enabled("cpu")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in learner.model.modules())


def test_a_callback_that_fails_leaves_the_learner_as_it_was():
    learner = image_learner(MixedPrecision(), EventLog("begin_batch", ValueError("broken")))
    before = state_of(learner)

    with pytest.raises(ValueError, match="broken"):
        learner.get_batch()

    assert_same_state(learner, before)
    assert not torch.is_autocast_enabled("cpu")


def test_without_validation_the_batch_is_one_of_training_seen_as_in_validation():
    log: list[bool] = []

    class Phase(Callback):
        def begin_batch(self) -> None:
            log.append(self.in_train)

    learner = make_learner(loaders([5, 4], []), Phase())

    x, y = learner.get_batch()

    assert torch.equal(x, learner.data.train_dl[0][0]) and len(y) == 5
    assert log == [False]


@pytest.mark.parametrize(("train", "valid", "in_train"), [([], [], False), ([], [], True), ([], [4], True)])
def test_no_batch_at_all_is_said(train: list[int], valid: list[int], in_train: bool):
    learner = make_learner(loaders(train, valid))
    before = state_of(learner)

    with pytest.raises(TrainingError) as caught:
        learner.get_batch(in_train=in_train)

    assert str(caught.value) == NO_BATCH
    assert_same_state(learner, before)


def test_a_batch_of_validation_needs_no_training_data():
    learner = make_learner(loaders([], [4]))

    x, y = learner.get_batch()

    assert (x.shape, y.shape) == ((4, 2), (4,))


# -- scaled losses ----------------------------------------------------------------------------------------------------


def test_a_scaled_loss_reaches_the_gradients_and_nothing_that_is_measured():
    plain, scaled = Scaler(1.0), Scaler(512.0)
    recorders = StepRecorder(), StepRecorder()

    for scaler, recorder in zip((plain, scaled), recorders, strict=True):
        make_learner(loaders([4], [4]), scaler, recorder, lr=1e-9).fit(1)

    assert torch.allclose(scaled.grads[0], 512 * plain.grads[0])
    assert torch.equal(scaled.losses[0], plain.losses[0])
    assert recorders[0].losses == recorders[1].losses


def test_scales_of_several_callbacks_multiply_and_those_of_a_batch_end_with_it():
    once, twice = Scaler(3.0), Scaler(torch.tensor(4.0))
    learner = make_learner(loaders([4, 4], []), once, twice, lr=1e-9)

    learner.fit(1)

    plain = Scaler(1.0)
    make_learner(loaders([4, 4], []), plain, lr=1e-9).fit(1)
    for grad, expected in zip(twice.grads, plain.grads, strict=True):
        assert torch.allclose(grad, 12 * expected, rtol=1e-5)


def test_a_scale_set_in_validation_changes_no_loss():
    class Losses(Callback):
        def after_batch(self) -> None:
            self.last = self.loss.detach()

    losses = Losses()
    learner = make_learner(loaders([4], [6]), Scaler(512.0), losses, lr=1e-9)

    learner.fit(1)

    x, y = learner.data.valid_dl[0]
    assert torch.allclose(losses.last, F.cross_entropy(learner.model(x), y))


def test_validation_is_measured_with_a_loss_of_its_own():
    losses: dict[bool, float] = {}

    class Losses(Callback):
        def after_loss(self) -> None:
            losses[self.in_train] = self.loss.item()

    learner = make_learner(
        loaders([4], [4]), Losses(), loss_func=lambda pred, y: 0 * pred.sum() + 7, valid_loss_func=cross_entropy
    )

    learner.fit(1)

    x, y = learner.data.valid_dl[0]
    assert losses == {True: 7.0, False: pytest.approx(F.cross_entropy(learner.model(x), y).item())}


# -- what a handler returns, cancelled batches ------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, False, 0, "stop"])
def test_no_answer_of_a_handler_stops_or_skips_anything(answer: object):
    class Answers(Callback):
        _order = -50

        def begin_batch(self) -> object:
            return answer

        def after_backward(self) -> object:
            return answer

    answered, alone = EventLog(), EventLog()

    make_learner(None, Answers(), answered).fit(1)
    make_learner(None, alone).fit(1)

    assert answered.log == alone.log
    assert answered.log.count("after_step") == 2


@settings(deadline=None, max_examples=10)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_the_loss_of_an_epoch_is_that_of_its_images_however_they_are_cut(sizes: list[int]):
    batches = blobs(sizes, seed=5)
    model = linear()
    learner = make_learner(Loaders(batches, batches), MetricsCallback(), model=model, lr=0.0)

    learner.fit(1)

    x, y = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    expected = F.cross_entropy(model(x), y).item()
    assert learner.row["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert learner.row["valid_loss"] == pytest.approx(expected, rel=1e-5)


# -- what callbacks remember ------------------------------------------------------------------------------------------


class Counter(Callback):
    """Counts its epochs; a resumed fit goes on counting."""

    def __init__(self) -> None:
        self.n = 0

    def begin_fit(self) -> None:
        self.n = 0

    def after_epoch(self) -> None:
        self.n += 1

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


def test_what_callbacks_remember_comes_back_to_each_by_its_name_after_begin_fit():
    first, second = Counter(), Counter()
    learner = make_learner(None, first, EventLog(), second)
    learner.fit(2)
    second.n = 7
    state = learner.state_dict()

    resumed = make_learner(None, *(counters := (Counter(), Counter())))
    resumed.fit(3, first_epoch=resumed.load_state_dict(state))

    assert state["callbacks"] == {"counter": {"n": 2}, "counter_2": {"n": 7}}
    assert [counter.n for counter in counters] == [3, 8]
    assert resumed.n_iter == 6


def test_a_state_of_a_callback_that_is_not_here_is_refused():
    learner = make_learner(None, Counter())
    learner.fit(1)
    other = make_learner()
    n_done = other.load_state_dict(learner.state_dict())

    with pytest.raises(CheckpointError) as caught:
        other.fit(2, first_epoch=n_done)

    assert str(caught.value) == (
        "the saved state holds that of callbacks which are not here: counter\n"
        "  where: Learner.fit: callbacks\n"
        "  fix: add them, or take them out of the state under `callbacks` before it is loaded"
    )
