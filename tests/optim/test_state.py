"""The state of an optimizer: taken up again, over to torch.optim and back, and refused where it does not fit."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from optim.steps import largest_gap, make_params, take_steps
from torch import nn

from imagekit.errors import CheckpointError, ConfigError
from imagekit.optim.optimizer import Optimizer
from imagekit.optim.presets import OPTIMIZERS, create_optimizer
from imagekit.optim.stats import AverageGrad, AverageSqrGrad, MomentumProduct, StepCount
from imagekit.optim.steppers import adam_step, l2_reg, muon_step, nadam_step, radam_step, weight_decay

BETAS = {"betas": (0.9, 0.99), "eps": 1e-5}
TWINS = [
    ("sgd", {"weight_decay": 0.01}, torch.optim.SGD, {}),
    ("momentum", {"nesterov": True}, torch.optim.SGD, {}),
    ("rmsprop", {"momentum": 0.9, "centered": True}, torch.optim.RMSprop, {}),
    ("adam", {"weight_decay": 0.01}, torch.optim.Adam, {}),
    ("adamw", {}, torch.optim.AdamW, {}),
    ("nadam", {"weight_decay": 0.01}, torch.optim.NAdam, {"decoupled_weight_decay": True}),
    ("radam", {"weight_decay": 0.01}, torch.optim.RAdam, {"decoupled_weight_decay": True}),
]
IDS = [name for name, _, _, _ in TWINS]


def _through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize(("name", "hypers", "kind", "more"), TWINS, ids=IDS)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "loop"])
def test_torch_goes_on_where_we_stopped(name, hypers, kind, more, fused):
    params, straight = make_params(), make_params()
    opt = create_optimizer(name, params, lr=0.01, executor="auto" if fused else "loop", **hypers)
    take_steps(opt, params, 10)

    # all it is told is the kind: its hypers come with the state
    theirs = kind(params, lr=1.0, foreach=False, **more)
    theirs.load_state_dict(_through_a_file(opt.state_dict()))
    found = take_steps(theirs, params, 10, first=10)

    expected = take_steps(create_optimizer(name, straight, lr=0.01, executor="loop", **hypers), straight, 20)
    assert largest_gap(found, expected) <= (1e-7 if fused or name in ("nadam", "radam") else 0)


@pytest.mark.parametrize(("name", "hypers", "kind", "more"), TWINS, ids=IDS)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "loop"])
def test_we_go_on_where_torch_stopped(name, hypers, kind, more, fused):
    params, straight = make_params(), make_params()
    theirs_hypers = _under_torchs_names(name, hypers) | more
    theirs = kind(params, lr=0.01, foreach=False, **theirs_hypers)
    take_steps(theirs, params, 10)

    opt = create_optimizer(name, params, lr=1.0, executor="auto" if fused else "loop")
    opt.load_state_dict(_through_a_file(theirs.state_dict()))
    found = take_steps(opt, params, 10, first=10)

    expected = take_steps(kind(straight, lr=0.01, foreach=False, **theirs_hypers), straight, 20)
    assert largest_gap(found, expected) <= (1e-7 if fused or name in ("nadam", "radam") else 0)


def _under_torchs_names(name, hypers):
    full = {key: value for key, value in (OPTIMIZERS[name].hypers | hypers).items() if key != "lr"}
    if name == "rmsprop":
        return {("alpha" if key == "sqr_momentum" else key): value for key, value in full.items()}
    if "sqr_momentum" in full:
        return {"betas": (full.pop("momentum"), full.pop("sqr_momentum")), **full}
    return full


def test_adafactor_and_torchs_exchange_matrices_and_vectors():
    def make():
        return [each for each in make_params(torch.float64) if each.dim() < 3 and each.numel()]  # torch divides by 0

    params, straight = make(), make()
    opt = create_optimizer("adafactor", params, lr=0.01, weight_decay=0.01)
    take_steps(opt, params, 10)
    theirs = torch.optim.Adafactor(params, lr=1.0, foreach=False)
    theirs.load_state_dict(_through_a_file(opt.state_dict()))
    take_steps(theirs, params, 10, first=10)
    opt.load_state_dict(_through_a_file(theirs.state_dict()))

    found = take_steps(opt, params, 10, first=20)

    expected = torch.optim.Adafactor(straight, lr=0.01, weight_decay=0.01, foreach=False)
    assert largest_gap(found, take_steps(expected, straight, 30)) <= 1e-12


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_saved_state_goes_on_to_the_bit(name):
    params, again = make_params(), make_params()
    opt = create_optimizer(name, params, lr=0.01)
    take_steps(opt, params, 7)
    for param, kept in zip(again, params, strict=True):
        param.data.copy_(kept)
    loaded = create_optimizer(name, again, lr=1.0)

    loaded.load_state_dict(_through_a_file(opt.state_dict()))

    found = take_steps(loaded, again, 7, first=7)
    assert all(torch.equal(a, b) for a, b in zip(found, take_steps(opt, params, 7, first=7), strict=True))


def test_a_group_may_be_added_after_loading():
    params, straight = make_params(), make_params()
    results = []

    for each, reload in ((params, True), (straight, False)):
        opt = create_optimizer("adamw", each[:3], lr=0.01)
        take_steps(opt, each, 5)
        if reload:
            state = opt.state_dict()
            opt = create_optimizer("adamw", each[:3], lr=1.0)
            opt.load_state_dict(copy.deepcopy(state))
        opt.add_param_group({"params": each[3:], "lr": 0.02})
        results.append(take_steps(opt, each, 5, first=5))

    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_rate_of_a_scheduler_and_its_start_travel():
    params = make_params()
    opt = create_optimizer("adamw", params, lr=0.01)
    torch.optim.lr_scheduler.StepLR(opt, 1)
    state = opt.state_dict()

    loaded = create_optimizer("adamw", params, lr=1.0)
    loaded.load_state_dict(state)

    assert loaded.param_groups[0]["initial_lr"] == loaded.param_groups[0]["lr"] == 0.01


def test_a_state_follows_the_memory_order_of_the_weights_it_is_loaded_for():
    plain, turned = make_params(), make_params()
    opt = create_optimizer("momentum", plain, lr=0.01)
    take_steps(opt, plain, 5)
    for param, kept in zip(turned, plain, strict=True):
        param.data.copy_(kept)
    turned[0].data = turned[0].data.contiguous(memory_format=torch.channels_last)
    loaded = create_optimizer("momentum", turned, lr=0.01)

    loaded.load_state_dict(opt.state_dict())

    assert loaded.state[turned[0]]["momentum_buffer"].stride() == turned[0].stride()
    assert largest_gap(take_steps(loaded, turned, 5, first=5), take_steps(opt, plain, 5, first=5)) <= 1e-8


def test_loading_leaves_what_was_loaded_alone():
    params = make_params()
    opt = create_optimizer("adamw", params, lr=0.01)
    take_steps(opt, params, 3)
    state = copy.deepcopy(opt.state_dict())
    before = copy.deepcopy(state)
    loaded = create_optimizer("adamw", params, lr=1.0)

    loaded.load_state_dict(state)
    take_steps(loaded, params, 3)

    assert state["param_groups"] == before["param_groups"]
    assert all(torch.equal(state["state"][0][key], before["state"][0][key]) for key in before["state"][0])


FIX = "  where: Optimizer.load_state_dict\n  fix: build the optimizer that the state was saved from"


def _refusal(opt, state):
    with pytest.raises(CheckpointError) as caught:
        opt.load_state_dict(state)
    return str(caught.value)


def test_amsgrad_is_refused_by_name():
    params = make_params()

    text = _refusal(create_optimizer("adam", params, lr=0.1), torch.optim.Adam(params, amsgrad=True).state_dict())

    assert text == f"the saved optimizer has amsgrad = True, here it is False\n{FIX}"


def test_the_other_kind_of_decay_is_refused_unless_there_is_none():
    params = make_params()
    ours = create_optimizer("nadam", params, lr=0.1)

    text = _refusal(ours, torch.optim.NAdam(params, weight_decay=0.1).state_dict())
    ours.load_state_dict(torch.optim.NAdam(params, lr=0.3).state_dict())

    assert text == f"the saved optimizer has decoupled_weight_decay = False, here it is True\n{FIX}"
    assert ours.param_groups[0]["lr"] == 0.3


def test_a_hyper_that_only_another_optimizer_has_is_refused():
    params = make_params()

    text = _refusal(create_optimizer("lamb", params, lr=0.1), torch.optim.SGD(params, momentum=0.9).state_dict())

    assert text == (
        'the saved optimizer has a hyper "dampening" that optimizer "lamb" has not; it has momentum, sqr_momentum, lr,'
        f" eps, weight_decay, max_trust, always_adapt, maximize\n{FIX}"
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "has no param_groups and state"),
        ({"exp_avg": 3.0, "exp_avg_sq": 0, "step": 1}, "remembers exp_avg as a float"),
        ({"exp_avg_sq": torch.zeros(2), "step": 1}, "does not remember exp_avg of a parameter of shape [2]"),
        (
            {"exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)},
            "does not remember step of a parameter of shape [2]",
        ),
    ],
)
def test_a_state_that_is_not_whole_is_refused_and_nothing_changed(state, words):
    param = nn.Parameter(torch.zeros(2))
    opt = create_optimizer("adamw", [param], lr=0.1)
    saved = create_optimizer("adamw", [param], lr=0.7).state_dict()
    saved["state"] = {0: state}

    text = _refusal(opt, saved if state else {})

    assert text == f"the saved optimizer {words}\n{FIX}"
    assert opt.param_groups[0]["lr"] == 0.1
    assert not opt.state


def test_torchs_adafactor_of_a_convolution_is_refused_for_its_other_shapes():
    weight = nn.Parameter(torch.randn(8, 3, 3, 3))
    weight.grad = torch.randn_like(weight)
    theirs = torch.optim.Adafactor([weight], lr=0.01)
    theirs.step()

    text = _refusal(create_optimizer("adafactor", [weight], lr=0.01), theirs.state_dict())

    assert text == f"the saved optimizer remembers row_var of shape [8, 3, 3, 1], [8, 1] would fit\n{FIX}"


def test_a_hyper_that_cannot_be_is_refused_when_loaded_too():
    params = make_params()
    opt = create_optimizer("adamw", params, lr=0.1)
    state = opt.state_dict()
    state["param_groups"][0]["lr"] = -3

    with pytest.raises(ConfigError, match="lr is -3, must be a finite number, at least 0"):
        opt.load_state_dict(state)


def test_a_rate_that_torch_keeps_in_a_tensor_becomes_a_number():
    params = make_params()
    opt = create_optimizer("adamw", params, lr=0.1)

    opt.load_state_dict(torch.optim.AdamW(params, lr=torch.tensor(0.25)).state_dict())

    assert opt.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_what_schedulers_and_users_keep_in_a_group_is_kept_and_loading_twice_is_fine(name):
    params = make_params()
    opt = create_optimizer(name, params, lr=0.1)
    torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=10, cycle_momentum="momentum" in opt.defaults)
    opt.param_groups[0]["note"] = "mine"
    take_steps(opt, params, 2)

    for _ in range(2):
        opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    fresh = create_optimizer(name, params, lr=0.3)
    fresh.load_state_dict(copy.deepcopy(opt.state_dict()))

    assert fresh.param_groups[0]["max_lr"] == 0.1
    assert fresh.param_groups[0]["note"] == "mine"
    assert "differentiable" not in fresh.defaults


def test_muons_none_means_the_original_size():
    weight = nn.Parameter(torch.randn(4, 3))
    opt = Optimizer([weight], [weight_decay, muon_step], [AverageGrad(True, "momentum_buffer")], lr=0.1, momentum=0.95)

    opt.load_state_dict(torch.optim.Muon([weight], lr=0.2).state_dict())

    assert opt.param_groups[0]["adjust_lr_fn"] == "original"


@pytest.mark.parametrize("step", [adam_step, nadam_step, radam_step])
def test_parts_without_decay_are_those_of_torch_without_decay(step):
    stats = [StepCount(), AverageGrad(dampening=True), AverageSqrGrad()]
    stats += [MomentumProduct()] if step is nadam_step else []
    kind = {adam_step: torch.optim.Adam, nadam_step: torch.optim.NAdam, radam_step: torch.optim.RAdam}[step]
    params, straight = make_params(), make_params()
    opt = Optimizer(params, [step], stats, lr=0.01)
    take_steps(opt, params, 5)
    theirs = kind(params, lr=1.0, foreach=False)

    theirs.load_state_dict(opt.state_dict())

    found = take_steps(theirs, params, 5, first=5)
    assert largest_gap(found, take_steps(Optimizer(straight, [step], stats, lr=0.01), straight, 10)) <= 1e-7


@pytest.mark.parametrize(("step", "kind"), [(nadam_step, torch.optim.NAdam), (radam_step, torch.optim.RAdam)])
def test_l2_in_front_is_torchs_other_kind_of_decay(step, kind):
    stats = [StepCount(), AverageGrad(dampening=True), AverageSqrGrad()]
    stats += [MomentumProduct()] if step is nadam_step else []
    params, straight = make_params(), make_params()
    theirs = kind(params, lr=0.01, weight_decay=0.1, foreach=False)
    take_steps(theirs, params, 5)
    opt = Optimizer(params, [l2_reg, step], stats, lr=1.0)

    opt.load_state_dict(theirs.state_dict())

    found = take_steps(opt, params, 5, first=5)
    expected = take_steps(kind(straight, lr=0.01, weight_decay=0.1, foreach=False), straight, 10)
    assert largest_gap(found, expected) <= 1e-7


def test_what_another_optimizer_remembers_is_refused():
    params = make_params()
    other = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    take_steps(other, params, 1)
    state = other.state_dict()
    state["param_groups"][0] = {"params": state["param_groups"][0]["params"], "lr": 0.1}

    text = _refusal(create_optimizer("adamw", params, lr=0.1), state)

    assert text == (
        'the saved optimizer remembers "momentum_buffer", optimizer "adamw" exp_avg, exp_avg_sq, step\n' + FIX
    )


def test_a_state_of_another_shape_is_refused():
    big, small = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(4, 2))
    opt = create_optimizer("momentum", [big], lr=0.1)
    big.grad = torch.ones(4, 3)
    opt.step()

    text = _refusal(create_optimizer("momentum", [small], lr=0.1), opt.state_dict())

    assert text == f"the saved optimizer remembers momentum_buffer of shape [4, 3], [4, 2] would fit\n{FIX}"


def test_other_groups_are_refused_in_torchs_words():
    params = make_params()
    state = create_optimizer("adamw", [{"params": params[:1]}, {"params": params[1:]}], lr=0.1).state_dict()

    with pytest.raises(ValueError, match="different number of parameter groups"):
        create_optimizer("adamw", params, lr=0.1).load_state_dict(state)
