"""MixUp and CutMix in a learner: training only, right pairs, losses that take them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner.toy import Batch, Loaders, conv_net, images, make_learner
from torch import Tensor

from imagekit.batch.mix import draw_mix, mixup
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.mix import CutMix, MixUp
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.losses import cross_entropy


class Seen(Callback):
    _order = 95

    def __init__(self) -> None:
        self.train: list[tuple[Tensor, Tensor]] = []
        self.valid: list[tuple[Tensor, Tensor]] = []
        self.losses: list[float] = []

    def after_loss(self) -> None:
        (self.train if self.in_train else self.valid).append((self.xb, self.yb))
        self.losses.append(self.loss.item())


def keyed(sizes: list[int], *, seed: int) -> list[Batch]:
    batches = images(sizes, seed=seed)
    for number, batch in enumerate(batches):
        batch.keys = torch.arange(len(batch[1])) + 100 * number
    return batches


def fit(*callbacks: Callback, n_epochs: int = 1) -> tuple[Seen, Loaders, Any]:
    data, seen = Loaders(keyed([8, 8], seed=1), keyed([6], seed=2)), Seen()
    learner = make_learner(data, *callbacks, seen, model=conv_net())
    learner.fit(n_epochs)
    return seen, data, learner


def test_training_batches_are_mixed_and_validation_is_left_alone():
    seen, data, _ = fit(MixUp(n_classes=2))

    x, y = data.train_dl[0]
    share, partner, _ = draw_mix(data.train_dl[0].keys, alpha=0.4, stream="batch.mixup")
    assert torch.equal(seen.train[0][0], mixup(x, share, partner))
    assert seen.train[0][1].shape == (8, 2)
    assert torch.equal(seen.valid[0][0], data.valid_dl[0][0])
    assert torch.equal(seen.valid[0][1], data.valid_dl[0][1])
    assert torch.equal(y, keyed([8, 8], seed=1)[0][1])


def test_the_loss_pairs_each_image_with_its_own_share():
    # a share of shape [B, 1, 1, 1] broadcast into the loss would pair every image with every share
    seen, data, _ = fit(MixUp(n_classes=2))
    x, y = data.train_dl[0]
    share, partner, _ = draw_mix(data.train_dl[0].keys, alpha=0.4, stream="batch.mixup")

    pred = conv_net().train()(mixup(x, share, partner))

    each = [cross_entropy(pred, target, reduction="none") for target in (y, y[partner])]
    expected = (share * each[0] + (1 - share) * each[1]).mean()
    assert seen.losses[0] == pytest.approx(expected.item(), abs=1e-6)


def test_cutmix_works_in_the_same_place():
    seen, data, _ = fit(CutMix(n_classes=2))

    mixed, targets = seen.train[0]
    assert not torch.equal(mixed, data.train_dl[0][0])
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert torch.isin(mixed, data.train_dl[0][0]).all()


def test_metrics_take_soft_targets():
    _, _, learner = fit(MixUp(n_classes=2), MetricsCallback(), n_epochs=2)

    assert 0 <= learner.row["train_accuracy"] <= 1


def test_alpha_can_be_scheduled():
    mix = MixUp(n_classes=2)

    fit(mix, ParamScheduler("mix_up.alpha", lambda position: 0.1 + position))

    assert mix.alpha == pytest.approx(0.6)


def test_batches_without_keys_are_refused():
    data = Loaders(images([4], seed=1), [])

    with pytest.raises(ConfigError) as caught:
        make_learner(data, MixUp(n_classes=2), model=conv_net()).fit(1)

    assert str(caught.value) == (
        "MixUp draws at random and needs keys, and the batch has none\n"
        "  where: Learner: data\n"
        "  fix: use a DataBunch, or batches with an attribute `keys`, one int64 number an image"
    )


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_an_alpha_out_of_range_is_refused_at_first_and_later(kind):
    mix = kind(n_classes=2)
    for act in (lambda: kind(n_classes=2, alpha=0), lambda: mix.set_hyper("alpha", 0)):
        with pytest.raises(ConfigError) as caught:
            act()

        assert str(caught.value) == (
            f"alpha is 0, must be from 0.01 to 100\n  where: {kind.__name__}.alpha\n  fix: set it to 0.01 or more"
        )


def test_a_single_class_is_refused():
    with pytest.raises(ConfigError) as caught:
        MixUp(n_classes=1)

    assert str(caught.value) == (
        "n_classes is 1, must be from 2 to 2.14748e+09\n  where: MixUp.n_classes\n  fix: set it to 2 or more"
    )
