"""What one make-subset was told, all of it checked; light to import, for workers are started from it at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from imagekit.recipes.recipe import Recipe
from imagekit.subset.image import BuildImage
from imagekit.subset.options import SubsetOptions

if TYPE_CHECKING:
    from imagekit.engine.pool import Workers

Task = Callable[[Any], dict[str, Any]]


class Progress(Protocol):
    """What is told while images are made."""

    def __call__(self, done: int, total: int, *, n_bytes: int, n_bad: int) -> object:
        """Images done and in all, bytes of sources read, images that could not be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One command. recipe: the options applied to it; beside: a second folder for its tables; begun: monotonic seconds.

    open_workers: makes the processes that work a task.
    """

    recipe: Recipe
    source: Path
    output: Path
    beside: Path | None
    options: SubsetOptions
    n_workers: int
    timeout_s: float
    memory_limit_bytes: int | None
    retry: tuple[str, ...]
    overwrite: bool
    begun: float
    open_workers: Callable[[Order, Task], Workers]

    def task(self, staging: Path | None) -> BuildImage:
        """What a worker does with an image; without a folder to write to it does everything but write."""
        return BuildImage(
            source=str(self.source),
            staging=None if staging is None else str(staging),
            size_px=self.options.size_px,
            rule=self.recipe.resize,
            builder_pid=os.getpid(),
            check=self.options.check,
            link=self.options.link,
        )

    def workers(self, task: Task) -> Workers:
        """Processes for a task; not started yet."""
        return self.open_workers(self, task)
