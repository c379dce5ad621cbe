"""Losses. B batch, K classes."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    pred_BK: Tensor, target: Tensor, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """Cross entropy in nats: its mean or sum, a tensor without axes, or [B] with reduction "none".

    pred_BK: logits, any float type (computed in float32). target: class ids [B] of any integer type, or soft targets
    [B, K], floats that sum to 1 in each row, as mixup makes them. label_smoothing: the share taken from the target and
    spread over all K classes, so the target keeps 1 - e + e/K and each other class has e/K:
    (1 - e) * nll + e * mean(-log p). Source: Szegedy and others 2015, arXiv:1512.00567, section 7.
    """
    target = target.float() if target.is_floating_point() else target.long()
    return F.cross_entropy(pred_BK.float(), target, label_smoothing=label_smoothing, reduction=reduction)
