"""docs/optimizers.md: its code runs as it stands, its table says what the presets are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from imagekit.optim.presets import OPTIMIZERS
from imagekit.optim.twins import find_twin

PAGE = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    torch.manual_seed(0)
    left: dict[str, Any] = {"__name__": "optimizers_page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/optimizers.md, block {number}", "exec", dont_inherit=True), left)
    return left


def test_the_code_of_the_page_runs_and_is_what_it_says(names):
    assert len(BLOCKS) == 5
    assert find_twin(names["by_hand"].rules[0]).name == "AdamW"
    assert find_twin(names["adamax"].rules[0]) is None
    assert [group["lr"] for group in names["groups"].param_groups] == [0.01, 0.1]
    assert max(names["rates"]) == pytest.approx(0.1)
    assert names["opt"].param_groups[0]["weight_decay"] == 0.05


def test_the_stepper_of_the_page_is_torchs_adamax(names):
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 6)) for _ in range(2))
    found = type(names["adamax"])([ours], names["adamax"].rules[0].steppers, names["adamax"].rules[0].stats, lr=0.01)
    expected = torch.optim.Adamax([theirs], lr=0.01)

    for step in range(10):
        ours.grad = theirs.grad = torch.linspace(1, -2, 6) * (step % 3 + 1)
        found.step()
        expected.step()

    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_table_names_the_parts_of_every_preset_and_its_own_defaults():
    assert [row[0].strip("`") for row in ROWS] == list(OPTIMIZERS)
    for name, steppers, stats, defaults, decay in ROWS:
        preset = OPTIMIZERS[name.strip("`")]
        own, _, rest = steppers.partition(";")
        assert re.findall(r"`(\w+)`", own) == [each.__name__ for each in preset.steppers]
        assert re.findall(r"`(\w+)`", stats.partition(";")[0]) == [type(each).__name__ for each in preset.stats]
        assert bool(rest) == (preset.rest is not None)
        shown = dict(pair.split(" ") for pair in defaults.split(", ")) if defaults else {}
        assert {key: str(value) for key, value in preset.told.items()} == shown
        assert (decay == "L2") == ("l2_reg" in own)
        assert (decay == "inside the step") == (
            "weight_decay" not in own and name.strip("`") != "adafactor" and decay != "L2"
        )
