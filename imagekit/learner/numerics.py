"""Cross entropy written out: what stands behind one line of `losses`, for reading and for comparing with.

Shapes: B batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def logsumexp(x_BK: Tensor) -> Tensor:
    """log of the sum of exp over the classes: [B, 1], in the input's float type.

    The largest is taken out first: exp of 1e4 is infinite, and of -1e4 nothing, but the differences to the largest
    are at most 0, and one of them is 0. Where the largest is infinite itself, it is the result.
    """
    most_B1 = x_BK.amax(1, keepdim=True)
    # infinity minus infinity is no number: there nothing is taken out
    safe_B1 = torch.where(most_B1.isfinite(), most_B1, 0.0)
    return safe_B1 + (x_BK - safe_B1).exp().sum(1, keepdim=True).log()


def log_softmax(x_BK: Tensor) -> Tensor:
    """log of exp(x) / sum of exp(x) over the classes: [B, K]. Source: fast.ai course v3, lesson 9.

    x - logsumexp(x), but between the differences to the largest: beside 1e4 a float32 has three digits left for
    log(3), and the probabilities would not sum to 1.
    """
    less_BK = x_BK - x_BK.amax(1, keepdim=True)
    return less_BK - less_BK.exp().sum(1, keepdim=True).log()


def nll(logp_BK: Tensor, target_B: Tensor) -> Tensor:
    """Mean negative log probability of the target classes, a tensor without axes; picked by integer indexing."""
    rows_B = torch.arange(len(target_B), device=target_B.device)
    return -logp_BK[rows_B, target_B].mean()


def cross_entropy(x_BK: Tensor, target_B: Tensor) -> Tensor:
    """nll of log_softmax: F.cross_entropy, written out. x_BK: logits; target_B: int64 class ids."""
    return nll(log_softmax(x_BK), target_B)
