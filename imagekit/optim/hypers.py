"""What hypers may be, and parameter groups that hold them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError
from imagekit.optim.matrices import ADJUSTMENTS

Params = (
    Iterable[nn.Parameter]
    | Iterable[tuple[str, nn.Parameter]]
    | Iterable[list[nn.Parameter]]
    | Iterable[dict[str, Any]]
)

_RATE = (0.0, math.inf, "a finite number, at least 0")
_ABOVE = (math.ulp(0.0), math.inf, "a finite number above 0")
_SHARE = (0.0, 1.0, "a number, at least 0 and below 1")
# name -> least, what it must stay below, words; the names of the parts that are here
_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "lr": _RATE,
    "momentum": _SHARE,
    "sqr_momentum": _SHARE,
    "dampening": _RATE,
    "weight_decay": _RATE,
    "eps": _RATE,
    "momentum_decay": _RATE,
    "trust": _RATE,
    "max_trust": _ABOVE,
    "max_grad_norm": _ABOVE,
    "min_scale": _RATE,
    "clip_threshold": _ABOVE,
    "beta2_decay": (-math.inf, math.ulp(0.0), "a finite number, at most 0"),
    "final_lr_ratio": _ABOVE,
    "gamma": _ABOVE,
    "lookahead_alpha": (0.0, math.nextafter(1.0, 2.0), "a number from 0 to 1"),
}
_WHOLE = ("lookahead_steps", "ns_steps")
_SWITCHES = ("nesterov", "centered", "maximize", "always_adapt")
_CHOICES = {"adjust_lr_fn": ADJUSTMENTS}
NAMES = frozenset((*_BOUNDS, *_WHOLE, *_SWITCHES, *_CHOICES))


def as_groups(params: Params) -> list[dict[str, Any]]:
    """Parameter groups with lists of parameters, from parameters, named parameters, lists of them, or groups.

    Generators are used up once, here. Raises ConfigError where there is no parameter at all.
    """
    try:
        given: list[Any] = [params] if isinstance(params, Tensor) else list(params)
    except TypeError as error:
        raise ConfigError(
            f"params is a {type(params).__name__}, must be parameters or groups of them",
            where="params",
            fix="pass model.parameters()",
        ) from error
    if given and all(isinstance(each, list | tuple) and not _is_named(each) for each in given):
        given = [{"params": part} for part in given]  # the lesson's list of lists: a group each
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    for group in groups:
        if "params" not in group:
            raise ConfigError(
                f"a group has {', '.join(group) or 'nothing'} and no params",
                where="params",
                fix='write {"params": layer.parameters(), "lr": 0.1}',
            )
    groups = [{**group, "params": _as_list(group["params"])} for group in groups]
    if not any(group["params"] for group in groups):
        raise ConfigError(
            "the optimizer got no parameters", where="params", fix="pass model.parameters() of a model that has some"
        )
    return groups


def _is_named(pair: Any) -> bool:
    return len(pair) == 2 and isinstance(pair[0], str)


def _as_list(params: Any) -> list[Any]:
    return [params] if isinstance(params, Tensor) else list(params)


def check_hypers(group: Mapping[str, Any], *, optional: Collection[str] = ()) -> None:
    """Raise ConfigError for the first hyper of a group that cannot be. optional: those that may be None."""
    for name, value in group.items():
        if isinstance(value, Tensor):
            raise ConfigError(
                f"{name} is a tensor, must be a number",
                where=f"opt.{name}",
                fix=f"pass {name}.item(): a number is changed from step to step without waiting for the device",
            )
        if value is None and name in optional:
            continue
        if name in _BOUNDS:
            low, high, words = _BOUNDS[name]
            _refuse_unless(_is_number(value) and low <= value < high, name, value, words)
        elif name in _WHOLE:
            _refuse_unless(type(value) is int and value >= 1, name, value, "a whole number of at least 1")
        elif name in _SWITCHES:
            _refuse_unless(isinstance(value, bool), name, value, "True or False")
        elif name in _CHOICES:
            _refuse_unless(value in _CHOICES[name], name, value, f"one of {', '.join(_CHOICES[name])}")
    _check_nesterov(group)


def _check_nesterov(group: Mapping[str, Any]) -> None:
    """torch.optim.SGD's rule: a look ahead needs a momentum, and an undampened one."""
    if not group.get("nesterov"):
        return
    if group.get("momentum") == 0:
        raise ConfigError(
            f"nesterov is on and momentum is {group['momentum']}, must be above 0",
            where="opt.nesterov",
            fix="set momentum = 0.9, or leave nesterov out",
        )
    if group.get("dampening", 0) != 0:
        raise ConfigError(
            f"nesterov is on and dampening is {group['dampening']}, must be 0",
            where="opt.nesterov",
            fix="leave one of them out",
        )


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _refuse_unless(fits: bool, name: str, value: object, words: str) -> None:
    if not fits:
        raise ConfigError(f"{name} is {value!r}, must be {words}", where=f"opt.{name}", fix=f"correct {name}")


def check_param(param: Tensor) -> None:
    """Raise ConfigError for a parameter that no stepper here can act on."""
    if not param.is_floating_point():
        raise ConfigError(
            f"a parameter of shape {list(param.shape)} is {param.dtype}, must be of floating point",
            where="params",
            fix="leave it out, or hold it as a buffer",
        )
    if param.layout != torch.strided:
        raise ConfigError(
            f"a parameter of shape {list(param.shape)} is {param.layout}, must be dense",
            where="params",
            fix="make it dense with .to_dense()",
        )
