"""The averaged model: the average that a plain loop makes, measured beside the trained one, and resumed to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from learner.toy import EventLog, Loaders, conv_net, images, linear, loaders, make_learner
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from imagekit.callbacks.ema import ModelEma
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelTrainException
from imagekit.learner.losses import cross_entropy


class Steps(Callback):
    """Copies of the trained model, before the first step and after each."""

    _order = 50

    def __init__(self) -> None:
        self.models: list[nn.Module] = []

    def begin_fit(self) -> None:
        self.models.append(copy.deepcopy(self.learner.model))

    def after_step(self) -> None:
        self.models.append(copy.deepcopy(self.learner.model))


def image_loaders() -> Loaders:
    return Loaders(images([4, 3, 4], seed=1), images([4, 2], seed=2))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("warm_up", [True, False])
def test_the_average_is_that_of_a_plain_loop(warm_up: bool):
    ema, steps = ModelEma(0.3, warm_up=warm_up), Steps()

    make_learner(image_loaders(), ema, steps, model=conv_net()).fit(2)

    average = copy.deepcopy(steps.models[0].state_dict())
    for t, model in enumerate(steps.models[1:]):
        decay = min(0.3, (1 + t) / (10 + t)) if warm_up else 0.3
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name] = decay * average[name] + (1 - decay) * value
            else:
                average[name] = value
    assert ema.n_updates == 6
    for name, value in ema.weights().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)


def test_the_average_is_torchs():
    ema, steps = ModelEma(0.9, warm_up=False), Steps()

    make_learner(image_loaders(), ema, steps, model=conv_net()).fit(1)

    theirs = AveragedModel(steps.models[0], avg_fn=lambda average, value, n: 0.9 * average + (1 - 0.9) * value)
    for model in steps.models:  # the first is copied
        theirs.update_parameters(model)
    for one, other in zip(ema.model.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_decay_of_zero_is_the_model():
    ema = ModelEma(0.0)
    learner = make_learner(image_loaders(), ema, model=conv_net())

    learner.fit(1)

    assert same(ema.weights(), learner.model.state_dict())


def test_before_the_first_step_the_average_is_the_model_whatever_was_loaded():
    ema = ModelEma()
    learner = make_learner(image_loaders(), ema, model=conv_net())
    learner.validate()
    learner.model.load_state_dict(conv_net(seed=5).state_dict())
    learner.add_callbacks([MetricsCallback()])

    row = learner.validate()

    assert same(ema.weights(), conv_net(seed=5).state_dict())
    assert (row["valid_ema_loss"], row["valid_ema_accuracy"]) == (row["valid_loss"], row["valid_accuracy"])
    assert ema.n_updates == 0


def test_the_averaged_model_has_columns_of_its_own():
    class Preds(Callback):
        def after_loss(self) -> None:
            if not self.in_train:
                preds.append(ema.pred)

        _order = 55

    preds: list[Tensor] = []
    ema, dls = ModelEma(0.9), image_loaders()
    learner = make_learner(dls, MetricsCallback(), ema, Preds(), model=conv_net())

    learner.fit(1)

    model, (x, y) = ema.model, (torch.cat(part) for part in zip(*dls.valid_dl, strict=True))
    pred = model(x)
    torch.testing.assert_close(torch.cat(preds), pred)
    assert learner.row["valid_ema_loss"] == pytest.approx(cross_entropy(pred, y).item(), rel=1e-5)
    assert learner.row["valid_ema_accuracy"] == pytest.approx((pred.argmax(1) == y).float().mean().item())
    assert learner.row["valid_ema_loss"] != learner.row["valid_loss"]
    assert list(learner.row)[-3:] == ["valid_ema_loss", "valid_ema_accuracy", "lr"]


def test_metrics_and_the_loss_of_validation_can_be_chosen():
    ema = ModelEma(metrics={"spread": lambda pred, target: pred.std()})
    learner = make_learner(None, ema, valid_loss_func=lambda pred, target: cross_entropy(pred, target) * 0 + 7)

    learner.fit(1)

    assert learner.row.keys() == {"valid_ema_loss", "valid_ema_spread"}
    assert learner.row["valid_ema_loss"] == 7.0


def test_without_validation_nothing_was_measured():
    learner = make_learner(loaders([4], []), ModelEma())

    learner.fit(1)

    assert learner.row == {"valid_ema_loss": None, "valid_ema_accuracy": None}


def test_training_is_the_same_with_and_without_an_average():
    learners = [make_learner(image_loaders(), *given, model=conv_net()) for given in ([ModelEma()], [])]

    for learner in learners:
        learner.fit(1)

    assert same(learners[0].model.state_dict(), learners[1].model.state_dict())


def test_a_cancelled_batch_moves_nothing():
    ema = ModelEma()

    make_learner(None, ema, EventLog("after_backward", CancelBatchException(), nth=2)).fit(1)

    assert ema.n_updates == 1


def test_a_resumed_average_ends_in_the_same_bits():
    emas = [ModelEma(0.7) for _ in range(3)]
    whole, first, resumed = (
        make_learner(image_loaders(), MixedPrecision(), ema, model=conv_net(seed=3 if ema is not emas[2] else 4))
        for ema in emas
    )
    whole.fit(3)
    first.fit(3, [EventLog("begin_epoch", CancelTrainException(), nth=3)])

    resumed.fit(3, first_epoch=resumed.load_state_dict(copy.deepcopy(first.state_dict())))

    assert emas[1].n_updates == 6
    assert emas[0].n_updates == emas[2].n_updates == 9
    assert same(emas[0].weights(), emas[2].weights())
    assert whole.row == resumed.row


def test_a_later_fit_goes_on_with_the_average_and_another_model_begins_anew():
    ema = ModelEma()
    learner = make_learner(None, ema)
    learner.fit(1)
    learner.fit(1)
    n_updates = ema.n_updates
    learner.model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))

    learner.fit(1, reset_opt=True)

    assert (n_updates, ema.n_updates) == (4, 2)
    assert ema.weights().keys() == learner.model.state_dict().keys()


class Odd(nn.Module):
    """Shared weights, a frozen part, a mask of minus infinity, a buffer that each forward pass puts a new one for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("centre", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.centre = self.centre + 1
        return self.second(self.frozen(self.first(x))) + self.mask.exp()


def test_shared_frozen_and_endless_values_stay_what_they_are():
    torch.manual_seed(0)
    ema, model = ModelEma(0.5, warm_up=False), Odd()

    make_learner(None, ema, model=model).fit(1)

    average: Any = ema.model
    assert average.second.weight is average.first.weight
    assert not torch.equal(average.first.weight, model.first.weight)
    assert same(average.frozen.state_dict(), model.frozen.state_dict())
    assert torch.equal(average.mask, model.mask)
    assert average.centre.tolist() == [1.25, 1.25]  # 0, then half way to 1, then half way to 2


def test_a_resumed_average_copies_what_the_first_fit_copied():
    torch.manual_seed(0)
    first, second = ModelEma(0.5), ModelEma(0.5)
    model = Odd()
    model.centre.fill_(torch.inf)
    learner = make_learner(None, first, model=model)
    learner.fit(1)
    learner.model.centre.fill_(1.0)  # finite by now, as a running least value is after some batches
    resumed = make_learner(None, second, model=Odd())

    resumed.fit(2, first_epoch=resumed.load_state_dict(learner.state_dict()))

    average: Any = second.model
    assert average.centre.tolist() == resumed.model.centre.tolist() == [3.0, 3.0]  # type: ignore[union-attr, operator]


def test_the_averaged_model_is_in_evaluation_mode_and_learns_nothing():
    ema = ModelEma()

    make_learner(image_loaders(), ema, model=conv_net()).fit(1)

    assert not any(module.training for module in ema.model.modules())
    assert not any(param.requires_grad for param in ema.model.parameters())


def test_the_average_lies_in_memory_as_the_model_does():
    ema = ModelEma()
    learner = make_learner(image_loaders(), ema, MixedPrecision(), model=conv_net())

    learner.fit(1)

    assert [one.stride() for one in ema.model.parameters()] == [one.stride() for one in learner.model.parameters()]
    assert ema.model[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_average_predicts_under_the_autocast_that_the_model_has(dtype: torch.dtype):
    ema = ModelEma()

    make_learner(None, MixedPrecision(dtype=dtype), ema).fit(1)

    assert ema.pred.dtype == dtype
    assert {value.dtype for value in ema.weights().values()} == {torch.float32}


def test_a_hook_of_a_callback_does_not_take_the_loop_into_the_copy():
    class Watch(Callback):
        _order = 1

        def begin_fit(self) -> None:
            self.model.register_forward_hook(self.look)

        def look(self, *_: Any) -> None:
            self.n_calls = getattr(self, "n_calls", 0) + 1

        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("a callback was copied")

    ema = ModelEma()
    watch: Any = Watch()

    make_learner(None, watch, ema).fit(1)

    assert watch.n_calls == 2 + 1 + 1  # two training batches, one of validation, which the average sees too
    assert ema.n_updates == 2


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_cannot_be_is_refused(decay: float):
    with pytest.raises(ConfigError) as caught:
        ModelEma(decay)

    assert str(caught.value) == (
        f"decay is {decay}, must be at least 0 and below 1\n"
        "  where: ModelEma: decay\n"
        "  fix: give 0.999, say: about the last 1,000 steps count"
    )
    assert ModelEma(0.0).decay == 0.0


def test_weights_in_which_small_steps_vanish_are_refused():
    learner = make_learner(loaders([4], []), ModelEma(), model=linear().to(torch.bfloat16))

    with pytest.raises(ConfigError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        "the weights weight are torch.bfloat16, must be torch.float32\n"
        "  where: ModelEma: model\n"
        "  fix: leave out model.half() or model.bfloat16(); MixedPrecision halves what may be"
    )


def test_there_is_no_average_before_the_first_fit():
    ema = ModelEma()

    with pytest.raises(ConfigError) as caught:
        ema.weights()

    assert str(caught.value) == (
        "there is no averaged model before the first fit\n  where: ModelEma.model\n  fix: call Learner.fit first"
    )
    assert ema.state_dict() == {}


def test_what_mixed_precision_does_to_the_model_it_does_to_the_average():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=4, padding=1), nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2),
    )  # fmt: skip
    ema = ModelEma(0.0, warm_up=False)  # the average is the model
    seen: list[tuple[Tensor, Tensor]] = []

    class Look(Callback):
        _order = 30

        def after_loss(self) -> None:
            if not self.in_train:
                seen.append((self.learner.pred, ema.pred))

    data = Loaders(images([4, 4], seed=1), images([4], seed=2))
    make_learner(data, ema, Look(), MixedPrecision(), model=net).fit(1)

    assert seen[0][0].equal(seen[0][1])
    assert not any(layer._forward_hooks for layer in ema.model.modules())
