"""Scores in the report are those of the learner, which counts the same things on its device."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.learner.calibration import CalibrationError
from imagekit.learner.confusion import ConfusionMatrix, score_classes
from imagekit.look.per_class import ClassCounts, count_classes
from imagekit.look.predictions import Predictions


def predictions_of(targets: list[int], predictions: list[int], probabilities: list[float]) -> Predictions:
    n = len(targets)
    return Predictions(
        file_names=pa.chunked_array([["x"] * n], pa.string()),
        target_N=np.array(targets, np.int64),
        prediction_N=np.array(predictions, np.int64),
        probability_N=np.array(probabilities, np.float64),
        loss_N=np.zeros(n),
    )


def or_none(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 30), n_classes=st.integers(2, 5))
def test_report_and_learner_give_the_same_scores(seed: int, n: int, n_classes: int):
    generator = torch.Generator().manual_seed(seed)
    logits_NK = 3 * torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    target_N = torch.randint(0, n_classes, (n,), generator=generator)
    probability_N, prediction_N = logits_NK.softmax(dim=1).max(dim=1)
    matrix, calibration = ConfusionMatrix(n_classes), CalibrationError()
    for gathered in (matrix, calibration):
        gathered.accumulate(logits_NK, target_N)

    said = predictions_of(target_N.tolist(), prediction_N.tolist(), probability_N.tolist())
    counts, scores = count_classes(said, n_classes), score_classes(matrix.compute())

    assert said.count(n_classes).tolist() == matrix.compute().tolist()
    assert or_none(counts.precision_K) == scores.precision
    assert or_none(counts.recall_K) == scores.recall
    assert or_none(counts.f1_K) == scores.f1
    means = [counts.mean(values) for values in (counts.precision_K, counts.recall_K, counts.f1_K)]
    assert means == pytest.approx([scores.macro_precision, scores.balanced_accuracy, scores.macro_f1], abs=1e-12)
    error = calibration.compute().expected_calibration_error
    assert said.calibration_error() == pytest.approx(error, abs=1e-12)


def test_a_probability_on_an_edge_belongs_to_the_bin_below_it():
    said = predictions_of([0, 0], [0, 1], [0.5, 0.6])

    # in one bin the gaps would cancel: |0.5 - 0.6| / 2
    assert said.calibration_error(n_bins=2) == pytest.approx((0.5 + 0.6) / 2, abs=1e-15)


def test_calibration_of_nothing_and_of_nan_is_nan():
    assert math.isnan(predictions_of([], [], []).calibration_error())
    assert math.isnan(predictions_of([0], [0], [math.nan]).calibration_error())
    assert predictions_of([], [], []).highest_class() == -1


def test_classes_come_by_rising_f1_and_those_without_images_last():
    counts = ClassCounts(
        images_K=np.array([4, 0, 4, 0, 4]), predicted_K=np.array([4, 0, 4, 3, 0]), right_K=np.array([4, 0, 2, 0, 0])
    )

    assert counts.order() == [4, 2, 0, 3, 1]


def test_no_class_with_an_image_has_no_mean():
    nothing = np.zeros(2, np.int64)

    assert ClassCounts(images_K=nothing, predicted_K=nothing, right_K=nothing).mean(np.array([math.nan] * 2)) is None
