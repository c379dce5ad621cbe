"""How far a model's confidence is from the truth: the expected calibration error, and the table behind it.

Shapes: B batch, K classes, M bins.
Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from imagekit.errors import ConfigError
from imagekit.learner.confusion import NO_LABEL, check_batch, check_targets
from imagekit.learner.metrics import hard_targets, wide_dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """The images whose confidence is above `low` and at most `high`.

    confidence, accuracy: their mean confidence and the share that is right; None where there is no image.
    """

    low: float
    high: float
    n_images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The result: the error, 0 to 1, None without an image; NaN where a prediction was NaN; and the table of bins."""

    expected_calibration_error: float | None
    n_images: int
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {**asdict(self), "bins": [asdict(one) for one in self.bins]}


class CalibrationError:
    """Gather what the expected calibration error is made of; sums stay on the device until `compute`.

    n_bins: bins of equal width over 0..1. A confidence, the largest probability of an image, belongs to the bin whose
    right edge it reaches at most.
    """

    def __init__(self, n_bins: int = 15) -> None:
        if n_bins < 1:
            raise ConfigError(
                f"n_bins is {n_bins}, must be at least 1", where="CalibrationError", fix="leave it out for 15"
            )
        self.n_bins = n_bins
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._n_classes = 0
        self._counts_2M: Tensor | None = None  # images and hits, integers: exact however the batches are cut
        self._confidence_M: Tensor | None = None
        self._n_strange: Tensor | None = None

    def accumulate(self, pred_BK: Tensor, target: Tensor) -> None:
        """Add one batch; it waits for no device.

        pred_BK: logits. target: as for ConfusionMatrix; -1 is not counted. Raises ShapeError where they do not fit.
        """
        n_classes = pred_BK.shape[-1] if pred_BK.ndim else 0
        check_batch(pred_BK, target, n_classes=self._n_classes or n_classes, where="CalibrationError.accumulate")
        target_B, wide = hard_targets(target.detach()), wide_dtype(pred_BK.device)
        # from wide logits: rounded probabilities would move images over the edges of bins
        confidence_B, prediction_B = pred_BK.detach().to(wide).softmax(dim=1).max(dim=1)
        inner_edges = torch.arange(1, self.n_bins, device=pred_BK.device, dtype=wide) / self.n_bins
        bins_B = torch.bucketize(confidence_B, inner_edges)
        # a comparison and a sum, not index_add_: on CUDA that adds floats in no fixed order
        numbers_M1 = torch.arange(self.n_bins, device=pred_BK.device)[:, None]
        is_in_MB = (bins_B == numbers_M1) & (target_B != NO_LABEL)
        is_hit_MB = is_in_MB & (prediction_B == target_B)
        counts_2M = torch.stack([is_in_MB.sum(dim=1), is_hit_MB.sum(dim=1)])
        is_strange_B = (target_B != NO_LABEL) & ((target_B < 0) | (target_B >= n_classes))
        self._add(counts_2M, torch.where(is_in_MB, confidence_B, 0.0).sum(dim=1), is_strange_B.sum())
        self._n_classes = n_classes

    def compute(self) -> Calibration:
        """The error and its table. Waits for the device.

        Raises TrainingError where a target was neither a class nor -1.
        """
        if self._counts_2M is None or self._confidence_M is None or self._n_strange is None:
            images, hits, sums = [0] * self.n_bins, [0] * self.n_bins, [0.0] * self.n_bins
        else:
            check_targets(int(self._n_strange), n_classes=self._n_classes, where="CalibrationError.compute")
            images, hits = self._counts_2M.tolist()
            sums = self._confidence_M.tolist()
        bins = tuple(self._bin(*each) for each in zip(range(self.n_bins), images, hits, sums, strict=True))
        n_images = sum(images)
        # sum over bins of (images / all) * |hits / images - confidences / images|
        gaps = [abs(hit - confidence) for hit, confidence in zip(hits, sums, strict=True)]
        error = math.fsum(gaps) / n_images if n_images else None
        return Calibration(expected_calibration_error=error, n_images=n_images, bins=bins)

    def _add(self, counts_2M: Tensor, confidence_M: Tensor, n_strange: Tensor) -> None:
        if self._counts_2M is None or self._confidence_M is None or self._n_strange is None:
            self._counts_2M, self._confidence_M, self._n_strange = counts_2M, confidence_M, n_strange
        else:
            self._counts_2M = self._counts_2M + counts_2M
            self._confidence_M = self._confidence_M + confidence_M
            self._n_strange = self._n_strange + n_strange

    def _bin(self, number: int, n_images: int, n_hits: int, confidence: float) -> ReliabilityBin:
        return ReliabilityBin(
            low=number / self.n_bins,
            high=(number + 1) / self.n_bins,
            n_images=n_images,
            confidence=confidence / n_images if n_images else None,
            accuracy=n_hits / n_images if n_images else None,
        )
