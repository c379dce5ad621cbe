"""What one training run is told, checked before any work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.models.registry import check_model_name
from imagekit.optim.presets import OPTIMIZERS

PRECISIONS = ("auto", "bf16", "fp32")
DEVICES = ("auto", "cpu", "cuda", "mps")
OPT_HYPERS = ("momentum", "weight_decay")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the weights a run ends with; workers and device speed are no part of it.

    opt: one of OPTIMIZERS; momentum and weight_decay are its hypers, and left alone where it has none of the name.
    lr is the peak of a one-cycle cosine schedule: from lr / 25 up over the first `warm_up` of training, then down to
    lr / 10,000. size: pixels, square. crop_scale: least share of an image's area in a random resized crop.
    degrees, zoom: bounds of the batch augmentation. Crops, rotation and zoom are off by default: a small net underfits
    in five epochs.
    Raises ConfigError for the first value that cannot be.
    """

    model: str = "lesson-cnn"
    epochs: int = 5
    size: int = 128
    batch_size: int = 64
    opt: str = "sgd"
    lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: float = 0.3
    label_smoothing: float = 0.0
    crop_scale: float = 1.0
    flip: float = 0.5
    degrees: float = 0.0
    zoom: float = 1.0
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_model_name(self.model)
        _choice("opt", self.opt, tuple(OPTIMIZERS))
        _choice("precision", self.precision, PRECISIONS)
        _choice("device", self.device.split(":")[0], DEVICES)
        for key in ("epochs", "size", "batch_size"):
            _at_least(key, getattr(self, key), 1)
        for key in ("momentum", "weight_decay", "degrees", "seed"):
            _at_least(key, getattr(self, key), 0)
        _at_least("zoom", self.zoom, 1)
        for key in ("label_smoothing", "flip"):
            _between(key, getattr(self, key), 0, 1)
        _between("warm_up", self.warm_up, 0.01, 0.99)
        _between("crop_scale", self.crop_scale, 0.01, 1)
        for key in OPT_HYPERS:
            default = next(field.default for field in fields(self) if field.name == key)
            if key not in OPTIMIZERS[self.opt].hypers and getattr(self, key) != default:
                raise ConfigError(
                    f"{key} is {getattr(self, key)}, which {self.opt} does not have",
                    where=key,
                    fix=f"leave {key} out, or choose another opt",
                )
        if not self.lr > 0:
            raise ConfigError(f"lr is {self.lr}, must be above 0", where="lr", fix="give --lr 0.2, say")

    @property
    def opt_hypers(self) -> dict[str, Any]:
        """The optimizer's hypers but for the learning rate."""
        return {key: getattr(self, key) for key in OPT_HYPERS if key in OPTIMIZERS[self.opt].hypers}

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The config of a checkpoint or TOML table. Raises ConfigError for a key that is not known."""
        known = {field.name: type(field.default) for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f"{key} is no setting of a training run", where=key, fix=did_you_mean(key, known))
            _typed(key, values[key], known[key])
        return cls(**values)

    def to_toml(self) -> str:
        """One `key = value` a line."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in self.to_dict().items())


def resolve_config(given: Mapping[str, Any], *, file: Path | None = None) -> TrainConfig:
    """The config of a run: settings that were given, before those of a TOML file, before the defaults.

    given: None stands for a setting that was not given. Raises ConfigError for a file that cannot be read, an unknown
    key or a value that cannot be; `where` names the file.
    """
    told = {key: value for key, value in given.items() if value is not None}
    if file is None:
        return TrainConfig.from_dict(told)
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
        TrainConfig.from_dict(settings)
    except OSError as error:
        fix = "give the path of a TOML file of settings"
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=str(file), fix=fix) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", where=str(file), fix="write key = value lines") from error
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{file}: {error.where}", fix=error.fix) from error
    return TrainConfig.from_dict({**settings, **told})


def _toml(value: str | float) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _typed(key: str, value: object, kind: type) -> None:
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or isinstance(value, bool):
        raise ConfigError(
            f"{key} is {value!r}, must be of type {kind.__name__}", where=key, fix=f"correct the type of {key}"
        )


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f'{key} is "{value}", which is not known', where=key, fix=did_you_mean(value, known))


def _at_least(key: str, value: float, low: float) -> None:
    if not value >= low:
        raise ConfigError(f"{key} is {value}, must be at least {low}", where=key, fix=f"correct {key}")


def _between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key} is {value}, must be from {low} to {high}", where=key, fix=f"correct {key}")
