"""The expected calibration error: bins with inclusive right edges, the same however the batches are cut."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from imagekit.errors import ConfigError, ShapeError, TrainingError
from imagekit.learner.calibration import Calibration, CalibrationError


class Watching(TorchDispatchMode):
    """Refuses what makes a device wait: to fetch a value, and results whose length only the values tell."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "bincount", "is_nonzero")
        return func(*args, **(kwargs or {}))


def calibration_of(*batches: tuple[Tensor, Tensor], n_bins: int = 15) -> Calibration:
    error = CalibrationError(n_bins=n_bins)
    for pred_BK, target in batches:
        error.accumulate(pred_BK, target)
    return error.compute()


def logits_for(confidences: list[float]) -> Tensor:
    """Two-class logits, doubles, whose larger probability, that of class 0, is as given."""
    p_B = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p_B.log(), (1 - p_B).log()], dim=1)


def loop_over_images(pred_BK: Tensor, target_B: Tensor, n_bins: int) -> tuple[float, list[int]]:
    """The definition of Guo et al., image by image."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(n_bins)]
    for logits, target in zip(pred_BK.double(), target_B.tolist(), strict=True):
        if target >= 0:
            confidence, prediction = (one.item() for one in logits.softmax(dim=0).max(dim=0))
            number = next(m for m in range(n_bins) if m == n_bins - 1 or confidence <= (m + 1) / n_bins)
            members[number].append((float(confidence), prediction == target))
    n_all = sum(map(len, members))
    gaps = [abs(sum(hit for _, hit in one) / len(one) - sum(c for c, _ in one) / len(one)) for one in members if one]
    weights = [len(one) / n_all for one in members if one]
    return sum(w * gap for w, gap in zip(weights, gaps, strict=True)), [len(one) for one in members]


def test_error_of_four_images_is_that_of_a_hand_count():
    pred_BK = logits_for([0.9, 0.9, 0.6, 0.6])

    found = calibration_of((pred_BK, torch.tensor([0, 1, 0, 0])), n_bins=2)

    # all four are above 0.5: three of four right, the mean confidence is 0.75
    assert found.expected_calibration_error == pytest.approx(0.0, abs=1e-12)
    five = calibration_of((pred_BK, torch.tensor([0, 1, 0, 0])), n_bins=5)
    assert five.expected_calibration_error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4, abs=1e-12)
    assert [one.n_images for one in five.bins] == [0, 0, 2, 0, 2]


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    sure = torch.tensor([[0.0, 0.0], [800.0, 0.0]])  # confidences of exactly 0.5 and 1

    bins = calibration_of((sure, torch.tensor([0, 0])), n_bins=4).bins

    assert [(one.low, one.high, one.n_images) for one in bins] == [
        (0.0, 0.25, 0),
        (0.25, 0.5, 1),
        (0.5, 0.75, 0),
        (0.75, 1.0, 1),
    ]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(0, 40), max_size=5), n_bins=st.sampled_from([1, 4, 15]))
def test_any_cut_into_batches_gives_what_a_loop_over_images_gives(seed: int, cuts: list[int], n_bins: int):
    generator = torch.Generator().manual_seed(seed)
    pred_BK = 3 * torch.randn(40, 3, generator=generator)
    target_B = torch.randint(-1, 3, (40,), generator=generator)
    expected, n_images = loop_over_images(pred_BK, target_B, n_bins)

    edges = [0, *sorted(cuts), 40]
    found = calibration_of(*((pred_BK[a:b], target_B[a:b]) for a, b in pairwise(edges)), n_bins=n_bins)

    assert found.expected_calibration_error == pytest.approx(expected, abs=1e-12)
    assert [one.n_images for one in found.bins] == n_images


def test_the_table_says_mean_confidence_and_accuracy_of_each_bin():
    bins = calibration_of((logits_for([0.7, 0.8, 0.95]), torch.tensor([0, 1, 0])), n_bins=5).bins

    assert [one.n_images for one in bins] == [0, 0, 0, 2, 1]
    assert (bins[3].confidence, bins[3].accuracy) == (pytest.approx(0.75, abs=1e-12), 0.5)
    assert (bins[4].confidence, bins[4].accuracy) == (pytest.approx(0.95, abs=1e-12), 1.0)
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)


def test_soft_targets_count_by_their_largest_share():
    soft_BK = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    pred_BK = logits_for([0.8, 0.8])

    assert calibration_of((pred_BK, soft_BK)) == calibration_of((pred_BK, torch.tensor([0, 1])))


def test_without_an_image_there_is_no_error():
    unlabelled = (torch.zeros(3, 2), torch.tensor([-1, -1, -1]))

    for found in (calibration_of(), calibration_of(unlabelled), calibration_of((torch.zeros(0, 2), torch.zeros(0)))):
        assert (found.expected_calibration_error, found.n_images, len(found.bins)) == (None, 0, 15)


def test_a_prediction_that_is_nan_makes_the_error_nan():
    found = calibration_of((torch.tensor([[math.nan, 0.0], [9.0, 0.0]]), torch.tensor([0, 0])))

    assert found.expected_calibration_error is not None
    assert math.isnan(found.expected_calibration_error)


def test_result_as_plain_types_goes_through_json():
    found = calibration_of((logits_for([0.8]), torch.tensor([0])), n_bins=2)

    told = json.loads(json.dumps(found.to_dict()))

    assert told["expected_calibration_error"] == pytest.approx(0.2, abs=1e-12)
    assert told["bins"][0] == {"low": 0.0, "high": 0.5, "n_images": 0, "confidence": None, "accuracy": None}


def test_accumulating_asks_the_device_for_nothing():
    error = CalibrationError()

    with Watching():
        for _ in range(2):
            error.accumulate(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))

    assert error.compute().n_images == 8


def test_reset_forgets_the_sums_and_the_classes():
    error = CalibrationError()
    error.accumulate(torch.zeros(2, 2), torch.tensor([0, 1]))

    error.reset()
    error.accumulate(torch.zeros(1, 3), torch.tensor([0]))

    assert error.compute().n_images == 1


def test_no_bin_is_refused():
    with pytest.raises(ConfigError) as caught:
        CalibrationError(n_bins=0)

    assert str(caught.value) == (
        "n_bins is 0, must be at least 1\n  where: CalibrationError\n  fix: leave it out for 15"
    )


def test_a_later_batch_of_other_classes_is_refused():
    error = CalibrationError()
    error.accumulate(torch.zeros(2, 2), torch.tensor([0, 1]))

    with pytest.raises(ShapeError) as caught:
        error.accumulate(torch.zeros(2, 3), torch.tensor([0, 1]))

    assert str(caught.value) == (
        "predictions are [2, 3] and targets [2], for 2 classes\n"
        "  where: CalibrationError.accumulate\n"
        "  fix: give predictions [B, K], and targets [B] or [B, K]"
    )


def test_targets_that_are_no_class_are_told_when_the_error_is_asked_for():
    error = CalibrationError()
    error.accumulate(torch.zeros(3, 2), torch.tensor([2, -2, -1]))

    with pytest.raises(TrainingError) as caught:
        error.compute()

    assert str(caught.value) == (
        "2 targets are neither a class from 0 to 1 nor -1, which stands for no label\n"
        "  where: CalibrationError.compute\n"
        "  fix: give targets of the vocab that the model was made for"
    )
