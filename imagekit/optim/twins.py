"""Compositions that torch.optim has too: under which class, hypers and kernel.

A twin is recognised by its parts, not by its name: an optimizer put together by hand from the parts of AdamW runs on
AdamW's fused kernel, and its state goes over to torch.optim.AdamW and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import CheckpointError
from imagekit.optim.lists import Lists
from imagekit.optim.matrices import COEFFICIENTS, EPS
from imagekit.optim.parts import Hypers, Rule, Stat, Stepper
from imagekit.optim.stats import (
    AverageGrad,
    AverageSqrGrad,
    FactoredSqrGrad,
    MomentumBuffer,
    MomentumProduct,
    ScaledGrad,
    StepCount,
)
from imagekit.optim.steppers import (
    adafactor_step,
    adam_step,
    l2_reg,
    momentum_step,
    muon_step,
    nadam_step,
    radam_step,
    rms_step,
    sgd_step,
    weight_decay,
)

Fused = Callable[[Lists, Hypers], None]

# how torch.optim runs, not what it computes: a state dict from there has them, one from here need not
HOW_NOT_WHAT = ("foreach", "fused", "capturable", "differentiable")
# what changes a step in torch.optim, beside the hypers that are here; other keys of a group are its schedulers'
THEIRS = frozenset({"betas", "alpha", "amsgrad", "decoupled_weight_decay", "rho", "d", "lr_decay", "ns_coefficients"})


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A class of torch.optim that a rule equals.

    hypers: torch's name -> ours, or a tuple of ours; the others have one name. fixed: torch's switches that this rule
    is one side of. nones: what a None of torch's means. fused: the rule as one kernel; it expects the lists to share
    their memory order.
    """

    name: str
    hypers: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    nones: Mapping[str, Any] = field(default_factory=dict)
    fused: Fused | None = None


def _fused_sgd(x: Lists, group: Hypers) -> None:
    momentum = group.get("momentum", 0.0)
    is_first = momentum != 0 and "momentum_buffer" not in x.state
    if is_first:
        x.state["momentum_buffer"] = [torch.empty_like(param) for param in x.params]
    torch._fused_sgd_(
        x.params,
        x.grads,
        x.state["momentum_buffer"] if momentum != 0 else [],
        weight_decay=group.get("weight_decay", 0.0),
        momentum=momentum,
        lr=group["lr"],
        dampening=group.get("dampening", 0.0),
        nesterov=group.get("nesterov", False),
        maximize=group["maximize"],
        is_first_step=is_first,
    )


def _fused_by(kernel: Callable[..., None]) -> Fused:
    def step(x: Lists, group: Hypers) -> None:
        x.counts["step"] = x.counts.get("step", 0) + 1
        exp_avg, exp_avg_sq = x.recall("exp_avg"), x.recall("exp_avg_sq")
        count = torch.full((), float(x.step), device=x.params[0].device)  # torch.tensor would wait for a GPU
        kernel(
            x.params,
            x.grads,
            exp_avg,
            exp_avg_sq,
            [],
            [count] * len(x.params),
            amsgrad=False,
            lr=group["lr"],
            beta1=group["momentum"],
            beta2=group["sqr_momentum"],
            weight_decay=group.get("weight_decay", 0.0),
            eps=group["eps"],
            maximize=group["maximize"],
        )

    return step


_BETAS = {"betas": ("momentum", "sqr_momentum")}
_MOMENTS = (StepCount(), AverageGrad(dampening=True), AverageSqrGrad())
_NADAM = (*_MOMENTS, MomentumProduct())
_RMS = (StepCount(), AverageSqrGrad("square_avg"), ScaledGrad())
_PLAIN = {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
_PLAINLY = {"amsgrad": False}
_L2 = {"decoupled_weight_decay": False}
_DECOUPLED = {"decoupled_weight_decay": True}


def _table() -> Iterator[tuple[Rule, Twin]]:
    yield Rule([sgd_step]), Twin(name="SGD", fused=_fused_sgd, fixed={**_PLAIN, "weight_decay": 0.0})
    yield Rule([l2_reg, sgd_step]), Twin(name="SGD", fused=_fused_sgd, fixed=_PLAIN)
    for decay, kind in ((l2_reg, _L2), (weight_decay, _DECOUPLED)):
        yield from _with_and_without(decay, nadam_step, _NADAM, Twin(name="NAdam", hypers=_BETAS, fixed=kind))
        yield from _with_and_without(decay, radam_step, _MOMENTS, Twin(name="RAdam", hypers=_BETAS, fixed=kind))
    adamw = Twin(name="AdamW", hypers=_BETAS, fixed={**_PLAINLY, **_DECOUPLED}, fused=_fused_by(torch._fused_adamw_))
    yield from _with_and_without(weight_decay, adam_step, _MOMENTS, adamw)
    adam = Twin(name="Adam", hypers=_BETAS, fixed={**_PLAINLY, **_L2}, fused=_fused_by(torch._fused_adam_))
    yield from _with_and_without(l2_reg, adam_step, _MOMENTS, adam)
    yield from _with_and_without(l2_reg, momentum_step, (MomentumBuffer(),), Twin(name="SGD", fused=_fused_sgd))
    yield from _with_and_without(l2_reg, rms_step, _RMS, Twin(name="RMSprop", hypers={"alpha": "sqr_momentum"}))
    # its convolutions are matrices here, and in torch stacks of their kernels: those states fit neither way
    adafactor = Twin(name="Adafactor", hypers={"eps": ("eps", "min_scale"), "d": "clip_threshold"})
    yield Rule([adafactor_step], [StepCount(), FactoredSqrGrad()]), adafactor
    muon = Twin(name="Muon", fixed={"ns_coefficients": COEFFICIENTS, "eps": EPS}, nones={"adjust_lr_fn": "original"})
    yield Rule([weight_decay, muon_step], [AverageGrad(True, "momentum_buffer")], settled=("momentum",)), muon


def _with_and_without(decay: Stepper, step: Stepper, stats: Sequence[Stat], twin: Twin) -> Iterator[tuple[Rule, Twin]]:
    """The rule with its decay, and without, which is a decay of 0."""
    yield Rule([decay, step], stats), twin
    yield Rule([step], stats), replace(twin, fixed={**twin.fixed, "weight_decay": 0.0})


@cache
def _twins() -> dict[Any, Twin]:
    return {rule.key: twin for rule, twin in _table()}  # Adam without decay, the last of two, counts as Adam


def find_twin(rule: Rule) -> Twin | None:
    """The class of torch.optim that this rule equals, or None."""
    return _twins().get(rule.key)


def to_torch(group: Mapping[str, Any], twin: Twin) -> dict[str, Any]:
    """A parameter group under torch's names."""
    taken = {name for names in twin.hypers.values() for name in ([names] if isinstance(names, str) else names)}
    made = {name: value for name, value in group.items() if name not in taken}
    for theirs, ours in twin.hypers.items():
        made[theirs] = group[ours] if isinstance(ours, str) else tuple(group[name] for name in ours)
    return {**made, **twin.fixed}


def from_torch(group: Mapping[str, Any], twin: Twin) -> dict[str, Any]:
    """A parameter group under our names. Raises CheckpointError where a switch of torch's stands the other way."""
    made: dict[str, Any] = {}
    for name, value in group.items():
        if name in twin.hypers:
            ours = twin.hypers[name]
            made |= {ours: value} if isinstance(ours, str) else dict(zip(ours, value, strict=True))
        elif name in twin.fixed:
            without_decay = name == "decoupled_weight_decay" and group.get("weight_decay") == 0  # of which kind, then?
            if not _same(twin.fixed[name], value) and not without_decay:
                raise CheckpointError(
                    f"the saved optimizer has {name} = {value!r}, here it is {twin.fixed[name]!r}",
                    where="Optimizer.load_state_dict",
                    fix="build the optimizer that the state was saved from",
                )
        elif name not in HOW_NOT_WHAT:
            made[name] = twin.nones.get(name) if value is None else value
    return made


def _same(ours: Any, theirs: Any) -> bool:
    return bool(tuple(ours) == tuple(theirs)) if isinstance(ours, tuple) else bool(ours == theirs)


def counts_as_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a parameter with its counts as torch keeps them: float32 tensors, products in float64."""
    return {
        name: value
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=torch.float32 if name == "step" else torch.float64)
        for name, value in state.items()
    }
