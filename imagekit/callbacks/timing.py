"""Where the time of an epoch goes: waiting for data, computing, validating."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from imagekit.learner.callback import Callback


class TimingCallback(Callback):
    """Measure training speed and the share of it spent waiting for data.

    The row gets images_per_s (training images over training seconds), data_wait (0..1: the share of the training time
    between the end of one batch and the arrival of the next) and seconds (the whole epoch, validation included).
    An accelerator is waited for once after each phase, so that its work is counted where it was asked for.
    """

    _order = -20

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._epoch_start = self._mark = 0.0
        self._wait = self._train = 0.0
        self._n_images = 0
        self._sums = dict.fromkeys(("epochs", "images", "train_s", "data_wait_s", "valid_s"), 0.0)

    def begin_epoch(self) -> None:
        """The clock starts."""
        self._epoch_start = self._mark = self._clock()
        self._wait, self._n_images = 0.0, 0

    def begin_batch(self) -> None:
        """The batch is here: what passed since the last one was waiting."""
        if self.learner.in_train:
            self._wait += self._clock() - self._mark
            self._n_images += len(self.learner.yb)

    def after_batch(self) -> None:
        """From here on the time is waiting again."""
        self._mark = self._clock()

    def begin_validate(self) -> None:
        """Training ends here."""
        self._synchronize()
        self._train = self._clock() - self._epoch_start

    def after_epoch(self) -> None:
        """Fill the row and add to the totals."""
        self._synchronize()
        seconds = self._clock() - self._epoch_start
        self.learner.row |= {
            "images_per_s": self._n_images / self._train if self._train else None,
            "data_wait": self._wait / self._train if self._train else None,
            "seconds": seconds,
        }
        added = (1, self._n_images, self._train, self._wait, seconds - self._train)
        self._sums = {name: total + more for (name, total), more in zip(self._sums.items(), added, strict=True)}

    def totals(self) -> dict[str, float]:
        """Over all epochs so far: epochs, images, train_s, data_wait_s, valid_s; what timing.json is made of."""
        return dict(self._sums)

    def _synchronize(self) -> None:
        device = next(self.learner.model.parameters()).device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
