"""The telemetry of a run, from its numbers to its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from imagekit.files.atomic import atomic_file
from imagekit.look.plots import Array
from imagekit.look.telemetry import draw_telemetry
from imagekit.runs.layout import RunLayout
from imagekit.runs.telemetry import read_telemetry


def draw_run_telemetry(run: Path | str) -> Image.Image | None:
    """What the layers of a run gave, from RUN/telemetry.json; None where the run was not watched.

    Raises CheckpointError where the file is damaged, and ShapeError for more layers than a picture holds.
    """
    path = RunLayout(Path(run)).telemetry_data
    if not path.exists():
        return None
    record = read_telemetry(path)
    hists_LTN, value_range = _from_zero(np.array(record.hists, dtype=np.int64), record.value_range)
    return draw_telemetry(
        np.array(record.means),
        np.array(record.stds),
        hists_LTN,
        record.names,
        near_zero_LT=np.array(record.near_zero),
        value_range=value_range,
        near_zero=record.near_zero_below,
        steps=record.steps,
    )


def _from_zero(hists_LTN: Array, value_range: tuple[float, float]) -> tuple[Array, tuple[float, float]]:
    """Without the bins below zero where all are empty, as behind a ReLU: half a picture of nothing."""
    low, high = value_range
    n_below = -low / (high - low) * hists_LTN.shape[2]
    if low >= 0 or high <= 0 or n_below != round(n_below) or hists_LTN[..., : round(n_below)].any():
        return hists_LTN, value_range
    return hists_LTN[..., round(n_below) :], (0.0, high)


def write_run_telemetry(run: Path | str) -> Path | None:
    """Draw it into RUN/telemetry.png, atomically; None where the run was not watched. Raises what drawing raises."""
    picture = draw_run_telemetry(run)
    if picture is None:
        return None
    path = RunLayout(Path(run)).telemetry
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG")
    return path
