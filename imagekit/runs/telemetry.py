"""telemetry.json: what the layers of a run gave while it trained, in plain lists.

Shapes: L layers, T steps, N bins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from imagekit.errors import CheckpointError
from imagekit.files.atomic import write_text

FORMAT_VERSION = 1
MAX_BYTES = 64 * 2**20  # 100 layers at 500 steps are 15 MB
MAX_COUNT = 2**53  # whole numbers that a float holds too

Floats = list[list[float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryRecord:
    """Statistics of the outputs of L layers at T training steps.

    every: the distance of the steps; steps: T numbers, counted from 1 over the whole training; names: of the layers.
    means, stds: [L][T]; near_zero: [L][T], the share of values x with abs(x) < near_zero_below; hists: [L][T][N] counts
    of the values over value_range, those beyond it in the end bins. A number that is not finite is NaN.
    """

    every: int
    steps: list[int]
    names: list[str]
    means: Floats
    stds: Floats
    near_zero: Floats
    hists: list[list[list[int]]]
    value_range: tuple[float, float]
    near_zero_below: float


def write_telemetry(path: Path, record: TelemetryRecord) -> None:
    """Write the record as one line of JSON, atomically; floats with six digits, NaN as null. Raises DiskFullError."""
    values = asdict(record)
    for name in ("means", "stds", "near_zero"):
        values[name] = [[_short(value) for value in row] for row in values[name]]
    text = json.dumps({"format_version": FORMAT_VERSION, **values}, ensure_ascii=False, allow_nan=False, sort_keys=True)
    write_text(path, text + "\n")


def read_telemetry(path: Path) -> TelemetryRecord:
    """The record at `path`. Raises CheckpointError where it cannot be read, is damaged, or of a newer format."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _refused(path, f"telemetry.json has {size:,} bytes, at most {MAX_BYTES:,} are read")
        values = json.loads(path.read_bytes())
        version = values.pop("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise CheckpointError(
                f"telemetry.json has format {version}; this version of imagekit reads format {FORMAT_VERSION}",
                where=str(path),
                fix="install a newer imagekit",
            )
        return _checked(values)
    except OSError as error:
        raise _refused(path, f"telemetry.json cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise _refused(path, "telemetry.json is damaged") from error


def _checked(values: dict[str, Any]) -> TelemetryRecord:
    """Every number as what it must be, in lists as long as they must be. Raises ValueError and its like."""
    low, high = (float(value) for value in values["value_range"])
    steps, names = [int(step) for step in values["steps"]], [str(name) for name in values["names"]]
    n_layers, n_steps = len(names), len(steps)
    floats = {
        name: [[math.nan if value is None else float(value) for value in row] for row in values[name]]
        for name in ("means", "stds", "near_zero")
    }
    hists = [[[int(count) for count in bins] for bins in row] for row in values["hists"]]
    tables: list[Sequence[Sequence[Any]]] = [*floats.values(), hists]
    n_bins = {len(bins) for row in hists for bins in row}
    if any(len(table) != n_layers or any(len(row) != n_steps for row in table) for table in tables):
        raise ValueError("lists of several lengths")
    if not n_layers or not n_steps or len(n_bins) != 1 or 0 in n_bins or set(values) != _NAMES:
        raise ValueError("empty lists, or other ones")
    if any(not 0 <= count <= MAX_COUNT for row in hists for bins in row for count in bins):
        raise ValueError("counts that are none")
    if sorted(set(steps)) != steps or not 1 <= steps[0] <= steps[-1] <= MAX_COUNT or int(values["every"]) < 1:
        raise ValueError("steps that do not rise")
    if not (low < high and math.isfinite(low - high)):
        raise ValueError("no range")
    return TelemetryRecord(
        every=int(values["every"]),
        steps=steps,
        names=names,
        **floats,
        hists=hists,
        value_range=(low, high),
        near_zero_below=float(values["near_zero_below"]),
    )


_NAMES = {field.name for field in fields(TelemetryRecord)}


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(what, where=str(path), fix="move it aside; the run needs it for its plot alone")
