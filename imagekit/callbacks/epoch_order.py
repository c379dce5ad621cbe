"""Tell the loaders which epoch it is: its number decides order and draws."""

from __future__ import annotations

from imagekit.learner.callback import Callback


class EpochOrder(Callback):
    """Call `data.set_epoch(epoch)` before each epoch: a resumed run sees the batches of an uninterrupted one."""

    _order = -30

    def begin_epoch(self) -> None:
        """Hand the epoch over; `all_batches` iterates only afterwards."""
        self.learner.data.set_epoch(self.learner.epoch)
