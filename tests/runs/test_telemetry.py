"""telemetry.json: what was written is what is read, and what is no telemetry is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagekit.errors import CheckpointError
from imagekit.runs import telemetry
from imagekit.runs.telemetry import TelemetryRecord, read_telemetry, write_telemetry

RECORD = TelemetryRecord(
    every=10,
    steps=[1, 11, 21],
    names=["0", "stage1.0"],
    means=[[0.5, 0.25, 0.125], [-0.5, 0.0, 1e-7]],
    stds=[[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]],
    near_zero=[[0.5, 0.5, 0.5], [0.0, 1.0, 0.0]],
    hists=[[[1, 2], [3, 0], [0, 3]], [[0, 3], [3, 0], [2, 1]]],
    value_range=(-7.0, 7.0),
    near_zero_below=0.5,
)


def test_what_is_written_is_read(tmp_path: Path):
    write_telemetry(tmp_path / "telemetry.json", RECORD)

    assert read_telemetry(tmp_path / "telemetry.json") == RECORD


def test_numbers_have_six_digits_and_those_that_are_none_are_null(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    write_telemetry(path, replace(RECORD, means=[[1 / 3, math.nan, math.inf], [1e30, 123456789.0, 0.0]]))

    means = read_telemetry(path).means

    assert json.loads(path.read_text())["means"] == [[0.333333, None, None], [1e30, 123457000.0, 0.0]]
    assert (means[0][0], means[1]) == (0.333333, [1e30, 123457000.0, 0.0])
    assert math.isnan(means[0][1])


def changed(**values: Any) -> str:
    fields = {name: getattr(RECORD, name) for name in TelemetryRecord.__slots__}
    return json.dumps({"format_version": 1, **fields, **values})


DAMAGED = {
    "empty": "",
    "cut": changed()[:-3],
    "list": "[]",
    "deep": "[" * 100_000,
    "no version": json.dumps({"steps": [1]}),
    "other layers": changed(names=["0"]),
    "no layers": changed(names=[], means=[], stds=[], near_zero=[], hists=[]),
    "other steps": changed(steps=[1, 11]),
    "steps that fall": changed(steps=[1, 21, 11]),
    "step zero": changed(steps=[0, 11, 21]),
    "endless step": changed(steps=[1, 11, math.inf]),
    "bins of several lengths": changed(hists=[[[1, 2], [3, 0], [0, 3]], [[0, 3], [3, 0], [2]]]),
    "no bins": changed(hists=[[[], [], []], [[], [], []]]),
    "counts below 0": changed(hists=[[[1, 2], [3, 0], [0, 3]], [[0, 3], [3, 0], [2, -1]]]),
    "counts too large": changed(hists=[[[1, 2], [3, 0], [0, 3]], [[0, 3], [3, 0], [2, 2**70]]]),
    "no range": changed(value_range=[1, 1]),
    "endless range": changed(value_range=[0, math.inf]),
    "text": changed(means=[["a", 1, 1], [1, 1, 1]]),
    "one too many": changed(more=1),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_telemetry_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "telemetry.json"
    path.write_text(text)

    with pytest.raises(CheckpointError) as caught:
        read_telemetry(path)

    assert str(caught.value) == (
        f"telemetry.json is damaged\n  where: {path}\n  fix: move it aside; the run needs it for its plot alone"
    )


def test_a_newer_format_is_named(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    path.write_text(changed(format_version=2))

    with pytest.raises(CheckpointError) as caught:
        read_telemetry(path)

    assert str(caught.value) == (
        "telemetry.json has format 2; this version of imagekit reads format 1\n"
        f"  where: {path}\n  fix: install a newer imagekit"
    )


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        read_telemetry(tmp_path / "telemetry.json")

    assert caught.value.what == "telemetry.json cannot be read: No such file or directory"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "telemetry.json"
    write_telemetry(path, RECORD)
    monkeypatch.setattr(telemetry, "MAX_BYTES", 100)

    with pytest.raises(CheckpointError) as caught:
        read_telemetry(path)

    assert caught.value.what == f"telemetry.json has {path.stat().st_size:,} bytes, at most 100 are read"
