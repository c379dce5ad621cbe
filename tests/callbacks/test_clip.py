"""Clipping: as torch's functions do it, over all groups, on the step's whole gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import Loaders, blobs, conv_net, images, linear, make_learner
from torch import Tensor

from imagekit.callbacks.clip import GradientClip
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.groups import weights_and_rest
from imagekit.learner.losses import cross_entropy


class Grads(Callback):
    """All gradients of each step, as one row."""

    _order = 110

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def after_backward(self) -> None:
        self.seen.append(torch.cat([param.grad.flatten() for param in self.model.parameters()]))


def grads_of_a_fit(*callbacks: Callback, **options: Any) -> list[Tensor]:
    grads = Grads()
    dls = Loaders(blobs([4, 3, 5], seed=1), blobs([2], seed=2))
    make_learner(dls, *callbacks, grads, splitter=weights_and_rest, **options).fit(1)
    return grads.seen


@settings(deadline=None, max_examples=5)
@given(max_norm=st.floats(1e-3, 10))
def test_the_norm_over_all_groups_is_bounded_and_the_direction_stays(max_norm: float):
    clip = GradientClip(max_norm)

    clipped = grads_of_a_fit(clip, lr=0.0)

    for one, whole in zip(clipped, grads_of_a_fit(lr=0.0), strict=True):
        expected = whole * min(1.0, max_norm / float(whole.norm()))
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)
    assert clip.norm is not None
    torch.testing.assert_close(clip.norm, whole.norm())


@settings(deadline=None, max_examples=5)
@given(max_value=st.floats(1e-4, 2))
def test_each_value_is_bounded(max_value: float):
    clip = GradientClip(max_value=max_value)

    clipped = grads_of_a_fit(clip, lr=0.0)

    for one, whole in zip(clipped, grads_of_a_fit(lr=0.0), strict=True):
        assert torch.equal(one, whole.clamp(-max_value, max_value))
    assert clip.norm is None


def test_a_fit_is_a_loop_with_torchs_function():
    batches = images([4, 4], seed=1)
    learner = make_learner(Loaders(batches, []), GradientClip(0.1), model=conv_net())
    model = conv_net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    learner.fit(1)

    for x, y in batches:
        cross_entropy(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        opt.step()
        opt.zero_grad()
    for one, other in zip(learner.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_infinity_only_measures():
    clip = GradientClip(float("inf"))

    measured = grads_of_a_fit(clip)

    for one, plain in zip(measured, grads_of_a_fit(), strict=True):
        assert torch.equal(one, plain)
    assert clip.norm is not None
    assert torch.equal(clip.norm.isfinite(), torch.tensor(True))


def test_an_infinite_gradient_becomes_nan_and_the_others_zero():
    model = linear()

    class Spoil(Callback):
        _order = 104

        def after_backward(self) -> None:
            self.model.bias.grad[0] = float("inf")

    grads = Grads()
    make_learner(Loaders(blobs([4], seed=1), []), Spoil(), GradientClip(1.0), grads, model=model).fit(1)

    assert grads.seen[0].isnan().tolist() == [False, False, False, False, True, False]
    assert torch.equal(grads.seen[0].nan_to_num(0.0), torch.zeros(6))


def test_under_float16_the_norm_is_that_of_the_unscaled_gradient():
    clip, plain = GradientClip(0.05), GradientClip(0.05)
    batches = blobs([4, 3], seed=1)

    make_learner(Loaders(batches, []), MixedPrecision(dtype=torch.float16), clip).fit(1)

    make_learner(Loaders(batches, []), plain).fit(1)
    assert clip.norm is not None
    torch.testing.assert_close(clip.norm, plain.norm, rtol=0.01, atol=0.0)


@pytest.mark.parametrize(("max_norm", "max_value"), [(None, None), (1.0, 0.5)])
def test_exactly_one_bound_is_asked_for(max_norm: Any, max_value: Any):
    with pytest.raises(ConfigError) as caught:
        GradientClip(max_norm, max_value=max_value)

    assert str(caught.value) == (
        f"max_norm is {max_norm} and max_value is {max_value}, exactly one must be given\n"
        "  where: GradientClip\n"
        "  fix: give max_norm=1.0, say, or max_value"
    )


@pytest.mark.parametrize("name", ["max_norm", "max_value"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_bound_that_is_not_above_zero_is_refused(name: str, value: float):
    with pytest.raises(ConfigError) as caught:
        GradientClip(**{name: value})

    assert str(caught.value) == (
        f"{name} is {value}, must be above 0\n"
        f"  where: GradientClip: {name}\n"
        "  fix: give a larger bound, or leave GradientClip out"
    )
    assert GradientClip(1e-9).max_norm == 1e-9
