"""Stats: what an optimizer remembers of each parameter. Their state has the names that torch.optim gives it.

A running average is m * average + d * new, with d = 1 - m where it is dampened and 1 where not; `debias` takes out of
either that it began at zero. Source: fast.ai course v3, lesson 11.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imagekit.optim.lists import Lists, multiply_


def debias(momentum: float, dampening: float, step: float) -> float:
    """What an average of `step` equal values, begun at 0, is of that value: d * (1 - m^step) / (1 - m). Divide by it.

    dampening: the weight d of a new value, 1 - momentum or 1.
    """
    return float((1 - momentum**step) * (dampening / (1 - momentum)))


@dataclass(frozen=True)
class StepCount:
    """How many steps a parameter has taken; one without a gradient takes none."""

    keeps = counts = ("step",)

    def update(self, x: Lists) -> None:
        x.counts["step"] = x.counts.get("step", 0) + 1


@dataclass(frozen=True)
class AverageGrad:
    """The running average of the gradients: dampened as in Adam, or not, which is a sum that forgets, as in SGD.

    name: what it is kept as; by itself "exp_avg" where dampened, else "momentum_buffer".
    """

    dampening: bool = False
    name: str = ""

    @property
    def keeps(self) -> tuple[str, ...]:
        return (self.name or ("exp_avg" if self.dampening else "momentum_buffer"),)

    def update(self, x: Lists, *, momentum: float = 0.9) -> None:
        averages = x.recall(*self.keeps)
        if self.dampening:
            torch._foreach_lerp_(averages, x.grads, 1 - momentum)
        else:
            multiply_(averages, momentum)
            torch._foreach_add_(averages, x.grads)


@dataclass(frozen=True)
class MomentumBuffer:
    """The sum of the gradients as torch.optim.SGD keeps it.

    The first gradient enters whole, later ones times 1 - dampening. With momentum 0 nothing is kept.
    """

    keeps = ("momentum_buffer",)
    optional = True

    def update(self, x: Lists, *, momentum: float = 0.9, dampening: float = 0.0) -> None:
        if momentum == 0:
            return
        if "momentum_buffer" not in x.state:
            pairs = zip(x.params, x.grads, strict=True)
            x.state["momentum_buffer"] = [torch.empty_like(param).copy_(grad) for param, grad in pairs]
            return
        buffers = x.state["momentum_buffer"]
        multiply_(buffers, momentum)
        torch._foreach_add_(buffers, x.grads, alpha=1 - dampening)


@dataclass(frozen=True)
class AverageSqrGrad:
    """The running average of the squared gradients, dampened. name: what torch.optim calls it."""

    name: str = "exp_avg_sq"

    @property
    def keeps(self) -> tuple[str, ...]:
        return (self.name,)

    def update(self, x: Lists, *, sqr_momentum: float = 0.99) -> None:
        averages = x.recall(self.name)
        multiply_(averages, sqr_momentum)
        torch._foreach_addcmul_(averages, x.grads, x.grads, value=1 - sqr_momentum)


@dataclass(frozen=True)
class ScaledGrad:
    """RMSprop's momentum: the sum of the gradients, each over the root of the average square (or of the variance).

    centered: take the squared mean off.
    Sources: Hinton 2012, lecture 6e; Graves 2013, arXiv:1308.0850, for `centered`.
    """

    keeps = ("grad_avg", "momentum_buffer")
    needs = ("square_avg",)
    optional = True

    def update(
        self, x: Lists, *, sqr_momentum: float = 0.99, momentum: float = 0.0, eps: float = 1e-8, centered: bool = False
    ) -> None:
        if centered:
            torch._foreach_lerp_(x.recall("grad_avg"), x.grads, 1 - sqr_momentum)
        if momentum > 0:
            buffers, roots = x.recall("momentum_buffer"), rms_roots(x, eps=eps, centered=centered)
            multiply_(buffers, momentum)
            torch._foreach_addcdiv_(buffers, x.grads, roots)


def rms_roots(x: Lists, *, eps: float, centered: bool) -> tuple[Tensor, ...]:
    """RMSprop's divisor: sqrt(average square), or sqrt(average square - average^2), plus eps; new tensors."""
    if centered:
        means = x.state["grad_avg"]
        roots = torch._foreach_addcmul(x.state["square_avg"], means, means, value=-1)
        torch._foreach_sqrt_(roots)
    else:
        roots = torch._foreach_sqrt(x.state["square_avg"])
    torch._foreach_add_(roots, eps)
    return roots


@dataclass(frozen=True)
class MomentumProduct:
    """NAdam's product of all the momenta so far; the momentum of a step grows from half of it to the whole.

    Source: Dozat 2016, Incorporating Nesterov momentum into Adam.
    """

    keeps = counts = ("mu_product",)
    needs = ("step",)

    def update(self, x: Lists, *, momentum: float = 0.9, momentum_decay: float = 4e-3) -> None:
        x.counts["mu_product"] = x.counts.get("mu_product", 1.0) * warm_momentum(momentum, momentum_decay, x.step)


def warm_momentum(momentum: float, momentum_decay: float, step: float) -> float:
    """NAdam's momentum of a step."""
    return float(momentum * (1.0 - 0.5 * (0.96 ** (step * momentum_decay))))


@dataclass(frozen=True)
class FactoredSqrGrad:
    """Adafactor's average of the squared gradients: of a matrix only the means of its rows and of its columns.

    A convolution's weights count as the matrix [out, in * kernel]; vectors keep theirs whole ("variance"). The
    average is over all steps, newer ones more: weights 1 - step^beta2_decay.
    Source: Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5.
    """

    keeps = ("row_var", "col_var", "variance")
    needs = ("step",)
    optional = by_rank = True

    def shapes(self, param: Tensor) -> dict[str, tuple[int, ...]]:
        if param.dim() < 2:
            return {"variance": tuple(param.shape)}
        rows, columns = param.detach().flatten(1).shape
        return {"row_var": (rows, 1), "col_var": (1, columns)}

    def update(self, x: Lists, *, beta2_decay: float = -0.8) -> None:
        weight = x.step**beta2_decay
        if x.params[0].dim() < 2:
            torch._foreach_lerp_(x.recall("variance"), torch._foreach_mul(x.grads, x.grads), weight)
            return
        squares = [grad.flatten(1).square() for grad in x.grads]
        for name, axis in (("row_var", 1), ("col_var", 0)):
            means = [square.mean(dim=axis, keepdim=True) for square in squares]
            if name not in x.state:
                x.state[name] = [torch.zeros_like(mean) for mean in means]
            torch._foreach_lerp_(x.state[name], means, weight)


@dataclass(frozen=True)
class SlowWeights:
    """Lookahead's slow copy of the weights, begun where they were before the first step.

    Source: Zhang and others 2019, arXiv:1907.08610.
    """

    keeps = ("slow",)

    def update(self, x: Lists) -> None:
        if "slow" not in x.state:
            x.state["slow"] = [param.clone() for param in x.params]


@dataclass(frozen=True)
class TrustedGrad:
    """LARS's momentum: the sum of the gradients with decay, each scaled to the size of its parameter, times lr.

    v = m * v + lr * ratio * (g + wd * p), ratio = trust * |p| / (|g| + wd * |p|), or 1 where p or g is zero.
    Source: You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm 1.
    """

    keeps = ("momentum_buffer",)

    def update(
        self, x: Lists, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        sizes, slopes = torch.stack(torch._foreach_norm(x.params)), torch.stack(torch._foreach_norm(x.grads))
        ratios = trust * sizes / (slopes + weight_decay * sizes)
        ratios = torch.where((sizes > 0) & (slopes > 0), ratios, 1.0)  # a zero weight must be able to leave zero
        steps = torch._foreach_add(x.grads, x.params, alpha=weight_decay)
        torch._foreach_mul_(steps, list((ratios * lr).unbind()))
        buffers = x.recall("momentum_buffer")
        multiply_(buffers, momentum)
        torch._foreach_add_(buffers, steps)
