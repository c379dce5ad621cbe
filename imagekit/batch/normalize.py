"""From the bytes that loaders ship to the normalised floats that models take.

Shapes: B batch, N draws, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from imagekit.batch.transform import Colour
from imagekit.errors import ConfigError, ShapeError


@dataclass(eq=False)
class ToFloat(Colour):
    """uint8 in 0..255 to float32 in 0..1. Raises ShapeError for anything but uint8 [B, C, H, W].

    In a pipeline the division is part of the product that normalises; alone, on a CPU, it is v / 255 to the last bit.
    """

    _order: ClassVar[int] = 0
    mixes_channels: ClassVar[bool] = False

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        diagonal_M = torch.tensor([1 / 255] * n_channels + [1.0], dtype=torch.float64, device=u_BN.device)
        return diagonal_M.diag()[None]


@dataclass(eq=False)
class Normalize(Colour):
    """(x - mean) / std per channel, over train's statistics in 0..1.

    Raises ConfigError if mean and std do not pair up or a std is not above 0, ShapeError if a batch has another
    number of channels.
    """

    mean: Sequence[float]
    std: Sequence[float]

    _order: ClassVar[int] = 80
    mixes_channels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.mean, self.std = tuple(map(float, self.mean)), tuple(map(float, self.std))
        finite = all(map(math.isfinite, self.mean)) and all(0 < value < math.inf for value in self.std)
        if len(self.mean) != len(self.std) or not self.mean or not finite:
            raise ConfigError(
                f"mean is {list(self.mean)} and std is {list(self.std)}, must be one of each per channel, std above 0",
                where="Normalize",
                fix="pass the manifest's train mean and std",
            )

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        if n_channels != len(self.mean):
            raise ShapeError(
                f"the batch has {n_channels} channels, Normalize was given {len(self.mean)} means",
                where="Normalize",
                fix="give one mean and std per channel",
            )
        std_C = torch.tensor(self.std, dtype=torch.float64, device=u_BN.device)
        matrix_MM = torch.cat([1 / std_C, std_C.new_ones(1)]).diag()
        matrix_MM[:n_channels, n_channels] = -torch.tensor(self.mean, dtype=torch.float64, device=u_BN.device) / std_C
        return matrix_MM[None]
