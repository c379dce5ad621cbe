"""Builds that a fault is put into: what lies there before, what the command is, what it must end in."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from unittest import mock

from subset.trees import InlineWorkers, picture, plant, recipe, tree, two_classes

from imagekit.files import seam
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """is_update: an output of the source as it was is there, made with `before` where that differs from `options`.

    exchanging: two folders can change places in one step.
    """

    options: SubsetOptions
    is_update: bool
    before: SubsetOptions | None = None
    exchanging: bool = True


# a filter of Pillow's: torch takes a second to load, and every fork of a process that has it takes longer
HALF, FULL, HARD = SubsetOptions(size=4, filter="lanczos"), SubsetOptions(), SubsetOptions(link="hard")
SCENARIOS = {
    "fresh, resized": Scenario(options=HALF, is_update=False),
    "fresh, full": Scenario(options=FULL, is_update=False),
    "fresh, hard links": Scenario(options=HARD, is_update=False),
    "update, resized": Scenario(options=HALF, is_update=True),
    "update, hard links": Scenario(options=HARD, is_update=True),
    "update without exchange": Scenario(options=FULL, is_update=True, exchanging=False),
    "another size": Scenario(options=HALF, is_update=True, before=FULL),
}

# a build notes the versions of a few programs; to read them anew each time takes a third of a small build's time
VERSION = functools.cache(metadata.version)


class Stage:
    """One scenario set up in a folder: the source, the old version and what a run without faults makes of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.scenario, self.folder = SCENARIOS[name], folder
        self.source = plant(folder / "source", two_classes())
        self._template = folder / "template"
        if self.scenario.is_update:
            self._build(self._template, self.scenario.before or self.scenario.options)
        self.old = tree(self._template)
        self._change_source()
        self.build(folder / "fresh")
        self.new = tree(folder / "fresh")
        self.sources = tree(self.source)

    def place(self, k: int) -> Path:
        """The output's path for the k-th try, in a folder of its own; there, the very files of the old version."""
        output = self.folder / f"k{k}" / "out"
        output.parent.mkdir()
        if self.scenario.is_update:
            shutil.copytree(self._template, output, copy_function=os.link)
        return output

    def build(self, output: Path) -> SubsetReport:
        """Run the command."""
        return self._build(output, self.scenario.options)

    def found(self, output: Path) -> str:
        """old, new or torn; absent counts as old where nothing was there."""
        if not output.exists():
            return "torn" if self.scenario.is_update else "old"
        held = tree(output)
        return "new" if held == self.new else "old" if held == self.old and self.scenario.is_update else "torn"

    def is_clean(self) -> bool:
        """Whether no old file and no source was written to through one of its other names."""
        return tree(self._template) == self.old and tree(self.source) == self.sources

    def _build(self, output: Path, options: SubsetOptions) -> SubsetReport:
        overwrite = self.scenario.before is not None  # other options are refused without it
        with quick(exchanging=self.scenario.exchanging):
            return make_subset(recipe(), self.source, output=output, options=options, overwrite=overwrite)

    def _change_source(self) -> None:
        """One image more, one less, one another."""
        if not self.scenario.is_update:
            return
        (self.source / "train/n01/0.JPEG").unlink()  # a new file, for the old one may have another name
        (self.source / "train/n02/1.JPEG").unlink()
        plant(self.source, {"train/n01/0.JPEG": picture(seed=50), "train/n02/new.JPEG": picture(seed=51)})


@contextlib.contextmanager
def quick(*, exchanging: bool = True) -> Iterator[None]:
    """Work in this process, sync file by file and without waiting for the disk: a killed process loses no page."""
    if os.environ.get("OMP_NUM_THREADS") is None:  # a child is forked from this process: no threads of torch's
        os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch("imagekit.subset.build.Workers", InlineWorkers))
        patches.enter_context(mock.patch("imagekit.subset.making.version", VERSION))
        if not exchanging:
            patches.enter_context(mock.patch.object(seam, "exchange", lambda one, other: False))
        yield


@contextlib.contextmanager
def without_disk() -> Iterator[None]:
    """Syncing is counted and does nothing. To be entered before faults are put in, so that they meet every call."""
    with (
        mock.patch.object(seam, "sync_filesystem", lambda fd: False),
        mock.patch.object(seam, "fsync", lambda fd: None),
    ):
        yield
