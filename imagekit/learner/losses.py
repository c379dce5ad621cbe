"""Losses. B batch, K classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(pred_BK: Tensor, target_B: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in nats, a tensor without axes.

    pred_BK: logits, any float type (computed in float32); target_B: class ids, any integer type; label_smoothing: the
    share taken from the target and spread over all K classes: (1 - e) * nll + e * mean(-log p).
    Source: Szegedy and others 2015, arXiv:1512.00567, section 7.
    """
    return F.cross_entropy(pred_BK.float(), target_B.long(), label_smoothing=label_smoothing)
