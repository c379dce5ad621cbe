"""What a run directory says, read with care: a file that is missing or damaged becomes a note, never an error."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagekit.errors import CheckpointError, ImageError
from imagekit.files.read import read_file
from imagekit.look.data_facts import DataFacts, parse_data
from imagekit.look.epochs import Row, best_number
from imagekit.look.predictions import Predictions, read_predictions
from imagekit.look.settings import flatten, read_origins
from imagekit.pixels.open import Picture, open_image
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import Status, read_status

MAX_TELEMETRY_BYTES = 4_000_000  # what a page can still carry


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """A run as far as it can be read.

    config, environment: dotted key and value. origins: dotted key of a setting -> where its value came from. telemetry:
    the bytes of telemetry.png and what they show. notes: what is missing.
    """

    layout: RunLayout
    status: Status
    rows: tuple[Row, ...]
    vocab: tuple[str, ...]
    class_names: tuple[str, ...]
    predictions: Predictions | None
    data: DataFacts | None
    config: tuple[tuple[str, str], ...]
    origins: Mapping[str, str]
    environment: tuple[tuple[str, str], ...]
    timing: Mapping[str, float]
    telemetry: tuple[bytes, Picture] | None
    command: str | None
    failure: str | None
    notes: tuple[str, ...]

    def best_row(self) -> Row | None:
        """The row of the best epoch; None without any."""
        number = best_number(self.rows)
        return None if number is None else self.rows[number]


def read_facts(run: Path) -> RunFacts:
    """Read the run directory. Raises CheckpointError where there is no readable status.json: it is no run then."""
    layout, notes = RunLayout(run), list[str]()
    status = read_status(layout.status)
    rows = _read_metrics(layout, notes)
    names = _read_json(layout.vocab, notes, "classes are shown by their number")
    predictions = _read_predictions(layout, notes)
    vocab, class_names = _names(names, predictions)
    if predictions is not None and predictions.highest_class() >= len(vocab) and len(predictions):
        notes.append(f"{layout.predictions.name} names classes that {layout.vocab.name} lacks and is left out")
        predictions = None
    timing = _read_json(layout.timing, notes, "times are those of the epochs")
    data = _read_data(layout, notes)
    config, origins = _read_config(layout, notes)
    environment = _read_json(layout.environment, notes, "the machine is not known")
    command = _read_json(layout.command, notes, "the command line is not known")
    return RunFacts(
        layout=layout,
        status=status,
        rows=rows,
        vocab=vocab,
        class_names=class_names,
        predictions=predictions,
        data=data or _digest_alone(command),
        config=config,
        origins=origins,
        environment=tuple(flatten(environment)),
        timing={
            key: float(value) for key, value in timing.items() if type(value) in (int, float) and abs(value) < 1e15
        },
        telemetry=_read_telemetry(layout, notes),
        command=_command_line(command),
        failure=_failure(layout, status),
        notes=tuple(notes),
    )


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
    if not vocab and predictions is not None:
        vocab = tuple(str(number) for number in range(min(predictions.highest_class() + 1, 10_000)))
    return vocab, class_names if len(class_names) == len(vocab) else vocab


def _read_predictions(layout: RunLayout, notes: list[str]) -> Predictions | None:
    effect = "no confusion matrix, no scores per class, no losses of single images"
    try:
        return read_predictions(layout.predictions)
    except FileNotFoundError:
        notes.append(f"{layout.predictions.name} is missing: {effect}")
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        notes.append(f"{layout.predictions.name} is damaged: {effect}")
    return None


def _read_data(layout: RunLayout, notes: list[str]) -> DataFacts | None:
    effect = "what the run was trained on is not known"
    n_notes = len(notes)
    value = _read_json(layout.data, notes, effect)
    if len(notes) > n_notes:
        return None
    try:
        return parse_data(value)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        notes.append(f"{layout.data.name} is damaged: {effect}")
        return None


def _digest_alone(command: Mapping[str, Any]) -> DataFacts | None:
    """What runs of before data.json say of their data, beside the command line."""
    digest = command.get("rows_sha256")
    return DataFacts(facts=(("rows_sha256", digest),)) if isinstance(digest, str) else None


def _read_config(layout: RunLayout, notes: list[str]) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    try:
        text = layout.config.read_text(encoding="utf-8")
        return tuple(flatten(tomllib.loads(text))), read_origins(text)
    except FileNotFoundError:
        notes.append(f"{layout.config.name} is missing: the settings are not known")
    except (OSError, ValueError, RecursionError):
        notes.append(f"{layout.config.name} is damaged: the settings are not known")
    return (), {}


def _read_telemetry(layout: RunLayout, notes: list[str]) -> tuple[bytes, Picture] | None:
    """None in silence where there is none: only a run that was asked for telemetry has it."""
    try:
        content = read_file(layout.telemetry, max_bytes=MAX_TELEMETRY_BYTES)
        picture = open_image(content)
    except ImageError as error:
        if error.reason != "vanished":
            notes.append(f"{layout.telemetry.name} cannot be used ({error.reason}): no activations")
        return None
    if picture.format != "PNG":
        notes.append(f"{layout.telemetry.name} cannot be used (it is {picture.format}): no activations")
        return None
    return content, picture


def _command_line(command: Mapping[str, Any]) -> str | None:
    words = command.get("argv")
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
