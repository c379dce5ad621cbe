"""Numbers as people read them on a page."""

from __future__ import annotations

import math
from collections.abc import Callable

UNKNOWN = "–"


def percent_text(value: float | None, decimals: int = 2) -> str:
    """A share, 0 to 1, in percent; a dash for None, nan and inf as they are."""
    return _format(value, lambda number: f"{100 * number:.{decimals}f} %")


def number_text(value: float | None, decimals: int = 4) -> str:
    """A number with separated thousands; a dash for None, nan and inf as they are."""
    return _format(value, lambda number: f"{number:z,.{decimals}f}" if abs(number) < 1e9 else f"{number:.3g}")


def count_text(n: int | None) -> str:
    """A count with separated thousands; a dash for None."""
    return UNKNOWN if n is None else f"{n:,}"


def duration_text(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min {round(seconds) % 60:02d} s"


def _format(value: float | None, form: Callable[[float], str]) -> str:
    return UNKNOWN if value is None else form(value) if math.isfinite(value) else str(value)
