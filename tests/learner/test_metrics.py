"""Metrics, and averages over batches of unequal size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.metrics import AvgStats, accuracy, top_k
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint


def test_accuracy_is_the_share_of_right_answers():
    pred_BK = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 1.0], [0.0, 9.0]])

    assert accuracy(pred_BK, torch.tensor([0, 1, 1, 1])).item() == 0.75


def test_top_k_counts_the_target_among_the_largest():
    pred_BK = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    target_B = torch.tensor([0, 1, 2, 2])

    assert [top_k(k)(pred_BK, target_B).item() for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]


def test_of_soft_targets_the_largest_share_counts():
    pred_BK = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5]])
    soft_BK = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.3, 0.7]])

    assert accuracy(pred_BK, soft_BK).item() == 0.5
    assert top_k(2)(pred_BK, soft_BK).item() == 1.0


def test_top_zero_is_refused():
    with pytest.raises(ConfigError) as caught:
        top_k(0)

    assert str(caught.value) == "k is 0, must be at least 1\n  where: top_k\n  fix: ask for top_k(5), say"


def test_batches_weigh_by_their_images():
    stats = AvgStats({})

    stats.accumulate(torch.zeros(1000, 2), torch.zeros(1000), torch.tensor(0.5))
    stats.accumulate(torch.zeros(1, 2), torch.zeros(1), torch.tensor(2.5))

    assert stats.means() == {"loss": pytest.approx(502.5 / 1001, abs=1e-12)}


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_accuracy_over_unequal_batches_is_exactly_right_over_all(seed: int, sizes: list[int]):
    generator = torch.Generator().manual_seed(seed)
    stats, n_right = AvgStats({"accuracy": accuracy}), 0
    for size in sizes:
        pred_BK = torch.randn(size, 3, generator=generator)
        target_B = torch.randint(0, 3, (size,), generator=generator)
        n_right += int((pred_BK.argmax(1) == target_B).sum())
        stats.accumulate(pred_BK, target_B, torch.tensor(0.0))

    measured = stats.means()["accuracy"]

    assert measured == pytest.approx(n_right / sum(sizes), abs=1e-15)


def test_no_image_gives_no_number():
    stats = AvgStats({"accuracy": accuracy})

    assert stats.means() == {"loss": None, "accuracy": None}


def test_reset_forgets():
    stats = AvgStats({})
    stats.accumulate(torch.zeros(2, 2), torch.zeros(2), torch.tensor(9.0))
    stats.reset()

    stats.accumulate(torch.zeros(2, 2), torch.zeros(2), torch.tensor(1.0))

    assert stats.means() == {"loss": 1.0}
    assert stats.n_images == 2


def test_accumulated_losses_do_not_hold_on_to_the_graph():
    stats = AvgStats({})
    weight = torch.ones(1, requires_grad=True)

    stats.accumulate(weight * torch.ones(1), torch.zeros(1), (weight * 2.0).sum())

    assert not any(value.requires_grad for row in stats._waiting for value in row)


def test_a_batch_of_nothing_leaves_the_means_alone():
    stats = AvgStats({"accuracy": accuracy})
    stats.accumulate(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), torch.tensor(0.5))

    stats.accumulate(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.tensor(float("nan")))

    assert stats.means() == {"loss": 0.5, "accuracy": 1.0}


# -- a begun epoch, saved ---------------------------------------------------------------------------------------------


# doubles whose sums round, so that another grouping shows: those of float32 losses are exact in doubles
ROUNDING = {"rounding": lambda pred_BK, target: pred_BK.double().exp().mean(), "accuracy": accuracy}


def see(stats: AvgStats, sizes: list[int], places: range) -> None:
    """Let `stats` see the batches at `places` of those with these sizes."""
    for place in places:
        generator = torch.Generator().manual_seed(place)
        pred_BK = torch.randn(sizes[place], 3, generator=generator)
        target_B = torch.randint(0, 3, (sizes[place],), generator=generator)
        stats.accumulate(pred_BK, target_B, torch.rand((), generator=generator) / 3)


def through_a_file(state: dict[str, Any], path: Path) -> dict[str, Any]:
    save_checkpoint(path, state)
    return load_checkpoint(path, required=())


@settings(deadline=None, max_examples=12)
@given(cut=st.integers(0, 150))
def test_sums_that_go_on_from_a_file_are_equal_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, cut: int):
    sizes = [5] * 147 + [3] * 3  # more than are added up at once, then a change of size
    whole, first, rest = (AvgStats(ROUNDING) for _ in range(3))
    see(whole, sizes, range(150))
    see(first, sizes, range(cut))

    rest.load_state_dict(through_a_file(first.state_dict(), tmp_path_factory.mktemp("run") / "last.pt"))
    see(rest, sizes, range(cut, 150))

    assert rest.means() == whole.means()
    assert rest.n_images == whole.n_images


def test_taking_the_state_changes_no_sum():
    sizes = [5] * 7
    asked, alone = AvgStats(ROUNDING), AvgStats(ROUNDING)
    see(alone, sizes, range(7))

    for place in range(7):
        see(asked, sizes, range(place, place + 1))
        asked.state_dict()

    assert asked.means() == alone.means()


def test_going_on_with_other_metrics_is_refused():
    state = AvgStats({"accuracy": accuracy}).state_dict()

    with pytest.raises(CheckpointError) as caught:
        AvgStats({"top_2": top_k(2)}).load_state_dict(state)

    assert str(caught.value) == (
        "the begun epoch has measured loss, accuracy, and is to go on with loss, top_2\n"
        "  where: AvgStats: metrics\n"
        "  fix: go on with the metrics that the epoch was begun with"
    )
