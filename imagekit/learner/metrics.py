"""Metrics, and their averages over images of batches of unequal size. B batch, K classes.

Nothing here waits for the device until `AvgStats.means` is asked, once an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import CheckpointError, ConfigError

_AT_ONCE = 64

Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(pred_BK: Tensor, target: Tensor) -> Tensor:
    """The share of the batch whose largest logit is at the target; a tensor without axes.

    target: class ids [B], or soft targets [B, K], of which the largest counts.
    """
    return _mean(pred_BK.argmax(dim=1) == hard_targets(target))


def top_k(k: int) -> Metric:
    """The metric: the share of the batch with the target among the `k` largest logits (all of them if K is less)."""
    if k < 1:
        raise ConfigError(f"k is {k}, must be at least 1", where="top_k", fix="ask for top_k(5), say")

    def top_k_accuracy(pred_BK: Tensor, target: Tensor) -> Tensor:
        best = pred_BK.topk(min(k, pred_BK.shape[1]), dim=1).indices
        return _mean((best == hard_targets(target)[:, None]).any(dim=1))

    return top_k_accuracy


class AvgStats:
    """Mean loss and metrics over all images seen since the last reset: sum(value * batch size) / sum(batch size)."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.n_images = 0
        self._totals: Tensor | None = None
        # the values of batches of equal size, which are added up many at a time
        self._waiting: list[list[Tensor]] = []
        self._n_each = 0

    def accumulate(self, pred: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add one batch; loss is its mean. Sums stay on the device."""
        n = len(target)
        if not n:  # the mean of nothing is no number, and would stay one
            return
        values = [loss.detach(), *(metric(pred.detach(), target) for metric in self.metrics.values())]
        if n != self._n_each or len(self._waiting) == _AT_ONCE:
            self._add_up()
        self._waiting.append(values)
        self._n_each = n
        self.n_images += n

    def state_dict(self) -> dict[str, Any]:
        """All that was seen. Values that wait stay apart: another grouping of the sums would end in other last bits."""
        return {
            "names": ["loss", *self.metrics],
            "n_images": self.n_images,
            "totals": self._totals,
            "waiting": [torch.stack(list(column)) for column in zip(*self._waiting, strict=True)],
            "n_each": self._n_each,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, device: torch.device | str = "cpu") -> None:
        """Go on from what `state_dict` gave; device: where the losses to come are, for sums are made there.

        Raises CheckpointError where other metrics were measured.
        """
        if state["names"] != (names := ["loss", *self.metrics]):
            raise CheckpointError(
                f"the begun epoch has measured {', '.join(state['names'])}, and is to go on with {', '.join(names)}",
                where="AvgStats: metrics",
                fix="go on with the metrics that the epoch was begun with",
            )
        self.n_images, self._n_each = int(state["n_images"]), int(state["n_each"])
        self._totals = None if state["totals"] is None else state["totals"].to(device)
        columns = [column.to(device).unbind() for column in state["waiting"]]
        self._waiting = [list(values) for values in zip(*columns, strict=True)]

    def means(self) -> dict[str, float | None]:
        """`loss` and each metric by name; None for each if no image was seen. Waits for the device."""
        names = ["loss", *self.metrics]
        self._add_up()
        if self._totals is None or not self.n_images:
            return dict.fromkeys(names)
        return {name: total / self.n_images for name, total in zip(names, self._totals.tolist(), strict=True)}

    def _add_up(self) -> None:
        """Take the waiting batches into the totals: a few small operations for many batches, not for each.

        Their size is one Python number: sizes in a tensor would have to be copied to the device, which waits for it.
        """
        if not self._waiting:
            return
        wide = wide_dtype(self._waiting[0][0].device)
        by_kind = [torch.stack(list(column)).to(wide) for column in zip(*self._waiting, strict=True)]
        added = (torch.stack(by_kind) * self._n_each).sum(dim=1)
        self._totals = added if self._totals is None else self._totals + added
        self._waiting = []


def hard_targets(target: Tensor) -> Tensor:
    """Class ids [B]; of soft targets [B, K] the class with the largest share."""
    return target if target.ndim == 1 else target.argmax(dim=1)


def _mean(hits_B: Tensor) -> Tensor:
    return hits_B.to(wide_dtype(hits_B.device)).mean()


def wide_dtype(device: torch.device) -> torch.dtype:
    """The widest float of the device."""
    # doubles keep a mean times a batch size exact to the image count; Apple's devices have none
    return torch.float32 if device.type == "mps" else torch.float64
