"""What a run that waits for its loader is told: the flag that would help it, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from imagekit.callbacks.timing import TimingCallback
from imagekit.training.hints import loader_hint

BEGINNING = "the loader is the bottleneck: 45% of the training time was waiting for data; "
GB = 10**9


def timing(*, waited: float = 45.0, first_waited: float = 15.0) -> dict[str, float | None]:
    """Of 100 s of training, 30 of them in the first epoch."""
    seconds = {"train_s": 100.0, "data_wait_s": waited}
    return {**seconds, "first_epoch_train_s": 30.0, "first_epoch_data_wait_s": first_waited}


def hint(times: dict[str, float | None] | None = None, **facts: Any) -> str | None:
    known: dict[str, Any] = {"n_workers": 2, "n_cores": 8, "cache": "none", "can_cache": (7 * GB // 10, 193 * GB // 10)}
    return loader_hint(times or timing(), **known | facts)


def test_a_run_that_waits_is_told_of_the_cache_that_would_fit():
    told = hint()

    assert told == BEGINNING + "try --cache ram: 700 MB of 19.3 GB free memory"


def test_a_small_cache_is_told_in_megabytes():
    told = hint(can_cache=(4_200_000, 193 * GB // 10))

    assert told == BEGINNING + "try --cache ram: 4.2 MB of 19.3 GB free memory"


@pytest.mark.parametrize(("waited", "is_told"), [(30.0, False), (30.1, True)])
def test_thirty_percent_is_what_may_be_waited(waited: float, is_told: bool):
    assert (hint(timing(waited=waited)) is not None) is is_told


@pytest.mark.parametrize("can_cache", [None, (51 * GB, 100 * GB)])
def test_where_no_cache_fits_more_workers_are_next(can_cache: tuple[int, int] | None):
    assert hint(can_cache=can_cache) == BEGINNING + "try --workers 8"


def test_half_of_the_free_memory_is_what_a_cache_may_take():
    assert hint(can_cache=(50 * GB, 100 * GB)) == BEGINNING + "try --cache ram: 50 GB of 100 GB free memory"


def test_one_epoch_is_told_of_no_cache_because_nothing_would_be_read_from_it():
    one_epoch = {**timing(), "train_s": 30.0, "data_wait_s": 13.5}

    assert hint(one_epoch) == BEGINNING + "try --workers 8"


def test_with_a_worker_a_core_smaller_images_are_next():
    told = hint(can_cache=None, n_workers=8, median_side_px=374.6, size_px=128)

    assert told == BEGINNING + (
        "the images are larger than the model sees, 375 px beside 128: build a subset by make-subset with --size 160"
    )


@pytest.mark.parametrize("sides", [{}, {"median_side_px": 160, "size_px": 128}, {"size_px": 128}])
def test_where_nothing_would_help_nothing_is_said(sides: dict[str, int]):
    assert hint(can_cache=None, n_workers=8, **sides) is None


def test_waiting_while_a_cache_fills_is_passed_over():
    times = timing(waited=31.0, first_waited=25.0)

    assert hint(times, cache="ram") is None
    assert hint(times) is not None


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_waiting_behind_a_filled_cache_asks_for_workers(cache: str):
    told = hint(timing(waited=46.5, first_waited=15.0), cache=cache)  # 31.5 s of the 70 that are left

    assert told == (
        "the loader is the bottleneck: 45% of the training time after the first epoch was waiting for data; "
        "try --workers 8"
    )


def test_a_cache_on_the_device_leaves_nothing_to_advise():
    assert hint(timing(waited=90.0), cache="device") is None


def test_a_run_that_trained_nothing_is_told_nothing():
    assert hint(TimingCallback().totals()) is None


def test_a_second_of_waiting_is_no_matter():
    short = {"train_s": 1.2, "data_wait_s": 0.99, "first_epoch_train_s": 0.4, "first_epoch_data_wait_s": 0.3}
    longer = short | {"data_wait_s": 1.0}

    hints = [loader_hint(each, n_workers=1, n_cores=2, cache="none", can_cache=None) for each in (short, longer)]

    assert hints[0] is None
    assert str(hints[1]).endswith("; try --workers 2")
