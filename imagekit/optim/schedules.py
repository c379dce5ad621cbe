"""Schedules: pure functions from the position in training, 0 to 1, to the value of a hyper-parameter.

    sched = combine_scheds([0.3, 0.7], cos_1cycle_anneal(0.1, 0.3, 0.05))
    sched(0.0), sched(0.3), sched(1.0)       # 0.1, 0.3, 0.05

Nothing to store and nothing to restore: a resumed run asks at its position. Source: fast.ai course v3, lesson 9.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import accumulate

from imagekit.errors import ConfigError

Schedule = Callable[[float], float]


def annealer(func: Callable[[float, float, float], float]) -> Callable[[float, float], Schedule]:
    """Turn f(start, end, pos) into f(start, end), which returns the schedule."""

    @functools.wraps(func)
    def make_schedule(start: float, end: float) -> Schedule:
        return functools.partial(func, start, end)

    return make_schedule


@annealer
def sched_lin(start: float, end: float, pos: float) -> float:
    """A straight line from start to end."""
    return start + pos * (end - start)


@annealer
def sched_cos(start: float, end: float, pos: float) -> float:
    """Half a cosine from start to end: slow, fast, slow."""
    return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2


@annealer
def sched_no(start: float, end: float, pos: float) -> float:
    """Start all along; `end` is there so that every schedule is made alike."""
    return start


def sched_exp(start: float, end: float) -> Schedule:
    """From start to end by a constant factor per step. Raises ConfigError unless both have one sign and are not 0."""
    if not start * end > 0:
        raise ConfigError(
            f"start is {start} and end is {end}, must both be above 0 (or both below)",
            where="sched_exp",
            fix="use sched_cos or sched_lin for a schedule that starts or ends at 0",
        )
    return functools.partial(_exponential, start, end)


def _exponential(start: float, end: float, pos: float) -> float:
    return float(start * (end / start) ** pos)


def combine_scheds(pcts: Sequence[float], scheds: Sequence[Schedule]) -> Schedule:
    """One schedule out of several, each over its own share of the positions.

    pcts: the shares, any number of them, at least 0, together 1 (to 1e-6). A position outside 0..1 counts as the
    nearer end. Raises ConfigError if the shares are not such, or their number is not that of the schedules.
    """
    _check_shares(pcts, n_scheds=len(scheds))
    ends = [*list(accumulate(pcts))[:-1], 1.0]  # the sum of floats may miss 1 by a little, the last phase must not
    return functools.partial(_piecewise, tuple(ends), tuple(scheds))


def _piecewise(ends: tuple[float, ...], scheds: tuple[Schedule, ...], pos: float) -> float:
    pos = min(max(pos, 0.0), 1.0)
    i_phase = next((i for i, end in enumerate(ends) if pos < end), len(ends) - 1)
    start = ends[i_phase - 1] if i_phase else 0.0
    width = ends[i_phase] - start
    return scheds[i_phase](min((pos - start) / width, 1.0) if width > 0 else 1.0)


def _check_shares(pcts: Sequence[float], *, n_scheds: int) -> None:
    if len(pcts) != n_scheds or not pcts:
        problem = f"{len(pcts)} shares for {n_scheds} schedules, must be one each and at least one"
    elif not all(pct >= 0 for pct in pcts):
        problem = f"shares are {list(pcts)}, must be at least 0"
    elif not math.isclose(math.fsum(pcts), 1.0, abs_tol=1e-6):
        problem = f"shares are {list(pcts)} and sum to {math.fsum(pcts):g}, must sum to 1"
    else:
        return
    raise ConfigError(problem, where="combine_scheds: pcts", fix="write one share per schedule, such as [0.3, 0.7]")


def cos_1cycle_anneal(start: float, high: float, end: float) -> list[Schedule]:
    """Two cosines, up from start to high and down to end: the schedules of a one-cycle, for `combine_scheds`."""
    return [sched_cos(start, high), sched_cos(high, end)]


def cos_1cycle(start: float, high: float, end: float, *, peak: float = 0.3) -> Schedule:
    """The one-cycle as one schedule: by a cosine up to `high` at position `peak`, and down to `end`.

    Source: Smith 2018, arXiv:1803.09820, with the cosines of fast.ai. Raises ConfigError for a peak outside 0..1.
    """
    return combine_scheds([_share(peak, "cos_1cycle: peak"), 1 - peak], cos_1cycle_anneal(start, high, end))


def flat_cos(value: float, *, flat: float = 0.75, end: float = 0.0) -> Schedule:
    """`value` until position `flat`, then half a cosine down to `end`; what Ranger is mostly run with.

    Raises ConfigError for a share outside 0..1.
    """
    return combine_scheds([_share(flat, "flat_cos: flat"), 1 - flat], [sched_no(value, value), sched_cos(value, end)])


def warmup_linear(value: float, *, warmup: float = 0.1, start: float = 0.0, end: float = 0.0) -> Schedule:
    """Straight up from `start` to `value` at position `warmup`, and straight down to `end`.

    Raises ConfigError for a share outside 0..1.
    """
    shares = [_share(warmup, "warmup_linear: warmup"), 1 - warmup]
    return combine_scheds(shares, [sched_lin(start, value), sched_lin(value, end)])


def _share(share: float, where: str) -> float:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share is {share}, must be from 0 to 1", where=where, fix="write 0.3 for 30 %, say")
    return share
