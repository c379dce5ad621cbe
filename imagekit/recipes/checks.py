"""What several keys of a recipe have in common: how a value is shown, and the checks that refuse one.

Every check raises RecipeError with the key it was given as `where`; `parse` puts the levels above in front of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from imagekit.errors import RecipeError, did_you_mean

MAX_SIDE_PX = 65_535  # the most that a JPEG header can say
MAX_INT = 2**63 - 1  # the most that Arrow, TOML and every other reader of a receipt can hold

# Ids become folder names: ASCII, so that no file system normalises them into another spelling.
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
# A backslash counts as a slash here: nothing that another system would read as a way out.
_LEAVES = re.compile(r"[/\\]|(?:.*[/\\])?\.\.(?:[/\\].*)?\Z", re.DOTALL)
_TOML_TYPES = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "list": "array",
    "dict": "table",
    "datetime": "date-time",
    "NoneType": "null",
}


def toml_type(value: object) -> str:
    """What TOML calls the type of a value."""
    return _TOML_TYPES.get(type(value).__name__, type(value).__name__)


def shown(value: object) -> str:
    """A value as an error shows it: quoted, at most 60 characters, nothing that a terminal would obey."""
    if isinstance(value, list | dict):
        return "[...]" if isinstance(value, list) else "{...}"
    if isinstance(value, int) and value.bit_length() > 128:  # str() refuses integers of more than 4300 digits
        return f"(an integer of {value.bit_length()} bits)"
    text = json.dumps(value, ensure_ascii=not value.isprintable()) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def shown_key(key: str) -> str:
    """A key as a dotted key shows it: as it is, quoted where a terminal would obey it."""
    return key if key.isprintable() else shown(key)


def check_one_of(key: str, value: str, known: Collection[str], *, where: str | None = None) -> None:
    """Refuse a value that is none of the known ones."""
    if value not in known:
        what = f"{key} is {shown(value)}, which is not known"
        raise RecipeError(what, where=where or key, fix=did_you_mean(value, known))


def check_line(key: str, value: str) -> None:
    """Refuse a text that is not one line of printable characters."""
    if not value.isprintable():
        raise RecipeError(
            f"{key} is {shown(value)}, must be one line of printable characters",
            where=key,
            fix="take out line breaks, tabs and control characters",
        )


def check_id(what: str, value: str, *, where: str | None) -> None:
    """Refuse what cannot be the name of a folder on every system."""
    if not _ID.fullmatch(value):
        raise RecipeError(
            f"{what} {shown(value)} cannot be used as a folder name everywhere",
            where=where,
            fix="use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit",
        )


def check_count(key: str, value: int, *, least: int, most: int = MAX_INT) -> None:
    """Refuse a whole number below `least` or above `most`."""
    if not least <= value <= most:
        fix = f"set {key} = {least} or more, or delete the key"
        raise RecipeError(f"{key} is {shown(value)}, must be from {least} to {most}", where=key, fix=fix)


def check_fraction(value: float) -> None:
    """Refuse a `fraction` that is not above 0 and at most 1."""
    if not 0.0 < value <= 1.0:
        raise RecipeError(
            f"fraction is {shown(value)}, must be above 0 and at most 1",
            where="fraction",
            fix="set fraction = 0.1 for a tenth of the images, or delete the key for all of them",
        )


def check_inside(what: str, path: str, *, where: str) -> None:
    """Refuse a path that is empty, absolute, holds ".." or NUL: it has to name something below a root.

    what: how the error calls it; path: POSIX, or a glob of such paths.
    """
    if not path or "\0" in path or _LEAVES.match(path):
        raise RecipeError(
            f"{what} is {shown(path)}, must be a relative path that stays inside",
            where=where,
            fix='give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"',
        )
