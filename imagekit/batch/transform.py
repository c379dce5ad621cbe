"""What every batch transform is: strengths that are checked whenever they are set, and draws that are handed in.

Shapes: B batch, N draws, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

from torch import Tensor

from imagekit.errors import ConfigError
from imagekit.transforms.items import describe


class BatchTransform:
    """A batch in, a batch out, on its device; what is random in it comes from one key per image.

    `_order` says when it runs (lower first), `stream` names its draws, `n_draws` counts them. `hypers` names the
    options that may change between batches, to anneal them like a learning rate, and their bounds; any value set is
    checked. A subclass is a dataclass and one of the kinds: Geometry, Colour, Pixels. Keys and draws are best on the
    CPU; a CUDA device can hold them too, others lack the doubles.
    """

    _order: ClassVar[int] = 0
    stream: ClassVar[str] = ""
    n_draws: ClassVar[int] = 0
    hypers: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises ConfigError for a hyper outside its bounds."""
        if name in self.hypers:
            check_value(name, value, *self.hypers[name], where=f"{type(self).__name__}.{name}")
        super().__setattr__(name, value)

    def __call__(self, x: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """This transform alone on a batch [B, C, H, W]; see BatchPipeline, which runs several as one."""
        from imagekit.batch.pipeline import BatchPipeline

        result: Tensor = BatchPipeline([self])(x, keys_B)
        return result

    def to_dict(self) -> dict[str, object]:
        """Name and options in plain types, for the record of a run."""
        return describe(self)


class Geometry(BatchTransform):
    """Moves pixels: one 3 x 3 matrix an image. All geometry in a row becomes one matrix and one interpolation.

    is_projective: whether the last row of its matrices can be another than 0, 0, 1; one that says False saves a
    division.
    """

    _order: ClassVar[int] = 10
    is_projective: ClassVar[bool] = True

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        """Floats [B, 3, 3], see `matrices` for their meaning; u_BN: the draws, aspect: width / height in pixels."""
        raise NotImplementedError(type(self).__name__)


class Colour(BatchTransform):
    """Changes each pixel by itself, linearly: one C x (C + 1) matrix an image. All in a row become one product.

    mixes_channels: whether a channel can get something of another one; one that says False saves time.
    """

    _order: ClassVar[int] = 20
    mixes_channels: ClassVar[bool] = True

    def matrices(self, u_BN: Tensor, *, n_channels: int) -> Tensor:
        """Floats [B, C + 1, C + 1], or [1, C + 1, C + 1] for all images; the last column is what is added."""
        raise NotImplementedError(type(self).__name__)


class Pixels(BatchTransform):
    """Anything else that draws."""

    _order: ClassVar[int] = 90

    def apply(self, x: Tensor, u_BN: Tensor) -> Tensor:
        """A new batch of the same shape and dtype. x: [B, C, H, W]; u_BN: the draws, float64."""
        raise NotImplementedError(type(self).__name__)


def check_value(name: str, value: Any, low: float, high: float, *, where: str) -> None:
    """Raises ConfigError unless value is a number from low to high."""
    if not (isinstance(value, Real) and low <= float(value) <= high):
        raise ConfigError(
            f"{name} is {value}, must be from {low:g} to {high:g}",
            where=where,
            fix=f"set {name} = {low:g} to do without" if low in (0, 1) else f"set it to {low:g} or more",
        )
