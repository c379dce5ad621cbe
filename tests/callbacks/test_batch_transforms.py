"""Transforms of the phase, in their order, with keys where they ask for them."""

from __future__ import annotations

import pytest
import torch
from learner.toy import Loaders, conv_net, images, loaders, make_learner
from torch import Tensor

from imagekit.batch.geometry import Rotate
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


class Scale:
    def __init__(self, factor: float, order: int) -> None:
        self.factor, self._order = factor, order

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor


class Plus:
    _order = 5

    def __call__(self, x: Tensor) -> Tensor:
        return x + 1.0


class AddKeys:
    needs_keys = True

    def __call__(self, x: Tensor, keys_B: Tensor) -> Tensor:
        return x + keys_B[:, None]


class Inputs(Callback):
    _order = 50

    def __init__(self) -> None:
        self.train: list[Tensor] = []
        self.valid: list[Tensor] = []

    def after_pred(self) -> None:
        (self.train if self.in_train else self.valid).append(self.xb)


def test_each_phase_has_its_own_transforms_in_their_order():
    dls, inputs = loaders([3], [2]), Inputs()

    make_learner(dls, BatchTransforms([Plus(), Scale(2.0, 1)], [Scale(3.0, 9), Plus()]), inputs).fit(1)

    assert torch.equal(inputs.train[0], dls.train_dl[0][0] * 2.0 + 1.0)
    assert torch.equal(inputs.valid[0], (dls.valid_dl[0][0] + 1.0) * 3.0)


def test_a_transform_that_needs_keys_gets_those_of_the_batch():
    dls, inputs = loaders([3], [2], with_keys=True), Inputs()

    make_learner(dls, BatchTransforms([AddKeys()]), inputs).fit(1)

    assert torch.equal(inputs.train[0], dls.train_dl[0][0] + torch.arange(3)[:, None])
    assert torch.equal(inputs.valid[0], dls.valid_dl[0][0])


def test_a_plain_function_is_a_transform():
    dls, inputs = loaders([3], [2]), Inputs()

    make_learner(dls, BatchTransforms([torch.neg], [torch.neg]), inputs).fit(1)

    assert torch.equal(inputs.train[0], -dls.train_dl[0][0])


def test_missing_keys_are_said():
    with pytest.raises(ConfigError) as caught:
        make_learner(loaders([3], [2]), BatchTransforms([AddKeys()])).fit(1)

    assert str(caught.value) == (
        "AddKeys draws at random and needs keys, and the batch has none\n"
        "  where: Learner: data\n"
        "  fix: use a DataBunch, or batches with an attribute `keys`, one int64 number an image"
    )


def test_the_batch_itself_is_not_changed():
    dls = loaders([3], [2])
    before = dls.train_dl[0][0].clone()

    make_learner(dls, BatchTransforms([Plus()])).fit(2)

    assert torch.equal(dls.train_dl[0][0], before)


def test_the_strength_of_a_transform_is_scheduled_like_a_learning_rate():
    class Strengths(Callback):
        _order = 50

        def __init__(self) -> None:
            self.seen: list[float] = []

        def after_step(self) -> None:
            self.seen.append(rotate.max_degrees)

    rotate, strengths = Rotate(), Strengths()
    data = Loaders(images([4] * 4, seed=1), images([4], seed=2))
    for batch in data.train_dl:
        batch.keys = torch.arange(4)

    callbacks = [ParamScheduler("rotate.max_degrees", lambda position: 20 * position), BatchTransforms([rotate])]
    make_learner(data, *callbacks, strengths, model=conv_net()).fit(2)

    assert strengths.seen == [0, 2.5, 5, 7.5, 10, 12.5, 15, 17.5]


def test_a_schedule_for_what_is_not_there_lists_transforms_too():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("rotate.degrees", lambda position: 1.0), BatchTransforms([Rotate()])).fit(1)

    assert 'nothing has a hyper "rotate.degrees"' in str(caught.value)
    assert 'did you mean "rotate.max_degrees"?' in str(caught.value)


def test_a_schedule_that_leaves_the_bounds_is_refused_at_that_step():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("rotate.max_degrees", lambda _: -1.0), BatchTransforms([Rotate()])).fit(1)

    assert str(caught.value) == (
        "max_degrees is -1.0, must be from 0 to 180\n"
        "  where: Rotate.max_degrees\n"
        "  fix: set max_degrees = 0 to do without"
    )
