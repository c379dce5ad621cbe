"""docs/callbacks.md: its code runs as it stands, its tables say what there is, in which order, by which option."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import imagekit.callbacks
from imagekit.learner import events
from imagekit.learner.callback import Callback
from imagekit.training.settings import resolve_settings

PAGE = (Path(__file__).parent.parent / "docs" / "callbacks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| `")]
CALLBACKS = [row for row in ROWS if len(row) == 4]
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


class RecordingWriter:
    """What a SummaryWriter is asked to do, for where there is none."""

    written: list[tuple[str, float, int]]

    def __init__(self, folder: str) -> None:
        self.written = []

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((name, float(value), step))


def run_page() -> dict[str, Any]:
    """Run every block in the working folder; the names that they leave."""
    torch.manual_seed(0)
    left: dict[str, Any] = {"__name__": "callbacks_page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/callbacks.md, block {number}", "exec", dont_inherit=True), left)
    return left


def test_the_code_of_the_page_runs_and_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = RecordingWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)

    names = run_page()

    assert len(BLOCKS) == 4
    written = names["writer"].written
    assert {step for _, _, step in written} == {1, 2}
    assert ("valid_loss", names["learner"].row["valid_loss"], 2) in written
    assert {name for name, _, _ in written} == set(names["learner"].row) - {"epoch"}
    with Path("with_confidence.csv").open(encoding="utf-8") as file:
        assert all(0.5 <= float(row["valid_confidence"]) <= 1 for row in csv.DictReader(file))
    with Path("log.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3
    shown = capsys.readouterr().err
    assert shown.startswith("after_loss: training, epoch 1 of 3, batch 1 of 4\n  xb    float32 [64, 3, 8, 8] on cpu, ")
    assert shown.splitlines()[0] in PAGE


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")  # those of another package
def test_the_code_of_the_page_runs_with_the_real_tensorboard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    run_page()

    assert any(path.stat().st_size for path in Path("boards").iterdir())


def test_the_events_are_all_there_in_their_order():
    listed = [row[0].strip("`") for row in ROWS if row[0].strip("`") in events.EVENTS]

    assert listed == list(events.EVENTS)


def test_the_cancels_are_all_there():
    listed = [row[0].strip("`") for row in ROWS if row[0].startswith("`Cancel")]

    assert listed == [name for name in vars(events) if name.startswith("Cancel")]


def public_callbacks() -> dict[str, int]:
    """Name and order of every public callback of the package."""
    modules = [
        importlib.import_module(f"imagekit.callbacks.{module.name}")
        for module in pkgutil.iter_modules(imagekit.callbacks.__path__)
    ]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {
        kind.__name__: kind._order
        for kind in kinds
        if issubclass(kind, Callback) and kind is not Callback and not kind.__name__.startswith("_")
    }


def test_the_table_holds_every_callback_with_its_order():
    listed = {row[0].strip("`"): int(row[2]) for row in CALLBACKS}

    assert listed == public_callbacks()
    assert len(listed) == len(CALLBACKS)
    assert list(listed.values()) == sorted(listed.values())


def test_every_option_of_the_table_is_a_setting():
    options = re.findall(r"`--set ([^`]+)`", " ".join(row[3] for row in CALLBACKS))

    assert len(options) > 8
    for option in options:
        key = option.partition("=")[0]
        assert resolve_settings({}, sets=[option]).origins[key] == "flag", option
