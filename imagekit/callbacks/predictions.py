"""Keep what the model said about every validation image, in the best epoch.

Shapes: N validation images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imagekit.learner.callback import Callback


class PredictionsCallback(Callback):
    """`logits_NK` (float32, on the CPU) and `rows_N` (int64) of the epoch whose row says `is_best`; None before it.

    The logits of the validation pass are kept as they come, so no second pass is needed. Batches must carry the `rows`
    of their images. of: the callback whose `pred` is kept, an averaged model's; None for the learner's own. always:
    keep those of every epoch, for a validation that nobody compares. save: called with this callback whenever it has
    new ones, before the checkpoint of the epoch is written: what a kill leaves on the disk is of the best epoch.
    """

    _order = 55

    def __init__(
        self,
        *,
        of: Callback | None = None,
        always: bool = False,
        save: Callable[[PredictionsCallback], None] | None = None,
    ) -> None:
        self._of, self._always, self._save = of, always, save
        self.logits_NK: Tensor | None = None
        self.rows_N: Tensor | None = None
        self._logits: list[Tensor] = []
        self._rows: list[Tensor] = []

    def begin_validate(self) -> None:
        """Forget the epoch before."""
        self._logits, self._rows = [], []

    def after_loss(self) -> None:
        """Keep this batch's; it stays on its device until the epoch is over."""
        if not self.learner.in_train:
            self._logits.append((self._of or self.learner).pred.detach())
            self._rows.append(self.learner.batch.rows)

    def after_epoch(self) -> None:
        """Fetch those of a new best epoch."""
        if (self._always or self.learner.row.get("is_best")) and self._logits:
            self.logits_NK = torch.cat(self._logits).float().cpu()
            self.rows_N = torch.cat(self._rows).cpu()
            if self._save is not None:
                self._save(self)
