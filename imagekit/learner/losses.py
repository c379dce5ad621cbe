"""Losses. B batch, K classes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    pred_BK: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    weight_K: Tensor | None = None,
) -> Tensor:
    """Cross entropy in nats: its mean or sum, a tensor without axes, or [B] with reduction "none".

    pred_BK: logits, any float type (computed in float32). target: class ids [B] of any integer type, or soft targets
    [B, K], floats that sum to 1 in each row, as mixup makes them. label_smoothing: the share taken from the target and
    spread over all K classes, so the target keeps 1 - e + e/K and each other class has e/K:
    (1 - e) * nll + e * mean(-log p). Source: Szegedy and others 2015, arXiv:1512.00567, section 7.
    weight_K: what each class counts. The mean is over images, not over weights as torch's is, so that batches added up
    are one large batch.
    """
    target = target.float() if target.is_floating_point() else target.long()
    if weight_K is None or reduction != "mean":
        return F.cross_entropy(
            pred_BK.float(), target, weight=weight_K, label_smoothing=label_smoothing, reduction=reduction
        )
    total = F.cross_entropy(pred_BK.float(), target, weight=weight_K, label_smoothing=label_smoothing, reduction="sum")
    return total / len(target)


def balanced_weights(targets_N: Tensor, n_classes: int) -> Tensor:
    """What each class counts so that all count alike: float32 [K], N / (K * its images), their mean over images 1.

    Rows with an id below 0 are left out; a class without images has weight 0.
    """
    counts_K = torch.bincount(targets_N[targets_N >= 0], minlength=n_classes).double()
    n_present = (counts_K > 0).sum()
    weight_K = counts_K.sum() / (n_present * counts_K.clamp(min=1))
    return torch.where(counts_K > 0, weight_K, 0.0).float()
