"""What one training run is told, checked before any work starts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.models.registry import check_model_name
from imagekit.optim.presets import OPTIMIZERS

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
DEVICES = ("auto", "cpu", "cuda", "mps")
SCHEDULES = ("one-cycle", "flat-cosine", "linear", "constant")
FREEZES = ("none", "body")
OPT_HYPERS = ("momentum", "weight_decay")

# learning rates at which each optimizer trains the models here; momentum and decay where its own are another use's
OPT_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "sgd": {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-4},
    "momentum": {"lr": 0.2, "weight_decay": 1e-4},
    "rmsprop": {"lr": 1e-3},
    "adam": {"lr": 2e-3},
    "adamw": {"lr": 2e-3},
    "nadam": {"lr": 2e-3},
    "radam": {"lr": 2e-3},
    "ranger": {"lr": 4e-3},
    "lamb": {"lr": 6e-3},
    "nvlamb": {"lr": 6e-3},
    "lars": {"lr": 5.0},
    "adafactor": {"lr": 1e-2},
    "adabound": {"lr": 2e-3},
    "muon": {"lr": 2e-3},
}

# least and greatest value that a number may have
BOUNDS: Mapping[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "size": (1, math.inf),
    "batch_size": (1, math.inf),
    "accumulate": (1, math.inf),
    "momentum": (0, math.inf),
    "weight_decay": (0, math.inf),
    "body_lr": (0, math.inf),
    "lr_start": (0, math.inf),
    "lr_end": (0, math.inf),
    "clip": (0, math.inf),
    "degrees": (0, math.inf),
    "seed": (0, math.inf),
    "zoom": (1, math.inf),
    "early_stop": (0, math.inf),
    "keep_best": (0, math.inf),
    "fold": (0, math.inf),
    "mixup": (0, 100),
    "cutmix": (0, 100),
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
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the weights a run ends with; workers and device speed are no part of it.

    model: one of MODELS or "package.module:function"; model_options: its further arguments. weights: a file to start
    from. freeze: "body" trains the last layer alone; body_lr: the learning rate of all else as a share of lr.
    batch_size: images a step, times accumulate. size: pixels, square.
    opt: one of OPTIMIZERS; lr, momentum, weight_decay: None takes what OPT_DEFAULTS or the optimizer itself says, and a
    hyper that it has not stays None; opt_options: its further hypers. clip: greatest norm of the gradient, 0 for any.
    schedule: of the learning rate, "one-cycle" by cosines from lr * lr_start up to lr over the first `warm_up` of
    training and down to lr * lr_end; "flat-cosine", flat for `1 - warm_up` and down; "linear", up and down; "constant".
    crop_scale: least share of an image's area in a random resized crop. degrees, zoom, warp, brightness, contrast,
    saturation, erase: bounds of the batch augmentation; mixup, cutmix: their alpha. All of these but the flip are off
    by default: a small net underfits in five epochs.
    class_weights: the loss weighs classes alike; balance: batches hold them alike. ema: decay of the averaged weights.
    monitor: the column that tells the best epoch, None for valid_accuracy, or with ema valid_ema_accuracy.
    early_stop: epochs without a better one after which to end, 0 for never. keep_best: further checkpoints to keep.
    target_column: of several label columns, a processed or a noisy one, the one to learn. fold: of a k-fold manifest,
    the one to validate on.
    Raises ConfigError for the first value that cannot be.
    """

    model: str = "lesson-cnn"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    freeze: str = "none"
    lsuv: bool = False
    epochs: int = 5
    size: int = 128
    batch_size: int = 64
    accumulate: int = 1
    opt: str = "sgd"
    opt_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float | None = None
    body_lr: float = 1.0
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str = "one-cycle"
    warm_up: float = 0.3
    lr_start: float = 0.04
    lr_end: float = 1e-4
    clip: float = 0.0
    label_smoothing: float = 0.0
    class_weights: bool = False
    balance: bool = False
    crop_scale: float = 1.0
    flip: float = 0.5
    degrees: float = 0.0
    zoom: float = 1.0
    warp: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    precision: str = "auto"
    monitor: str | None = None
    early_stop: int = 0
    keep_best: int = 0
    telemetry: bool = False
    target_column: str | None = None
    fold: int | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_model_name(self.model)
        _choice("opt", self.opt, tuple(OPTIMIZERS))
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("freeze", self.freeze, FREEZES)
        _choice("precision", self.precision, PRECISIONS)
        _choice("device", self.device.split(":")[0], DEVICES)
        for key, (low, high) in BOUNDS.items():
            _within(key, getattr(self, key), low, high)
        self._fill_in_hypers()
        if self.lr is None or not self.lr > 0:
            raise ConfigError(f"lr is {self.lr}, must be above 0", where="lr", fix="give --lr 0.2, say")
        if self.mixup and self.cutmix:
            raise ConfigError(
                f"mixup is {self.mixup} and cutmix is {self.cutmix}, of which one can be on",
                where="mixup, cutmix",
                fix="set one of them to 0",
            )

    def _fill_in_hypers(self) -> None:
        """What was not told of lr, momentum and decay is the optimizer's."""
        has, ours = OPTIMIZERS[self.opt].hypers, OPT_DEFAULTS[self.opt]
        for key in ("lr", *OPT_HYPERS):
            told = getattr(self, key)
            if key not in has:
                if told is not None:
                    raise ConfigError(
                        f"{key} is {told}, which {self.opt} does not have",
                        where=key,
                        fix=f"leave {key} out, or choose another opt",
                    )
                continue
            object.__setattr__(self, key, ours.get(key, has[key]) if told is None else told)

    @property
    def opt_hypers(self) -> dict[str, Any]:
        """The optimizer's hypers but for the learning rate."""
        told = {key: getattr(self, key) for key in OPT_HYPERS}
        return {key: value for key, value in told.items() if value is not None} | dict(self.opt_options)

    @property
    def rates(self) -> list[float]:
        """The peak learning rate of each parameter group: body and head, or where they share one, that one."""
        lr = float(self.lr or 0)
        return [lr * self.body_lr, lr] if self.has_two_groups else [lr]

    @property
    def has_two_groups(self) -> bool:
        """Whether body and head have learning rates of their own."""
        return self.body_lr != 1.0 and self.freeze == "none"

    @property
    def best_by(self) -> str:
        """The column that tells the best epoch."""
        return self.monitor or ("valid_ema_accuracy" if self.ema else "valid_accuracy")

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self) | {"model_options": dict(self.model_options), "opt_options": dict(self.opt_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The config of a checkpoint or TOML table. Raises ConfigError for a key that is not known."""
        known = {setting.name: setting.type for setting in fields(cls)}
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{key} is no setting of a training run", where=key, fix=did_you_mean(key, known))
            _typed(key, value, str(known[key]))
        return cls(**values)

    def to_toml(self) -> str:
        """One `key = value` a line, then a table for each setting that is one; what is not set is left out."""
        values = self.to_dict()
        tables = {key: value for key, value in values.items() if isinstance(value, dict) and value}
        lines = [f"{key} = {toml(value)}\n" for key, value in values.items() if not isinstance(value, dict | None)]
        for key, table in tables.items():
            lines += [f"\n[{key}]\n", *(f"{name} = {toml(value)}\n" for name, value in table.items())]
        return "".join(lines)


def toml(value: object) -> str:
    """A plain value as TOML text. Raises ConfigError for what TOML has no form of."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for the delete character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    raise ConfigError(
        f"{value!r} is a {type(value).__name__}, which a settings file cannot hold",
        where="TrainConfig.to_toml",
        fix="use text, numbers, true or false, and lists of them",
    )


_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "Mapping": (dict,),
}


def _typed(key: str, value: object, annotation: str) -> None:
    name = annotation.split("[")[0].split(" ")[0]
    is_left_out = value is None and annotation.endswith("None")
    is_bool = isinstance(value, bool) and name != "bool"
    if not is_left_out and (not isinstance(value, _KINDS[name]) or is_bool):
        word = "table" if name == "Mapping" else name
        raise ConfigError(f"{key} is {value!r}, must be of type {word}", where=key, fix=f"correct the type of {key}")


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f'{key} is "{value}", which is not known', where=key, fix=did_you_mean(value, known))


def _within(key: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        bounds = f"at least {low}" if math.isinf(high) else f"from {low} to {high}"
        raise ConfigError(f"{key} is {value}, must be {bounds}", where=key, fix=f"correct {key}")
