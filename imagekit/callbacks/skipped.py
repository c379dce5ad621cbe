"""Images that could not be used and were left out: counted in the row, told in the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagekit.learner.callback import Callback
from imagekit.runs.recorder import append_event


class SkippedCallback(Callback):
    """Put `skipped`, the samples of the epoch that were left out, into the row, training and validation together.

    Each file is told once, as an event `skip` with its name, phase and reason: after its epoch, or before a checkpoint
    inside it. `names` are all of them, in the order in which they were met, each with the reason. The loaders must have
    `skipped`, and a dataset with `row_name`.
    """

    _order = 30

    def __init__(self, events: Path) -> None:
        self.events = events
        self.names: dict[str, str] = {}
        self._n_before = 0  # samples of this epoch that an earlier fit left out
        self._is_validated = False

    def begin_epoch(self) -> None:
        """A new count, unless the epoch is gone on with."""
        if not self.learner.i_batch:
            self._n_before = 0

    def begin_validate(self) -> None:
        """Whether anything is validated in this epoch: the loader counts what it met when it was last gone through."""
        self._is_validated = len(self.learner.dl) > 0

    def after_epoch(self) -> None:
        """Fill the row."""
        self._tell()
        n_valid = len(self.learner.data.valid_dl.skipped) if self._is_validated else 0
        self.learner.row["skipped"] = self._n_training() + n_valid

    def after_fit(self) -> None:
        """What a fit that ended early has met."""
        self._tell()

    def state_dict(self) -> dict[str, Any]:
        """How many were left out so far in this epoch, and which files they were; those not told yet are told now."""
        self._tell()
        n_open = self._n_training() if self.learner.batches_done else 0
        return {"n_before": n_open, "names": dict(self.names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._n_before, self.names = int(state["n_before"]), dict(state["names"])

    def _n_training(self) -> int:
        return self._n_before + len(self.learner.data.train_dl.skipped)

    def _tell(self) -> None:
        for phase, loader in (("train", self.learner.data.train_dl), ("valid", self.learner.data.valid_dl)):
            for each in loader.skipped:
                name = loader.dataset.row_name(each.row)
                if name not in self.names:
                    self.names[name] = each.error.what.removeprefix(f"{name} ")
                    append_event(self.events, "skip", phase=phase, file=name, why=self.names[name])
