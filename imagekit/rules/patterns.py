"""Rules that read a part of a file's name with a regular expression: `name:REGEX`."""

from __future__ import annotations

import re

from imagekit.errors import UsageError


def parse_pattern(
    text: str, *, group: str, what: str, where: str, fix: str, error_class: type[UsageError]
) -> re.Pattern[str]:
    """The expression in `text`. Raises error_class where it cannot be read, or it is not plain which group counts:
    the one called `group`, or the only one.
    """
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError) as error:
        raise error_class(f"{what} holds no regular expression: {error}", where=where, fix=fix) from None
    if group not in pattern.groupindex and pattern.groups != 1:
        raise error_class(f"{what} has {pattern.groups} groups and none is called {group}", where=where, fix=fix)
    return pattern


def search_name(pattern: re.Pattern[str], name: str, group: str) -> str | None:
    """What the group finds in a file name without folders; None where it finds nothing, or only ""."""
    match = pattern.search(name)
    return (match[group if group in pattern.groupindex else 1] or None) if match else None
