"""What one training run is told, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.optim.presets import OPTIMIZERS
from imagekit.training.limits import OPT_HYPERS, find_problems, list_problems
from imagekit.training.toml_text import commented, toml, toml_key

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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the weights a run ends with; workers and device speed are no part of it.

    model: one of MODELS or "package.module:function"; model_options: its further arguments. weights: a file to start
    from. freeze: "body" trains the last layer alone; body_lr: the learning rate of all else as a share of lr.
    batch_size: images a step, times accumulate. size: pixels, square. start_size: training begins with images shrunk to
    this side, which grows in a straight line and in steps of 16 pixels, to reach size when the share grow_until of it
    is done; 0 for none. presize: side of the square that every image is squeezed to before training takes crops out of
    it and validation its middle, 0 for none; such images can be cached. opt: one of OPTIMIZERS; lr, momentum,
    weight_decay: None takes what OPT_DEFAULTS or the optimizer itself says, and a hyper that it has not stays None;
    opt_options: its further hypers. decay_bias: biases and norms decay as weights do. clip: greatest norm of the
    gradient, 0 for any. schedule: of the learning rate, "one-cycle" by cosines from lr * lr_start up to lr over the
    first `warm_up` of training and down to lr * lr_end; "flat-cosine", flat for `1 - warm_up` and down; "linear", up
    and down; "constant". crop_scale: least share of an image's area in a random resized crop; 1 takes whole images, or
    of presized ones crops that are not resized. flip: the chance of left and right swapped; alternate_flip: the
    flips of an image are spread evenly over the epochs. degrees, zoom, warp, brightness, contrast, saturation, erase:
    bounds of the batch augmentation; mixup, cutmix: their alpha. All of these but the flip are off by default: a small
    net underfits in five epochs.
    class_weights: the loss weighs classes alike; balance: batches hold them alike. ema: decay of the averaged weights.
    monitor: the column that tells the best epoch, None for valid_accuracy, or with ema valid_ema_accuracy.
    early_stop: epochs without a better one after which to end, 0 for never. keep_best: further checkpoints to keep.
    valid_every: validate after every so many epochs, and after the last.
    target_column: of several label columns, a processed or a noisy one, the one to learn. fold: of a k-fold manifest,
    the one to validate on.
    Raises ConfigError for the one value that cannot be, or one that lists them all.
    """

    model: str = "lesson-cnn"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    freeze: str = "none"
    lsuv: bool = False
    epochs: int = 5
    size: int = 128
    start_size: int = 0
    grow_until: float = 0.6
    presize: int = 0
    batch_size: int = 64
    accumulate: int = 1
    opt: str = "sgd"
    opt_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float | None = None
    body_lr: float = 1.0
    momentum: float | None = None
    weight_decay: float | None = None
    decay_bias: bool = True
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
    alternate_flip: bool = False
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
    valid_every: int = 1
    telemetry: bool = False
    target_column: str | None = None
    fold: int | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        _raise_all(_problems({setting.name: getattr(self, setting.name) for setting in fields(self)}))
        # what was not told of lr, momentum and decay is the optimizer's
        has, ours = OPTIMIZERS[self.opt].hypers, OPT_DEFAULTS[self.opt]
        for key in ("lr", *OPT_HYPERS):
            if key in has and getattr(self, key) is None:
                object.__setattr__(self, key, ours.get(key, has[key]))

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
        return self.body_lr != 1.0

    @property
    def best_by(self) -> str:
        """The column that tells the best epoch."""
        return self.monitor or ("valid_ema_accuracy" if self.ema else "valid_accuracy")

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self) | {"model_options": dict(self.model_options), "opt_options": dict(self.opt_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The config of a checkpoint or TOML table. Raises ConfigError also for keys that are not known."""
        defaults = _defaults()
        unknown = [
            ConfigError(f"{key} is no setting of a training run", where=key, fix=did_you_mean(key, defaults))
            for key in values
            if key not in defaults
        ]
        told = {key: value for key, value in values.items() if key in defaults}
        _raise_all([*unknown, *_problems(defaults | told)])
        return cls(**told)

    def to_toml(self, *, origins: Mapping[str, str] | None = None) -> str:
        """One `key = value` a line, then a table for each setting that is one; what is not set is left out.

        origins: by key, those of a table by dotted key too; written behind as comments, and what is not set then stands
        there as a comment as well.
        """
        told, values = origins or {}, self.to_dict()
        lines = [
            commented(f"# {key} =" if value is None else f"{key} = {toml(value)}", told.get(key))
            for key, value in values.items()
            if not isinstance(value, dict) and (value is not None or origins is not None)
        ]
        for name, table in values.items():
            if isinstance(table, dict) and table:
                lines += ["", f"[{name}]"]
                lines += [
                    commented(f"{toml_key(key)} = {toml(value)}", told.get(f"{name}.{key}", told.get(name)))
                    for key, value in table.items()
                ]
            elif isinstance(table, dict) and origins is not None:
                lines += ["", commented(f"# [{name}]", told.get(name))]
        return "\n".join(lines) + "\n"


def _raise_all(problems: Sequence[ConfigError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError(f"{len(problems)} settings cannot be:\n{list_problems(problems)}")


def _defaults() -> dict[str, Any]:
    return {
        setting.name: setting.default if setting.default_factory is MISSING else setting.default_factory()
        for setting in fields(TrainConfig)
    }


def _problems(values: Mapping[str, Any]) -> list[ConfigError]:
    types = {setting.name: str(setting.type) for setting in fields(TrainConfig)}
    return find_problems(values, types=types, defaults=_defaults())
