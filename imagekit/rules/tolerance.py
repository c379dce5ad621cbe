"""How many unusable images a build bears: `--max-bad N` or `--max-bad P%`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from imagekit.errors import TooManyBadError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """A bound on unusable images, as a count or as a percentage of the images looked at."""

    limit: float
    is_percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """Read `12` or `0.5%`. Raises UsageError for anything else."""
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", text.strip())
        if not match or (match[2] and float(match[2]) > 100):
            raise UsageError(
                f'"{text}" is neither a count nor a percentage',
                where="--max-bad",
                fix="give a whole number such as 12, or a percentage such as 0.5%",
            )
        return cls(limit=float(match[1] or match[2]), is_percent=match[1] is None)

    def bears(self, *, n_bad: int, n_total: int) -> bool:
        """True when n_bad of n_total is within the bound."""
        return n_bad <= (self.limit * n_total / 100 if self.is_percent else self.limit)

    def __str__(self) -> str:
        number = f"{self.limit:.15g}"  # as it was given: 1000000, not 1e+06
        return f"{number}%" if self.is_percent else number


def exit_code_for(
    tolerance: Tolerance | None, *, n_bad: int, n_total: int, where: str, listed: Iterable[str] = ()
) -> int:
    """0 when nothing is bad or the tolerance bears it; 3 when something is bad and no tolerance was given.

    Raises TooManyBadError when a tolerance was given and does not bear it; `listed` are lines that tell the files.
    """
    if tolerance is None:
        return 3 if n_bad else 0
    if not tolerance.bears(n_bad=n_bad, n_total=n_total):
        raise TooManyBadError(
            "\n  ".join([f"{n_bad} of {n_total} images are unusable, --max-bad allows {tolerance}", *listed]),
            where=where,
            fix="mend or remove these files, or raise --max-bad; nothing was published",
        )
    return 0
