"""Confusion matrices: every image counted once, however the batches are cut, and what the counts say of a class."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from imagekit.errors import ConfigError, ShapeError, TrainingError
from imagekit.learner.confusion import (
    ConfusionMatrix,
    balanced_accuracy,
    f1,
    macro_f1,
    macro_precision,
    precision,
    recall,
    score_classes,
    support,
)

# class 2 was never predicted, class 3 has no image, class 4 has neither
COUNTS = torch.tensor([[3, 1, 0, 0, 0], [0, 2, 0, 2, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


class Watching(TorchDispatchMode):
    """Refuses what makes a device wait: to fetch a value, and results whose length only the values tell."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "bincount", "is_nonzero")
        return func(*args, **(kwargs or {}))


def logits_of(classes: list[int], n_classes: int) -> Tensor:
    """Predictions [B, K] whose largest logit is at the class."""
    return torch.nn.functional.one_hot(torch.tensor(classes, dtype=torch.int64), n_classes).float()


def counts_of(*batches: tuple[Tensor, Tensor], n_classes: int) -> list[list[int]]:
    matrix = ConfusionMatrix(n_classes)
    for pred_BK, target in batches:
        matrix.accumulate(pred_BK, target)
    counts: list[list[int]] = matrix.compute().tolist()
    return counts


def test_rows_are_the_truth_and_columns_the_prediction():
    counts = counts_of((logits_of([0, 1, 1, 2], 3), torch.tensor([0, 0, 0, 1])), n_classes=3)

    assert counts == [[1, 2, 0], [0, 0, 1], [0, 0, 0]]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), n_classes=st.integers(1, 5))
def test_any_cut_into_batches_counts_as_a_loop_over_images_does(data: st.DataObject, n_classes: int):
    a_class = st.integers(0, n_classes - 1)
    images = data.draw(st.lists(st.tuples(st.integers(-1, n_classes - 1), a_class), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(images)), max_size=5)))
    expected = [[0] * n_classes for _ in range(n_classes)]
    for truth, prediction in images:
        if truth >= 0:
            expected[truth][prediction] += 1

    batches = [images[a:b] for a, b in zip([0, *cuts], [*cuts, len(images)], strict=True)]
    counted = counts_of(
        *(
            (logits_of([p for _, p in batch], n_classes), torch.tensor([t for t, _ in batch]))
            for batch in batches
            if batch
        ),
        n_classes=n_classes,
    )

    assert counted == expected


def test_of_soft_targets_the_largest_share_is_counted():
    soft_BK = torch.tensor([[0.6, 0.4], [0.3, 0.7]])

    assert counts_of((logits_of([1, 1], 2), soft_BK), n_classes=2) == [[0, 1], [0, 1]]


def test_counts_are_whole_numbers_beside_the_predictions_and_do_not_change_afterwards():
    matrix = ConfusionMatrix(2)
    matrix.accumulate(logits_of([0], 2).bfloat16().requires_grad_(), torch.tensor([0], dtype=torch.int32))

    before = matrix.counts_KK
    matrix.accumulate(logits_of([0], 2), torch.tensor([0]))

    assert (before.dtype, before.device.type, before.requires_grad) == (torch.int64, "cpu", False)
    assert (int(before[0, 0]), int(matrix.counts_KK[0, 0])) == (1, 2)


def test_accumulating_asks_the_device_for_nothing():
    matrix = ConfusionMatrix(3)

    with Watching():
        matrix.accumulate(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))

    assert int(matrix.counts_KK.sum()) == 4


def test_no_batch_and_an_empty_batch_give_zeros():
    empty = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))

    assert counts_of(n_classes=2) == counts_of(empty, n_classes=2) == [[0, 0], [0, 0]]


def test_reset_forgets_the_counts():
    matrix = ConfusionMatrix(2)
    matrix.accumulate(logits_of([0, 1], 2), torch.tensor([0, 1]))

    matrix.reset()

    assert matrix.compute().tolist() == [[0, 0], [0, 0]]


def test_a_matrix_of_no_class_is_refused():
    with pytest.raises(ConfigError) as caught:
        ConfusionMatrix(0)

    assert str(caught.value) == (
        "n_classes is 0, must be at least 1\n  where: ConfusionMatrix\n  fix: give the length of the vocab"
    )


@pytest.mark.parametrize(
    ("shape", "target_shape"),
    [((4, 2), (4,)), ((4, 3), (3,)), ((4, 3), (4, 2)), ((3,), (3,)), ((4, 3), (4, 1)), ((), ())],
)
def test_predictions_and_targets_that_do_not_fit_say_their_shapes(
    shape: tuple[int, ...], target_shape: tuple[int, ...]
):
    with pytest.raises(ShapeError) as caught:
        ConfusionMatrix(3).accumulate(torch.zeros(shape), torch.zeros(target_shape))

    assert str(caught.value) == (
        f"predictions are {list(shape)} and targets {list(target_shape)}, for 3 classes\n"
        "  where: ConfusionMatrix.accumulate\n"
        "  fix: give predictions [B, K], and targets [B] or [B, K]"
    )


@pytest.mark.parametrize("target", [3, -2, 10**12])
def test_targets_that_are_no_class_are_told_when_the_counts_are_asked_for(target: int):
    matrix = ConfusionMatrix(3)
    matrix.accumulate(torch.zeros(3, 3), torch.tensor([target, -1, 2]))

    with pytest.raises(TrainingError) as caught:
        matrix.compute()

    assert str(caught.value) == (
        "1 targets are neither a class from 0 to 2 nor -1, which stands for no label\n"
        "  where: ConfusionMatrix.compute\n"
        "  fix: give targets of the vocab that the model was made for"
    )


def test_scores_are_those_of_a_hand_count():
    nan = math.nan

    assert support(COUNTS).tolist() == [4, 4, 1, 0, 0]
    assert precision(COUNTS).tolist() == pytest.approx([3 / 4, 2 / 3, nan, 0.0, nan], nan_ok=True)
    assert recall(COUNTS).tolist() == pytest.approx([3 / 4, 2 / 4, 0.0, nan, nan], nan_ok=True)
    assert f1(COUNTS).tolist() == pytest.approx([6 / 8, 4 / 7, 0.0, 0.0, nan], nan_ok=True)


def test_means_go_over_the_classes_that_have_images():
    assert balanced_accuracy(COUNTS).item() == pytest.approx((3 / 4 + 2 / 4 + 0) / 3, abs=1e-15)
    assert macro_precision(COUNTS).item() == pytest.approx((3 / 4 + 2 / 3 + 0) / 3, abs=1e-15)
    assert macro_f1(COUNTS).item() == pytest.approx((6 / 8 + 4 / 7 + 0) / 3, abs=1e-15)


def test_scores_in_plain_numbers_have_none_where_nothing_is_defined():
    scores = score_classes(COUNTS)

    assert scores.precision == (3 / 4, 2 / 3, None, 0.0, None)
    assert scores.recall == (3 / 4, 2 / 4, 0.0, None, None)
    assert scores.f1 == (6 / 8, 4 / 7, 0.0, 0.0, None)
    assert (scores.support, scores.n_images, scores.accuracy) == ((4, 4, 1, 0, 0), 9, 5 / 9)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["f1"] == [6 / 8, 4 / 7, 0.0, 0.0, None]


def test_without_an_image_every_mean_is_none():
    scores = score_classes(torch.zeros(2, 2, dtype=torch.int64))

    assert (scores.accuracy, scores.balanced_accuracy, scores.macro_precision, scores.macro_f1) == (None,) * 4
    assert balanced_accuracy(torch.zeros(2, 2, dtype=torch.int64)).isnan()


@settings(deadline=None, max_examples=40)
@given(
    cells=st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k), min_size=k, max_size=k)
    )
)
def test_scores_agree_with_loops_over_the_cells(cells: list[list[int]]):
    n = len(cells)

    scores = score_classes(torch.tensor(cells))

    for number in range(n):
        images, named = sum(cells[number]), sum(cells[row][number] for row in range(n))
        right = cells[number][number]
        assert scores.support[number] == images
        assert scores.recall[number] == (right / images if images else None)
        assert scores.precision[number] == (right / named if named else None)
        if right:
            p, r = right / named, right / images
            assert scores.f1[number] == pytest.approx(2 * p * r / (p + r), abs=1e-12)
        else:
            assert scores.f1[number] == (0.0 if images + named else None)
    present = [number for number in range(n) if scores.support[number]]
    if present:
        means = [
            sum(values[number] or 0 for number in present) / len(present)
            for values in (scores.recall, scores.precision, scores.f1)
        ]
        assert [scores.balanced_accuracy, scores.macro_precision, scores.macro_f1] == pytest.approx(means, abs=1e-12)


def test_counts_that_are_not_square_are_refused():
    with pytest.raises(ShapeError) as caught:
        recall(torch.zeros(2, 3, dtype=torch.int64))

    assert str(caught.value) == (
        "the counts are [2, 3], not square\n"
        "  where: recall\n"
        "  fix: give counts [K, K], rows the truth and columns the prediction"
    )
