"""How a rule is run: by a loop over parameters, as lists of them, or as one kernel.

On a CPU a list is slower than a loop, for each operation goes through the whole model before the next and nothing is
left in the cache: AdamW over ResNet-50 takes 70 ms as lists, 43 as a loop, 11 fused (torch 2.13, one thread). On a GPU
launching kernels is what costs, and lists are what helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import is_
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


def choose_executor(told: str, param: Tensor, others: Iterable[Any], *, has_kernel: bool) -> str:
    """How parameters like this one are to be stepped, where the user leaves it to us.

    A parameter with gaps in memory, as a slice of a larger one, is no flat array and takes no fused step; nor does one
    whose others, gradient and state, are of another number type. Raises ConfigError where "fused" was asked for and
    cannot be.
    """
    one_type = all(other.dtype == param.dtype for other in others if isinstance(other, Tensor))
    can_fuse = has_kernel and param.device.type in _FUSED_DEVICES and one_type and is_dense(param)
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
class Block:
    """Parameters that take a step as one list, their state dicts, where in the group they stand, how they lie."""

    where: list[int]
    params: list[Tensor]
    states: list[dict[str, Any]]
    strides: list[tuple[int, ...]]

    def pick(self, indices: Sequence[int]) -> Block:
        """Some of them."""
        params = [self.params[i] for i in indices]
        where, states = [self.where[i] for i in indices], [self.states[i] for i in indices]
        return Block(where, params, states, [param.stride() for param in params])


@dataclass(slots=True)
class Plan:
    """Parameters of one group, device and number type that have gradients and go by one rule; kept between steps.

    executor: how they are stepped; fused: the whole rule as one kernel, where that is how. all: they and the
    optimizer's own state dicts, in the order of the group.
    """

    rule: Rule
    executor: str
    fused: Fused | None = None
    all: Block = field(default_factory=lambda: Block([], [], [], []))
    blocks: list[Block] = field(default_factory=list)

    def add(self, i: int, param: Tensor, state: dict[str, Any]) -> None:
        """One more: the i-th of the group."""
        self.all.where.append(i)
        self.all.params.append(param)
        self.all.states.append(state)

    def run(
        self,
        grads: Sequence[Tensor | None],
        calls: Sequence[Call],
        group: Hypers,
        total_norm: Tensor | None,
    ) -> None:
        """One step of them. grads: of all the group. calls: the parts of the rule with their hypers."""
        if not self.blocks or not self._is_uniform():
            self.blocks = self._make_blocks()
        for block in self.blocks:
            params, states = block.params, block.states
            x = Lists(params, [grads[i] for i in block.where], total_norm=total_norm)  # type: ignore[misc]
            for name, value in states[0].items():
                if isinstance(value, Tensor):
                    x.state[name] = [state[name] for state in states]
                else:
                    x.counts[name] = value
            known = {name: list(tensors) for name, tensors in x.state.items()}
            if self.fused is not None:
                _lay_out(x, block.strides)
                self.fused(x, group)
            else:
                if group["maximize"]:
                    x.grads = list(torch._foreach_neg(x.grads))
                for part, hypers in calls:
                    part(x, **hypers)
            self._keep(x, states, known)

    def _keep(self, x: Lists, states: Sequence[dict[str, Any]], known: dict[str, list[Tensor]]) -> None:
        """Put tensors that are new, and the counts, where they are remembered."""
        for name, tensors in x.state.items():
            if name not in known or not all(map(is_, tensors, known[name])):
                for state, tensor in zip(states, tensors, strict=True):
                    state[name] = tensor
        if x.counts:
            if len(x.counts) > len(self.rule.counts):
                stray = next(name for name in x.counts if name not in self.rule.counts)
                raise ConfigError(
                    f'a stat counts "{stray}" and does not say so',
                    where="Optimizer: stats",
                    fix=f'give it counts = ("{stray}",), beside keeps',
                )
            for state in states:
                state.update(x.counts)

    def _is_uniform(self) -> bool:
        """Whether all are at the same counts and have the same kinds of state; then the blocks of before still do."""
        states = self.all.states
        columns: list[list[Any]] = [[tuple(state) for state in states]]
        columns += [[state.get(name) for state in states] for name in self.rule.counts]
        return all(column.count(column[0]) == len(column) for column in columns)

    def _make_blocks(self) -> list[Block]:
        """Those with the same counts and kinds of state; on a CPU no more of them than a cache holds."""
        cohorts: dict[Any, list[int]] = {}
        for i, state in enumerate(self.all.states):
            cohorts.setdefault((tuple(state), *map(state.get, self.rule.counts)), []).append(i)
        parts = [part for cohort in cohorts.values() for part in self._split(cohort)]
        return [self.all.pick(part) for part in parts]

    def _split(self, indices: list[int]) -> Iterator[list[int]]:
        if self.executor != "loop":
            yield indices
            return
        part, size = list[int](), 0
        for i in indices:
            numel = self.all.params[i].numel()
            if part and size + numel > CACHED_NUMBERS:
                yield part
                part, size = [], 0
            part.append(i)
            size += numel
        yield part


def _lay_out(x: Lists, strides: list[tuple[int, ...]]) -> None:
    """Gradients and state into the memory order of their parameters; values stay.

    Fused steps go through weight, gradient and state as three flat arrays: a momentum made for contiguous weights and
    used with channels_last ones would update the wrong weights without a word (torch 2.13).
    """
    x.grads = _in_order(x.grads, x.params, strides)
    for name in x.state:
        x.state[name] = _in_order(x.state[name], x.params, strides)


def _in_order(tensors: list[Tensor], params: list[Tensor], strides: list[tuple[int, ...]]) -> list[Tensor]:
    if [tensor.stride() for tensor in tensors] == strides:
        return tensors
    pairs = zip(params, tensors, strict=True)
    return [each if each.stride() == param.stride() else lay_out_as(param, each) for param, each in pairs]


def lay_out_as(param: Tensor, tensor: Tensor) -> Tensor:
    """The values of a tensor of the parameter's shape, in the parameter's memory order."""
    return torch.empty_like(param, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
