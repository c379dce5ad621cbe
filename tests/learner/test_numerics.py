"""Cross entropy from scratch against torch's, where numbers are large, tiny, infinite or missing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.learner.numerics import cross_entropy, log_softmax, logsumexp, nll

INF = math.inf
EXTREMES = [
    [1e4, 0.0, -1e4],
    [1e30, -1e30, 0.0],
    [3.4e38, -3.4e38, 0.0],
    [-1e4, -1e4, -1e4],
    [1e-40, -1e-40, 0.0],
    [88.8, 88.7, -103.0],
    [-INF, 1.0, 2.0],
    [-INF, -INF, 0.5],
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logits", EXTREMES)
def test_extreme_logits_give_torchs_values_and_gradients(logits, dtype):
    ours = torch.tensor([logits, [0.1, 0.2, 0.3]], dtype=dtype, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    target = torch.tensor([2, 0])

    cross_entropy(ours, target).backward()

    F.cross_entropy(theirs, target).backward()
    torch.testing.assert_close(log_softmax(ours), F.log_softmax(theirs, 1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(cross_entropy(ours, target), F.cross_entropy(theirs, target), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("logits", [[INF, 0.0, 1.0], [-INF, -INF, -INF], [math.nan, 0.0, 1.0]])
def test_what_is_no_number_for_torch_is_none_here(logits):
    x = torch.tensor([logits])

    assert torch.equal(log_softmax(x).isnan(), F.log_softmax(x, 1).isnan())


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 9), k=st.integers(1, 12), scale=st.sampled_from([1e-3, 1.0, 1e2, 1e6])
)
def test_it_is_torchs_for_any_batch(seed, n, k, scale):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, k, generator=generator, dtype=torch.float64) * scale
    target = torch.randint(0, k, (n,), generator=generator)

    assert torch.allclose(logsumexp(x), torch.logsumexp(x, 1, keepdim=True), rtol=1e-12)
    assert torch.allclose(nll(log_softmax(x), target), F.nll_loss(F.log_softmax(x, 1), target), rtol=1e-12)
    assert torch.allclose(cross_entropy(x, target), F.cross_entropy(x, target), rtol=1e-12)


def test_probabilities_sum_to_one_where_a_plain_exp_would_be_infinite():
    x = torch.tensor([[1e4, 1e4 - 1, 1e4 - 2]])

    assert not x.exp().isfinite().any()
    assert log_softmax(x).exp().sum().item() == pytest.approx(1, rel=1e-6)
