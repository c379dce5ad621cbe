"""docs/lessons.md: every place that it names is there, and every test."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "lessons.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" |")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| lesson")
]


def test_every_place_on_the_page_can_be_imported():
    places = {place for row in ROWS for place in re.findall(r"`([\w.]+)`", row[1])}
    missing = []
    for place in places:
        module, _, name = f"imagekit.{place}".rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            found = False
        if not found:
            try:
                importlib.import_module(f"imagekit.{place}")
            except ModuleNotFoundError:
                missing.append(place)

    assert len(places) > 60
    assert missing == []


def test_every_test_on_the_page_exists():
    named = {tuple(test.split("::")) for row in ROWS for test in re.findall(r"`([\w/]+\.py::\w+)`", row[-1])}
    missing = []
    for file, name in named:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8")) if (TESTS / file).exists() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{file}::{name}")

    assert len(named) > 70
    assert missing == []


def test_every_row_that_is_somewhere_has_a_test():
    assert [row[0] for row in ROWS if row[1] and not row[-1]] == []
    assert {len(row) for row in ROWS} == {4}
