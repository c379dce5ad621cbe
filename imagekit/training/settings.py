"""Where each setting of a run comes from: a flag, a file, a preset or the default, the first that says it.

lr, momentum, weight_decay and opt_options belong to the optimizer, model_options to the model: where a stronger source
names another optimizer or model, those of the weaker ones are set aside.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.errors import ConfigError
from imagekit.training.config import TrainConfig
from imagekit.training.limits import OPT_HYPERS
from imagekit.training.presets import find_preset

TABLES = ("model_options", "opt_options")
# a setting -> those that mean nothing with another value of it
_BELONGS: Mapping[str, tuple[str, ...]] = {"opt": ("lr", *OPT_HYPERS, "opt_options"), "model": ("model_options",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A config, and where each of its values comes from, in words.

    origins: by setting; for what a table holds by dotted key besides, model_options.act say.
    """

    config: TrainConfig
    origins: Mapping[str, str]
    exit_code: int = 0

    def to_toml(self) -> str:
        """The config as TOML, each value with its origin behind it as a comment; what is not set is a comment too."""
        return self.config.to_toml(origins=self.origins)

    @property
    def next_command(self) -> None:
        """None: nothing was done yet."""
        return None

    def summary(self) -> str:
        """The settings as TOML."""
        return self.to_toml().rstrip("\n")

    def to_dict(self) -> dict[str, object]:
        """Value and origin of each setting."""
        values = self.config.to_dict()
        return {key: {"value": values[key], "origin": self.origins[key]} for key in values}


def resolve_settings(
    given: Mapping[str, Any], *, sets: Iterable[str] = (), file: Path | None = None, preset: str | None = None
) -> Settings:
    """The settings of a run: those given, before those of a TOML file, before a preset's, before the defaults.

    given: by name, None for one that was not given. sets: further ones as "KEY=VALUE", the value in TOML or else text.
    Raises ConfigError for a file that cannot be read, an unknown key or preset, a value that cannot be, a key that is
    told twice; `where` names the file.
    """
    told = _join({key: value for key, value in given.items() if value is not None}, sets)
    layers: list[tuple[str, Mapping[str, Any]]] = [("flag", told)]
    if file is not None:
        layers.append((f"file {file}", _read(file)))
    if preset is not None:
        layers.append((f"preset {preset}", find_preset(preset)))
    values, origins = _merge(layers)
    config = TrainConfig.from_dict(values)
    defaults = dict.fromkeys(("lr", *OPT_HYPERS), f"default of {config.opt}")
    return Settings(config=config, origins=dict.fromkeys(config.to_dict(), "default") | defaults | origins)


def resolve_config(given: Mapping[str, Any], *, file: Path | None = None, preset: str | None = None) -> TrainConfig:
    """The config that `resolve_settings` comes to."""
    return resolve_settings(given, file=file, preset=preset).config


def _join(flags: Mapping[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """What flags and --set say together. Raises ConfigError for a key that two of them say."""
    told = dict(flags)
    # a table in flags is a caller's of this function, and is meant to be joined
    by = {key: _as_typed(key, value) for key, value in flags.items() if key not in TABLES}
    for text in sets:
        key, value = _parse_set(text)
        is_table = key in TABLES and isinstance(value, dict)
        for name in [f"{key}.{each}" for each in value] if is_table else [key]:
            if name in by:
                raise ConfigError(
                    f"{name} is told twice: by {by[name]} and by --set {text}",
                    where=f"--set {name}",
                    fix="leave one of them out",
                )
            by[name] = f"--set {text}"
        told[key] = {**told.get(key, {}), **value} if is_table else value
    return told


def _as_typed(key: str, value: object) -> str:
    flag = f"--{key.replace('_', '-')}"
    return flag if value is True else f"{flag} {value}"


def _merge(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and origins, the strongest layer first; tables are joined key by key, and their keys have origins too."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        aside = {
            key
            for owner, keys in _BELONGS.items()
            if owner in values and layer.get(owner, values[owner]) != values[owner]
            for key in keys
        }
        for key, value in layer.items():
            if key in aside:
                continue
            if key in TABLES and isinstance(value, Mapping) and isinstance(values.get(key, {}), Mapping):
                before = values.get(key, {})
                new = [name for name in value if name not in before]
                origins |= {f"{key}.{name}": origin for name in new}
                if new or key not in values:
                    origins[key] = f"{origins[key]}, {origin}" if before else origin
                values[key] = {**value, **before}
            elif key not in values:
                values[key], origins[key] = value, origin
    return values, origins


def _parse_set(text: str) -> tuple[str, Any]:
    """("model_options", {"act": "mish"}) of "model_options.act=mish"."""
    key, equals, written = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise ConfigError(
            f'--set got "{text}", which is no KEY=VALUE',
            where="--set",
            fix="write --set mixup=0.4 or --set model_options.act=mish, say",
        )
    try:
        value: Any = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written  # a word without quotes, as people type it
    table, dot, name = key.partition(".")
    return (table, {name: value}) if dot else (key, value)


def _read(file: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
        TrainConfig.from_dict(settings)
    except OSError as error:
        fix = "give the path of a TOML file of settings"
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=str(file), fix=fix) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", where=str(file), fix="write key = value lines") from error
    except ConfigError as error:
        where = str(file) if error.where is None else f"{file}: {error.where}"
        raise ConfigError(error.what, where=where, fix=error.fix) from error
    return settings
