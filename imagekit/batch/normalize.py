"""From the bytes that loaders ship to the normalised floats that models take.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from imagekit.batch.transform import BatchTransform
from imagekit.errors import ConfigError, ShapeError


class ToFloat(BatchTransform):
    """uint8 [B, H, W, C] to float32 [B, C, H, W] in 0..1; no pixel moves, the bytes already lie channels_last.

    Raises ShapeError for anything but uint8 with four axes.
    """

    _order: ClassVar[int] = 0

    def __call__(self, x: Tensor, keys_B: Tensor | None = None) -> Tensor:
        if x.ndim != 4 or x.dtype != torch.uint8:
            raise ShapeError(
                f"the batch is {x.dtype} {list(x.shape)}, must be uint8 [B, H, W, C]",
                where="ToFloat",
                fix="stack the results of to_byte_tensor",
            )
        # a division, not a product with 1/255: it gives exactly what Pillow's v / 255 gives
        return x.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).div_(255)

    def to_dict(self) -> dict[str, object]:
        return {"name": "ToFloat"}


class Normalize(BatchTransform):
    """(x - mean) / std per channel, over train's statistics in 0..1.

    Raises ConfigError if mean and std do not pair up or a std is not above 0, ShapeError if a batch has another
    number of channels.
    """

    _order: ClassVar[int] = 80

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        finite = all(map(math.isfinite, self.mean)) and all(0 < value < math.inf for value in self.std)
        if len(self.mean) != len(self.std) or not self.mean or not finite:
            raise ConfigError(
                f"mean is {list(self.mean)} and std is {list(self.std)}, must be one of each per channel, std above 0",
                where="Normalize",
                fix="pass the manifest's train mean and std",
            )
        self._constants: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """x: [B, C, H, W] of a floating dtype. Returns a new batch, channels_last, same dtype."""
        if x.ndim != 4 or x.shape[1] != len(self.mean) or not x.is_floating_point():
            raise ShapeError(
                f"the batch is {x.dtype} {list(x.shape)}, must be floats [B, {len(self.mean)}, H, W]",
                where="Normalize",
                fix="put ToFloat before it, and give one mean and std per channel",
            )
        rows_BHR = x.permute(0, 2, 3, 1).flatten(2)
        scale_R, shift_R = self._rows(x.shape[3], x)
        normal_BHR = torch.addcmul(shift_R, rows_BHR, scale_R)
        return normal_BHR.view(x.shape[0], x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)

    def _rows(self, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """1/std and -mean/std, repeated along one row of pixels, R = W * C.

        The loop then runs along rows, not over three channels: 0.2 ms instead of 2.7 for [64, 3, 128, 128] on two
        CPU cores.
        """
        key = (width, like.device, like.dtype)
        if key not in self._constants:
            mean_C, std_C = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
            scale_R, shift_R = (1 / std_C).repeat(width), (-mean_C / std_C).repeat(width)
            self._constants[key] = (scale_R.to(like.dtype).to(like.device), shift_R.to(like.dtype).to(like.device))
        return self._constants[key]

    def to_dict(self) -> dict[str, object]:
        return {"name": "Normalize", "mean": list(self.mean), "std": list(self.std)}
