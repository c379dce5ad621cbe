"""Fixtures that several rooms share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from trees import draw_tree

from imagekit.manifest.build import build_manifest

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program they start and
# then interrupt. A handler is reset when a program is started, an ignored signal is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    """The manifest of a small tree: two classes, 12 train and 6 valid images of 40 x 32 pixels."""
    root = draw_tree(tmp_path / "pictures")
    return build_manifest(root, n_workers=1).output
