"""What the settings of a training run may be, each and together."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from imagekit.errors import ConfigError, ImagekitError, did_you_mean
from imagekit.models.registry import check_model_name
from imagekit.optim.presets import OPTIMIZERS
from imagekit.training.toml_text import toml

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
DEVICES = ("auto", "cpu", "cuda", "mps")
SCHEDULES = ("one-cycle", "flat-cosine", "linear", "constant")
FREEZES = ("none", "body")
OPT_HYPERS = ("momentum", "weight_decay")

# what the run itself gives to the function that makes the model, to the optimizer
RESERVED: Mapping[str, tuple[str, ...]] = {
    "model_options": ("name", "c_in", "c_out", "seed"),
    "opt_options": ("name", "params", "lr", *OPT_HYPERS),
}

# least and greatest value that a number may have; those of transforms are their own bounds
BOUNDS: Mapping[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "size": (1, 4096),  # above it two blank images would take gigabytes in the first layer of any model
    "batch_size": (1, 2**31 - 1),
    "accumulate": (1, math.inf),
    "momentum": (0, math.inf),
    "weight_decay": (0, math.inf),
    "body_lr": (0, 100),
    "lr_start": (0, 100),
    "lr_end": (0, 100),
    "clip": (0, math.inf),
    "degrees": (0, 180),
    "seed": (0, 2**63 - 1),
    "zoom": (1, 100),
    "early_stop": (0, math.inf),
    "keep_best": (0, math.inf),
    "valid_every": (1, math.inf),
    "fold": (0, math.inf),
    "label_smoothing": (0, 1),
    "flip": (0, 1),
    "erase": (0, 1),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "saturation": (0, 1),
    "warp": (0, 0.6),
    "ema": (0, 0.999999),
    "warm_up": (0.01, 0.99),
    "crop_scale": (0.01, 1),
    "grow_until": (0.01, 1),
}
# the same, where 0 is off
BOUNDS_OR_OFF: Mapping[str, tuple[float, float]] = {
    "mixup": (0.01, 100),
    "cutmix": (0.01, 100),
    "presize": (1, 4096),
    "start_size": (1, 4096),
}


def list_problems(problems: Sequence[ImagekitError]) -> str:
    """Each with what, where and fix, as the items of a list."""
    return "\n".join(f"- {problem}".replace("\n", "\n  ") for problem in problems)


def find_problems(
    values: Mapping[str, Any], *, types: Mapping[str, str], defaults: Mapping[str, Any]
) -> list[ConfigError]:
    """What is wrong with the values of all settings: types, then each value, then those that exclude each other.

    types: the annotation of each setting.
    """
    typed = {key: partial(_typed, key, values[key], kind, defaults[key]) for key, kind in types.items()}
    wrong = {key: error for key, check in typed.items() for error in _caught(check)}
    v = {**values, **{key: defaults[key] for key in wrong}}  # so that the others are looked at all the same
    checks: list[Callable[[], None]] = [
        partial(check_model_name, v["model"]),
        partial(_choice, "opt", v["opt"], tuple(OPTIMIZERS)),
        partial(_choice, "schedule", v["schedule"], SCHEDULES),
        partial(_choice, "freeze", v["freeze"], FREEZES),
        partial(_choice, "precision", v["precision"], PRECISIONS),
        partial(check_device_name, v["device"]),
        *(partial(_within, key, v[key], *bounds) for key, bounds in BOUNDS.items()),
        *(partial(_within_or_off, key, v[key], *bounds) for key, bounds in BOUNDS_OR_OFF.items()),
        *(partial(_has, v["opt"], key, v[key]) for key in ("lr", *OPT_HYPERS)),
        *(partial(_option, table, key, v[table][key]) for table in RESERVED for key in v[table]),
        partial(_rate, v["lr"]),
        partial(_together, v),
        partial(_lsuv, v),
        partial(_body, v),
        partial(_decay_bias, v),
        partial(_presize, v),
        partial(_start_size, v),
        partial(_monitor_of_training, v),
        *(partial(_valid_every, v, key) for key in ("early_stop", "keep_best")),
    ]
    return [*wrong.values(), *(error for check in checks for error in _caught(check))]


def check_device_name(name: str) -> None:
    """Raises ConfigError unless name is "auto", or a kind of device with or without a number behind it."""
    kind, colon, number = name.partition(":")
    _choice("device", kind, DEVICES)
    if colon and (kind == "auto" or not re.fullmatch("[0-9]{1,3}", number)):
        raise ConfigError(
            f'device is "{name}", which is no kind and number',
            where="device",
            fix="give cuda, say, or cuda:1 for the second of several",
        )


def _caught(check: Callable[[], None]) -> Iterable[ConfigError]:
    try:
        check()
    except ConfigError as error:
        return [error]
    return []


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "Mapping": ((Mapping,), "a table"),
}


def _typed(key: str, value: object, annotation: str, default: object) -> None:
    name = annotation.split("[")[0].split(" ")[0]
    types, words = _KINDS[name]
    is_left_out = value is None and annotation.endswith("None")
    is_bool = isinstance(value, bool) and name != "bool"
    if is_left_out or (isinstance(value, types) and not is_bool):
        return
    example = f"{key}.NAME = VALUE" if name == "Mapping" else "" if default is None else f"{key} = {toml(default)}"
    raise ConfigError(
        f"{key} is {value!r}, must be of type {'table' if name == 'Mapping' else name}",
        where=key,
        fix=f"give {words}, as in {example}" if example else f"give {words}",
    )


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f'{key} is "{value}", which is not known', where=key, fix=did_you_mean(value, known))


def _within(key: str, value: float | None, low: float, high: float) -> None:
    if value is None or low <= value <= min(high, sys.float_info.max):
        return
    bounds = f"from {low} to {high}" if math.isfinite(high) else f"at least {low}" + " and finite" * (value > low)
    fix = f"give a value from {low} to {high}" if math.isfinite(high) else f"give {low} or more"
    raise ConfigError(f"{key} is {value}, must be {bounds}", where=key, fix=fix)


def _within_or_off(key: str, value: float, low: float, high: float) -> None:
    if value and not low <= value <= high:
        raise ConfigError(
            f"{key} is {value}, must be 0, or from {low} to {high}",
            where=key,
            fix=f"give 0 to do without, or a value from {low} to {high}",
        )


def _has(opt: str, key: str, told: float | None) -> None:
    if told is not None and opt in OPTIMIZERS and key not in OPTIMIZERS[opt].hypers:
        raise ConfigError(
            f"{key} is {told}, which {opt} does not have", where=key, fix=f"leave {key} out, or choose another opt"
        )


def _option(table: str, key: str, value: object) -> None:
    where = f"{table}.{key}"
    if key in RESERVED[table]:
        is_setting = key in ("seed", "lr", *OPT_HYPERS)
        raise ConfigError(
            f"{table} holds {key}, which the run gives itself",
            where=where,
            fix=f"give the setting {key} instead" if is_setting else f"leave {key} out",
        )
    try:
        toml(value)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, fix=error.fix) from error


def _rate(lr: float | None) -> None:
    if lr is not None and not 0 < lr <= sys.float_info.max:
        finite = " and finite" if lr > 0 else ""
        raise ConfigError(f"lr is {lr}, must be above 0{finite}", where="lr", fix="give --lr 0.2, say")


def _together(v: Mapping[str, Any]) -> None:
    if v["mixup"] and v["cutmix"]:
        raise ConfigError(
            f"mixup is {v['mixup']} and cutmix is {v['cutmix']}, of which one can be on",
            where="mixup, cutmix",
            fix="set one of them to 0",
        )


def _lsuv(v: Mapping[str, Any]) -> None:
    if v["lsuv"] and v["weights"] is not None:
        raise ConfigError(
            f'lsuv is on and weights is "{v["weights"]}", which it would overwrite',
            where="lsuv, weights",
            fix="leave one of them out",
        )


def _body(v: Mapping[str, Any]) -> None:
    if v["freeze"] == "body" and v["body_lr"] != 1:
        raise ConfigError(
            f"body_lr is {v['body_lr']} and freeze is body: what is held still learns at no rate",
            where="body_lr, freeze",
            fix="leave one of them out",
        )


def _presize(v: Mapping[str, Any]) -> None:
    if 0 < v["presize"] < v["size"]:
        raise ConfigError(
            f"presize is {v['presize']} and size is {v['size']}: no crop of {v['size']} pixels can be taken out of it",
            where="presize, size",
            fix=f"give a presize of {v['size']} or more, a quarter more say, or 0 to do without",
        )


def _start_size(v: Mapping[str, Any]) -> None:
    if v["start_size"] > v["size"]:
        raise ConfigError(
            f"start_size is {v['start_size']} and size is {v['size']}: images grow while training, they do not shrink",
            where="start_size, size",
            fix="give a start_size below size, three quarters of it say, or 0 to do without",
        )


def _monitor_of_training(v: Mapping[str, Any]) -> None:
    if v["valid_every"] > 1 and str(v["monitor"] or "").startswith("train_"):
        raise ConfigError(
            f"valid_every is {v['valid_every']} and monitor is {v['monitor']}: the best epoch may have no accuracy",
            where="valid_every, monitor",
            fix="monitor a column of validation, or validate every epoch",
        )


def _valid_every(v: Mapping[str, Any], key: str) -> None:
    if v[key] and v["valid_every"] > 1:
        raise ConfigError(
            f"valid_every is {v['valid_every']} and {key} is {v[key]}, which needs the accuracy of every epoch",
            where=f"valid_every, {key}",
            fix=f"set valid_every = 1, or {key} = 0",
        )


def _decay_bias(v: Mapping[str, Any]) -> None:
    if not v["decay_bias"] and v["body_lr"] != 1:
        raise ConfigError(
            f"decay_bias is off and body_lr is {v['body_lr']}: each divides the parameters into groups of its own",
            where="decay_bias, body_lr",
            fix="leave one of them out",
        )
