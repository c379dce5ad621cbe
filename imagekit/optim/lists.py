"""Lists of tensors that take the same step together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_WHOLE_TYPES = (torch.float32, torch.float64)


@dataclass(slots=True)
class Lists:
    """Parameters that take the same step together: their gradients and what is remembered of each, in one order.

    params, grads: lists of tensors; steppers change params in place and may put other lists for grads, but never
    write into a gradient. state: lists by name, made by a stat when it first meets the parameters. counts: numbers
    that are the same for all of them, "step" say. total_norm: of all gradients of the model, a tensor without axes,
    for steppers that ask for it.
    """

    params: list[Tensor]
    grads: list[Tensor]
    state: dict[str, list[Tensor]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    total_norm: Any = None

    @property
    def step(self) -> float:
        """Which step this is, from 1; kept by StepCount."""
        return self.counts["step"]

    def recall(self, name: str) -> list[Tensor]:
        """What is remembered under `name`, zeros like the parameters at first."""
        if name not in self.state:
            self.state[name] = [torch.zeros_like(param) for param in self.params]
        return self.state[name]


def multiply_(tensors: list[Tensor] | tuple[Tensor, ...], factor: float) -> None:
    """tensors *= factor, in place.

    A CPU's list multiplication rounds the factor to the tensors' type first: in bfloat16 a momentum of 0.9 would be
    0.8984 (torch 2.13). Its other list operations do not, nor do a GPU's.
    """
    if tensors[0].dtype in _WHOLE_TYPES or tensors[0].device.type != "cpu":
        torch._foreach_mul_(tensors, factor)
        return
    for tensor in tensors:
        tensor.mul_(factor)
