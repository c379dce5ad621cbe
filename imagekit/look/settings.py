"""Settings as a page shows them: a dotted key, a value as text, and where the value came from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

# a value and what follows it: a "#" within quotes begins no comment
_COMMENT = re.compile(r"""(?P<code>(?:[^"'#]|"(?:\\.|[^"\\])*+"|'[^']*+')*+)#(?P<comment>.*)""")


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value as text, in the order of the file; sizes in bytes are read out in GiB."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from flatten(item, f"{name}.")
        elif type(item) is int and key.endswith("_bytes"):
            yield name.removesuffix("_bytes"), f"{min(item, 2**80) / 2**30:.1f} GiB"
        elif item is not None:
            yield (
                name,
                json.dumps(item, ensure_ascii=False, default=str) if isinstance(item, list | bool) else str(item),
            )


def read_origins(text: str) -> dict[str, str]:
    """Dotted key -> the comment behind its value, of a TOML file with one `key = value  # origin` a line.

    {} for a file in which anything goes over several lines: what looks like a comment may be part of a text there.
    """
    origins: dict[str, str] = {}
    prefix = ""
    for line in text.split("\n"):
        try:
            told = tomllib.loads(line)
        except ValueError:
            return {}
        if line.lstrip().startswith("["):
            prefix = _dotted(told)
        elif told and (origin := _origin(line, told)):
            origins.update((f"{prefix}{name}", origin) for name, _ in flatten(told))
    return origins


def _origin(line: str, told: Mapping[str, Any]) -> str:
    """The comment of one line; "" without one, and where what is before it does not say the same."""
    found = _COMMENT.match(line)
    if found is None:
        return ""
    try:
        is_same = str(tomllib.loads(found["code"])) == str(told)  # as text: nan is not equal to itself
    except ValueError:  # quotes of three signs that hold quotes
        return ""
    return found["comment"].strip() if is_same else ""


def _dotted(header: Mapping[str, Any]) -> str:
    """`model_options.` for [model_options]; a table of a list, [[part]], gets a prefix that no key has."""
    prefix = ""
    table: Any = header
    while isinstance(table, Mapping) and table:
        key, table = next(iter(table.items()))
        prefix += f"{key}."
    return prefix if isinstance(table, Mapping) else f"{prefix}[]."
