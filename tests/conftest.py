"""Fixtures that several rooms share."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

# Before numpy and torch are loaded: beside other tests, threads that wait for each other at every small tensor take
# four times the seconds that one alone takes. Where their number matters, the fixture `set_threads` sets it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The programs that tests start, hundreds of them, are not to compile the package anew each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A build notes the versions of a few programs, each read and parsed; none is installed while tests run.
metadata.version = functools.cache(metadata.version)

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program they start and
# then interrupt. A handler is reset when a program is started, an ignored signal is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree and its manifest, for `manifest_path` to copy; read only."""
    from trees import draw_tree

    from imagekit.manifest.build import build_manifest

    return build_manifest(draw_tree(tmp_path_factory.mktemp("small") / "pictures"), n_workers=1).output.parent


@pytest.fixture
def manifest_path(small_tree: Path, tmp_path: Path) -> Path:
    """The manifest of a small tree: two classes, 12 train and 6 valid images of 40 x 32 pixels."""
    return shutil.copytree(small_tree, tmp_path / "pictures") / "metadata.parquet"


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """torch.set_num_threads, undone at the end."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
