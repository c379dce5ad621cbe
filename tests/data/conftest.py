"""What tests of workers share."""

import multiprocessing

import pytest


@pytest.fixture
def own_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let multiprocessing.active_children tell of processes that the test itself started, not of what others left."""
    real = multiprocessing.active_children
    before = {process.pid for process in real()}
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [each for each in real() if each.pid not in before])
