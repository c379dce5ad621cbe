"""Mixing pairs of images while training: MixUp and CutMix as callbacks, for they change the targets too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from imagekit.batch.mix import cutmix, draw_mix, mix_targets, mixup
from imagekit.batch.transform import check_value
from imagekit.callbacks.batch_transforms import batch_keys
from imagekit.learner.callback import Callback

_ALPHA = (0.01, 100.0)


class MixUp(Callback):
    """Train on share * image + (1 - share) * another one of the batch, and on targets mixed alike.

    share is max(x, 1 - x) for x of Beta(alpha, alpha), drawn for each image; `yb` becomes float32 [B, K], which the
    losses take. Validation sees whole images. It runs after normalising (_order 90). `alpha` can be scheduled as
    mix_up.alpha. Raises ConfigError for an alpha outside 0.01..100 or less than 2 classes.
    Source: Zhang and others 2017, arXiv:1710.09412.
    """

    _order = 90
    stream: ClassVar[str] = "batch.mixup"

    def __init__(self, *, n_classes: int, alpha: float = 0.4) -> None:
        check_value("alpha", alpha, *_ALPHA, where=f"{type(self).__name__}.alpha")
        check_value("n_classes", n_classes, 2, 2**31, where=f"{type(self).__name__}.n_classes")
        self.n_classes, self.alpha = n_classes, alpha

    def begin_batch(self) -> None:
        """Mix `xb` and `yb` of a training batch."""
        if not self.learner.in_train:
            return
        keys_B = batch_keys(self.learner.batch, who=type(self).__name__)
        share_B, partner_B, place_B2 = draw_mix(keys_B, alpha=self.alpha, stream=self.stream)
        self.learner.xb, share_B = self.mix(self.learner.xb, share_B, partner_B, place_B2)
        self.learner.yb = mix_targets(self.learner.yb, share_B, partner_B, n_classes=self.n_classes)

    def mix(self, x: Tensor, share_B: Tensor, partner_B: Tensor, place_B2: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed batch, and the shares that images keep of themselves."""
        return mixup(x, share_B, partner_B), share_B

    def hypers(self) -> Iterable[str]:
        """What can be scheduled."""
        return [f"{self.name}.alpha"]

    def set_hyper(self, name: str, value: float) -> None:
        """Set alpha. Raises ConfigError outside its bounds."""
        check_value("alpha", value, *_ALPHA, where=f"{type(self).__name__}.alpha")
        self.alpha = value


class CutMix(MixUp):
    """Train on images of which a box is another one's of the batch; targets by the area. Else as MixUp.

    Source: Yun and others 2019, arXiv:1905.04899.
    """

    stream: ClassVar[str] = "batch.cutmix"

    def __init__(self, *, n_classes: int, alpha: float = 1.0) -> None:
        super().__init__(n_classes=n_classes, alpha=alpha)

    def mix(self, x: Tensor, share_B: Tensor, partner_B: Tensor, place_B2: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed batch, and the shares that images keep, by the pixels of the box."""
        return cutmix(x, share_B, partner_B, place_B2)
