"""The one optimizer: stats that remember, steppers that act, parameter groups that hold their hypers.

    opt = Optimizer(model.parameters(), [sgd_step, weight_decay], lr=0.4, weight_decay=0.01)
    opt = Optimizer(groups, [weight_decay, adam_step], [StepCount(), AverageGrad(True), AverageSqrGrad()], lr=1e-3)

The second is AdamW, and runs on its fused kernel. Source of the idea: fast.ai course v3, lesson 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import CheckpointError, ConfigError
from imagekit.optim.executors import (
    EXECUTORS,
    Plan,
    choose_executor,
    lay_out_as,
)
from imagekit.optim.hypers import NAMES, Params, as_groups, check_hypers, check_param
from imagekit.optim.parts import REQUIRED, Rule, Stat, join_defaults, refuse_unknown
from imagekit.optim.twins import THEIRS, Fused, Twin, counts_as_tensors, find_twin, from_torch, to_torch

_ALWAYS = {"maximize": False}
_ON_LOAD = ("params", "param_names", "initial_lr")


class Optimizer(torch.optim.Optimizer):
    """An optimizer made of steppers and stats; schedulers, state_dict, deepcopy, pickle and groups as torch's own.

    params: parameters, (name, parameter) pairs, lists of either (a group each), or dicts with "params" and hypers of
    their own. steppers: functions of (Lists, *, hypers), run by their order. stats: what they need remembered.
    rest: steppers and stats for parameters that the first cannot act on. hypers: values for all groups; a group's own
    win, and what nobody gives is the default of the part that asks for it. maximize: climb instead.
    executor: "auto" picks by device: torch's fused kernel where the parts are exactly one of its optimizers, else a
    loop over parameters, small ones in lists, on a CPU, and one list on a GPU; "loop", "foreach", "fused" insist.
    Raises ConfigError for unknown, missing or clashing hypers, for values that cannot be, for no parameters, and for
    parameters that no rule takes. A step waits for no device.
    """

    def __init__(
        self,
        params: Params,
        steppers: Sequence[Any],
        stats: Sequence[Stat] = (),
        *,
        rest: tuple[Sequence[Any], Sequence[Stat]] | None = None,
        executor: str = "auto",
        name: str = "the optimizer",
        **hypers: Any,
    ) -> None:
        if executor not in EXECUTORS:
            raise ConfigError(
                f'executor is "{executor}", which is not known',
                where="Optimizer: executor",
                fix=f"set it to one of {', '.join(EXECUTORS)}",
            )
        compositions = [(steppers, stats), *([rest] if rest else [])]
        self.rules = tuple(Rule(each, kept, settled=hypers) for each, kept in compositions)
        self.executor, self.name, self._plans = executor, name, dict[int, _Plans]()
        known = join_defaults([part for rule in self.rules for part in rule.parts], settled=hypers) | _ALWAYS
        refuse_unknown(hypers, known, owner=name)
        super().__init__(as_groups(params), known | hypers)

    # -- a step -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient. Returns what closure, called with gradients on, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        total_norm = self._total_norm() if any(rule.needs_total_norm for rule in self.rules) else None
        for number, group in enumerate(self.param_groups):
            grads = [param.grad for param in group["params"]]
            calls = {rule: [(part.run, part.pick(group)) for part in rule.parts] for rule in self.rules}
            for plan in self._plans_of(number, group["params"], grads):
                plan.run(grads, calls[plan.rule], group, total_norm)
        return loss

    def _plans_of(self, number: int, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Plan]:
        """The plans of a group, made anew when others have gradients than before or their state was put elsewhere."""
        has_grad = [grad is not None for grad in grads]
        known = self._plans.get(number)
        if known is None or known.has_grad != has_grad or not known.fits(params, self.state):
            self._follow(known)
            plans = self._make_plans(params, grads)
            known = self._plans[number] = _Plans(has_grad, list(params), _layouts(params), plans)
        return known.plans

    def _follow(self, known: _Plans | None) -> None:
        """State goes where its parameter went since the last step: to its device, and to its type if it had that."""
        for param, dtype in zip(known.params, known.layouts[1], strict=True) if known else ():
            state = self.state.get(param, {})
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = value.to(param.device, param.dtype if value.dtype == dtype else value.dtype)

    def _make_plans(self, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Plan]:
        plans: dict[Any, Plan] = {}
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            if grad is None:
                continue
            if grad.layout != torch.strided:
                raise ConfigError(
                    f"the gradient of a parameter of shape {list(param.shape)} is sparse, must be dense",
                    where="Optimizer.step",
                    fix="make the layer with sparse=False",
                )
            rule = self._rule_of(param)
            others = (grad, *self.state[param].values())
            kernel = _kernel_of(rule)
            executor = choose_executor(self.executor, param, others, has_kernel=kernel is not None)
            key = (rule, executor, param.device, param.dtype, rule.by_rank and param.dim() < 2)
            plan = plans.setdefault(key, Plan(rule, executor, kernel if executor == "fused" else None))
            plan.add(i, param, self.state[param])
        return list(plans.values())

    def _rule_of(self, param: Tensor) -> Rule:
        """The first rule that takes it. Raises ConfigError where none does."""
        for rule in self.rules:
            if rule.takes(param):
                return rule
        names = ", ".join(each.__name__ for each in self.rules[0].steppers if each.takes is not None)
        raise ConfigError(
            f"{names} cannot act on a parameter of shape {list(param.shape)}",
            where="Optimizer: params",
            fix="give rest=(steppers, stats) for such parameters, or leave them out",
        )

    def _total_norm(self) -> Tensor:
        """Of all gradients, in float32 at least: a float16 has no number for a sum beyond 65,504."""
        by_kind: dict[Any, list[Tensor]] = {}
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    by_kind.setdefault((param.grad.device, param.grad.dtype), []).append(param.grad)
        norms: list[Tensor] = []
        for (_, dtype), grads in by_kind.items():
            norms += torch._foreach_norm(grads, 2, torch.promote_types(dtype, torch.float32))
        if not norms:
            return torch.zeros(())
        total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms]))
        return total

    # -- parameter groups ---------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its hypers are checked, those it does not give are the optimizer's."""
        known = [key for key in self.defaults if key not in _ALWAYS]
        told = [key for key in param_group if key not in (*_ON_LOAD, *_ALWAYS)]
        refuse_unknown(told, known, owner=self.name)
        values = {key: param_group.get(key, default) for key, default in self.defaults.items()}
        for key, value in values.items():
            if value is REQUIRED:
                raise ConfigError(f"{self.name} needs {key}", where=f"opt.{key}", fix=f"set {key}")
        check_hypers(values, optional=self._optional)
        [group] = as_groups([param_group])
        for each in group["params"]:
            param = each[1] if isinstance(each, tuple) else each
            if isinstance(param, Tensor):  # else torch says what it is
                check_param(param)
                self._rule_of(param)
        super().add_param_group({**values, **group})

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As torch gives it; where the parts are one of torch.optim's optimizers, one that it can load."""
        found = super().state_dict()
        twin = self._twin
        if twin is None:
            return found
        state = {key: counts_as_tensors(value) for key, value in found["state"].items()}
        return {**found, "state": state, "param_groups": [to_torch(group, twin) for group in found["param_groups"]]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up the state of an optimizer of the same parts, ours or torch.optim's.

        Raises CheckpointError for other groups, hypers or states than this optimizer has, ConfigError for hypers that
        cannot be; then nothing is changed.
        """
        ours = self._as_ours(state_dict)
        self._check_states(ours)
        super().load_state_dict(ours)
        for param, state in self.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor):  # a copy: torch would share it with whom it was saved from
                    state[name] = lay_out_as(param, value) if value.shape == param.shape else value.clone()

    @property
    def _twin(self) -> Twin | None:
        return find_twin(self.rules[0]) if len(self.rules) == 1 else None

    def _as_ours(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        if "param_groups" not in state_dict or "state" not in state_dict:
            raise _misfit("has no param_groups and state")
        groups = [dict(group) for group in state_dict["param_groups"]]
        if self._twin is not None:
            groups = [from_torch(group, self._twin) for group in groups]
        for name in chain.from_iterable(groups):
            # what is no hyper anywhere is a scheduler's, max_lr say, or the user's own, and stays in the group
            if name not in self.defaults and name in NAMES | THEIRS:
                raise _misfit(f'has a hyper "{name}" that {self.name} has not; it has {", ".join(self.defaults)}')
        groups = [{**self.defaults, **_numbers(group)} for group in groups]
        for group in groups:
            check_hypers({name: group[name] for name in self.defaults}, optional=self._optional)
        state = {key: _plain_counts(value) for key, value in state_dict["state"].items()}
        return {**state_dict, "state": state, "param_groups": groups}

    @property
    def _optional(self) -> frozenset[str]:
        """The hypers that may be None."""
        return frozenset(name for rule in self.rules for name in rule.optional)

    def _check_states(self, ours: Mapping[str, Any]) -> None:
        """Against the parameters that they would be loaded for; torch itself compares the groups."""
        saved = list(chain.from_iterable(group["params"] for group in ours["param_groups"]))
        params = list(chain.from_iterable(group["params"] for group in self.param_groups))
        for number, param in zip(saved, params, strict=False):
            state = ours["state"].get(number) or {}
            rule = self._rule_of(param)
            shapes = rule.shapes(param)
            for name, value in state.items():
                if name not in rule.keeps:
                    raise _misfit(f'remembers "{name}", {self.name} {", ".join(sorted(rule.keeps)) or "nothing"}')
                if isinstance(value, Tensor) != (name not in rule.counts):
                    raise _misfit(f"remembers {name} as a {type(value).__name__}")
                if isinstance(value, Tensor) and tuple(value.shape) != shapes.get(name):
                    wanted = list(shapes.get(name, ()))
                    raise _misfit(f"remembers {name} of shape {list(value.shape)}, {wanted} would fit")
            missing = sorted(rule.must_keep - set(state)) if state else []
            if missing:
                raise _misfit(f"does not remember {', '.join(missing)} of a parameter of shape {list(param.shape)}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rules": self.rules, "executor": self.executor, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.defaults.pop("differentiable", None)  # torch puts it there, and no part of ours has such a hyper
        self._plans = {}


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plans of a group, and what they were made for."""

    has_grad: list[bool]
    params: list[Tensor]
    layouts: tuple[list[Any], ...]
    plans: list[Plan]

    def fits(self, params: Sequence[Tensor], state: Mapping[Tensor, Any]) -> bool:
        """Whether these are the same parameters, lie as they did, and have their state in the same dicts."""
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return False
        if _layouts(params) != self.layouts:
            return False
        return all(all(map(is_, map(state.get, plan.all.params), plan.all.states)) for plan in self.plans)


def _kernel_of(rule: Rule) -> Fused | None:
    twin = find_twin(rule)
    return twin.fused if twin is not None else None


def _layouts(params: Sequence[Tensor]) -> tuple[list[Any], ...]:
    """Where and how the numbers lie: `.data` may be put elsewhere between two steps."""
    return [param.stride() for param in params], [param.dtype for param in params], [param.device for param in params]


def _plain_counts(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a parameter with numbers for its counts; what torch holds a None for is not there."""
    return {
        name: value.item() if isinstance(value, Tensor) and name in ("step", "mu_product") else value
        for name, value in state.items()
        if value is not None
    }


def _numbers(group: Mapping[str, Any]) -> dict[str, Any]:
    """Hypers that torch held in tensors as numbers."""
    return {name: value.item() if isinstance(value, Tensor) else value for name, value in group.items()}


def _misfit(what: str) -> CheckpointError:
    return CheckpointError(
        f"the saved optimizer {what}",
        where="Optimizer.load_state_dict",
        fix="build the optimizer that the state was saved from",
    )
