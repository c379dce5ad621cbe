"""docs/training.md: every setting with its default, every preset, and code that runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from trees import draw_tree

from imagekit.training.config import OPT_HYPERS, TrainConfig, toml
from imagekit.training.presets import PRESETS

PAGE = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")


def table(title: str) -> list[list[str]]:
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_every_setting_stands_there_with_its_default():
    told = {row[0].strip("`"): row[1] for row in table("Settings")}

    defaults = {}
    for setting in fields(TrainConfig):
        value = getattr(TrainConfig(), setting.name)
        is_the_optimizers = setting.name in ("lr", *OPT_HYPERS)
        shown = "" if value is None else "{}" if value == {} else toml(value)
        defaults[setting.name] = "the optimizer's" if is_the_optimizers else shown
    assert told == defaults


def test_every_preset_stands_there():
    assert [row[0].strip("`") for row in table("Presets")] == list(PRESETS)


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    draw_tree(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)

    exec(compile(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], "docs/training.md", "exec"), {})

    assert re.search(r"'(cat|dog)': \d+", capsys.readouterr().out)
