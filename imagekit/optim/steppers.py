"""Steppers: what an optimizer does to parameters, or beforehand to gradients.

g gradient, p parameter, m average gradient, v average squared gradient, t step, lr learning rate. Nothing here waits
for the device. Source: fast.ai course v3, lesson 11, and the papers named.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from imagekit.optim.lists import Lists, multiply_
from imagekit.optim.matrices import as_matrix, from_matrix, match_shape_scale, orthogonalise
from imagekit.optim.parts import stepper
from imagekit.optim.stats import debias, rms_roots, warm_momentum

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam and its kin need remembered


@stepper()
def sgd_step(x: Lists, *, lr: float) -> None:
    """p -= lr * g."""
    torch._foreach_add_(x.params, x.grads, alpha=-lr)


@stepper(order=-1)
def l2_reg(x: Lists, *, weight_decay: float = 0.0) -> None:
    """g += wd * p: the gradient of wd / 2 * p^2, seen by the stats as any gradient."""
    if weight_decay != 0:
        x.grads = list(torch._foreach_add(x.grads, x.params, alpha=weight_decay))


@stepper(order=5)
def weight_decay(x: Lists, *, lr: float, weight_decay: float = 0.0) -> None:
    """p *= 1 - lr * wd, before the step and past the stats. Source: Loshchilov and Hutter 2017, arXiv:1711.05101."""
    if weight_decay != 0:
        multiply_(x.params, 1 - lr * weight_decay)


@stepper(order=-2, needs_total_norm=True)
def clip_grad_norm(x: Lists, *, max_grad_norm: float = 1.0) -> None:
    """g *= min(1, max_grad_norm / the norm of all gradients of the model)."""
    scale = (max_grad_norm / x.total_norm).clamp(max=1.0)
    x.grads = [grad * scale.to(grad.device, grad.dtype) for grad in x.grads]


@stepper(needs=("momentum_buffer",))
def momentum_step(x: Lists, *, lr: float, momentum: float = 0.9, nesterov: bool = False) -> None:
    """p -= lr * m, or with nesterov p -= lr * (g + momentum * m); plain SGD where momentum is 0."""
    if momentum == 0:
        steps = x.grads
    elif nesterov:
        steps = list(torch._foreach_add(x.grads, x.state["momentum_buffer"], alpha=momentum))
    else:
        steps = x.state["momentum_buffer"]
    torch._foreach_add_(x.params, steps, alpha=-lr)


@stepper(needs=("square_avg", "momentum_buffer"))
def rms_step(x: Lists, *, lr: float, momentum: float = 0.0, eps: float = 1e-8, centered: bool = False) -> None:
    """p -= lr * g / (sqrt(v) + eps), or p -= lr * the sum of such where there is momentum."""
    if momentum > 0:
        torch._foreach_add_(x.params, x.state["momentum_buffer"], alpha=-lr)
    else:
        torch._foreach_addcdiv_(x.params, x.grads, rms_roots(x, eps=eps, centered=centered), value=-lr)


@stepper(needs=_MOMENTS)
def adam_step(x: Lists, *, lr: float, momentum: float = 0.9, sqr_momentum: float = 0.99, eps: float = 1e-5) -> None:
    """p -= lr * m' / (sqrt(v') + eps), m' and v' debiased. Source: Kingma and Ba 2014, arXiv:1412.6980.

    eps bounds how much a step can grow where gradients are small: at 1 it is nearly SGD. The lesson's 1e-5 is a
    thousand times that of torch.optim.
    """
    step_size = lr / debias(momentum, 1 - momentum, x.step)
    torch._foreach_addcdiv_(x.params, x.state["exp_avg"], _roots(x, sqr_momentum, eps), value=-step_size)


def _roots(x: Lists, sqr_momentum: float, eps: float, *, times: float = 1.0) -> tuple[Tensor, ...]:
    """(sqrt(v') + eps) * times; new tensors."""
    roots = torch._foreach_sqrt(x.state["exp_avg_sq"])
    torch._foreach_div_(roots, debias(sqr_momentum, 1 - sqr_momentum, x.step) ** 0.5 / times)
    torch._foreach_add_(roots, eps * times)
    return roots


@stepper(needs=(*_MOMENTS, "mu_product"))
def nadam_step(
    x: Lists,
    *,
    lr: float,
    momentum: float = 0.9,
    sqr_momentum: float = 0.99,
    eps: float = 1e-5,
    momentum_decay: float = 4e-3,
) -> None:
    """Adam with Nesterov's look ahead, its momentum warmed up. Source: Dozat 2016, as torch.optim.NAdam has it."""
    this, coming = (warm_momentum(momentum, momentum_decay, step) for step in (x.step, x.step + 1))
    product = x.counts["mu_product"]
    roots = torch._foreach_div(x.state["exp_avg_sq"], debias(sqr_momentum, 1 - sqr_momentum, x.step))
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, eps)
    torch._foreach_addcdiv_(x.params, x.grads, roots, value=-lr * (1.0 - this) / (1.0 - product))
    torch._foreach_addcdiv_(x.params, x.state["exp_avg"], roots, value=-lr * coming / (1.0 - product * coming))


@stepper(needs=_MOMENTS)
def radam_step(x: Lists, *, lr: float, momentum: float = 0.9, sqr_momentum: float = 0.99, eps: float = 1e-5) -> None:
    """Adam whose step is rectified by how much the average square can be trusted, SGD with momentum until it can.

    Source: Liu and others 2019, arXiv:1908.03265.
    """
    bias, sqr_bias = (debias(m, 1 - m, x.step) for m in (momentum, sqr_momentum))
    longest = 2 / (1 - sqr_momentum) - 1
    length = longest - 2 * x.step * sqr_momentum**x.step / sqr_bias
    if length <= 5:
        torch._foreach_add_(x.params, x.state["exp_avg"], alpha=-lr / bias)
        return
    trust = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    roots = torch._foreach_sqrt(x.state["exp_avg_sq"])
    torch._foreach_add_(roots, eps)
    torch._foreach_addcdiv_(x.params, x.state["exp_avg"], roots, value=-lr / bias * math.sqrt(sqr_bias * trust))


@stepper(order=20, needs=("step", "slow"))
def lookahead(x: Lists, *, lookahead_steps: int = 6, lookahead_alpha: float = 0.5) -> None:
    """Every so many steps the slow weights go a share of the way to the fast ones, which go on from there.

    Source: Zhang and others 2019, arXiv:1907.08610.
    """
    if x.step % lookahead_steps == 0:
        torch._foreach_lerp_(x.state["slow"], x.params, lookahead_alpha)
        torch._foreach_copy_(x.params, x.state["slow"])


@stepper(needs=_MOMENTS)
def lamb_step(
    x: Lists,
    *,
    lr: float,
    momentum: float = 0.9,
    sqr_momentum: float = 0.99,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    max_trust: float | None = 10.0,
    always_adapt: bool = True,
) -> None:
    """Adam's step and decay, scaled to the size of its parameter: u = m' / (sqrt(v') + eps) + wd * p.

    p -= lr * min(|p| / |u|, max_trust) * u, norms of each parameter as a whole; the ratio is 1 where either is zero.
    The bound is the lesson's; the paper leaves it open. always_adapt: adapt parameters without decay too.
    Source: You and others 2019, arXiv:1904.00962.
    """
    bias = debias(momentum, 1 - momentum, x.step)
    updates = torch._foreach_div(x.state["exp_avg"], _roots(x, sqr_momentum, eps, times=bias))
    if weight_decay != 0:
        torch._foreach_add_(updates, x.params, alpha=weight_decay)
    if not always_adapt and weight_decay == 0:
        torch._foreach_add_(x.params, updates, alpha=-lr)
        return
    sizes, steps = torch.stack(torch._foreach_norm(x.params)), torch.stack(torch._foreach_norm(updates))
    # zero weights must be able to leave zero, and 0 / 0 must not reach them
    ratios = sizes / steps if max_trust is None else (sizes / steps).clamp(max=max_trust)
    ratios = torch.where((sizes > 0) & (steps > 0), ratios, 1.0)
    torch._foreach_addcmul_(x.params, updates, list(ratios.unbind()), value=-lr)


@stepper(needs=("momentum_buffer",))
def lars_step(x: Lists) -> None:
    """p -= v: the learning rate is in LARS's momentum already."""
    torch._foreach_sub_(x.params, x.state["momentum_buffer"])


@stepper(needs=("step", "row_var", "col_var", "variance"))
def adafactor_step(
    x: Lists,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float | None = None,
    min_scale: float = 1e-3,
    clip_threshold: float = 1.0,
) -> None:
    """Steps relative to the size of a parameter, their second moments from row and column means.

    u = g / sqrt(v); p -= max(min_scale, rms(p)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / clip_threshold).
    eps: the least sqrt(v); None for that of the number type. Source: Shazeer and Stern 2018, arXiv:1804.04235.
    """
    most = min(lr, 1 / x.step**0.5)
    for i, (param, grad) in enumerate(zip(x.params, x.grads, strict=True)):
        least = torch.finfo(param.dtype).eps if eps is None else eps
        if param.dim() < 2:
            square = x.state["variance"][i].clamp(min=least * least)
        else:
            rows, columns = x.state["row_var"][i], x.state["col_var"][i]
            square = (rows / rows.mean(dim=0, keepdim=True).clamp_(min=least)) @ columns
            square = square.clamp_(min=least * least)
        update = square.rsqrt_().view(grad.shape).mul_(grad)
        scale = param.norm().div_(max(param.numel(), 1) ** 0.5).clamp_(min=min_scale)
        clip = update.norm().div_(max(param.numel(), 1) ** 0.5 * clip_threshold).clamp_(min=1.0)
        if weight_decay != 0:
            param.mul_(1 - lr * weight_decay)  # decoupled; the scale above is that of the weights before it
        param.sub_(update.mul_(scale / clip * most))


@stepper(needs=_MOMENTS)
def adabound_step(
    x: Lists,
    *,
    lr: float,
    momentum: float = 0.9,
    sqr_momentum: float = 0.99,
    eps: float = 1e-8,
    final_lr_ratio: float = 100.0,
    gamma: float = 1e-3,
) -> None:
    """Adam whose rate for each weight is kept between two bounds that close in on SGD's: final_lr_ratio * lr.

    The bounds are final * (1 - 1 / (gamma * t + 1)) and final * (1 + 1 / (gamma * t)). The paper's lr 0.001 and final
    0.1 are a ratio of 100; as a ratio the bounds follow a schedule of lr. Debiased, as the authors' code is.
    Source: Luo and others 2019, arXiv:1902.09843.
    """
    final = final_lr_ratio * lr
    lower, upper = final * (1 - 1 / (gamma * x.step + 1)), final * (1 + 1 / (gamma * x.step))
    bias, sqr_bias = (debias(m, 1 - m, x.step) for m in (momentum, sqr_momentum))
    rates = torch._foreach_sqrt(x.state["exp_avg_sq"])
    torch._foreach_add_(rates, eps)
    torch._foreach_reciprocal_(rates)
    multiply_(rates, lr * sqr_bias**0.5 / bias)
    torch._foreach_clamp_min_(rates, lower)
    torch._foreach_clamp_max_(rates, upper)
    torch._foreach_addcmul_(x.params, x.state["exp_avg"], rates, value=-1)


def is_matrix(param: Tensor) -> bool:
    """Weights of two or more axes; not biases and norms, but a classifier's last matrix too."""
    return param.dim() >= 2


@stepper(takes=is_matrix, needs=("momentum_buffer",))
def muon_step(
    x: Lists,
    *,
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    adjust_lr_fn: str = "match_rms_adamw",
) -> None:
    """The averaged gradient made orthogonal: every direction of a matrix learns at one rate.

    Convolutions count as [out, in * kernel], in either memory layout. ns_steps: of Newton and Schulz. adjust_lr_fn:
    "original", times sqrt(max(1, rows / columns)), or "match_rms_adamw", times 0.2 * sqrt(max(rows, columns)), steps of
    AdamW's size. Sources: Jordan 2024, Muon; Liu and others 2025, arXiv:2502.16982, for the size.
    """
    averages = x.state["momentum_buffer"]
    updates = list(torch._foreach_lerp(x.grads, averages, momentum)) if nesterov else averages
    matrices = orthogonalise([as_matrix(update) for update in updates], n_steps=ns_steps)
    for param, update, matrix in zip(x.params, updates, matrices, strict=True):
        step_size = lr * match_shape_scale(matrix.shape, adjust_lr_fn)
        param.add_(from_matrix(matrix, update), alpha=-step_size)
