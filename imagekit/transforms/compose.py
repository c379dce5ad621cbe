"""Several transforms as one: `compose` for plain functions, `ItemPipeline` for transforms that draw.

Shapes: B batch, N draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import ShapeError
from imagekit.transforms.draws import uniform
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.order import Transform, sort_by_order


def compose(
    x: Any, funcs: Transform | Iterable[Transform] | None, *args: Any, order_key: str = "_order", **kwargs: Any
) -> Any:
    """x through every function, sorted by `order_key` (stable; missing counts as 0).

    args and kwargs go to every function. None for funcs returns x as it is.
    Source: fast.ai course v3, lesson 11.
    """
    for func in sort_by_order(funcs, order_key=order_key):
        x = func(x, *args, **kwargs)
    return x


class ItemPipeline:
    """Item transforms in their order, with their draws side by side in one row per image.

    Drawing a batch in one call and applying row by row keeps the cost of drawing off the single image.
    Two transforms with the same stream name draw apart: the second one's stream is called `name#2`, and so on.
    """

    def __init__(self, transforms: Iterable[ItemTransform]) -> None:
        self.transforms: tuple[ItemTransform, ...] = tuple(sort_by_order(transforms))
        self.n_draws = sum(transform.n_draws for transform in self.transforms)
        self._streams = _distinct_streams(self.transforms)

    def draw(self, keys_B: Tensor) -> Tensor:
        """Every draw of every image. keys_B: int64. Returns float64 [B, N], N = n_draws, on the device of the keys."""
        parts = [
            uniform(keys_B, stream=stream, n=transform.n_draws)
            for transform, stream in zip(self.transforms, self._streams, strict=True)
            if transform.n_draws
        ]
        return torch.cat(parts, dim=1) if parts else keys_B.new_empty((len(keys_B), 0), dtype=torch.float64)

    def __call__(self, image: Any, draws: Sequence[float] = ()) -> Any:
        """One image through every transform, with its row of `draw` as floats.

        Raises ShapeError if the number of draws is not `n_draws`.
        """
        if len(draws) != self.n_draws:
            raise ShapeError(
                f"the pipeline got {len(draws)} draws, needs {self.n_draws}",
                where=f"ItemPipeline: {', '.join(type(t).__name__ for t in self.transforms)}",
                fix="pass one row of pipeline.draw(keys_B).tolist()",
            )
        start = 0
        for transform in self.transforms:
            stop = start + transform.n_draws
            image = transform(image, draws[start:stop])
            start = stop
        return image

    def to_dict(self) -> list[dict[str, object]]:
        """Name and options of every transform, in order, in plain types."""
        return [transform.to_dict() for transform in self.transforms]


def _distinct_streams(transforms: Sequence[ItemTransform]) -> list[str]:
    """The streams' names, a repeated one numbered from 2 on."""
    seen: Counter[str] = Counter()
    names = []
    for transform in transforms:
        seen[transform.stream] += 1
        n_seen = seen[transform.stream]
        names.append(transform.stream if n_seen == 1 else f"{transform.stream}#{n_seen}")
    return names
