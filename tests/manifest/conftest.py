"""Most tests of this room need no worker processes: the engine has tests of its own."""

import pytest
from manifest.albums import inline


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds work in this process: faster by the start of an interpreter each."""
    monkeypatch.setattr("imagekit.manifest.looking.run_items", inline)
