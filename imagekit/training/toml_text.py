"""Plain values as TOML text; the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from imagekit.errors import ConfigError


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
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(str(key))} = {toml(each)}" for key, each in value.items()) + "}"
    raise ConfigError(
        f"{value!r} is a {type(value).__name__}, which a settings file cannot hold",
        where="toml",
        fix="use text, numbers, true or false, and lists of them",
    )


def toml_key(key: str) -> str:
    """A key, in quotes where it is no bare one."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


def commented(line: str, comment: str | None) -> str:
    """The line with a comment behind it; signs that a comment cannot hold, a file's name may, are question marks."""
    return line if not comment else f"{line}  # " + re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "?", comment)
