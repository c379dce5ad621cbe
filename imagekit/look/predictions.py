"""What the model said of every validation image, as predictions.parquet has it.

Shapes: N images, K classes, M bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

N_BINS = 15  # as Guo et al. 2017, arXiv:1706.04599
_COLUMNS = {"target": pa.int64(), "prediction": pa.int64(), "probability": pa.float64(), "loss": pa.float64()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """predictions.parquet: names, targets and predictions (0..K-1), probability of the prediction, loss."""

    file_names: pa.ChunkedArray
    target_N: Ints
    prediction_N: Ints
    probability_N: Floats
    loss_N: Floats

    def __len__(self) -> int:
        return len(self.target_N)

    @property
    def is_right_N(self) -> npt.NDArray[np.bool_]:
        """Where the prediction is the target."""
        is_right_N: npt.NDArray[np.bool_] = self.target_N == self.prediction_N
        return is_right_N

    def highest_class(self) -> int:
        """The highest class number that occurs, -1 without an image."""
        return int(max(self.target_N.max(initial=-1), self.prediction_N.max(initial=-1)))

    def count(self, n_classes: int) -> Ints:
        """The confusion matrix, int64 [K, K]: rows are the truth, columns the prediction."""
        cells = self.target_N * n_classes + self.prediction_N
        return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)

    def calibration_error(self, *, n_bins: int = N_BINS) -> float:
        """The expected calibration error, 0 to 1, over bins of equal width that hold their right edge.

        NaN where a probability is, and without an image. The same number as `learner.calibration`.
        """
        if not len(self):
            return float("nan")
        inner_edges = np.arange(1, n_bins) / n_bins
        bins_N = np.searchsorted(inner_edges, self.probability_N, side="left")
        gaps_M = np.bincount(bins_N, self.is_right_N - self.probability_N, minlength=n_bins)
        return float(np.abs(gaps_M).sum() / len(self))

    def highest_losses(self, n: int) -> list[int]:
        """The rows of the `n` images with the highest loss, highest first; equals by row, NaN last."""
        loss_N = np.where(np.isnan(self.loss_N), -np.inf, self.loss_N)
        return [int(row) for row in np.argsort(-loss_N, kind="stable")[:n]]


def read_predictions(path: Path) -> Predictions:
    """The file at `path`.

    Raises FileNotFoundError, and OSError, ValueError, LookupError, TypeError or pa.ArrowException where it is damaged.
    """
    with path.open("rb") as file:
        table = pq.read_table(file, columns=["file_name", *_COLUMNS])
    target_N, prediction_N, probability_N, loss_N = (
        table.column(name).cast(type_).to_numpy() for name, type_ in _COLUMNS.items()
    )
    if target_N.dtype != np.int64 or prediction_N.dtype != np.int64:  # Arrow turns nulls into NaN
        raise ValueError("a null among the classes")
    if len(table) and min(target_N.min(), prediction_N.min()) < 0:
        raise ValueError("a class below 0")
    file_names = table.column("file_name").cast(pa.string())
    file_names.validate(full=True)  # bytes that are no text would show only when a name is asked for
    return Predictions(
        file_names=file_names,
        target_N=target_N,
        prediction_N=prediction_N,
        probability_N=probability_N,
        loss_N=loss_N,
    )
