"""Cross entropy against its formula."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.learner.losses import balanced_weights, cross_entropy


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


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), smoothing=st.floats(0.0, 1.0), soft=st.booleans())
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_equals_torchs_smoothing_for_hard_and_soft_targets(seed, smoothing, soft, reduction):
    generator = torch.Generator().manual_seed(seed)
    pred_BK = torch.randn(6, 4, generator=generator)
    soft_BK = torch.rand(6, 4, generator=generator).softmax(dim=1)
    target = soft_BK if soft else soft_BK.argmax(dim=1)

    loss = cross_entropy(pred_BK, target, label_smoothing=smoothing, reduction=reduction)

    expected = F.cross_entropy(pred_BK, target, label_smoothing=smoothing, reduction=reduction)
    assert torch.equal(loss, expected)


def test_smoothing_gives_each_other_class_a_kth_of_it():
    k, e = 4, 0.2
    logp_K = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()

    loss = cross_entropy(logp_K[None], torch.tensor([2]), label_smoothing=e)

    weights = torch.tensor([e / k, e / k, 1 - e + e / k, e / k])
    assert loss.item() == pytest.approx(-(weights * logp_K).sum().item(), abs=1e-6)


def test_a_mixed_target_costs_the_weighted_sum_of_both():
    pred_BK, soft = torch.randn(1, 3), torch.tensor([[0.7, 0.0, 0.3]])

    loss = cross_entropy(pred_BK, soft)

    both = [cross_entropy(pred_BK, torch.tensor([target])) for target in (0, 2)]
    torch.testing.assert_close(loss, 0.7 * both[0] + 0.3 * both[1])


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


def test_weighted_batches_added_up_are_one_large_batch():
    generator = torch.Generator().manual_seed(0)
    pred_BK, target_B = torch.randn(12, 3, generator=generator), torch.randint(0, 3, (12,), generator=generator)
    weight_K = torch.tensor([0.5, 1.0, 2.0])

    whole = cross_entropy(pred_BK, target_B, weight_K=weight_K, label_smoothing=0.1)
    parts = [cross_entropy(p, t, weight_K=weight_K, label_smoothing=0.1)
             for p, t in zip(pred_BK.split([8, 4]), target_B.split([8, 4]), strict=True)]  # fmt: skip

    torch.testing.assert_close((parts[0] * 8 + parts[1] * 4) / 12, whole)
    torch.testing.assert_close(
        cross_entropy(pred_BK, target_B, weight_K=torch.ones(3)), cross_entropy(pred_BK, target_B)
    )


def test_weights_let_each_class_count_alike():
    targets_N = torch.tensor([0, 0, 0, 2, -1])

    weight_K = balanced_weights(targets_N, 3)

    torch.testing.assert_close(weight_K, torch.tensor([2 / 3, 0.0, 2.0]))
    assert weight_K[targets_N[:4]].mean() == 1.0
