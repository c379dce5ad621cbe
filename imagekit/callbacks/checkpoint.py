"""Two checkpoints: the last whole epoch and the best one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagekit.learner.callback import Callback
from imagekit.runs.checkpoint import save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_event


class CheckpointCallback(Callback):
    """Save what `state_fn()` gives after each epoch, and as the best one where the row says `is_best`.

    The best is written first: a kill in between repeats the epoch on resume, and writes the same best again. The other
    way round it would be lost.
    """

    _order = 60

    def __init__(self, layout: RunLayout, state_fn: Callable[[], Mapping[str, object]]) -> None:
        self.layout = layout
        self.state_fn = state_fn

    def after_epoch(self) -> None:
        """Write the checkpoints of this epoch."""
        state = self.state_fn()
        is_best = bool(self.learner.row.get("is_best"))
        if is_best:
            save_checkpoint(self.layout.best, state)
        save_checkpoint(self.layout.last, state)
        append_event(self.layout.events, "checkpoint", epoch=self.learner.epoch + 1, best=is_best)
