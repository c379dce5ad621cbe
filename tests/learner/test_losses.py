"""Cross entropy against its formula."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.learner.losses import cross_entropy


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 9), k=st.integers(2, 12), smoothing=st.floats(0.0, 1.0))
def test_smoothed_loss_is_the_mix_of_nll_and_the_mean_over_classes(seed: int, n: int, k: int, smoothing: float):
    generator = torch.Generator().manual_seed(seed)
    pred_BK, target_B = torch.randn(n, k, generator=generator), torch.randint(0, k, (n,), generator=generator)
    logp_BK = pred_BK.double() - pred_BK.double().logsumexp(1, keepdim=True)
    nll = -logp_BK[torch.arange(n), target_B].mean()

    loss = cross_entropy(pred_BK, target_B, label_smoothing=smoothing)

    expected = (1 - smoothing) * nll + smoothing * -logp_BK.mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_without_smoothing_it_is_torchs_cross_entropy():
    pred_BK, target_B = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])

    assert torch.equal(cross_entropy(pred_BK, target_B), F.cross_entropy(pred_BK, target_B))


def test_large_logits_stay_finite():
    assert cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1])).item() == 2e4


def test_smoothing_sets_a_floor_under_the_loss():
    k, e = 10, 0.1
    best = torch.full((1, k), math.log(e / k))
    best[0, 0] = math.log(1 - e + e / k)

    loss = cross_entropy(best, torch.tensor([0]), label_smoothing=e)

    assert loss.item() == pytest.approx(0.5003, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_any_integer_target_will_do(dtype: torch.dtype):
    pred_BK = torch.tensor([[1.0, 2.0], [3.0, 1.0]])

    assert cross_entropy(pred_BK, torch.tensor([0, 1], dtype=dtype)).item() == pytest.approx(1.72013, abs=1e-4)


def test_bfloat16_logits_give_a_float32_loss():
    assert cross_entropy(torch.zeros(2, 2, dtype=torch.bfloat16), torch.tensor([0, 1])).dtype == torch.float32
