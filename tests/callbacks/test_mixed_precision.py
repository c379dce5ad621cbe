"""bfloat16 in the forward pass only, channels_last weights, and nothing left switched on."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from learner.toy import EventLog, Loaders, conv_net, images, make_learner
from torch import nn

from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelTrainException


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


def test_predictions_are_bfloat16_and_everything_kept_is_float32():
    types = Types()
    learner = make_learner(image_loaders(), MixedPrecision(), types, model=conv_net())

    learner.fit(1)

    assert types.pred == {torch.bfloat16}
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


def test_float16_is_refused():
    with pytest.raises(ConfigError) as caught:
        MixedPrecision(dtype=torch.float16)

    assert str(caught.value) == (
        "dtype is torch.float16, must be torch.bfloat16\n"
        "  where: MixedPrecision: dtype\n"
        "  fix: use bfloat16, or leave MixedPrecision out to train in float32"
    )
    assert MixedPrecision(dtype=torch.bfloat16).dtype == torch.bfloat16


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
