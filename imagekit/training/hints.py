"""What would make the next run faster, told by where the time of this one went."""

from __future__ import annotations

import math
from collections.abc import Mapping

from imagekit.files.sizes import display_bytes

LEAST_WAITED_S = 1.0  # in all: less is no matter, however large a share it is of a short training
BOTTLENECK = 0.3  # of the training time: below it, other parts cost more than the loader could give back
CACHE_ROOM = 0.5  # of the free memory: the rest is for what training itself takes
SUBSET_MARGIN = 1.25  # of the training size: random crops still have something to choose from, as 160 px for 128


def loader_hint(
    timing: Mapping[str, float | None],
    *,
    n_workers: int,
    n_cores: int,
    cache: str,
    can_cache: tuple[int, int] | None,
    median_side_px: float | None = None,
    size_px: int | None = None,
) -> str | None:
    """A line with the flag that would help, where more than 30 % of the training time was waiting for data; else None.

    timing: what TimingCallback.totals gives. cache: what the run used: none, ram, disk or device. can_cache: the bytes
    that a cache in memory would need and the bytes that are free; None where there can be none. median_side_px: shorter
    side of the median source image; size_px: what the model was trained at; None where not known.

    The first that applies: a cache, if none was used, it takes at most half of the free memory and there was a second
    epoch to read it; a worker a core; smaller images. Where a cache was used the first epoch does not count: it fills
    the cache. With one on the device there is nothing that workers or smaller files could speed up.
    """
    share = _share_waited(timing, without_first=cache != "none")
    if share <= BOTTLENECK or cache == "device" or _seconds(timing, "data_wait_s") < LEAST_WAITED_S:
        return None
    has_second = _seconds(timing, "train_s") > _seconds(timing, "first_epoch_train_s")
    advice = (
        (_cache_advice(can_cache) if cache == "none" and has_second else None)
        or (f"try --workers {n_cores}" if n_workers < n_cores else None)
        or _subset_advice(median_side_px, size_px)
    )
    if advice is None:
        return None
    when = "" if cache == "none" else " after the first epoch"
    return f"the loader is the bottleneck: {share:.0%} of the training time{when} was waiting for data; {advice}"


def _share_waited(timing: Mapping[str, float | None], *, without_first: bool) -> float:
    waited, trained = _seconds(timing, "data_wait_s"), _seconds(timing, "train_s")
    if without_first:
        waited -= _seconds(timing, "first_epoch_data_wait_s")
        trained -= _seconds(timing, "first_epoch_train_s")
    return waited / trained if trained > 0 else 0.0


def _seconds(timing: Mapping[str, float | None], name: str) -> float:
    return timing[name] or 0.0


def _cache_advice(can_cache: tuple[int, int] | None) -> str | None:
    if can_cache is None:
        return None
    needed_bytes, free_bytes = can_cache
    if needed_bytes > CACHE_ROOM * free_bytes:
        return None
    return f"try --cache ram: {display_bytes(needed_bytes)} of {display_bytes(free_bytes)} free memory"


def _subset_advice(median_side_px: float | None, size_px: int | None) -> str | None:
    if median_side_px is None or size_px is None:
        return None
    side_px = math.ceil(SUBSET_MARGIN * size_px)
    if median_side_px <= side_px:
        return None
    seen = f"{median_side_px:.0f} px beside {size_px}"
    return f"the images are larger than the model sees, {seen}: build a subset by make-subset with --size {side_px}"
