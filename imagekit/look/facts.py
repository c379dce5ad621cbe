"""What a run directory says, read with care: a file that is missing or damaged becomes a note, never an error.

Shapes: N images, K classes.
"""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.errors import CheckpointError
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import Status, read_status

Row = Mapping[str, float | None]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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

    def count(self, n_classes: int) -> Ints:
        """The confusion matrix, int64 [K, K]: rows are the truth, columns the prediction."""
        cells = self.target_N * n_classes + self.prediction_N
        return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)

    def worst_errors(self, n: int) -> list[int]:
        """The rows of the `n` wrong predictions with the highest loss, highest first; equals by row, NaN last."""
        wrong = np.flatnonzero(self.target_N != self.prediction_N)
        loss = np.where(np.isnan(self.loss_N[wrong]), -np.inf, self.loss_N[wrong])
        return [int(row) for row in wrong[np.argsort(-loss, kind="stable")[:n]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """A run as far as it can be read. `config`, `environment`: dotted key and value; `notes`: what is missing."""

    layout: RunLayout
    status: Status
    rows: tuple[Row, ...]
    vocab: tuple[str, ...]
    class_names: tuple[str, ...]
    predictions: Predictions | None
    config: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    timing: Mapping[str, float]
    command: str | None
    failure: str | None
    notes: tuple[str, ...]

    def best_row(self) -> Row | None:
        """The row with the highest valid accuracy, the latest of equals; None without any."""
        known = [(value, number) for number, row in enumerate(self.rows) if is_number(value := _accuracy(row))]
        return self.rows[max(known)[1]] if known else None


def is_number(value: float | None) -> bool:
    """True for what can be compared and drawn: neither None nor NaN nor infinity."""
    return value is not None and math.isfinite(value)


def read_facts(run: Path) -> RunFacts:
    """Read the run directory. Raises CheckpointError where there is no readable status.json: it is no run then."""
    layout, notes = RunLayout(run), list[str]()
    status = read_status(layout.status)
    rows = _read_metrics(layout, notes)
    names = _read_json(layout.vocab, notes, "classes are shown by their number")
    predictions = _read_predictions(layout, notes)
    vocab, class_names = _names(names, predictions)
    if predictions is not None and len(predictions) and _highest(predictions) >= len(vocab):
        notes.append(f"{layout.predictions.name} names classes that {layout.vocab.name} lacks and is left out")
        predictions = None
    timing = _read_json(layout.timing, notes, "times are those of the epochs")
    return RunFacts(
        layout=layout,
        status=status,
        rows=rows,
        vocab=vocab,
        class_names=class_names,
        predictions=predictions,
        config=_read_config(layout, notes),
        environment=tuple(flatten(_read_json(layout.environment, notes, "the machine is not known"))),
        timing={
            key: float(value) for key, value in timing.items() if type(value) in (int, float) and abs(value) < 1e15
        },
        command=_command(layout, notes),
        failure=_failure(layout, status),
        notes=tuple(notes),
    )


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value as text, in the order of the file; sizes in bytes are read out in GiB."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from flatten(item, f"{name}.")
        elif type(item) is int and key.endswith("_bytes"):
            yield name.removesuffix("_bytes"), f"{min(item, 2**80) / 2**30:.1f} GiB"
        elif item is not None:
            yield name, json.dumps(item, ensure_ascii=False) if isinstance(item, list | bool) else str(item)


def _accuracy(row: Row) -> float | None:
    return row.get("valid_accuracy")


def _read_metrics(layout: RunLayout, notes: list[str]) -> tuple[Row, ...]:
    try:
        rows = tuple({name: _number(text) for name, text in row.items()} for row in read_rows(layout.metrics))
    except CheckpointError as error:
        notes.append(f"{error.what}: no epochs are shown")
        return ()
    if not rows:
        notes.append(f"{layout.metrics.name} holds no epoch yet: no curves")
    return rows


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_json(path: Path, notes: list[str], effect: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            return value
    except FileNotFoundError:
        notes.append(f"{path.name} is missing: {effect}")
        return {}
    except (OSError, ValueError, RecursionError):
        pass
    notes.append(f"{path.name} is damaged: {effect}")
    return {}


def _names(names: Mapping[str, Any], predictions: Predictions | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Vocab and class names of equal length; class numbers where there are none."""
    found = [names.get(key) for key in ("vocab", "class_names")]
    vocab, class_names = (tuple(map(str, value)) if isinstance(value, list) else () for value in found)
    if not vocab and predictions is not None and len(predictions):
        vocab = tuple(str(number) for number in range(min(_highest(predictions) + 1, 10_000)))
    return vocab, class_names if len(class_names) == len(vocab) else vocab


def _highest(predictions: Predictions) -> int:
    return int(max(predictions.target_N.max(), predictions.prediction_N.max()))


def _read_predictions(layout: RunLayout, notes: list[str]) -> Predictions | None:
    effect = "no confusion matrix, no accuracy per class, no errors"
    try:
        with layout.predictions.open("rb") as file:
            return _predictions(pq.read_table(file, columns=["file_name", *_COLUMNS]))
    except FileNotFoundError:
        notes.append(f"{layout.predictions.name} is missing: {effect}")
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        notes.append(f"{layout.predictions.name} is damaged: {effect}")
    return None


_COLUMNS = {"target": pa.int64(), "prediction": pa.int64(), "probability": pa.float64(), "loss": pa.float64()}


def _predictions(table: pa.Table) -> Predictions:
    target_N, prediction_N, probability_N, loss_N = (
        table.column(name).cast(type_).to_numpy() for name, type_ in _COLUMNS.items()
    )
    if target_N.dtype != np.int64 or prediction_N.dtype != np.int64:  # Arrow turns nulls into NaN
        raise ValueError("a null among the classes")
    if len(table) and min(target_N.min(), prediction_N.min()) < 0:
        raise ValueError("a class below 0")
    return Predictions(
        file_names=table.column("file_name").cast(pa.string()),
        target_N=target_N,
        prediction_N=prediction_N,
        probability_N=probability_N,
        loss_N=loss_N,
    )


def _read_config(layout: RunLayout, notes: list[str]) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(flatten(tomllib.loads(layout.config.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        notes.append(f"{layout.config.name} is missing: the settings are not known")
    except (OSError, ValueError, RecursionError):
        notes.append(f"{layout.config.name} is damaged: the settings are not known")
    return ()


def _command(layout: RunLayout, notes: list[str]) -> str | None:
    words = _read_json(layout.command, notes, "the command line is not known").get("argv")
    return shlex.join(map(str, words)) if isinstance(words, list) and words else None


def _failure(layout: RunLayout, status: Status) -> str | None:
    """Why a failed run failed, in the words of its last such event."""
    if status.state != "failed":
        return None
    try:
        events = read_events(layout.events)
    except CheckpointError:
        return None
    return next((str(event["what"]) for event in reversed(events) if event.get("what")), None)
