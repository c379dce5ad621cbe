"""Most tests of this room need no worker processes: the engine has tests of its own."""

import pytest
from subset.trees import InlineWorkers


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds work in this process: faster by the start of an interpreter each."""
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
