"""The one optimizer: parts and their order, hypers and their defaults, groups, what is refused."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from dataclasses import dataclass

import pytest
import torch
from optim.steps import largest_gap, make_params, take_steps
from torch import nn

from imagekit.errors import ConfigError
from imagekit.optim.lists import Lists
from imagekit.optim.optimizer import Optimizer
from imagekit.optim.parts import stepper
from imagekit.optim.presets import OPTIMIZERS, create_optimizer
from imagekit.optim.stats import AverageGrad, AverageSqrGrad, MomentumProduct, StepCount
from imagekit.optim.steppers import adam_step, l2_reg, momentum_step, muon_step, sgd_step, weight_decay


def _one(value: float = 1.0, grad: float = 1.0) -> nn.Parameter:
    param = nn.Parameter(torch.tensor([value], dtype=torch.float64))
    param.grad = torch.tensor([grad], dtype=torch.float64)
    return param


def plain_step(x: Lists, *, lr: float, sharpness: float = 2.0) -> None:
    """A stepper of one's own is a plain function."""
    for param, grad in zip(x.params, x.grads, strict=True):
        param.sub_(grad, alpha=lr * sharpness)


@dataclass(frozen=True)
class LargestGrad:
    """A stat of one's own."""

    keeps = ("largest",)

    def update(self, x: Lists, *, forget: float = 0.5) -> None:
        for largest, grad in zip(x.recall("largest"), x.grads, strict=True):
            largest.mul_(forget).copy_(torch.maximum(largest, grad.abs()))


def sign_step(x: Lists, *, lr: float) -> None:
    """Steps relative to the largest gradient there was."""
    for param, grad, largest in zip(x.params, x.grads, x.state["largest"], strict=True):
        param.sub_(grad / largest, alpha=lr)


# -- parts ------------------------------------------------------------------------------------------------------------


def test_decay_comes_before_the_step_however_the_steppers_are_listed():
    # the lesson lists the step first and so decays what the step made, against its own text
    results = []

    for steppers in ([sgd_step, weight_decay], [weight_decay, sgd_step]):
        param = _one()
        Optimizer([param], steppers, lr=0.1, weight_decay=0.5).step()
        results.append(param.item())

    assert results == [pytest.approx(1 * (1 - 0.1 * 0.5) - 0.1)] * 2


def test_adamw_put_together_by_hand_is_torchs_and_not_the_lessons_order():
    ours, theirs = make_params(torch.float64), make_params(torch.float64)
    stats = [StepCount(), AverageGrad(dampening=True), AverageSqrGrad()]

    found = take_steps(Optimizer(ours, [adam_step, weight_decay], stats, lr=0.01, weight_decay=0.1), ours, 20)

    expected = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-5)
    assert largest_gap(found, take_steps(expected, theirs, 20)) <= 1e-12


def test_l2_is_seen_by_the_average_of_gradients():
    # as the lesson writes it, it changes the gradient after the average was taken, and momentum never sees it
    param = _one(grad=0.0)

    Optimizer([param], [momentum_step, l2_reg], [AverageGrad()], lr=0.1, weight_decay=0.5).step()

    assert param.item() == pytest.approx(1 - 0.1 * 0.5)


def test_l2_adds_the_gradient_of_half_the_decay_times_the_squared_weights():
    # the lesson's text leaves out the half, or takes the weights themselves
    by_hand, by_loss = _one(value=3.0, grad=2.0), _one(value=3.0)
    by_loss.grad = None
    (2.0 * by_loss + 0.3 / 2 * by_loss**2).sum().backward()

    Optimizer([by_hand], [sgd_step, l2_reg], lr=0.1, weight_decay=0.3).step()
    Optimizer([by_loss], [sgd_step], lr=0.1).step()

    assert by_hand.item() == pytest.approx(by_loss.item(), rel=1e-12)


def test_l2_leaves_the_gradient_itself_alone():
    param = _one(grad=3.0)

    Optimizer([param], [sgd_step, l2_reg], lr=0.1, weight_decay=0.5).step()

    assert param.grad.item() == 3.0


def test_decay_is_a_factor_of_one_minus_rate_times_decay():
    # the lesson's text has 1 - wd, and "wd.weight"; without gradients only the decay is left
    param = _one(value=2.0, grad=0.0)

    Optimizer([param], [sgd_step, weight_decay], lr=0.1, weight_decay=0.3).step()

    assert param.item() == pytest.approx(2.0 * (1 - 0.1 * 0.3))


def test_weight_decay_is_l2_for_plain_sgd_and_not_with_momentum():
    plain, by_l2, averaged, averaged_l2 = (_one() for _ in range(4))
    opts = [
        Optimizer([plain], [sgd_step, weight_decay], lr=0.1, weight_decay=0.5),
        Optimizer([by_l2], [sgd_step, l2_reg], lr=0.1, weight_decay=0.5),
        Optimizer([averaged], [momentum_step, weight_decay], [AverageGrad()], lr=0.1, weight_decay=0.5),
        Optimizer([averaged_l2], [momentum_step, l2_reg], [AverageGrad()], lr=0.1, weight_decay=0.5),
    ]

    for _ in range(5):
        for opt in opts:
            opt.step()

    assert plain.item() == pytest.approx(by_l2.item(), rel=1e-12)
    assert averaged.item() != pytest.approx(averaged_l2.item(), rel=1e-3)


def test_parts_of_ones_own_work_beside_those_that_are_there():
    param, grouped = _one(grad=2.0), _one(grad=2.0)

    Optimizer([param], [sign_step, weight_decay], [LargestGrad()], lr=0.1, weight_decay=0.5).step()
    Optimizer([{"params": [grouped], "sharpness": 3.0}], [plain_step], lr=0.1).step()

    assert param.item() == pytest.approx(0.95 - 0.1)
    assert grouped.item() == pytest.approx(1 - 0.1 * 3 * 2)


def test_leaf_parameters_are_changed_in_place():
    # the lesson's momentum step adds to a leaf that requires gradients, which torch refuses
    param = _one()
    address = param.data_ptr()

    Optimizer([param], [momentum_step], [AverageGrad()], lr=0.1).step()

    assert (param.data_ptr(), param.requires_grad, param.is_leaf) == (address, True, True)


def test_what_is_no_stepper_or_stat_is_refused():
    with pytest.raises(ConfigError) as not_a_stepper:
        Optimizer([_one()], ["sgd"], lr=0.1)
    with pytest.raises(ConfigError) as not_a_stat:
        Optimizer([_one()], [sgd_step], [AverageGrad], lr=0.1)

    assert str(not_a_stepper.value) == (
        "'sgd' is not a stepper\n  where: Optimizer: steppers\n"
        "  fix: hand in functions of (x, *, hypers), as in imagekit.optim.steppers"
    )
    assert str(not_a_stat.value) == (
        "<class 'imagekit.optim.stats.AverageGrad'> is not a stat\n  where: Optimizer: stats\n"
        "  fix: hand in objects with `keeps` and `update`, AverageGrad() say; make a dataclass frozen=True"
    )


def test_two_stats_that_keep_one_name_are_refused():
    with pytest.raises(ConfigError) as caught:
        Optimizer([_one()], [sgd_step], [AverageSqrGrad(), AverageSqrGrad()], lr=0.1)

    assert str(caught.value) == (
        'AverageSqrGrad and AverageSqrGrad both keep "exp_avg_sq"\n  where: Optimizer: stats\n'
        "  fix: give one of them another name, AverageSqrGrad(name=...) say"
    )


def test_a_default_on_which_two_parts_disagree_must_be_said():
    def loud_step(x: Lists, *, lr: float, momentum: float = 0.5) -> None:
        sgd_step(x, lr=lr * momentum)

    with pytest.raises(ConfigError) as caught:
        Optimizer([_one()], [loud_step], [AverageGrad()], lr=0.1)
    said = Optimizer([_one()], [loud_step], [AverageGrad()], lr=0.1, momentum=0.5)

    assert str(caught.value) == (
        "momentum is 0.9 by AverageGrad and 0.5 by loud_step\n  where: Optimizer: momentum\n"
        "  fix: say which: momentum=0.9"
    )
    assert said.param_groups[0]["momentum"] == 0.5


def test_a_default_on_which_two_rules_disagree_must_be_said():
    def step(x: Lists, *, lr: float, eps: float = 1.0) -> None:
        sgd_step(x, lr=lr * eps)

    stats = [StepCount(), AverageGrad(dampening=True), AverageSqrGrad()]

    with pytest.raises(ConfigError) as caught:
        Optimizer([_one()], [step], lr=0.1, rest=([adam_step], stats))

    assert str(caught.value) == (
        "eps is 1.0 by step and 1e-05 by adam_step\n  where: Optimizer: eps\n  fix: say which: eps=1.0"
    )


@pytest.mark.parametrize("name", ["params", "maximize", "initial_lr", "rest", "executor", "name"])
def test_a_hyper_cannot_have_the_name_of_a_groups_own_key(name):
    namespace = {}
    exec(f"def step(x, *, lr, {name}=1): pass", namespace)

    with pytest.raises(ConfigError) as caught:
        Optimizer([_one()], [namespace["step"]], lr=0.1)

    assert str(caught.value) == (
        f'step has a parameter "{name}" that cannot be a hyper\n  where: Optimizer: step\n'
        "  fix: name each hyper after a *, and none of them params, param_names, maximize, initial_lr, rest,"
        " executor, name"
    )


def test_steppers_run_by_their_order_and_equal_ones_as_listed():
    seen = []

    def note(name, order):
        return stepper(order=order)(lambda x, *, lr: seen.append(name))

    Optimizer(
        [_one()], [note("d", 10), note("e", 10), note("f", 20), note("b", -1), note("a", -2), note("c", 0)], lr=1
    ).step()

    assert seen == ["a", "b", "c", "d", "e", "f"]


# -- hypers and groups ------------------------------------------------------------------------------------------------


def test_hypers_are_copied_into_each_group_and_can_differ():
    first, second = _one(), _one()
    opt = Optimizer([[first], [second]], [sgd_step, weight_decay], lr=0.1, weight_decay=1e-4)

    opt.param_groups[0]["lr"] = 0.5
    opt.step()

    assert [group["lr"] for group in opt.param_groups] == [0.5, 0.1]
    assert [group["weight_decay"] for group in opt.param_groups] == [1e-4, 1e-4]
    assert first.item() < second.item()


def test_the_decay_of_a_part_is_zero_unless_said():
    # the two cases of the lesson's notebook
    silent = Optimizer([_one()], [sgd_step, weight_decay], lr=0.1)
    told = Optimizer([_one()], [sgd_step, weight_decay], lr=0.1, weight_decay=1e-4)

    assert (silent.param_groups[0]["weight_decay"], told.param_groups[0]["weight_decay"]) == (0.0, 1e-4)


@pytest.mark.parametrize("kind", ["list", "generator", "one parameter", "named", "groups", "lists"])
def test_parameters_come_in_any_of_the_usual_forms(kind):
    model = nn.Linear(3, 2)
    forms = {
        "list": lambda: list(model.parameters()),
        "generator": lambda: model.parameters(),
        "one parameter": lambda: model.weight,
        "named": lambda: model.named_parameters(),
        "groups": lambda: [{"params": model.weight}, {"params": (each for each in [model.bias])}],
        "lists": lambda: [[model.weight], [model.bias]],
    }

    opt = create_optimizer("momentum", forms[kind](), lr=0.1)

    counts = {"groups": [1, 1], "lists": [1, 1], "one parameter": [1]}
    assert [len(group["params"]) for group in opt.param_groups] == counts.get(kind, [2])


@pytest.mark.parametrize("params", [[], iter([]), [{"params": []}], [[]]])
def test_no_parameters_are_refused(params):
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", params, lr=0.1)

    assert str(caught.value) == (
        "the optimizer got no parameters\n  where: params\n  fix: pass model.parameters() of a model that has some"
    )


def test_an_unknown_hyper_of_a_group_is_refused():
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", [{"params": [_one()], "learning_rate": 1.0}], lr=0.1)

    assert str(caught.value) == (
        'optimizer "sgd" has no hyper "learning_rate"\n  where: opt.learning_rate\n'
        "  fix: known: dampening, lr, momentum, nesterov, weight_decay"
    )


def test_a_hyper_of_a_group_out_of_range_is_refused_now_and_later():
    opt = create_optimizer("sgd", [_one()], lr=0.1)

    for make in (
        lambda: create_optimizer("sgd", [{"params": [_one()], "lr": -1.0}], lr=0.1),
        lambda: opt.add_param_group({"params": [_one()], "lr": -1.0}),
    ):
        with pytest.raises(ConfigError) as caught:
            make()

        assert (
            str(caught.value) == "lr is -1.0, must be a finite number, at least 0\n  where: opt.lr\n  fix: correct lr"
        )


def test_a_rate_may_be_given_by_every_group_instead():
    opt = create_optimizer("adamw", [{"params": [_one()], "lr": 0.2}, {"params": [_one()], "lr": 0.3}])

    assert [group["lr"] for group in opt.param_groups] == [0.2, 0.3]


def test_an_unknown_executor_is_refused():
    with pytest.raises(ConfigError) as caught:
        create_optimizer("sgd", [_one()], lr=0.1, executor="compiled")

    assert str(caught.value) == (
        'executor is "compiled", which is not known\n  where: Optimizer: executor\n'
        "  fix: set it to one of auto, loop, foreach, fused"
    )


def test_a_fused_step_that_does_not_exist_is_refused():
    params = make_params()
    opt = create_optimizer("lamb", params, lr=0.1, executor="fused")

    with pytest.raises(ConfigError) as caught:
        take_steps(opt, params, 1)

    assert str(caught.value) == (
        "there is no fused step for a parameter of shape [4, 3, 3, 3] on cpu\n  where: Optimizer: executor\n"
        '  fix: leave it at "auto"; torch has fused steps of SGD, Adam and AdamW on cpu and cuda'
    )


def test_parameters_that_no_stepper_can_act_on_are_refused_at_once():
    with pytest.raises(ConfigError) as caught:
        Optimizer(make_params(), [muon_step], [AverageGrad(True, "momentum_buffer")], lr=0.1, momentum=0.95)

    assert str(caught.value) == (
        "muon_step cannot act on a parameter of shape [7]\n  where: Optimizer: params\n"
        "  fix: give rest=(steppers, stats) for such parameters, or leave them out"
    )


def test_parameters_of_whole_numbers_or_sparse_ones_are_refused():
    sparse = torch.eye(3).to_sparse()

    with pytest.raises(ConfigError) as whole:
        create_optimizer("sgd", [nn.Parameter(torch.ones(2, dtype=torch.long), requires_grad=False)], lr=0.1)
    with pytest.raises(ConfigError) as holey:
        create_optimizer("sgd", [sparse], lr=0.1)

    assert str(whole.value) == (
        "a parameter of shape [2] is torch.int64, must be of floating point\n  where: params\n"
        "  fix: leave it out, or hold it as a buffer"
    )
    assert str(holey.value) == (
        "a parameter of shape [3, 3] is torch.sparse_coo, must be dense\n  where: params\n"
        "  fix: make it dense with .to_dense()"
    )


def test_sparse_gradients_are_refused():
    table = nn.Embedding(5, 2, sparse=True)
    opt = create_optimizer("sgd", table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()

    with pytest.raises(ConfigError) as caught:
        opt.step()

    assert str(caught.value) == (
        "the gradient of a parameter of shape [5, 2] is sparse, must be dense\n  where: Optimizer.step\n"
        "  fix: make the layer with sparse=False"
    )


def test_a_step_without_any_gradient_does_nothing():
    params = make_params()

    for name in OPTIMIZERS:
        opt = create_optimizer(name, params, lr=0.1)
        opt.step()
        assert all(torch.equal(a, b) for a, b in zip(params, make_params(), strict=True))
        assert not any(opt.state.values())


def test_momentum_that_is_scheduled_from_nothing_begins_then():
    params, expected = make_params(), make_params()
    opt, theirs = create_optimizer("sgd", params, lr=0.01), torch.optim.SGD(expected, lr=0.01, foreach=False)

    def start(i, opt, params):
        opt.param_groups[0]["momentum"] = 0.9 if i >= 5 else 0.0

    found = take_steps(opt, params, 10, before=start)

    assert largest_gap(found, take_steps(theirs, expected, 10, before=start)) <= 1e-8


def test_a_part_without_what_it_needs_is_refused_at_once():
    with pytest.raises(ConfigError) as no_stat:
        Optimizer([_one()], [adam_step], [AverageGrad(dampening=True), AverageSqrGrad()], lr=0.1)
    with pytest.raises(ConfigError) as wrong_order:
        Optimizer([_one()], [sgd_step], [MomentumProduct(), StepCount()], lr=0.1)

    fix = (
        ", which no stat before it keeps\n  where: Optimizer: stats\n"
        "  fix: add the stat that keeps it: imagekit.optim.presets shows which go together"
    )
    assert str(no_stat.value) == f'adam_step needs "step"{fix}'
    assert str(wrong_order.value) == f'MomentumProduct needs "step"{fix}'


def test_a_stat_may_put_other_tensors_into_its_list():
    @dataclass(frozen=True)
    class Sum:
        keeps = ("sum",)

        def update(self, x: Lists) -> None:
            sums = x.recall("sum")
            for i, grad in enumerate(x.grads):
                sums[i] = sums[i] + grad

    param = _one()
    opt = Optimizer([param], [sgd_step], [Sum()], lr=0.1)

    for _ in range(3):
        opt.step()

    assert opt.state[param]["sum"].item() == 3


def test_a_count_that_a_stat_does_not_name_is_refused():
    @dataclass(frozen=True)
    class Tally:
        keeps = ("tally",)

        def update(self, x: Lists) -> None:
            x.counts["tally"] = x.counts.get("tally", 0) + 1

    with pytest.raises(ConfigError) as caught:
        Optimizer([_one()], [sgd_step], [Tally()], lr=0.1).step()

    assert str(caught.value) == (
        'a stat counts "tally" and does not say so\n  where: Optimizer: stats\n'
        '  fix: give it counts = ("tally",), beside keeps'
    )


def test_a_stat_that_cannot_be_compared_is_refused():
    @dataclass
    class Loose:
        keeps = ("loose",)

        def update(self, x: Lists) -> None: ...

    with pytest.raises(ConfigError, match="is not a stat"):
        Optimizer([_one()], [sgd_step], [Loose()], lr=0.1)


def test_a_stepper_without_a_name_of_its_own_works():
    param = _one()

    Optimizer([param], [functools.partial(sgd_step.func)], lr=0.1).step()

    assert param.item() == pytest.approx(0.9)


def test_a_group_that_is_refused_is_not_added():
    opt = create_optimizer("sgd", [_one()], lr=0.1)

    for bad in ({"params": [torch.ones(2, dtype=torch.long)]}, {"params": [_one()], "lr": -1.0}, {"lr": 1.0}):
        with pytest.raises(ConfigError):
            opt.add_param_group(bad)

    assert len(opt.param_groups) == 1


def test_groups_without_parameters_and_what_is_none_are_refused():
    with pytest.raises(ConfigError) as no_params:
        create_optimizer("sgd", [{"lr": 0.1}], lr=0.1)
    with pytest.raises(ConfigError) as a_model:
        create_optimizer("sgd", nn.Linear(2, 2), lr=0.1)

    assert str(no_params.value) == (
        'a group has lr and no params\n  where: params\n  fix: write {"params": layer.parameters(), "lr": 0.1}'
    )
    assert str(a_model.value) == (
        "params is a Linear, must be parameters or groups of them\n  where: params\n  fix: pass model.parameters()"
    )


@pytest.mark.parametrize("executor", ["auto", "foreach"])
def test_a_parameter_that_takes_the_place_of_another_is_stepped(executor):
    first, second = make_params(), make_params(seed=1)
    opt = create_optimizer("momentum", first, lr=0.01, executor=executor)
    take_steps(opt, first, 2)

    opt.param_groups[0]["params"][0] = second[0]
    before = second[0].detach().clone()
    take_steps(opt, [second[0], *first[1:]], 1)

    assert not torch.equal(second[0], before)


def test_a_weight_that_becomes_a_slice_between_two_steps_leaves_its_neighbours_alone():
    # the fused step reads flat arrays: its kernel would write over what lies between
    param = nn.Parameter(torch.zeros(4, 3))
    opt = create_optimizer("sgd", [param], lr=0.5)
    param.grad = torch.ones(4, 3)
    opt.step()
    whole = torch.zeros(4, 6)

    param.data, param.grad = whole[:, ::2], torch.ones(4, 3)
    opt.step()

    assert whole.tolist() == [[-0.5, 0, -0.5, 0, -0.5, 0]] * 4


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_a_model_may_change_its_number_type_between_two_steps(name):
    params = make_params()
    opt = create_optimizer(name, params, lr=0.01)
    take_steps(opt, params, 2)

    for param in params:
        param.data, param.grad = param.data.bfloat16(), None
    found = take_steps(opt, params, 2)

    assert all(each.dtype == torch.bfloat16 and each.isfinite().all() for each in found)


@pytest.mark.parametrize("executor", ["auto", "loop", "foreach"])
def test_a_parameter_whose_state_is_thrown_away_begins_anew(executor):
    params, fresh = make_params(), make_params()
    opt = create_optimizer("momentum", params, lr=0.01, executor=executor)
    take_steps(opt, params, 3)
    del opt.state[params[0]]
    fresh[0].data.copy_(params[0])

    take_steps(opt, params, 2, first=3)

    take_steps(create_optimizer("momentum", fresh[:1], lr=0.01, executor=executor), fresh, 2, first=3)
    assert torch.equal(params[0], fresh[0])
    assert opt.state_dict()["state"][0]["momentum_buffer"].shape == params[0].shape


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_goes_on_as_the_original_does(name, how):
    params = make_params()
    opt = create_optimizer(name, params, lr=0.01)
    take_steps(opt, params, 7)

    copied_params, copied = _copied(how, params, opt)

    assert copied_params[0] is not params[0]
    found = take_steps(copied, copied_params, 7, first=7)
    assert all(torch.equal(a, b) for a, b in zip(found, take_steps(opt, params, 7, first=7), strict=True))


def _copied(how, params, opt):
    if how == "deepcopy":
        return copy.deepcopy((params, opt))
    if how == "pickle":
        return pickle.loads(pickle.dumps((params, opt)))
    buffer = io.BytesIO()
    torch.save((params, opt), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)
