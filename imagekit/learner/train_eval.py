"""The one callback that every learner has: the model's mode follows the phase."""

from __future__ import annotations

from imagekit.learner.callback import Callback


class TrainEvalCallback(Callback):
    """Put the model into training mode before an epoch and into evaluation mode before validation.

    A Learner adds one itself unless it is handed one; a subclass can keep frozen layers in evaluation mode.
    """

    _order = -10

    def begin_epoch(self) -> None:
        """Training mode."""
        self.model.train()

    def begin_validate(self) -> None:
        """Evaluation mode."""
        self.model.eval()
