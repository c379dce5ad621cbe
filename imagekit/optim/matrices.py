"""Matrices made orthogonal, for Muon."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from imagekit.environment import torch_facts

# a quintic that is steep at zero: after five steps singular values lie in about 0.7 to 1.2, which is near enough.
# Source: Jordan 2024, Muon
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPS = 1e-7
# rows, and columns a row, from which on a CPU the products of rows are the cheaper way (scripts/LOG.md)
_LARGE, _WIDE = 256, 4
_ROUNDED = 3  # up to so many steps the products bear bfloat16
ADJUSTMENTS = ("original", "match_rms_adamw")


def as_matrix(tensor: Tensor) -> Tensor:
    """Weights as [out, everything else], a view: a channels-last convolution's columns in the order of its memory.

    What does not mind the order of columns needs no copy then.
    """
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).flatten(1)
    return tensor.flatten(1)


def from_matrix(matrix: Tensor, like: Tensor) -> Tensor:
    """What `as_matrix` made a matrix of, given back the shape and the layout of `like`; a view."""
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        n_out, channels, height, width = like.shape
        return matrix.view(n_out, height, width, channels).permute(0, 3, 1, 2)
    return matrix.view(like.shape)


def orthogonalise(matrices: Sequence[Tensor], *, n_steps: int = 5) -> list[Tensor]:
    """Each matrix [m, n] with its singular values brought near 1, its singular vectors kept; bfloat16.

    Newton and Schulz's iteration on matrix products alone; matrices of equal shape go through it as one batch.
    """
    found: dict[int, Tensor] = {}
    by_shape: dict[torch.Size, list[int]] = {}
    for i, matrix in enumerate(matrices):
        by_shape.setdefault(matrix.shape, []).append(i)
    for indices in by_shape.values():
        if len(indices) == 1:  # by itself: a batch of one takes a fifth longer on a CPU
            found[indices[0]] = newton_schulz(matrices[indices[0]], n_steps=n_steps)
            continue
        batch_BMN = torch.stack([matrices[i] for i in indices])
        found |= dict(zip(indices, newton_schulz(batch_BMN, n_steps=n_steps), strict=True))
    return [found[i] for i in range(len(matrices))]


def newton_schulz(x: Tensor, *, n_steps: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """x (a + b (x'x) + c (x'x)^2), n_steps times, from x over its norm. x: [M, N] or [B, M, N]; the same in dtype.

    A processor without instructions for bfloat16 multiplies in float32 in its place.
    """
    is_tall = x.shape[-2] > x.shape[-1]
    wide = x.mT if is_tall else x  # the smaller of the two products
    is_cpu = x.device.type == "cpu"
    exact = torch.promote_types(dtype, torch.float32)
    quick = exact if is_cpu and not _cpu_has_bf16() else dtype
    if is_cpu and _LARGE <= wide.shape[-2] <= wide.shape[-1] / _WIDE:
        y = _by_gram(wide.to(quick if n_steps <= _ROUNDED else exact), n_steps=n_steps)
    else:
        y = _on_matrix(wide.to(quick), n_steps=n_steps)
    return (y.mT if is_tall else y).to(dtype)


@cache
def _cpu_has_bf16() -> bool:
    return bool(torch_facts().get("cpu_bf16"))


def _on_matrix(y: Tensor, *, n_steps: int) -> Tensor:
    a, b, c = COEFFICIENTS
    add_product = torch.addmm if y.dim() == 2 else torch.baddbmm
    y = y / y.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS)  # the largest singular value is at most 1
    for _ in range(n_steps):
        gram = y @ y.mT
        y = add_product(y, add_product(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y


def _by_gram(x: Tensor, *, n_steps: int) -> Tensor:
    """The same steps on x x' alone, [M, M]: x is multiplied twice in all, not twice a step.

    What a step multiplies by is a polynomial of that product, and so is the next product: all of them commute. Rounding
    makes small eigenvalues negative, which the polynomial drives apart, and the last product has a factor of up to 500
    for small singular values and about 1 for a large one, which is lost; after three steps the one is slight and the
    other at most 41.
    """
    a, b, c = COEFFICIENTS
    add_product = torch.addmm if x.dim() == 2 else torch.baddbmm
    gram = x @ x.mT
    scale = 1 / gram.diagonal(dim1=-2, dim2=-1).float().sum(-1)[..., None, None].sqrt().clamp(min=EPS)
    gram = gram * scale.square().to(x.dtype)
    factor: Tensor | None = None
    for step in range(n_steps):
        made = add_product(gram, gram, gram, beta=b, alpha=c)
        made.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = made if factor is None else made @ factor
        if step + 1 < n_steps:
            gram = made @ gram @ made
    scale = scale.to(x.dtype)
    return x * scale if factor is None else (factor * scale) @ x


def match_shape_scale(shape: torch.Size, kind: str) -> float:
    """What an orthogonal step of this shape is multiplied by; kind: one of ADJUSTMENTS."""
    rows, columns = shape
    if kind == "original":
        return float(max(1, rows / max(columns, 1)) ** 0.5)
    return float(0.2 * max(rows, columns) ** 0.5)
