"""How a run is executed: what changes its speed and its safety, and never its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from imagekit.data.caching import check_kind
from imagekit.data.loaders import OnError
from imagekit.errors import ConfigError, did_you_mean

_EVERY = re.compile(r"([1-9][0-9]{0,8})([smh]?)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """n_workers: decoding processes, 0 for none. cache: auto, none, ram, disk or device. cache_limit: bytes, or None
    for half of what is free. checkpoint_every: 500 or "500" steps, or "10m" minutes (s, h); None for whole epochs
    alone. on_error: "stop" or "skip" where an image cannot be used.

    Raises ConfigError for what cannot be.
    """

    n_workers: int = 0
    cache: str = "none"
    cache_limit: int | None = None
    checkpoint_every: str | int | None = "10m"
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        _check_number("n_workers", self.n_workers, where="--workers", fix="give 2, say, or 0 for none")
        check_kind(self.cache)
        if self.cache_limit is not None:
            _check_number("cache_limit", self.cache_limit, where="--cache-limit", fix="give the bytes, or leave it out")
        is_time = isinstance(self.checkpoint_every, str | int) and _EVERY.fullmatch(str(self.checkpoint_every))
        if self.checkpoint_every is not None and not is_time:
            raise ConfigError(
                f'checkpoint_every is "{self.checkpoint_every}", must be steps or a time',
                where="--checkpoint-every",
                fix="give 500 for steps, or 10m for minutes",
            )
        if self.on_error not in get_args(OnError):
            raise ConfigError(
                f'on_error is "{self.on_error}", must be stop or skip', where="--on-error", fix="leave it out to stop"
            )

    @property
    def steps_between(self) -> int | None:
        """Training steps between checkpoints, or None."""
        number, unit = self._every()
        return number if number and not unit else None

    @property
    def seconds_between(self) -> float | None:
        """Seconds between checkpoints, or None."""
        number, unit = self._every()
        return number * _SECONDS[unit] if unit else None

    def _every(self) -> tuple[int, str]:
        found = _EVERY.fullmatch(str(self.checkpoint_every or ""))
        return (int(found[1]), found[2]) if found else (0, "")

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def changed(self, changes: Mapping[str, Any]) -> Running:
        """This with other values, by field. Raises ConfigError for what is no field, or no value of it."""
        known = [each.name for each in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"{name} says nothing of how a run is executed", where="changes", fix=did_you_mean(name, known)
                )
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Running:
        """What `to_dict` gave; keys that are not known are passed over, for they change no weights."""
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def _check_number(name: str, value: object, *, where: str, fix: str) -> None:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{name} is {value!r}, must be a whole number, at least 0", where=where, fix=fix)
