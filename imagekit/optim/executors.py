"""How a rule is run: by a loop over parameters, as lists of them, or as one kernel.

On a CPU a list is slower than a loop, for each operation goes through the whole model before the next and nothing is
left in the cache: AdamW over ResNet-50 takes 70 ms as lists, 43 as a loop, 11 fused (torch 2.13, one thread). On a GPU
launching kernels is what costs, and lists are what helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import ConfigError
from imagekit.optim.lists import Lists
from imagekit.optim.parts import Hypers, Rule
from imagekit.optim.twins import Fused

EXECUTORS = ("auto", "loop", "foreach", "fused")
_FUSED_DEVICES = ("cpu", "cuda")
CACHED_NUMBERS = 2**15  # biases and norms go in lists of so many numbers: Python's share of a step is per list

Call = tuple[Callable[..., None], dict[str, Any]]


def choose_executor(told: str, param: Tensor, *, has_kernel: bool) -> str:
    """How parameters like this one are to be stepped, where the user leaves it to us.

    A parameter with gaps in memory, as a slice of a larger one, is no flat array and takes no fused step.
    Raises ConfigError where "fused" was asked for and cannot be.
    """
    can_fuse = has_kernel and param.device.type in _FUSED_DEVICES and is_dense(param)
    if told == "fused" and not can_fuse:
        raise ConfigError(
            f"there is no fused step for a parameter of shape {list(param.shape)} on {param.device}",
            where="Optimizer: executor",
            fix='leave it at "auto"; torch has fused steps of SGD, Adam and AdamW on cpu and cuda',
        )
    if told != "auto":
        return told
    if can_fuse:
        return "fused"
    return "foreach" if param.device.type == "cuda" else "loop"


def is_dense(tensor: Tensor) -> bool:
    """Whether its numbers fill a piece of memory without gaps or overlaps, in any order of the axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


@dataclass(slots=True)
class Plan:
    """Parameters of one group, device and number type that have gradients and go by one rule; kept between steps.

    params, states: in the same order, states the optimizer's own dicts. executor: how they are stepped.
    """

    rule: Rule
    executor: str
    params: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)

    def run(self, calls: Sequence[Call], group: Hypers, total_norm: Tensor | None, fused: Fused | None) -> None:
        """One step of them. calls: the parts of the rule with their hypers; fused: the whole rule as one kernel."""
        for indices in self._lists():
            params, states = [self.params[i] for i in indices], [self.states[i] for i in indices]
            grads: list[Tensor] = [param.grad for param in params]  # type: ignore[misc]  # it has those that have one
            x = Lists(params, grads, total_norm=total_norm)
            for name, value in states[0].items():
                if isinstance(value, Tensor):
                    x.state[name] = [state[name] for state in states]
                else:
                    x.counts[name] = value
            if self.executor == "fused" and fused is not None:
                _lay_out(x)
                fused(x, group)
            else:
                if group["maximize"]:
                    x.grads = list(torch._foreach_neg(grads))
                for part, hypers in calls:
                    part(x, **hypers)
            for name, tensors in x.state.items():
                for state, tensor in zip(states, tensors, strict=True):
                    state[name] = tensor
            for state in states:
                state.update(x.counts)

    def _lists(self) -> Iterator[list[int]]:
        """Which go together: those with the same counts and kinds of state, on a CPU up to what a cache holds."""
        cohorts: dict[Any, list[int]] = {}
        for i, state in enumerate(self.states):
            cohorts.setdefault((tuple(state), *map(state.get, self.rule.counts)), []).append(i)
        for indices in cohorts.values():
            if self.executor != "loop":
                yield indices
                continue
            block, size = list[int](), 0
            for i in indices:
                if block and size + self.params[i].numel() > CACHED_NUMBERS:
                    yield block
                    block, size = [], 0
                block.append(i)
                size += self.params[i].numel()
            yield block


def _lay_out(x: Lists) -> None:
    """Gradients and state into the memory order of their parameters; values stay.

    Fused steps go through weight, gradient and state as three flat arrays: a momentum made for contiguous weights and
    used with channels_last ones would update the wrong weights without a word (torch 2.13).
    """
    for tensors in (x.grads, *x.state.values()):
        for i, (param, tensor) in enumerate(zip(x.params, tensors, strict=True)):
            if tensor.stride() != param.stride():
                tensors[i] = lay_out_as(param, tensor)


def lay_out_as(param: Tensor, tensor: Tensor) -> Tensor:
    """The values of a tensor of the parameter's shape, in the parameter's memory order."""
    return torch.empty_like(param, dtype=tensor.dtype).copy_(tensor)
