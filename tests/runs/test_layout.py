"""The names of a run's files."""

from __future__ import annotations

from pathlib import Path

from imagekit.runs.layout import RunLayout

NAMES = {
    "config": "config.toml",
    "command": "command.json",
    "environment": "environment.json",
    "vocab": "vocab.json",
    "data": "data.json",
    "metrics": "metrics.csv",
    "events": "events.jsonl",
    "checkpoints": "checkpoints",
    "last": "checkpoints/last.pt",
    "best": "checkpoints/best.pt",
    "predictions": "predictions.parquet",
    "curves": "curves.png",
    "confusion": "confusion.png",
    "telemetry": "telemetry.png",
    "telemetry_data": "telemetry.json",
    "report": "report.html",
    "timing": "timing.json",
    "status": "status.json",
    "failure": "failure.json",
    "log": "run.log",
}


def test_names_of_a_runs_files_never_change(tmp_path: Path):
    layout = RunLayout(tmp_path)

    properties = [name for name, value in vars(RunLayout).items() if isinstance(value, property)]

    assert {name: getattr(layout, name).relative_to(tmp_path).as_posix() for name in properties} == NAMES


def test_create_makes_the_folders_and_keeps_what_is_there(tmp_path: Path):
    layout = RunLayout(tmp_path / "runs" / "one").create()
    layout.last.write_bytes(b"kept")

    layout.create()

    assert layout.last.read_bytes() == b"kept"


def test_clear_removes_the_files_of_a_run_and_nothing_else(tmp_path: Path):
    layout = RunLayout(tmp_path).create()
    for name in NAMES:
        if name != "checkpoints":
            getattr(layout, name).write_bytes(b"old")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    (layout.checkpoints / "epoch-7.pt").write_bytes(b"mine")
    for name in ("epoch-0007.pt", "epoch-12345.pt"):
        (layout.checkpoints / name).write_bytes(b"old")

    layout.clear()

    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["checkpoints/epoch-7.pt", "notes.txt", "status.json"]
