"""docs/models.md: its code runs as it stands, its table counts what is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from imagekit.models.layers import ACTS
from imagekit.models.norm import NORMS
from imagekit.models.registry import MODELS
from imagekit.models.summary import model_summary

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.fixture
def names(tmp_path, monkeypatch, capsys) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    left: dict[str, Any] = {"__name__": "models_page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/models.md, block {number}", "exec", dont_inherit=True), left)
    left["printed"] = capsys.readouterr().out
    return left


def test_the_code_of_the_page_runs_and_does_what_it_says(names):
    assert len(BLOCKS) == 4
    assert names["logits"].shape == (8, 10)
    assert names["summary"].n_parameters == 11_228_586
    assert all(abs(row.mean) < 1e-3 and abs(row.std - 1) < 1e-3 for row in names["report"].rows)
    assert names["telemetry"].means_LT.shape == (7, 5)
    assert Path("telemetry.png").exists()
    assert not any(layer._forward_hooks for layer in names["net"].modules())
    assert "total" in names["printed"]
    assert "std before" in names["printed"]


def test_the_table_counts_every_model():
    assert [row[0].strip("`") for row in ROWS] == list(MODELS)
    for name, parameters, macs, options in ROWS:
        make = MODELS[name.strip("`")]
        with torch.device("meta"):
            summary = model_summary(make(c_in=3, c_out=10), torch.zeros(1, 3, 128, 128))
        assert (f"{summary.n_parameters:,}", f"{summary.n_macs:,}") == (parameters, macs)
        known = [key for key in inspect.signature(make).parameters if key not in ("c_in", "c_out")]
        assert options == ", ".join(known)


def test_the_page_names_every_norm_and_activation():
    text = " ".join(PAGE.split())

    assert f"`act`: {', '.join(ACTS)}." in text
    assert f"`norm`: {', '.join(NORMS)}." in text
