"""Sources and outputs of the fault tests; most builds work in this process, where a fault can be put."""

from pathlib import Path

import pytest
from subset.trees import InlineWorkers, plant, two_classes


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds work in this process: faults in it reach the task, and no interpreter is started."""
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes, two images each in train and one in val; settled."""
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A path in a folder of its own, so that whatever is left beside it is seen."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "out"
