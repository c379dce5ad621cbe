"""What the model said of every image, joined to the manifest's names: predictions.parquet.

Shapes: N images, K classes.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch.nn.functional as F

from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.data.dataset import ManifestDataset
from imagekit.errors import TrainingError
from imagekit.files.atomic import atomic_file


def predictions_table(dataset: ManifestDataset, predictions: PredictionsCallback) -> pa.Table:
    """A row an image in the dataset's order: file_name, split, target, prediction, probability, loss.

    probability is that of the predicted class. Raises TrainingError where no validation pass was kept.
    """
    if predictions.logits_NK is None or predictions.rows_N is None:
        raise TrainingError("no epoch came to the end of its validation", fix="train for at least one whole epoch")
    order = predictions.rows_N.argsort()
    rows_N, logits_NK = predictions.rows_N[order], predictions.logits_NK[order]
    targets_N = dataset.targets()[rows_N]
    probability_N, prediction_N = logits_NK.softmax(dim=1).max(dim=1)
    names = dataset.file_names()
    columns = {
        "file_name": pa.array([names[row] for row in rows_N.tolist()]),
        "split": pa.array([dataset.split] * len(rows_N)),
        "target": pa.array(targets_N.numpy(), pa.int32()),
        "prediction": pa.array(prediction_N.numpy(), pa.int32()),
        "probability": pa.array(probability_N.numpy(), pa.float32()),
        "loss": pa.array(F.cross_entropy(logits_NK, targets_N, reduction="none").numpy(), pa.float32()),
    }
    return pa.table(columns)


def write_predictions(path: Path, dataset: ManifestDataset, predictions: PredictionsCallback) -> None:
    """Write predictions_table atomically, zstd."""
    with atomic_file(path) as aside:
        pq.write_table(predictions_table(dataset, predictions), aside, compression="zstd")
