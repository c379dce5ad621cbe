"""Mixup and cutmix: shares of the right distribution, pairs that stay paired, targets that sum to one."""

from __future__ import annotations

import pytest
import torch

from imagekit.batch.mix import cutmix, draw_mix, mix_targets, mixup, upper_beta
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys


def _keys(n: int) -> torch.Tensor:
    return make_keys(seed=0, epoch=0, ids_B=torch.arange(n))


def _images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 8, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0, 30.0])
def test_shares_are_those_of_the_greater_half_of_a_beta_distribution(alpha):
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    torch.manual_seed(0)
    sampled = torch.distributions.Beta(alpha, alpha).sample((200_000,)).double()

    shares = upper_beta(u, alpha=alpha)

    sampled = torch.maximum(sampled, 1 - sampled)
    quantiles = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert torch.allclose(shares.flip(0).quantile(quantiles), sampled[:100_000].quantile(quantiles), atol=6e-3)


def test_the_mean_share_at_04_is_the_lessons():
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000

    assert float(upper_beta(u, alpha=0.4).mean()) == pytest.approx(0.840, abs=1e-3)


def test_at_alpha_1_shares_are_uniform_exactly():
    u = torch.tensor([0.0, 0.25, 0.5, 0.999], dtype=torch.float64)

    assert torch.allclose(upper_beta(u, alpha=1.0), 1 - u / 2, atol=1e-9)


def test_each_image_has_a_share_of_its_own_and_partners_are_a_permutation():
    share, partner, place = draw_mix(_keys(64), alpha=0.4, stream="batch.mixup")

    assert len(set(share.tolist())) == 64
    assert sorted(partner.tolist()) == list(range(64))
    assert place.shape == (64, 2)
    again = draw_mix(_keys(64), alpha=0.4, stream="batch.mixup")
    assert all(torch.equal(a, b) for a, b in zip(again, (share, partner, place), strict=True))


def test_partners_shares_and_places_are_drawn_apart():
    share, partner, place = draw_mix(_keys(20_000), alpha=1.0, stream="batch.mixup")

    columns = torch.stack([share, partner.double(), place[:, 0], place[:, 1]])
    correlations = torch.corrcoef(columns) - torch.eye(4, dtype=torch.float64)
    assert correlations.abs().max() < 4 / 20_000**0.5
    distance = (partner - torch.arange(20_000)) % 20_000
    assert len(distance.unique()) > 10_000  # no shift of the batch


def test_cutmix_boxes_reach_half_the_area_and_every_corner():
    n = 4_000
    share, partner, place = draw_mix(_keys(n), alpha=1.0, stream="batch.cutmix")
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 16, 16)

    result, kept = cutmix(images, share, partner, place)

    taken = (result != images)[:, 0]
    assert abs(float(kept.mean()) - 0.75) < 0.01
    assert kept.min() < 0.54
    corners = [taken[:, y, x].double().mean() for y in (0, -1) for x in (0, -1)]
    assert min(corners) > 0.007
    assert max(corners) / min(corners) < 2


def test_mixup_is_a_weighted_sum_with_the_partner():
    images, share, partner = _images(3), torch.tensor([1.0, 0.75, 0.5]), torch.tensor([1, 2, 0])

    result = mixup(images, share, partner)

    for i in range(3):
        assert torch.allclose(result[i], share[i] * images[i] + (1 - share[i]) * images[partner[i]], atol=1e-6)


def test_a_batch_of_one_is_mixed_with_itself():
    share, partner, place = draw_mix(_keys(1), alpha=0.4, stream="batch.mixup")

    assert torch.allclose(mixup(_images(1), share, partner), _images(1))
    assert torch.equal(cutmix(_images(1), share, partner, place)[0], _images(1))
    assert torch.equal(mix_targets(torch.tensor([2]), share, partner, n_classes=3), torch.tensor([[0.0, 0.0, 1.0]]))


def test_cutmix_takes_every_pixel_from_one_of_the_two_and_tells_the_true_share():
    n = 200
    own = torch.zeros(n, 1, 16, 20)
    share, partner, place = draw_mix(_keys(n), alpha=1.0, stream="batch.cutmix")
    images = own + torch.arange(n)[:, None, None, None]

    result, kept = cutmix(images, share, partner, place)

    from_partner = result == partner[:, None, None, None]
    is_own = result == torch.arange(n)[:, None, None, None]
    other = partner != torch.arange(n)
    assert (from_partner | is_own).all()
    assert torch.allclose(is_own[other].double().mean((1, 2, 3)), kept[other])
    assert (kept - share).abs().max() < 0.06  # whole pixels
    rows, columns = from_partner[other].any(dim=3).sum((1, 2)), from_partner[other].any(dim=2).sum((1, 2))
    assert torch.equal(rows * columns, from_partner[other].sum((1, 2, 3)))  # it is one box


@pytest.mark.parametrize("soft", [False, True])
def test_targets_are_mixed_row_by_row_and_sum_to_one(soft):
    target, share, partner = torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.75, 0.5]), torch.tensor([1, 2, 0])
    given = torch.eye(3)[target] if soft else target

    result = mix_targets(given, share, partner, n_classes=3)

    assert torch.equal(result, torch.tensor([[1.0, 0, 0], [0, 0.75, 0.25], [0.5, 0, 0.5]]))
    assert torch.equal(result.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("n", [2, 3, 64])
def test_nobody_is_mixed_with_itself(n):
    _, partner, _ = draw_mix(_keys(n), alpha=0.4, stream="batch.mixup")

    assert (partner != torch.arange(n)).all()


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (torch.tensor([0.5, 1.0]), "the targets are torch.float32 [2], and there are 3 classes"),
        (torch.zeros(2, 4), "the targets are torch.float32 [2, 4], and there are 3 classes"),
        (torch.zeros(2, 3, dtype=torch.int64), "the targets are torch.int64 [2, 3], and there are 3 classes"),
        (torch.tensor([0, 3]), "class ids run from 0 to 3, and there are 3 classes"),
        (torch.tensor([-1, 0]), "class ids run from -1 to 0, and there are 3 classes"),
    ],
)
def test_targets_that_do_not_fit_the_classes_are_refused(target, what):
    with pytest.raises(ShapeError) as caught:
        mix_targets(target, torch.ones(2), torch.tensor([1, 0]), n_classes=3)

    assert str(caught.value) == f"{what}\n  where: mix_targets\n  fix: give class ids below 3, or [B, 3]"


def test_bytes_cannot_be_mixed():
    with pytest.raises(ShapeError) as caught:
        mixup(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.ones(2), torch.tensor([1, 0]))

    assert str(caught.value) == (
        "the batch is torch.uint8, mixup needs floats\n  where: mixup\n  fix: put ToFloat before it"
    )


@pytest.mark.parametrize("alpha", [0.0, -1.0, 101.0, float("nan")])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ConfigError) as caught:
        upper_beta(torch.zeros(1, dtype=torch.float64), alpha=alpha)

    assert str(caught.value) == (
        f"alpha is {alpha}, must be from 0.01 to 100\n  where: mix: alpha\n  fix: set alpha = 0.4"
    )
