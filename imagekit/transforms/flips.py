"""Flips and quarter turns of one image, while it is bytes: exact, and a quarter of the traffic of floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from imagekit.transforms.images import AnyImage, check_probability, from_tensor_hwc, to_tensor_hwc
from imagekit.transforms.items import ItemTransform

N_DIHEDRAL = 8


@dataclass(frozen=True)
class RandomFlip(ItemTransform):
    """Left and right swapped with probability `p`. Raises ConfigError for a p outside 0..1."""

    _: KW_ONLY
    p: float = 0.5

    _order: ClassVar[int] = 11
    stream: ClassVar[str] = "item.random_flip"
    n_draws = 1

    def __post_init__(self) -> None:
        check_probability(self.p, where="RandomFlip.p", fix="set p = 0.5 to flip every other image")

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        return dihedral(image, 1 if draws[0] < self.p else 0)


@dataclass(frozen=True)
class AlternatingFlip(RandomFlip):
    """As RandomFlip, with the flips of each image spread evenly over the epochs: at p = 0.5 it is every other one.

    Two epochs in a row then show both sides of every image, where chance shows one side twice to half of them. With
    another p, of n epochs n * p flip an image, rounded up or down. Source: Jordan 2024, arXiv:2404.00498.
    """

    stream: ClassVar[str] = "item.alternating_flip"

    @property
    def turn(self) -> float:
        """An image whose draw is below p moves on by p: the next to be flipped are those from 1 - p up."""
        return self.p


@dataclass(frozen=True)
class RandomDihedral(ItemTransform):
    """With probability `p`, one of the eight ways to lay a square down, each as likely, staying as it is among them.

    So p = 1 leaves an eighth of the images alone, and the share that changes is p * 7/8. A turn by 90 degrees or a
    transposition of an image that is not square swaps its sides: put a square crop before it to stack batches.
    Raises ConfigError for a p outside 0..1. Source: fast.ai course v3, lesson 11.
    """

    _: KW_ONLY
    p: float = 0.75

    _order: ClassVar[int] = 11
    stream: ClassVar[str] = "item.random_dihedral"
    n_draws = 1

    def __post_init__(self) -> None:
        check_probability(self.p, where="RandomDihedral.p", fix="set p = 1 for all eight to be equally likely")

    def element(self, draws: Sequence[float]) -> int:
        """Which of the eight these draws ask for; see `dihedral`."""
        return int(draws[0] / self.p * N_DIHEDRAL) if draws[0] < self.p else 0

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        return dihedral(image, min(self.element(draws), N_DIHEDRAL - 1))  # the quotient may round up to 1


def dihedral(image: AnyImage, element: int) -> AnyImage:
    """One of the eight: 0 as it is, 1 left-right, 2 top-bottom, 3, 4, 5 turned anti-clockwise by 90, 180, 270 degrees,
    6 transposed, 7 transposed across the other diagonal. 1 to 7 are Pillow's Transpose in its order. Exact.
    """
    if element == 0:
        return image
    if isinstance(image, np.ndarray):
        return from_tensor_hwc(_ON_TENSORS[element - 1](to_tensor_hwc(image)))
    return image.transpose(Image.Transpose(element - 1))


_ON_TENSORS = (
    lambda x: x.flip(1),
    lambda x: x.flip(0),
    lambda x: x.rot90(1, (0, 1)),
    lambda x: x.flip(0, 1),
    lambda x: x.rot90(3, (0, 1)),
    lambda x: x.transpose(0, 1),
    lambda x: x.flip(0, 1).transpose(0, 1),
)
