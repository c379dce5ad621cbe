"""Against torch.optim: the same weights, to the bit where the operations are the same, whatever happens meanwhile."""

from __future__ import annotations

import pytest
import torch
from optim.steps import largest_gap, make_params, take_steps

from imagekit.optim.presets import OPTIMIZERS

BETAS = {"betas": (0.9, 0.99), "eps": 1e-5}
ADAM = {"momentum": 0.9, "sqr_momentum": 0.99, "eps": 1e-5}
DECOUPLED = {**BETAS, "decoupled_weight_decay": True}

# ours, its hypers, torch's class, its hypers
SAME_OPERATIONS = [
    ("sgd", {}, torch.optim.SGD, {}),
    ("sgd", {"weight_decay": 0.01}, torch.optim.SGD, {"weight_decay": 0.01}),
    ("momentum", {}, torch.optim.SGD, {"momentum": 0.9}),
    ("momentum", {"weight_decay": 0.1}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    ("momentum", {"nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("momentum", {"dampening": 0.3}, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    ("adam", ADAM, torch.optim.Adam, BETAS),
    ("adam", {**ADAM, "weight_decay": 0.1}, torch.optim.Adam, {**BETAS, "weight_decay": 0.1}),
    ("adamw", {**ADAM, "weight_decay": 0.1}, torch.optim.AdamW, {**BETAS, "weight_decay": 0.1}),
    ("adamw", {**ADAM, "weight_decay": 0.0}, torch.optim.AdamW, {**BETAS, "weight_decay": 0.0}),
    ("adam", {**ADAM, "eps": 1e-2}, torch.optim.Adam, {**BETAS, "eps": 1e-2}),
    ("rmsprop", {}, torch.optim.RMSprop, {}),
    ("rmsprop", {"centered": True}, torch.optim.RMSprop, {"centered": True}),
    ("rmsprop", {"momentum": 0.9}, torch.optim.RMSprop, {"momentum": 0.9}),
    (
        "rmsprop",
        {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "sqr_momentum": 0.9},
        torch.optim.RMSprop,
        {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "alpha": 0.9},
    ),
]
OTHER_ROUNDING = [
    ("nadam", ADAM, torch.optim.NAdam, DECOUPLED),
    ("nadam", {**ADAM, "weight_decay": 0.1}, torch.optim.NAdam, {**DECOUPLED, "weight_decay": 0.1}),
    ("radam", ADAM, torch.optim.RAdam, DECOUPLED),
    ("radam", {**ADAM, "weight_decay": 0.1}, torch.optim.RAdam, {**DECOUPLED, "weight_decay": 0.1}),
]
FUSED = [case for case in SAME_OPERATIONS if case[0] != "rmsprop"]
ALL = [*SAME_OPERATIONS, *OTHER_ROUNDING]
ONE_EACH = [SAME_OPERATIONS[i] for i in (1, 4, 7, 8, 14)]
IDS = [f"{name}-{'-'.join(map(str, hypers.values()))}" for name, hypers, _, _ in ALL]


def _both(case, *, executor="loop", dtype=torch.float32, lr=0.01, n_steps=100, before=None, **more):
    """The weights after our steps and after those of torch's plain loop."""
    name, ours, kind, theirs = case
    a, b = make_params(dtype), make_params(dtype)
    found = take_steps(OPTIMIZERS[name](a, lr=lr, executor=executor, **ours, **more), a, n_steps, before=before)
    expected = take_steps(kind(b, lr=lr, foreach=False, **theirs, **more), b, n_steps, before=before)
    return found, expected


@pytest.mark.parametrize("executor", ["loop", "foreach"])
@pytest.mark.parametrize("case", SAME_OPERATIONS, ids=IDS[: len(SAME_OPERATIONS)])
def test_a_hundred_steps_are_torchs_to_the_bit(case, executor):
    found, expected = _both(case, executor=executor)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("case", OTHER_ROUNDING, ids=IDS[len(SAME_OPERATIONS) :])
@pytest.mark.parametrize("executor", ["loop", "foreach"])
def test_nadam_and_radam_are_torchs_to_a_ten_millionth(case, executor):
    assert largest_gap(*_both(case, executor=executor)) <= 1e-7


@pytest.mark.parametrize("case", FUSED, ids=IDS[: len(FUSED)])
def test_the_fused_kernel_is_taken_where_there_is_one_and_agrees_with_the_loop(case):
    _, _, kind, theirs = case
    found, loop = _both(case, executor="auto")

    params = make_params()
    fused = take_steps(kind(params, lr=0.01, fused=True, **theirs), params)
    assert all(torch.equal(a, b) for a, b in zip(found, fused, strict=True))
    assert largest_gap(found, loop) <= 1e-7


@pytest.mark.parametrize("executor", ["auto", "loop", "foreach"])
@pytest.mark.parametrize("case", ALL, ids=IDS)
def test_in_float64_all_agree_to_a_millionth_of_a_millionth(case, executor, float64_default):
    assert largest_gap(*_both(case, executor=executor, dtype=torch.float64, n_steps=50)) <= 1e-12


@pytest.fixture
def float64_default():
    # torch keeps NAdam's product of momenta in the default type, whatever the parameters are
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
def test_a_thousand_steps_do_not_drift(case):
    found, expected = _both(case, n_steps=1000, lr=1e-3)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
@pytest.mark.parametrize("executor", ["loop", "foreach", "auto"])
def test_maximizing_climbs_like_torch(case, executor):
    found, expected = _both(case, executor=executor, maximize=True)

    assert largest_gap(found, expected) <= (1e-7 if executor == "auto" else 0)


def _no_gradient_for_some(i, opt, params):
    for place, param in enumerate(params):
        if (i + place) % 3 == 0:
            param.grad = None


def _frozen_at_first(i, opt, params):
    if i < 30:
        params[0].grad = params[2].grad = None


def _another_rate_each_step(i, opt, params):
    for group in opt.param_groups:
        group["lr"] = 0.01 * (1 + (i * 7) % 5)


@pytest.mark.parametrize("before", [_no_gradient_for_some, _frozen_at_first, _another_rate_each_step])
@pytest.mark.parametrize("executor", ["loop", "foreach", "auto"])
@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
def test_what_happens_while_training_changes_nothing(case, executor, before):
    found, expected = _both(case, executor=executor, before=before)

    assert largest_gap(found, expected) <= (1e-7 if executor == "auto" else 0)


@pytest.mark.parametrize("executor", ["loop", "foreach", "auto"])
@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
def test_two_groups_have_their_own_hypers_and_a_third_may_come_later(case, executor):
    name, ours, kind, theirs = case
    results = []

    for make, hypers, more in ((OPTIMIZERS[name], ours, {"executor": executor}), (kind, theirs, {"foreach": False})):
        params = make_params()
        groups = [{"params": params[:2], "lr": 0.02, "weight_decay": 0.0}, {"params": params[2:4]}]
        opt = make(groups, lr=0.01, **hypers, **more)
        take_steps(opt, params, 20)
        opt.add_param_group({"params": params[4:], "lr": 0.03})
        results.append(take_steps(opt, params, 20, first=20))

    assert largest_gap(*results) <= (1e-7 if executor == "auto" else 0)


@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_torch(case, dtype):
    found, expected = _both(case, dtype=dtype, n_steps=30)

    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)  # RMSprop's eps is 0 in float16


@pytest.mark.parametrize("executor", ["loop", "foreach", "auto"])
@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
def test_types_may_be_mixed_in_a_group(case, executor):
    name, ours, kind, theirs = case
    how = {"fused": True} if executor == "auto" and name != "rmsprop" else {"foreach": False}
    results = []

    for make, hypers, more in ((OPTIMIZERS[name], ours, {"executor": executor}), (kind, theirs, how)):
        params = [*make_params(), *make_params(torch.float64), *make_params(torch.bfloat16)[:3]]
        results.append(take_steps(make(params, lr=0.01, **hypers, **more), params, 20))

    assert largest_gap(*results) == 0


@pytest.mark.parametrize("case", ONE_EACH, ids=[case[0] for case in ONE_EACH])
def test_a_closure_is_called_with_gradients_and_its_loss_returned(case):
    name, ours, kind, theirs = case
    results = []

    for make, hypers in ((OPTIMIZERS[name], ours), (kind, theirs)):
        params = make_params()[:3]
        opt = make(params, lr=0.01, **hypers)

        def closure(opt=opt, params=params):
            opt.zero_grad()
            loss = sum((param**2).sum() for param in params)
            loss.backward()
            return loss

        losses = [opt.step(closure).item() for _ in range(5)]
        results.append((losses, params))

    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert results[0][0][-1] < results[0][0][0]


@pytest.mark.parametrize(
    "make_scheduler",
    [
        lambda opt: torch.optim.lr_scheduler.StepLR(opt, 5, 0.5),
        lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 40),
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=50),
        lambda opt: torch.optim.lr_scheduler.LambdaLR(opt, lambda i: 1 / (i + 1)),
    ],
    ids=["step", "cosine", "one-cycle", "lambda"],
)
@pytest.mark.parametrize("case", [ONE_EACH[0], ONE_EACH[3]], ids=["sgd", "adamw"])
def test_torchs_schedulers_drive_it(case, make_scheduler):
    name, ours, kind, theirs = case
    ours, theirs = ({"momentum": 0.9, **ours}, {"momentum": 0.9, **theirs}) if name == "sgd" else (ours, theirs)
    results = []

    for make, hypers, more in ((OPTIMIZERS[name], ours, {"executor": "loop"}), (kind, theirs, {"foreach": False})):
        params = make_params()
        opt = make(params, lr=0.01, **hypers, **more)
        scheduler = make_scheduler(opt)
        results.append(take_steps(opt, params, 40, before=lambda i, opt, params, s=scheduler: s.step() if i else None))

    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_loop_and_lists_are_the_same_to_the_bit(name):
    results = []

    for executor in ("loop", "foreach"):
        params = make_params()
        results.append(take_steps(OPTIMIZERS[name](params, lr=0.01, executor=executor), params, 25))

    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("executor", ["auto", "loop", "foreach"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_the_memory_order_of_weights_changes_nothing(name, executor):
    plain, turned = make_params(), make_params()
    turned[0] = torch.nn.Parameter(turned[0].detach().contiguous(memory_format=torch.channels_last))

    found = take_steps(OPTIMIZERS[name](turned, lr=0.01, executor=executor), turned, 25)

    expected = take_steps(OPTIMIZERS[name](plain, lr=0.01, executor=executor), plain, 25)
    assert largest_gap(found, expected) <= 1e-6


def test_weights_that_change_their_memory_order_while_training_keep_the_right_momentum():
    # a fused step reads weight, gradient and momentum as three flat arrays
    plain, turned = make_params(), make_params()
    opt = OPTIMIZERS["momentum"](turned, lr=0.01)
    take_steps(opt, turned, 5)
    turned[0].data = turned[0].data.contiguous(memory_format=torch.channels_last)

    found = take_steps(opt, turned, 5, first=5)

    assert largest_gap(found, take_steps(OPTIMIZERS["momentum"](plain, lr=0.01), plain, 10)) <= 1e-7


def test_a_weight_with_gaps_in_memory_takes_no_fused_step():
    whole = torch.zeros(4, 6)
    sliced = torch.nn.Parameter(whole[:, ::2])
    sliced.grad = torch.ones(4, 3)

    OPTIMIZERS["momentum"]([sliced], lr=0.5).step()

    assert whole.tolist() == [[-0.5, 0, -0.5, 0, -0.5, 0]] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", ALL, ids=IDS)
def test_a_gpu_takes_the_same_steps(case):
    name, ours, _, _ = case
    there = [torch.nn.Parameter(param.detach().cuda()) for param in make_params()]

    found = take_steps(OPTIMIZERS[name](there, lr=0.01, **ours), there, 50)

    here = make_params()
    expected = take_steps(OPTIMIZERS[name](here, lr=0.01, executor="loop", **ours), here, 50)
    assert largest_gap([each.cpu() for each in found], expected) <= 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_no_step_waits_for_a_gpu(name):
    params = [torch.nn.Parameter(param.detach().cuda()) for param in make_params()]
    opt = OPTIMIZERS[name](params, lr=0.01)
    take_steps(opt, params, 2)
    for param in params:
        param.grad = torch.ones_like(param)
    torch.cuda.set_sync_debug_mode("error")
    try:
        opt.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(param).all() for param in params)
