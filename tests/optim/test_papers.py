"""Optimizers that torch.optim has not, against the formulas of their papers, written down plainly, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from optim.steps import largest_gap, make_params, set_grads, take_steps
from torch import nn

from imagekit.optim.matrices import as_matrix, from_matrix, newton_schulz, orthogonalise
from imagekit.optim.optimizer import Optimizer
from imagekit.optim.presets import OPTIMIZERS, create_optimizer
from imagekit.optim.stats import AverageGrad, AverageSqrGrad, StepCount
from imagekit.optim.steppers import adam_step, is_matrix

N_STEPS = 30
B1, B2 = 0.9, 0.99


def _follow(formula, *, n_steps=N_STEPS):
    """Weights after steps of formula(i, p, g, memory, all_grads), where memory is a dict of each parameter."""
    params = make_params(torch.float64)
    memory = [{} for _ in params]
    for i in range(n_steps):
        set_grads(params, i)
        with torch.no_grad():
            for param, each in zip(params, memory, strict=True):
                param.copy_(formula(i + 1, param.clone(), param.grad, each, [p.grad for p in params]))
    return [param.detach() for param in params]


def _found(name, **hypers):
    params = make_params(torch.float64)
    return take_steps(create_optimizer(name, params, **hypers), params, N_STEPS)


def _moments(t, g, memory):
    memory["m"] = B1 * memory.get("m", 0) + (1 - B1) * g
    memory["v"] = B2 * memory.get("v", 0) + (1 - B2) * g * g
    return memory["m"] / (1 - B1**t), memory["v"] / (1 - B2**t)


def _ratio(w, u):
    return (w.norm() / u.norm()).item() if w.norm() > 0 and u.norm() > 0 else 1.0


def test_lamb_follows_its_paper_with_the_ratio_kept_below_ten():
    # w_t = w_{t-1} - lr * min(|w_{t-1}| / |r + wd w_{t-1}|, 10) (r + wd w_{t-1}),  r = m' / (sqrt(v') + eps)
    def lamb(t, w, g, memory, _):
        m, v = _moments(t, g, memory)
        u = m / (v.sqrt() + 1e-6) + 0.1 * w
        return w - 0.01 * min(_ratio(w, u), 10) * u

    assert largest_gap(_found("lamb", lr=0.01, weight_decay=0.1), _follow(lamb)) <= 1e-12


def test_nvlamb_clips_all_gradients_together_and_adapts_only_what_decays():
    def nvlamb(decay, always):
        def step(t, w, g, memory, grads):
            total = math.sqrt(sum((each**2).sum().item() for each in grads))
            m, v = _moments(t, g / max(1.0, total / 0.3), memory)
            u = m / (v.sqrt() + 1e-6) + decay * w
            return w - 0.01 * (_ratio(w, u) if decay or always else 1.0) * u

        return step

    for decay, always in ((0.1, False), (0.0, False), (0.0, True)):
        found = _found("nvlamb", lr=0.01, weight_decay=decay, always_adapt=always, max_grad_norm=0.3)
        assert largest_gap(found, _follow(nvlamb(decay, always))) <= 1e-12


@pytest.mark.parametrize("name", ["lamb", "nvlamb", "lars"])
def test_weights_that_are_zero_leave_zero_and_stay_finite(name):
    # the lesson's ratio is |p| / |u|: a bias or a norm that begins at zero never moves, and 0 / 0 goes into the weights
    still, moving = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    opt = create_optimizer(name, [still, moving], lr=0.1, weight_decay=0.0)
    if name == "nvlamb":
        opt.param_groups[0]["always_adapt"] = True

    for _ in range(3):
        still.grad, moving.grad = torch.zeros(3), torch.tensor([1.0, -1.0, 2.0])
        opt.step()

    assert still.tolist() == [0, 0, 0]
    assert torch.isfinite(moving).all()
    assert (moving != 0).all()


def test_a_large_weight_with_a_small_step_is_scaled_by_ten_at_most():
    weights = nn.Parameter(torch.full((4,), 100.0, dtype=torch.float64))
    weights.grad = torch.ones(4, dtype=torch.float64)

    create_optimizer("lamb", [weights], lr=0.1).step()

    assert weights[0].item() == pytest.approx(100 - 0.1 * 10, rel=1e-6)


def test_lars_follows_its_paper():
    # local = trust |w| / (|g| + wd |w|);  v = m v + lr local (g + wd w);  w -= v
    def lars(t, w, g, memory, _):
        size, slope = w.norm(), g.norm()
        local = 0.02 * size / (slope + 0.1 * size) if size > 0 and slope > 0 else 1.0
        memory["v"] = 0.9 * memory.get("v", 0) + 0.5 * local * (g + 0.1 * w)
        return w - memory["v"]

    assert largest_gap(_found("lars", lr=0.5, weight_decay=0.1, trust=0.02), _follow(lars)) <= 1e-12


@pytest.mark.parametrize("lr", [0.05, 1.0])  # below and above 1 / sqrt(t)
def test_adafactor_follows_its_paper_with_convolutions_as_matrices(lr):
    eps = torch.finfo(torch.float64).eps

    def adafactor(t, w, g, memory, _):
        if not w.numel():
            return w
        beta = 1 - t**-0.8
        square = (g * g).flatten(1) if g.dim() > 1 else g * g
        if g.dim() > 1:
            memory["r"] = beta * memory.get("r", 0) + (1 - beta) * square.mean(1)
            memory["c"] = beta * memory.get("c", 0) + (1 - beta) * square.mean(0)
            v = (torch.outer(memory["r"], memory["c"]) / memory["r"].mean()).view(g.shape)
        else:
            v = memory["v"] = beta * memory.get("v", 0) + (1 - beta) * square
        u = g / v.clamp(min=eps**2).sqrt()
        u = u / max(1.0, u.pow(2).mean().sqrt().item())
        scale = max(1e-3, w.pow(2).mean().sqrt().item())
        return w - scale * min(lr, 1 / math.sqrt(t)) * u

    assert largest_gap(_found("adafactor", lr=lr), _follow(adafactor)) <= 1e-12


def test_adafactor_remembers_a_hundredth_of_what_adam_does():
    conv = nn.Conv2d(256, 256, 3, bias=False)
    sizes = {}

    for name in ("adam", "adafactor"):
        opt = create_optimizer(name, conv.parameters(), lr=0.01)
        conv.weight.grad = torch.ones_like(conv.weight)
        opt.step()
        sizes[name] = sum(each.numel() for each in opt.state[conv.weight].values() if torch.is_tensor(each))

    assert sizes["adafactor"] * 100 < sizes["adam"]


@pytest.mark.parametrize("gamma", [1e-3, 0.5])
def test_adabound_keeps_each_rate_between_bounds_that_close_in_on_sgds(gamma):
    def adabound(t, w, g, memory, _):
        memory["m"] = B1 * memory.get("m", 0) + (1 - B1) * g
        memory["v"] = B2 * memory.get("v", 0) + (1 - B2) * g * g
        size = 1e-3 * math.sqrt(1 - B2**t) / (1 - B1**t)
        rate = torch.full_like(w, size) / (memory["v"].sqrt() + 1e-8)
        return w - rate.clamp(0.1 * (1 - 1 / (gamma * t + 1)), 0.1 * (1 + 1 / (gamma * t))) * memory["m"]

    found = _found("adabound", lr=1e-3, sqr_momentum=B2, gamma=gamma)

    assert largest_gap(found, _follow(adabound)) <= 1e-12


def test_adabound_ends_as_sgd_with_the_final_rate():
    weights = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = create_optimizer("adabound", [weights], lr=1e-3, gamma=1e6)
    weights.grad = torch.ones(1, dtype=torch.float64)

    opt.step()

    assert weights.item() == pytest.approx(-0.1 * 0.1, rel=1e-5)  # final rate times (1 - momentum) of the gradient


def test_lookahead_goes_half_the_way_back_every_sixth_step():
    def ranger_of(steps):
        params = make_params(torch.float64)
        opt = create_optimizer("ranger", params, lr=0.01, lookahead_steps=steps)
        return take_steps(opt, params, 6)

    fast, slow = ranger_of(7), ranger_of(6)

    middle = [(begun + after) / 2 for begun, after in zip(make_params(torch.float64), fast, strict=True)]
    assert largest_gap(slow, [each.detach() for each in middle]) <= 1e-12


def test_lookahead_goes_on_from_the_slow_weights_every_so_many_steps():
    params = make_params(torch.float64)
    plain = make_params(torch.float64)
    ours = create_optimizer("ranger", params, lr=0.01, lookahead_steps=3, lookahead_alpha=0.2)
    fast = create_optimizer("radam", plain, lr=0.01, momentum=0.95)
    slow = [each.detach().clone() for each in plain]

    found = take_steps(ours, params, 7)

    for i in range(7):
        take_steps(fast, plain, 1, first=i)
        if i % 3 == 2:
            for each, kept in zip(plain, slow, strict=True):
                kept += 0.2 * (each.detach() - kept)
                each.data.copy_(kept)
    assert largest_gap(found, [each.detach() for each in plain]) <= 1e-12


def test_small_gradients_are_not_scaled_up_to_the_norm():
    params, plain = make_params(torch.float64), make_params(torch.float64)

    found = take_steps(create_optimizer("nvlamb", params, lr=0.01, max_grad_norm=1e6, always_adapt=True), params, 5)

    expected = create_optimizer("lamb", plain, lr=0.01, weight_decay=0.01, max_trust=None)
    assert largest_gap(found, take_steps(expected, plain, 5)) <= 1e-12


def test_a_norm_beyond_half_precision_clips_and_does_not_erase():
    weights = nn.Parameter(torch.ones(4096, dtype=torch.float16))
    weights.grad = torch.full((4096,), 2000.0, dtype=torch.float16)

    create_optimizer("nvlamb", [weights], lr=0.1, weight_decay=0.0).step()

    assert (weights < 1).all()


def test_a_ratio_bound_below_one_does_not_slow_what_begins_at_zero():
    weights = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    weights.grad = torch.ones(2, dtype=torch.float64)

    create_optimizer("lamb", [weights], lr=0.1, max_trust=0.5).step()

    assert weights[0].item() == pytest.approx(-0.1, rel=1e-5)


def test_adafactor_has_its_least_root_and_its_threshold():
    def step(**hypers):
        weights = nn.Parameter(torch.full((3,), 0.5, dtype=torch.float64))
        weights.grad = torch.full((3,), 1e-3, dtype=torch.float64)
        create_optimizer("adafactor", [weights], lr=0.1, **hypers).step()
        return 0.5 - weights[0].item()

    assert step() == pytest.approx(0.5 * 0.1)  # a step of 1, the scale of the weights
    assert step(eps=1e-2) == pytest.approx(0.5 * 0.1 * 0.1)  # 1e-3 over at least 1e-2
    assert step(clip_threshold=0.25) == pytest.approx(0.5 * 0.1 * 0.25)
    assert step(min_scale=2.0) == pytest.approx(2.0 * 0.1)
    assert step(weight_decay=0.1) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1 * 0.1)


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e4])
def test_the_size_of_the_gradient_is_nothing_to_muon(size):
    weights = nn.Parameter(torch.zeros(6, 6))
    weights.grad = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) * size

    create_optimizer("muon", [weights], lr=0.1, adjust_lr_fn="original").step()

    assert torch.linalg.svdvals(weights.detach() / 0.1).min() >= 0.5


def test_a_huge_eps_makes_adam_sgd_with_momentum():
    stats = [StepCount(), AverageGrad(dampening=True), AverageSqrGrad()]
    params = make_params(torch.float64)

    found = take_steps(Optimizer(params, [adam_step], stats, lr=1e7 * 0.01, eps=1e7), params, 5)

    def sgd(t, w, g, memory, _):
        return w - 0.01 * _moments(t, g, memory)[0]

    assert largest_gap(found, _follow(sgd, n_steps=5)) <= 1e-7


# -- Muon -------------------------------------------------------------------------------------------------------------


def _exact(matrix):
    """U V' of the singular value decomposition: the nearest orthogonal matrix."""
    u, _, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    return u @ v


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (1, 5), (64, 27), (256, 1040)])
def test_five_steps_bring_singular_values_near_one_and_keep_the_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    found = newton_schulz(matrix, n_steps=5, dtype=torch.float64)

    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ found @ v.T  # diagonal, where the vectors are kept
    assert (inside - inside.diagonal().diag()).abs().max() <= 1e-10
    assert inside.diagonal().min() >= 0.65
    assert inside.diagonal().max() <= 1.25


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (256, 1040), (1040, 256)])
def test_in_bfloat16_it_is_near_the_exact_orthogonal_matrix(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    (found,) = orthogonalise([matrix])

    cosine = torch.nn.functional.cosine_similarity(found.double().flatten(), _exact(matrix).flatten(), dim=0)
    assert cosine >= 0.98


def test_a_direction_far_above_the_others_is_as_exact_in_a_wide_matrix():
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(256, 1040, generator=generator, dtype=torch.float64), full_matrices=False)
    values = torch.full((256,), 1e-3, dtype=torch.float64)
    values[0] = 1.0

    found = newton_schulz((u * values @ v).float(), n_steps=5).double()

    wanted = newton_schulz(u * values @ v, n_steps=5, dtype=torch.float64)
    assert (u[:, 0] @ found @ v[0] - u[:, 0] @ wanted @ v[0]).abs() <= 0.05


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5])  # up to three the products of the rows are in bfloat16
def test_rounding_costs_little_in_a_wide_matrix_where_two_directions_stand_out(n_steps):
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(256, 1040, generator=generator, dtype=torch.float64), full_matrices=False)
    matrix = u * torch.tensor([1.0] * 2 + [1e-3] * 254, dtype=torch.float64) @ v

    found = newton_schulz(matrix.float(), n_steps=n_steps).double()

    wanted = newton_schulz(matrix, n_steps=n_steps, dtype=torch.float64)
    assert (found - wanted).norm() <= 0.15 * wanted.norm()
    assert (u[:, 0] @ found @ v[0] - u[:, 0] @ wanted @ v[0]).abs() <= 0.05


@pytest.mark.parametrize("shape", [(16, 16), (64, 27), (256, 1040)])
@pytest.mark.parametrize("n_steps", [3, 5])
def test_without_instructions_for_bfloat16_only_the_result_is_rounded(monkeypatch, shape, n_steps):
    monkeypatch.setattr("imagekit.optim.matrices._cpu_has_bf16", lambda: False)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    found = newton_schulz(matrix.float(), n_steps=n_steps)

    wanted = newton_schulz(matrix, n_steps=n_steps, dtype=torch.float64)
    assert found.dtype == torch.bfloat16
    assert (found.double() - wanted).abs().max() <= 2**-8 * wanted.abs().max() + 1e-5


def test_matrices_of_one_shape_go_through_together_and_come_back_in_their_places():
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=generator) for shape in [(4, 6), (8, 3), (4, 6), (8, 3), (5, 5)]]

    together = orthogonalise(matrices)

    alone = [orthogonalise([matrix])[0] for matrix in matrices]
    assert all(torch.allclose(a.float(), b.float(), atol=0.02) for a, b in zip(together, alone, strict=True))


def test_a_matrix_of_zeros_stays_zeros():
    assert orthogonalise([torch.zeros(3, 4)])[0].abs().max() == 0


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (6, 2, 1, 1), (1, 4, 3, 5), (5, 1, 2, 2)])
def test_a_convolution_is_a_matrix_of_its_own_memory_in_either_layout(shape):
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for laid in (weights, weights.to(memory_format=torch.channels_last)):
        matrix = as_matrix(laid)

        assert matrix.shape == (shape[0], weights[0].numel())
        assert matrix.data_ptr() == laid.data_ptr()
        assert torch.equal(from_matrix(matrix, laid), weights)


LAYOUTS = (torch.contiguous_format, torch.channels_last)


def _steps_in(layout, name, shape, dtype):
    """How far three steps carry a convolution's weights in this layout."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(shape, generator=generator, dtype=dtype)
    weights = nn.Parameter(before.to(memory_format=layout, copy=True))
    opt = create_optimizer(name, [weights], lr=0.1)
    for _ in range(3):
        weights.grad = torch.randn(shape, generator=generator, dtype=dtype).to(memory_format=layout)
        opt.step()
    moved = weights.detach() - before
    assert moved.norm() > 0
    return moved


@pytest.mark.parametrize("shape", [(8, 128, 3, 3), (256, 128, 3, 3), (64, 3, 3, 3)])  # wide, very wide, tall
def test_muon_takes_the_same_step_in_either_memory_layout(shape):
    ends = [_steps_in(layout, "muon", shape, torch.float32) for layout in LAYOUTS]

    assert (ends[0] - ends[1]).norm() <= 0.02 * ends[0].norm()


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"muon"}))
def test_every_optimizer_takes_the_same_steps_in_either_memory_layout(name):
    ends = [_steps_in(layout, name, (4, 3, 2, 5), torch.float64) for layout in LAYOUTS]

    assert (ends[0] - ends[1]).abs().max() <= 1e-12


@pytest.mark.parametrize(("kind", "scale"), [("original", math.sqrt(2)), ("match_rms_adamw", 0.2 * math.sqrt(8))])
def test_muon_steps_along_the_orthogonal_matrix_in_either_size(kind, scale):
    weights = nn.Parameter(torch.zeros(8, 1, 2, 2))
    grad = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    weights.grad = grad.clone()

    create_optimizer("muon", [weights], lr=0.1, adjust_lr_fn=kind).step()

    step = -weights.detach().flatten(1) / (0.1 * scale)
    values = torch.linalg.svdvals(step)
    assert (values.min() >= 0.6) and (values.max() <= 1.3)
    cosine = torch.nn.functional.cosine_similarity(step.flatten().double(), _exact(grad.flatten(1)).flatten(), dim=0)
    assert cosine >= 0.97


def test_muon_is_torchs_for_matrices():
    def make():
        return [each for each in make_params() if each.dim() == 2 and each.numel()]

    ours, theirs = make(), make()
    opt = create_optimizer("muon", ours, lr=0.01, weight_decay=0.1, adjust_lr_fn="original")

    found = take_steps(opt, ours, 20)

    expected = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original")
    assert largest_gap(found, take_steps(expected, theirs, 20)) <= 2e-3  # both round to bfloat16 on their way


def test_muon_leaves_vectors_to_adamw():
    params, vectors = make_params(torch.float64), make_params(torch.float64)
    ours = create_optimizer("muon", params, lr=0.01)
    rest = [each for each in vectors if not is_matrix(each)]

    take_steps(ours, params, 20)

    take_steps(create_optimizer("adamw", rest, lr=0.01, momentum=0.95, executor="loop"), vectors, 20)
    pairs = [(a.detach(), b.detach()) for a, b in zip(params, vectors, strict=True) if not is_matrix(a)]
    assert len(pairs) == 3
    assert largest_gap([a for a, _ in pairs], [b for _, b in pairs]) <= 1e-12


@pytest.mark.parametrize("name", ["momentum", "adamw", "muon", "lamb"])
def test_a_net_learns_by_it(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4))
    x, y = torch.randn(64, 1, 8, 8), torch.arange(64) % 4
    opt = create_optimizer(name, model.parameters(), lr=0.05 if name == "lamb" else 0.02)
    losses = []

    for _ in range(40):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
        opt.step()

    assert losses[-1] < 0.6 * losses[0]
