"""Small parameters, made-up gradients, and ways to step them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SHAPES = [(4, 3, 3, 3), (7,), (5, 6), (1,), (), (0, 3)]  # a convolution, vectors, a matrix, a number, nothing


def make_params(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> list[nn.Parameter]:
    """Parameters of SHAPES with numbers of about 0.1, as weights have."""
    generator = torch.Generator().manual_seed(seed)
    numbers = [torch.randn(shape, generator=generator, dtype=torch.float64) * 0.1 for shape in SHAPES]
    return [nn.Parameter(each.to(dtype)) for each in numbers]


def set_grads(params: list[nn.Parameter], step: int) -> None:
    """Gradients of about 0.1 that differ from step to step; all but the first have small ones too."""
    generator = torch.Generator().manual_seed(1000 + step)
    for i, param in enumerate(params):
        scale = 0.1 * 10.0 ** -(step % 3 if i else 0)
        param.grad = (torch.randn(param.shape, generator=generator, dtype=torch.float64) * scale).to(param.dtype)


def take_steps(
    opt: torch.optim.Optimizer,
    params: list[nn.Parameter],
    n_steps: int = 100,
    *,
    first: int = 0,
    before: Callable[[int, Any, list[nn.Parameter]], None] | None = None,
) -> list[Tensor]:
    """The parameters after n steps; before(i, opt, params) is called before each, its gradients set."""
    for i in range(first, first + n_steps):
        set_grads(params, i)
        if before is not None:
            before(i, opt, params)
        opt.step()
    return [param.detach().clone() for param in params]


def largest_gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, in units of the weights, which are about 0.1."""
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(ours, theirs, strict=True) if a.numel())
