"""Batch transforms that move pixels, each image by its own draws; several in a row cost one interpolation.

Each draws whether it acts (with chance `p`) and how far; both are hypers. What lies outside the image is the pipeline's
padding. Training only.

Shapes: B batch, N draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from imagekit.batch import matrices
from imagekit.batch.transform import Geometry
from imagekit.errors import ConfigError
from imagekit.transforms.flips import N_DIHEDRAL

_P = (0.0, 1.0)


@dataclass(kw_only=True, eq=False)
class Identity(Geometry):
    """Every pixel where it is: with another `size` of the pipeline, a plain resize."""

    is_projective: ClassVar[bool] = False

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return torch.eye(3, dtype=torch.float64, device=u_BN.device).repeat(len(u_BN), 1, 1)


@dataclass(kw_only=True, eq=False)
class Flip(Geometry):
    """Left and right swapped with chance `p`."""

    p: float = 0.5

    stream: ClassVar[str] = "batch.flip"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 1
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return matrices.flip(u_BN[:, 0] < self.p)


@dataclass(kw_only=True, eq=False)
class Dihedral(Geometry):
    """With chance `p` one of the eight ways to lay a square down, each as likely, as it is among them."""

    p: float = 0.75

    stream: ClassVar[str] = "batch.dihedral"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        element_B = (u_BN[:, 1] * N_DIHEDRAL).long() * (u_BN[:, 0] < self.p)
        return matrices.dihedral(element_B, aspect=aspect)


@dataclass(kw_only=True, eq=False)
class Rotate(Geometry):
    """Turned by up to `max_degrees` either way, uniformly."""

    max_degrees: float = 10.0
    p: float = 0.75

    stream: ClassVar[str] = "batch.rotate"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"max_degrees": (0.0, 180.0), "p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return matrices.rotation(_either_way(u_BN, self.p) * self.max_degrees, aspect=aspect)


@dataclass(kw_only=True, eq=False)
class Zoom(Geometry):
    """Magnified about the centre by a factor uniform in min_zoom..max_zoom; below 1 the padding shows.

    Raises ConfigError if min_zoom is above max_zoom when a batch comes.
    """

    min_zoom: float = 1.0
    max_zoom: float = 1.1
    p: float = 0.75

    stream: ClassVar[str] = "batch.zoom"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {
        "min_zoom": (0.01, 100.0),
        "max_zoom": (0.01, 100.0),
        "p": _P,
    }

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        if self.min_zoom > self.max_zoom:
            raise ConfigError(
                f"min_zoom is {self.min_zoom}, above max_zoom, {self.max_zoom}",
                where="Zoom.min_zoom",
                fix="set both to 1 to do without",
            )
        factor_B = self.min_zoom + u_BN[:, 1] * (self.max_zoom - self.min_zoom)
        return matrices.zoom(torch.where(u_BN[:, 0] < self.p, factor_B, 1.0))


@dataclass(kw_only=True, eq=False)
class Shift(Geometry):
    """Moved across and down by up to `max_shift` of a side, uniformly and apart from each other."""

    max_shift: float = 0.1
    p: float = 0.75

    stream: ClassVar[str] = "batch.shift"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 3
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"max_shift": (0.0, 1.0), "p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        right_B = _either_way(u_BN, self.p) * self.max_shift
        return matrices.shift(right_B, _either_way(u_BN, self.p, column=2) * self.max_shift)


@dataclass(kw_only=True, eq=False)
class Shear(Geometry):
    """Leaning by up to `max_degrees` either way, uniformly; level lines stay level (Rotate does the rest)."""

    max_degrees: float = 10.0
    p: float = 0.75

    stream: ClassVar[str] = "batch.shear"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"max_degrees": (0.0, 80.0), "p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return matrices.shear(_either_way(u_BN, self.p) * self.max_degrees, aspect=aspect)


@dataclass(kw_only=True, eq=False)
class Stretch(Geometry):
    """Wider or narrower at the same area: width / height times a factor log-uniform in 1/max_ratio..max_ratio."""

    max_ratio: float = 4 / 3
    p: float = 0.75

    stream: ClassVar[str] = "batch.stretch"
    is_projective: ClassVar[bool] = False
    n_draws: ClassVar[int] = 2
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"max_ratio": (1.0, 100.0), "p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return matrices.stretch((_either_way(u_BN, self.p) * math.log(self.max_ratio)).exp())


@dataclass(kw_only=True, eq=False)
class Warp(Geometry):
    """Seen in perspective, tilted about both axes: an edge shows up to 1 + magnitude of a side, the one opposite
    1 - magnitude. Above 0.6 both tilts together could bring the horizon into the picture.
    """

    magnitude: float = 0.2
    p: float = 0.75

    stream: ClassVar[str] = "batch.warp"
    n_draws: ClassVar[int] = 3
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {"magnitude": (0.0, 0.6), "p": _P}

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        tilt_x_B = _either_way(u_BN, self.p) * self.magnitude
        return matrices.warp(tilt_x_B, _either_way(u_BN, self.p, column=2) * self.magnitude)


def _either_way(u_BN: Tensor, p: float, *, column: int = 1) -> Tensor:
    """Uniform in -1..1 by a column of the draws, 0 where the first column says that the transform does not act."""
    return (2 * u_BN[:, column] - 1) * (u_BN[:, 0] < p)
