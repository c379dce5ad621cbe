"""What each epoch reached, in training and in validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagekit.learner.callback import Callback
from imagekit.learner.metrics import AvgStats, Metric, accuracy


class MetricsCallback(Callback):
    """Average loss and metrics over the images of an epoch and put them into the learner's `row`.

    The row gets `epoch` (from 1), train_loss, train_accuracy (or what the metrics are called), valid_loss,
    valid_accuracy and lr (of the last parameter group, as last used, None without an optimizer). A phase without
    images has None.
    The training values are those of the moving model, as the batches went by.
    """

    _order = 10

    def __init__(self, metrics: Mapping[str, Metric] | None = None) -> None:
        chosen = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.train_stats, self.valid_stats = AvgStats(chosen), AvgStats(chosen)

    def begin_epoch(self) -> None:
        """Forget the epoch before; of one that a fit goes on with, nothing."""
        if not self.learner.i_batch:
            self.train_stats.reset()

    def begin_validate(self) -> None:
        """Forget the validation before, which need not have been of an epoch."""
        self.valid_stats.reset()

    def after_loss(self) -> None:
        """Add this batch; nothing waits for the device."""
        stats = self.train_stats if self.learner.in_train else self.valid_stats
        stats.accumulate(self.learner.pred, self.learner.yb, self.learner.loss)

    def after_epoch(self) -> None:
        """Read the means, the one time in an epoch that the device is waited for, and fill the row."""
        row = {"epoch": self.learner.epoch + 1}
        row |= {f"train_{name}": value for name, value in self.train_stats.means().items()}
        row |= {f"valid_{name}": value for name, value in self.valid_stats.means().items()}
        # what others have measured before stands behind: in validation, then of the time
        before = sorted(self.learner.row.items(), key=lambda item: not item[0].startswith("valid_"))
        opt = self.learner.opt  # None where a model that nobody trains is validated
        lr = None if opt is None else float(opt.param_groups[-1]["lr"])
        self.learner.row = row | dict(before) | {"lr": lr}

    def state_dict(self) -> dict[str, Any]:
        """What the training batches of a begun epoch came to; validation is made again as a whole."""
        return self.train_stats.state_dict() if getattr(self.learner, "batches_done", 0) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        weight = next(self.learner.model.parameters(), None)
        self.train_stats.load_state_dict(state, device="cpu" if weight is None else weight.device)
