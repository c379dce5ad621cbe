"""Half precision in the forward pass only, a loss scale for float16, and nothing left switched on."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from learner.toy import Batch, EventLog, Loaders, blobs, conv_net, images, linear, make_learner
from torch import nn

from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.recorder import StepRecorder
from imagekit.errors import ConfigError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelTrainException
from imagekit.learner.losses import cross_entropy


def image_loaders() -> Loaders:
    return Loaders(images([8, 8], seed=1), images([8], seed=2))


class Types(Callback):
    _order = 100

    def __init__(self) -> None:
        self.pred: set[torch.dtype] = set()
        self.loss: set[torch.dtype] = set()
        self.on_outside: set[bool] = set()

    def after_pred(self) -> None:
        self.pred.add(self.learner.pred.dtype)

    def after_loss(self) -> None:
        self.loss.add(self.learner.loss.dtype)
        self.on_outside.add(torch.is_autocast_enabled("cpu"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_predictions_are_half_as_wide_and_everything_kept_is_float32(dtype: torch.dtype):
    types = Types()
    learner = make_learner(image_loaders(), MixedPrecision(dtype=dtype), types, model=conv_net())

    learner.fit(1)

    assert types.pred == {dtype}
    assert types.loss == {torch.float32}
    assert {tensor.dtype for tensor in learner.model.parameters()} == {torch.float32}
    assert {param.grad.dtype for param in learner.model.parameters() if param.grad is not None} <= {torch.float32}
    assert types.on_outside == {False}


def test_convolutions_become_channels_last():
    learner = make_learner(image_loaders(), MixedPrecision(), model=conv_net())

    learner.fit(1)

    assert learner.model[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("at", ["begin_batch", "after_pred", "after_loss", "after_step"])
@pytest.mark.parametrize("error", [CancelBatchException(), CancelTrainException(), ValueError("broken")])
def test_autocast_is_off_after_a_batch_left_early(at: str, error: Exception):
    log = EventLog(at, error)
    log._order = 100  # after autocast went on
    learner = make_learner(image_loaders(), MixedPrecision(), log, model=conv_net())

    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="broken"):
            learner.fit(1)
    else:
        learner.fit(1)

    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_type_that_is_not_half_as_wide_is_refused(dtype: torch.dtype):
    with pytest.raises(ConfigError) as caught:
        MixedPrecision(dtype=dtype)

    assert str(caught.value) == (
        f"dtype is {dtype}, must be torch.bfloat16 or torch.float16\n"
        "  where: MixedPrecision: dtype\n"
        "  fix: use bfloat16, or leave MixedPrecision out to train in float32"
    )
    assert MixedPrecision(dtype=torch.float16).dtype == torch.float16


def test_mixed_precision_learns_and_repeats_bit_for_bit():
    models = [conv_net(seed=3), conv_net(seed=3)]
    dls = Loaders(images([16] * 8, seed=1), images([64], seed=2))

    for model in models:
        make_learner(dls, MixedPrecision(), model=model).fit(2)

    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    x, y = dls.valid_dl[0]
    assert (models[0].eval()(x).argmax(1) == y).float().mean() > 0.95


def to_channels_last(model: torch.nn.Module) -> None:
    model.to(memory_format=torch.channels_last)


def to_contiguous(model: torch.nn.Module) -> None:
    for param in model.parameters():
        param.data = param.data.contiguous()


class Relayout(Callback):
    def __init__(self, change: Any) -> None:
        self.change = change

    def begin_fit(self) -> None:
        self.change(self.model)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("changes", [(to_contiguous, to_channels_last), (to_channels_last, to_contiguous)])
def test_optimizer_state_follows_the_memory_order_of_the_weights(fused: bool, changes: tuple[Any, Any]):
    # a fused step goes through weight, gradient and state as flat arrays: they must lie in one order
    reference, changed = (
        make_learner(image_loaders(), model=conv_net(), opt_func=partial(torch.optim.SGD, momentum=0.9, fused=fused))
        for _ in range(2)
    )

    for change in changes:
        reference.fit(1)
        changed.fit(1, [Relayout(change)])

    for one, other in zip(reference.model.parameters(), changed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_state_saved_in_channels_last_goes_on_in_contiguous_memory():
    make_opt = partial(torch.optim.SGD, momentum=0.9, fused=True)
    first = make_learner(image_loaders(), model=conv_net(), opt_func=make_opt)
    first.fit(1, [Relayout(to_channels_last)])
    resumed = make_learner(image_loaders(), model=conv_net(seed=4), opt_func=make_opt)

    resumed.fit(2, first_epoch=resumed.load_state_dict(copy.deepcopy(first.state_dict())))

    first.fit(2, first_epoch=1)
    for one, other in zip(first.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_resumed_mixed_precision_run_ends_in_the_same_bits():
    whole = make_learner(image_loaders(), MixedPrecision(), model=conv_net())
    first = make_learner(image_loaders(), MixedPrecision(), model=conv_net())
    whole.fit(4)
    first.fit(4, [EventLog("begin_epoch", CancelTrainException(), nth=3)])

    resumed = make_learner(image_loaders(), MixedPrecision(), model=conv_net(seed=8))
    resumed.fit(4, first_epoch=resumed.load_state_dict(first.state_dict()))

    for one, other in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def narrow_net() -> nn.Module:
    """A strided convolution that sees one pixel: 2 x 2 -> 1 x 1 -> 1 x 1."""
    wide = nn.Conv2d(3, 64, 3, stride=2, padding=1)
    narrow = nn.Conv2d(64, 128, 3, stride=2, padding=1)
    return nn.Sequential(wide, narrow, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


def test_no_gradient_holds_what_was_in_memory_before():
    torch.manual_seed(0)
    fits_with_nan = 0
    for seed in range(10):
        # pages full of NaN for the allocator to hand out again
        junk = [torch.full((64 * 128 * 9,), float("nan")) for _ in range(8)]
        del junk
        model = narrow_net()
        loaders = Loaders([(torch.randn(8, 3, 2, 2), torch.tensor([0, 1] * 4))], images([8], seed=seed))
        learner = make_learner(loaders, MixedPrecision(), model=model)
        learner.fit(1)
        fits_with_nan += not all(torch.isfinite(param).all() for param in model.parameters())

    assert fits_with_nan == 0


def test_the_model_has_no_hook_left_after_a_fit():
    model = narrow_net()
    loaders = Loaders([(torch.randn(8, 3, 2, 2), torch.tensor([0, 1] * 4))], images([8], seed=1))

    make_learner(loaders, MixedPrecision(), model=model).fit(1)

    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in model.modules())


# -- float16 ----------------------------------------------------------------------------------------------------------


def points(*, n: int = 8, too_large: tuple[int, ...] = ()) -> Loaders:
    """Batches of points; those in `too_large` are far away, half of them wrong, with gradients beyond float16."""
    batches = blobs([6] * n, seed=1)
    for i in too_large:
        batches[i][0].fill_(1e4)
        batches[i][1].copy_(torch.arange(6) % 2)
    return Loaders(batches, blobs([6], seed=2))


def float16(*, init_scale: float = 2.0**12, **options: Any) -> MixedPrecision:
    return MixedPrecision(dtype=torch.float16, init_scale=init_scale, **options)


class Rows(Callback):
    _order = 110

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def after_epoch(self) -> None:
        self.rows.append(self.learner.row)


def amp_loop(batches: list[Batch], model: nn.Module, scaler: torch.amp.GradScaler) -> list[float]:
    """The loop that torch's documentation asks for; the losses, as measured, of the steps that were made."""
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for x, y in batches:
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt)
        before = scaler.get_scale()
        scaler.update()
        if scaler.get_scale() >= before:
            losses.append(loss.item())
    return losses


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_float16_is_the_loop_of_torch_amp_to_the_bit():
    dls, steps = points(too_large=(2, 5)), StepRecorder()
    precision = MixedPrecision(dtype=torch.float16, growth_interval=2)
    scaler = torch.amp.GradScaler("cpu", growth_interval=2)
    learner, model = make_learner(dls, precision, steps), linear()

    learner.fit(1)

    losses = amp_loop(dls.train_dl, model, scaler)
    assert equal(learner.model, model)
    assert precision.state_dict() == scaler.state_dict()
    assert steps.losses == losses
    assert precision.n_skipped == len(dls.train_dl) - len(losses) >= 2


def test_a_skipped_step_leaves_everything_as_it_was():
    dls = points(n=2, too_large=(1,))
    precision, log = float16(), EventLog()
    learner = make_learner(dls, precision, log)
    reference = make_learner(Loaders(dls.train_dl[:1], []), float16())

    learner.fit(1)

    reference.fit(1)
    assert equal(learner.model, reference.model)
    momenta = [[state["momentum_buffer"] for state in each.opt.state.values()] for each in (learner, reference)]
    assert all(torch.equal(one, other) for one, other in zip(*momenta, strict=True))
    assert all(param.grad is None for param in learner.model.parameters())
    assert (learner.n_iter, log.seen["after_step"], log.seen["after_cancel_batch"]) == (1, 1, 1)
    assert precision.state_dict()["scale"] == 2.0**11


def test_what_is_recorded_under_float16_is_not_scaled():
    dls, steps, plain = points(n=2), StepRecorder(), StepRecorder()

    learner = make_learner(dls, float16(), MetricsCallback(), steps)
    learner.fit(1)

    reference = make_learner(dls, MetricsCallback(), plain)
    reference.fit(1)
    assert steps.losses == pytest.approx(plain.losses, rel=0.01)
    for name in ("train_loss", "valid_loss"):
        assert learner.row[name] == pytest.approx(reference.row[name], rel=0.01)


def test_the_row_counts_the_steps_that_an_epoch_skipped():
    rows = Rows()
    precision = float16()

    make_learner(points(n=3, too_large=(1, 2)), float16(), MetricsCallback(), rows).fit(2)
    make_learner(points(n=3), precision, MetricsCallback(), rows).fit(1)

    assert [row["skipped_steps"] for row in rows.rows] == [2, 2, 0]
    assert precision.n_skipped == 0


def test_bfloat16_has_no_scale_and_no_column():
    rows = Rows()
    learner = make_learner(points(n=1), MixedPrecision(), MetricsCallback(), rows)

    learner.fit(1)

    assert "skipped_steps" not in rows.rows[0]
    assert learner.state_dict()["callbacks"] == {}


def test_a_resumed_float16_run_ends_in_the_same_bits():
    dls = points(n=4, too_large=(1,))
    callbacks = [float16(growth_interval=4) for _ in range(3)]
    whole, first, resumed = (make_learner(dls, each, model=linear(seed=i)) for i, each in enumerate(callbacks))
    first.model.load_state_dict(whole.model.state_dict())
    whole.fit(4)
    first.fit(4, [EventLog("begin_epoch", CancelTrainException(), nth=3)])
    state = copy.deepcopy(first.state_dict())

    resumed.fit(4, first_epoch=resumed.load_state_dict(state))

    assert state["callbacks"]["mixed_precision"] == {
        "scale": 2.0**10,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 4,
        "_growth_tracker": 2,
    }
    assert equal(whole.model, resumed.model)
    assert callbacks[0].state_dict() == callbacks[2].state_dict()


def test_the_scale_of_a_fit_is_that_of_the_next():
    learner = make_learner(points(n=1, too_large=(0,)), float16())

    learner.fit(2)
    learner.fit(1)

    assert learner.state_dict()["callbacks"]["mixed_precision"]["scale"] == 2.0**9


def test_a_fit_interrupted_in_the_middle_of_a_step_leaves_a_scale_that_the_next_can_use(
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupt(scaler: Any) -> None:
        raise KeyboardInterrupt

    learner = make_learner(points(n=2), float16())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.amp.GradScaler, "update", interrupt)
        learner.fit(1)

    learner.fit(1)

    reference = make_learner(points(n=2), float16())
    reference.fit(1)
    assert equal(learner.model, reference.model)


def test_validation_has_no_loss_scale():
    scales: dict[bool, Any] = {}

    class Look(Callback):
        _order = 100

        def after_loss(self) -> None:
            scales[self.in_train] = self.learner.loss_scale

    make_learner(points(n=1), float16(), Look()).fit(1)

    assert scales == {True: torch.tensor(2.0**12), False: None}


def test_the_scale_of_float16_is_of_no_use_to_bfloat16():
    dls = points(n=1)
    first, second = make_learner(dls, float16()), make_learner(dls, MixedPrecision())
    first.fit(1)

    second.fit(2, first_epoch=second.load_state_dict(copy.deepcopy(first.state_dict())))

    assert second.state_dict()["callbacks"] == {}


def test_gradients_that_no_scale_makes_finite_end_the_training():
    class Spoil(Callback):
        _order = 98

        def after_backward(self) -> None:
            self.model.bias.grad[0] = float("nan")

    learner = make_learner(points(n=9), float16(init_scale=2.0**-12), Spoil())
    before = copy.deepcopy(learner.model)

    with pytest.raises(TrainingError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        "gradients are not finite, even with the loss multiplied by 6.10352e-05\n"
        "  where: MixedPrecision: epoch 1, step 3\n"
        "  fix: train in bfloat16 or float32, or lower the learning rate"
    )
    assert equal(learner.model, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_that_are_not_float32_are_refused_under_float16(dtype: torch.dtype):
    learner = make_learner(points(n=1), float16(), model=linear().to(dtype))

    with pytest.raises(ConfigError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        f"the weights weight are {dtype}, must be torch.float32\n"
        "  where: MixedPrecision: model\n"
        "  fix: leave out model.half() or model.bfloat16(); MixedPrecision halves what may be"
    )


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("init_scale", 0.0, "6.10352e-05"),
        ("init_scale", float("inf"), "6.10352e-05"),
        ("init_scale", float("nan"), "6.10352e-05"),
        ("growth_interval", 0, "1"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(name: str, value: float, least: str):
    with pytest.raises(ConfigError) as caught:
        float16(**{name: value})

    assert str(caught.value) == (
        f"{name} is {value}, must be a finite number, at least {least}\n"
        f"  where: MixedPrecision: {name}\n"
        "  fix: leave it out to start as torch.amp.GradScaler does"
    )
    assert float16(init_scale=1.0, growth_interval=1).state_dict()["scale"] == 1.0
