"""Batch transforms of light and colour, each image by its own draws; several in a row, and Normalize, are one product.

Each pixel changes linearly, and nothing is clipped: a value may leave 0..1, and keeps what it says. Draws: whether to
act (with chance `p`), and how much.

Shapes: B batch, N draws, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from imagekit.batch.transform import Colour
from imagekit.errors import ShapeError

_P = (0.0, 1.0)
_CHANGE = {"max_change": (0.0, 1.0), "p": _P}
# luma and the two chroma axes of red, green and blue; source: FCC 1953, 47 CFR 73.682 (YIQ), luma as in ITU-R BT.601
_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(kw_only=True, eq=False)
class Brightness(Colour):
    """Every value times a factor uniform in 1 - max_change..1 + max_change."""

    max_change: float = 0.2
    p: float = 0.75

    _order: ClassVar[int] = 20
    stream: ClassVar[str] = "batch.brightness"
    mixes_channels: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = _CHANGE

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        return _scaled(_factor(u_BN, self.max_change, self.p), n_channels, pivot=0.0)


@dataclass(kw_only=True, eq=False)
class Contrast(Colour):
    """Every value's distance from mid-grey (0.5) times a factor uniform in 1 - max_change..1 + max_change.

    Mid-grey, not the image's own mean: no pass over the image is needed, and an even picture stays what it is.
    """

    max_change: float = 0.2
    p: float = 0.75

    _order: ClassVar[int] = 21
    stream: ClassVar[str] = "batch.contrast"
    mixes_channels: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = _CHANGE

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        return _scaled(_factor(u_BN, self.max_change, self.p), n_channels, pivot=0.5)


@dataclass(kw_only=True, eq=False)
class Saturation(Colour):
    """Every pixel's distance from its own grey times a factor uniform in 1 - max_change..1 + max_change.

    Grey is the luma of ITU-R BT.601. Raises ShapeError unless there are three channels, red, green and blue.
    """

    max_change: float = 0.2
    p: float = 0.75

    _order: ClassVar[int] = 22
    stream: ClassVar[str] = "batch.saturation"
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = _CHANGE

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        _check_rgb(self, n_channels)
        factor_B11 = _factor(u_BN, self.max_change, self.p)[:, None, None]
        grey_33 = torch.tensor(_YIQ[0], dtype=torch.float64, device=u_BN.device).expand(3, 3)
        eye_33 = torch.eye(3, dtype=torch.float64, device=u_BN.device)
        return _homogeneous(factor_B11 * eye_33 + (1 - factor_B11) * grey_33)


@dataclass(kw_only=True, eq=False)
class Hue(Colour):
    """Every pixel's colour turned about the grey axis by up to `max_degrees` either way; luma stays.

    A full circle is 360 degrees; a positive angle takes red towards yellow and green.
    Raises ShapeError unless there are three channels.
    """

    max_degrees: float = 18.0
    p: float = 0.75

    _order: ClassVar[int] = 23
    stream: ClassVar[str] = "batch.hue"
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"max_degrees": (0.0, 180.0), "p": _P}

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        _check_rgb(self, n_channels)
        angle_B = (2 * u_BN[:, 1] - 1) * (u_BN[:, 0] < self.p) * math.radians(self.max_degrees)
        to_yiq_33 = torch.tensor(_YIQ, dtype=torch.float64, device=u_BN.device)
        turn_B33 = torch.eye(3, dtype=torch.float64, device=u_BN.device).repeat(len(angle_B), 1, 1)
        turn_B33[:, 1, 1] = turn_B33[:, 2, 2] = angle_B.cos()
        turn_B33[:, 1, 2] = angle_B.sin()
        turn_B33[:, 2, 1] = -angle_B.sin()
        return _homogeneous(torch.linalg.solve(to_yiq_33, turn_B33 @ to_yiq_33))


def _factor(u_BN: Tensor, max_change: float, p: float) -> Tensor:
    return 1 + (2 * u_BN[:, 1] - 1) * (u_BN[:, 0] < p) * max_change


def _scaled(factor_B: Tensor, n_channels: int, *, pivot: float) -> Tensor:
    """Matrices that multiply the distance from the pivot, in every channel alike."""
    matrix_BMM = torch.eye(n_channels + 1, dtype=torch.float64, device=factor_B.device).repeat(len(factor_B), 1, 1)
    matrix_BMM[:, range(n_channels), range(n_channels)] = factor_B[:, None]
    matrix_BMM[:, :n_channels, n_channels] = ((1 - factor_B) * pivot)[:, None]
    return matrix_BMM


def _homogeneous(matrix_B33: Tensor) -> Tensor:
    matrix_B44 = torch.eye(4, dtype=torch.float64, device=matrix_B33.device).repeat(len(matrix_B33), 1, 1)
    matrix_B44[:, :3, :3] = matrix_B33
    return matrix_B44


def _check_rgb(transform: Colour, n_channels: int) -> None:
    if n_channels != 3:
        raise ShapeError(
            f"the batch has {n_channels} channels, {type(transform).__name__} needs red, green and blue",
            where=type(transform).__name__,
            fix="leave it out; Brightness and Contrast take any number of channels",
        )
