"""Numbers of bytes as people write them, by powers of 1000."""

from __future__ import annotations

import re

from imagekit.errors import ConfigError

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_UNITS = ("KB", "MB", "GB", "TB")
_NEXT = 999.5  # what three digits would round up to 1000


def parse_bytes(text: str, *, where: str) -> int:
    """1500000, 800MB or 1.5 GB in bytes. Raises ConfigError for anything else; where: the option it came by."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f'"{text}" is no number of bytes', where=where, fix="give 800MB or 20GB, say")
    return int(float(found[1]) * 1000 ** _POWERS[found[2].upper()])


def display_bytes(n_bytes: int) -> str:
    """The number in three digits: 4.21 MB, 160 MB, 1.5 GB."""
    value, *units = n_bytes / 1000, *_UNITS
    while value >= _NEXT and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < _NEXT else f"{value:,.0f} {units[0]}"
