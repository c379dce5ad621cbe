"""Optimizers by name: the numbers of the textbook and of torch, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from imagekit.errors import ConfigError
from imagekit.optim.presets import OPTIMIZERS, create_optimizer, sgd


def _model() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, *, n_steps: int = 100) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(torch.randn(8, 5, generator=generator)).square().mean().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(
    "hypers",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.0, "weight_decay": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    ],
)
def test_sgd_agrees_with_torch_for_loop_sgd_over_a_hundred_steps(hypers):
    ours, theirs = _model(), _model()

    result = _train(ours, create_optimizer("sgd", ours.parameters(), lr=0.05, **hypers))

    expected = _train(theirs, torch.optim.SGD(theirs.parameters(), lr=0.05, foreach=False, fused=False, **hypers))
    assert all((a - b).abs().max() <= 1e-6 for a, b in zip(result, expected, strict=True))


def test_sgd_follows_the_textbook_with_momentum_and_decay():
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = sgd([parameter], lr=0.1, momentum=0.9, weight_decay=0.5)
    weight, velocity = 2.0, 0.0

    for gradient in (1.0, -3.0, 0.5):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.5 * weight
        weight -= 0.1 * velocity

        assert parameter.item() == pytest.approx(weight, rel=1e-12)


def test_sgd_uses_the_fused_kernel_on_the_cpu():
    assert sgd(_model().parameters(), lr=0.1).defaults["fused"] is True


def test_sgd_leaves_the_choice_to_torch_where_there_is_no_fused_kernel():
    parameter = nn.Parameter(torch.empty(3, device="meta"))

    assert sgd([parameter], lr=0.1).defaults["fused"] is None


def test_momentum_is_a_nine_and_decay_nothing_unless_told():
    group = create_optimizer("sgd", _model().parameters(), lr=0.1).param_groups[0]

    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.1, 0.9, 0.0, False)


def test_groups_keep_their_own_hypers():
    body, head = _model(), _model()

    optimizer = sgd([{"params": body.parameters(), "lr": 0.01}, {"params": head.parameters()}], lr=0.1)

    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 4]


def test_state_goes_over_to_torch_and_back():
    ours, theirs, straight = _model(), _model(), _model()
    first = sgd(ours.parameters(), lr=0.05)
    _train(ours, first, n_steps=10)
    theirs.load_state_dict(ours.state_dict())
    second = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.9)
    second.load_state_dict(first.state_dict())

    result = _train(theirs, second, n_steps=1)

    optimizer = sgd(straight.parameters(), lr=0.05)
    _train(straight, optimizer, n_steps=10)
    expected = _train(straight, optimizer, n_steps=1)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(result, expected, strict=True))


def test_every_optimizer_can_be_made_with_a_learning_rate_alone():
    for name in OPTIMIZERS:
        assert isinstance(create_optimizer(name, _model().parameters(), lr=0.1), torch.optim.Optimizer)


def test_an_unknown_optimizer_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sdg", _model().parameters(), lr=0.1)

    assert str(caught.value) == (
        'optimizer is "sdg", which is not known\n  where: opt\n  fix: did you mean "sgd"? known: sgd'
    )


def test_an_unknown_hyper_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", _model().parameters(), lr=0.1, weight_decy=0.1)

    assert str(caught.value) == (
        'optimizer "sgd" has no hyper "weight_decy"\n'
        "  where: opt.weight_decy\n"
        '  fix: did you mean "weight_decay"? known: lr, momentum, nesterov, weight_decay'
    )


def test_a_missing_learning_rate_is_said():
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", _model().parameters())

    assert str(caught.value) == 'optimizer "sgd" needs lr\n  where: opt.lr\n  fix: set lr'


@pytest.mark.parametrize(
    ("hypers", "text"),
    [
        ({"lr": -0.1}, "lr is -0.1, must be at least 0\n  where: opt.lr\n  fix: correct lr"),
        ({"lr": math.inf}, "lr is inf, must be at least 0\n  where: opt.lr\n  fix: correct lr"),
        (
            {"momentum": 1.0},
            "momentum is 1.0, must be at least 0 and below 1\n  where: opt.momentum\n  fix: correct momentum",
        ),
        (
            {"weight_decay": -1},
            "weight_decay is -1, must be at least 0\n  where: opt.weight_decay\n  fix: correct weight_decay",
        ),
        (
            {"nesterov": True, "momentum": 0.0},
            "nesterov is on and momentum is 0, must be above 0\n  where: opt.nesterov\n"
            "  fix: set momentum = 0.9, or leave nesterov out",
        ),
    ],
)
def test_hypers_out_of_range_are_refused(hypers, text):
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", _model().parameters(), **{"lr": 0.1, **hypers})

    assert str(caught.value) == text


def test_a_group_with_a_hyper_out_of_range_is_refused():
    with pytest.raises(ConfigError) as caught:
        sgd([{"params": _model().parameters(), "lr": -1.0}], lr=0.1)

    assert str(caught.value) == "lr is -1.0, must be at least 0\n  where: opt.lr\n  fix: correct lr"


@pytest.mark.parametrize("params", [[], iter([]), [{"params": []}]])
def test_no_parameters_are_refused(params):
    with pytest.raises(ConfigError) as caught:
        sgd(params, lr=0.1)

    assert str(caught.value) == (
        "the optimizer got no parameters\n  where: params\n  fix: pass model.parameters() of a model that has some"
    )
