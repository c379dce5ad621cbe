"""Every image to one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, cast

from imagekit.transforms.images import AnyImage, Filter, check_filter, check_size, image_size, resize_box
from imagekit.transforms.items import ItemTransform


@dataclass(frozen=True)
class Resampling(ItemTransform):
    """What every transform that resamples has: `size`, a side or (width, height), and `filter`.

    filter: one name, or several, of which a draw then picks one for each image, all as likely; that draw is the last.
    Raises ConfigError for a size below 1 or an unknown filter.
    """

    size: int | tuple[int, int]
    _: KW_ONLY
    filter: Filter = "bilinear"

    stream: ClassVar[str] = "item.resampling"

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "size", check_size(self.size, where=f"{name}.size"))
        check_filter(self.filter, where=f"{name}.filter")
        if not isinstance(self.filter, str):
            object.__setattr__(self, "filter", tuple(self.filter))
            object.__setattr__(self, "n_draws", type(self).n_draws + 1)

    @property
    def out_size(self) -> tuple[int, int]:
        """(width, height) of the result."""
        return cast(tuple[int, int], self.size)

    def pick_filter(self, draws: Sequence[float]) -> str:
        """The filter for these draws."""
        return self.filter if isinstance(self.filter, str) else self.filter[int(draws[-1] * len(self.filter))]


@dataclass(frozen=True)
class ResizeFixed(Resampling):
    """Every image to one size, (width, height) or one side for both, the aspect not kept.

    filter: several names pick one at random for each image. Raises ConfigError for a size below 1 or an unknown filter.
    """

    _order: ClassVar[int] = 10
    stream: ClassVar[str] = "item.resize_fixed"

    def apply(self, image: AnyImage, draws: Sequence[float]) -> AnyImage:
        width, height = image_size(image)
        return resize_box(image, self.out_size, filter=self.pick_filter(draws), box=(0, 0, width, height))
