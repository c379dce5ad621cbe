"""What hypers may be, and parameter groups that hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError

Params = (
    Iterable[nn.Parameter]
    | Iterable[tuple[str, nn.Parameter]]
    | Iterable[list[nn.Parameter]]
    | Iterable[dict[str, Any]]
)

_RATE = (0.0, math.inf, "at least 0")
_SHARE = (0.0, 1.0, "at least 0 and below 1")
# name -> least, what it must stay below, words; hypers of one's own are one's own affair
_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "lr": _RATE,
    "momentum": _SHARE,
    "sqr_momentum": _SHARE,
    "dampening": _RATE,
    "weight_decay": _RATE,
    "eps": _RATE,
    "momentum_decay": _RATE,
    "trust": _RATE,
    "max_trust": _RATE,
    "max_grad_norm": (math.ulp(0.0), math.inf, "above 0"),
    "min_scale": _RATE,
    "clip_threshold": (math.ulp(0.0), math.inf, "above 0"),
    "beta2_decay": (-math.inf, math.ulp(0.0), "at most 0"),
    "final_lr_ratio": _RATE,
    "gamma": (math.ulp(0.0), math.inf, "above 0"),
    "lookahead_alpha": (0.0, 1.0 + 2**-52, "from 0 to 1"),
}
_WHOLE = ("lookahead_steps", "ns_steps")
_SWITCHES = ("nesterov", "centered", "maximize", "always_adapt")


def as_groups(params: Params) -> list[dict[str, Any]]:
    """Parameter groups with lists of parameters, from parameters, named parameters, lists of them, or groups.

    Generators are used up once, here. Raises ConfigError where there is no parameter at all.
    """
    given: list[Any] = [params] if isinstance(params, Tensor) else list(params)
    if given and isinstance(given[0], list):  # the lesson's list of lists: a group each
        given = [{"params": part} for part in given]
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    groups = [{**group, "params": _as_list(group["params"])} for group in groups]
    if not any(group["params"] for group in groups):
        raise ConfigError(
            "the optimizer got no parameters", where="params", fix="pass model.parameters() of a model that has some"
        )
    return groups


def _as_list(params: Any) -> list[Any]:
    return [params] if isinstance(params, Tensor) else list(params)


def check_hypers(group: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first hyper of a group that cannot be."""
    for name, value in group.items():
        if isinstance(value, Tensor):
            raise ConfigError(
                f"{name} is a tensor, must be a number",
                where=f"opt.{name}",
                fix=f"pass {name}.item(): a number is changed from step to step without waiting for the device",
            )
        if name in _BOUNDS and value is not None:
            low, high, words = _BOUNDS[name]
            _refuse_unless(_is_number(value) and low <= value < high, name, value, words)
        elif name in _WHOLE:
            _refuse_unless(type(value) is int and value >= 1, name, value, "a whole number of at least 1")
        elif name in _SWITCHES:
            _refuse_unless(isinstance(value, bool), name, value, "True or False")
    if group.get("nesterov") and (group.get("momentum") == 0 or group.get("dampening", 0) != 0):
        name = "momentum" if group["momentum"] == 0 else "dampening"
        raise ConfigError(
            f"nesterov is on and {name} is {group[name]}, must be {'above 0' if name == 'momentum' else '0'}",
            where="opt.nesterov",
            fix="set momentum = 0.9, or leave nesterov out" if name == "momentum" else "leave one of them out",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
