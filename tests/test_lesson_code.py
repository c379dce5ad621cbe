"""docs/lesson.md: its code runs from the first block to the last, and shows what the notebooks showed."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).parent.parent / "docs" / "lesson.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NOTEBOOKS = (
    "02",
    "03",
    "04",
    "05",
    "05b",
    "06",
    "07",
    "07a",
    "08",
    "09",
    "09b",
    "09c",
    "10",
    "10b",
    "10c",
    "11",
    "11a",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Any]:
    """What the blocks leave behind, run one after another in an empty folder; and what they printed."""
    left: dict[str, Any] = {"__name__": "lesson_page"}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the page is the same on any number of cores
    folder = tmp_path_factory.mktemp("lesson")
    try:
        with (
            contextlib.chdir(folder),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()) as printed,
            contextlib.redirect_stderr(printed),
        ):
            for number, block in enumerate(BLOCKS):
                exec(compile(block, f"docs/lesson.md, block {number}", "exec", dont_inherit=True), left)
    finally:
        torch.set_num_threads(n_threads)
    return left | {"printed": printed.getvalue(), "folder": folder}


@pytest.mark.slow
def test_the_code_of_the_page_runs_from_files_to_an_xresnet(names):
    assert names["learner"].row["valid_accuracy"] is not None
    assert names["printed"] == ""
    assert sorted(path.name for path in names["folder"].iterdir()) == ["batch.png", "shapes", "telemetry.png"]


def test_every_block_of_the_page_asserts_or_prepares_what_the_next_one_asserts():
    asserts = [sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(block))) for block in BLOCKS]

    assert len(BLOCKS) == 27
    assert [number for number, count in enumerate(asserts) if not count] == [0]
    assert sum(asserts) > 60


def test_the_page_goes_through_the_notebooks_by_name():
    headings = re.findall(r"^## .+\((.+)\)$", PAGE, re.MULTILINE)

    assert {number for heading in headings for number in heading.split(", ")} == set(NOTEBOOKS)
    assert max(map(len, "\n".join(BLOCKS).splitlines())) <= 120
