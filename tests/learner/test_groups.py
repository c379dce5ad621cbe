"""Parameter groups by a function of the model, and a learning rate for each."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from learner.toy import conv_net, loaders, make_learner
from torch import nn

from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.groups import (
    all_parameters,
    body_and_head,
    head_of,
    trainable_parameters,
    weights_and_rest,
)
from imagekit.models.registry import MODELS, create_model
from imagekit.optim.presets import create_optimizer


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def test_the_head_is_the_last_layer_that_learns():
    model = conv_net()

    body, head = body_and_head(model)

    assert head == [model[7].weight, model[7].bias]
    assert len(body) + len(head) == len(all_parameters(model))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_head_of_every_model_has_an_output_for_each_class(name):
    head = head_of(create_model(name, c_in=3, c_out=7, seed=0))

    assert isinstance(head, nn.Linear)
    assert head.out_features == 7


def test_each_group_learns_at_its_own_rate():
    body_still = make_learner(loaders([4], [4]), model=two_layers(), lr=[0.0, 0.5], splitter=body_and_head)
    before = [parameter.clone() for parameter in body_still.model.parameters()]

    body_still.fit(1)

    moved = [not a.equal(b) for a, b in zip(before, body_still.model.parameters(), strict=True)]
    assert moved == [False, False, True, True]
    assert [group["lr"] for group in body_still.opt.param_groups] == [0.0, 0.5]


def test_rates_of_groups_are_what_the_one_optimizer_takes_too():
    opt_func = partial(create_optimizer, "adamw")
    learner = make_learner(None, model=two_layers(), lr=[0.01, 0.1], splitter=body_and_head, opt_func=opt_func)
    schedule = ParamScheduler("lr", [lambda position: 0.001, lambda position: 0.002])

    learner.fit(1)
    assert [group["lr"] for group in learner.opt.param_groups] == [0.01, 0.1]
    learner.fit(1, [schedule])

    assert [group["lr"] for group in learner.opt.param_groups] == [0.001, 0.002]


def test_biases_and_norms_need_not_decay():
    model = conv_net()

    decaying, rest = weights_and_rest(model)

    assert [parameter.ndim for parameter in decaying["params"]] == [4, 4, 2]
    assert (rest["weight_decay"], {parameter.ndim for parameter in rest["params"]}) == (0.0, {1})
    assert len(weights_and_rest(nn.Linear(2, 2, bias=False))) == 1


def test_groups_may_be_dicts_and_one_rate_may_be_a_list():
    learner = make_learner(None, model=two_layers(), lr=[0.1, 0.2], splitter=weights_and_rest)
    alone = make_learner(None, lr=[0.3])

    assert [group["weight_decay"] for group in learner.make_opt().param_groups] == [0, 0.0]
    assert [group["lr"] for group in learner.opt.param_groups] == [0.1, 0.2]
    assert [group["lr"] for group in alone.make_opt().param_groups] == [0.3]


def test_what_is_frozen_is_not_handed_to_the_optimizer():
    model = two_layers()
    model[0].requires_grad_(False)

    assert trainable_parameters(model) == [model[2].weight, model[2].bias]


def test_a_rate_for_each_group_or_one_for_all():
    learner = make_learner(None, lr=[0.1, 0.2, 0.3], model=two_layers(), splitter=body_and_head)

    with pytest.raises(ConfigError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        "lr has 3 values for 2 parameter groups\n  where: Learner: lr\n"
        "  fix: give one lr for all groups, or one for each"
    )


def test_one_layer_is_no_body_and_head():
    with pytest.raises(ConfigError) as caught:
        body_and_head(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))

    assert str(caught.value) == (
        "the model has one layer with parameters, which makes no body and head\n  where: body_and_head\n"
        "  fix: use all_parameters, or a splitter of your own"
    )


def test_a_model_without_parameters_has_no_head():
    with pytest.raises(ConfigError) as caught:
        head_of(nn.Sequential(nn.ReLU()))

    assert str(caught.value) == (
        "the model has no parameters\n  where: Sequential\n  fix: give a model with something to learn"
    )
