"""What each epoch reached, in training and in validation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from imagekit.learner.callback import Callback
from imagekit.learner.metrics import AvgStats, Metric, accuracy


class MetricsCallback(Callback):
    """Average loss and metrics over the images of an epoch and put them into the learner's `row`.

    The row gets `epoch` (from 1), train_loss, train_accuracy (or what the metrics are called), valid_loss,
    valid_accuracy, lr (of the last parameter group, as last used) and is_best. A phase without images has None.
    The training values are those of the moving model, as the batches went by.

    best: the highest valid value of the first metric so far, None before the first; hand in the one of a checkpoint to
    go on. An equal later epoch is the new best; so is any epoch while there is nothing to compare.
    """

    _order = 10

    def __init__(self, metrics: Mapping[str, Metric] | None = None, *, best: float | None = None) -> None:
        chosen = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.train_stats, self.valid_stats = AvgStats(chosen), AvgStats(chosen)
        self.monitor = next(iter(chosen), None)
        self.best = best

    def begin_epoch(self) -> None:
        """Forget the epoch before."""
        self.train_stats.reset()
        self.valid_stats.reset()

    def after_loss(self) -> None:
        """Add this batch; nothing waits for the device."""
        stats = self.train_stats if self.learner.in_train else self.valid_stats
        stats.accumulate(self.learner.pred, self.learner.yb, self.learner.loss)

    def after_epoch(self) -> None:
        """Read the means, the one time in an epoch that the device is waited for, and fill the row."""
        valid = self.valid_stats.means()
        self.learner.row |= {"epoch": self.learner.epoch + 1}
        self.learner.row |= {f"train_{name}": value for name, value in self.train_stats.means().items()}
        self.learner.row |= {f"valid_{name}": value for name, value in valid.items()}
        self.learner.row |= {"lr": float(self.learner.opt.param_groups[-1]["lr"])}
        self.learner.row |= {"is_best": self._is_best(valid.get(self.monitor) if self.monitor else None)}

    def _is_best(self, value: float | None) -> bool:
        if value is not None and math.isnan(value):
            return False
        if value is not None and self.best is not None and value < self.best:
            return False
        self.best = value if value is not None else self.best
        return True
