"""Several transforms as one: `compose` for plain functions, `ItemPipeline` for transforms that draw.

Nothing here knows of images. Shapes: B batch, N draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import uniform_streams
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.order import Transform, number_repeats, sort_by_order

T = TypeVar("T", bound=Transform)


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


class Drawing(Generic[T]):
    """Transforms in their order, and their draws side by side in one row for each sample.

    A transform draws if it has `n_draws` above 0, from the stream that it names; two with the same name draw apart: the
    second one's stream is called `name#2`, and so on. A plain function draws nothing.
    """

    def __init__(self, transforms: T | Iterable[T] | None) -> None:
        self.transforms: tuple[T, ...] = tuple(sort_by_order(transforms))
        counts = [int(getattr(transform, "n_draws", 0)) for transform in self.transforms]
        for transform, n in zip(self.transforms, counts, strict=True):
            if n and not getattr(transform, "stream", ""):
                raise ConfigError(
                    f"{name_of(transform)} draws and has no stream: it would draw what any other such transform draws",
                    where=f"{name_of(transform)}.stream",
                    fix='give the class one of its own: stream = "own.name"',
                )
        names = number_repeats([str(getattr(transform, "stream", "")) for transform in self.transforms])
        self.n_draws = sum(counts)
        self._streams = [(name, n) for name, n in zip(names, counts, strict=True) if n]
        self._slices = [slice(sum(counts[:i]), sum(counts[: i + 1])) for i in range(len(counts))]

    def draw(self, keys_B: Tensor) -> Tensor:
        """Every draw of every sample. keys_B: int64. Returns float64 [B, N], N = n_draws, on the device of the keys.

        Drawing a batch in one call keeps the cost of drawing off the single sample.
        """
        return uniform_streams(keys_B, self._streams)

    def to_dict(self) -> list[dict[str, object]]:
        """Name and options of every transform, in order, in plain types; a plain function is its name."""
        return [
            transform.to_dict() if hasattr(transform, "to_dict") else {"name": name_of(transform)}
            for transform in self.transforms
        ]


class ItemPipeline(Drawing[Transform]):
    """Item transforms and plain functions as one transform that is applied with one row of draws.

    fixed_transforms: the first ones that do the same to an item every time and leave it an item of its kind:
    ItemTransforms that draw nothing. What they make can be kept. rest_transforms: all behind them.
    """

    def __init__(self, transforms: Transform | Iterable[Transform] | None) -> None:
        super().__init__(transforms)
        is_fixed = [
            isinstance(each, ItemTransform) and each.keeps_kind and not each.n_draws for each in self.transforms
        ]
        n_fixed = is_fixed.index(False) if False in is_fixed else len(is_fixed)
        self.fixed_transforms, self.rest_transforms = self.transforms[:n_fixed], self.transforms[n_fixed:]
        turns = [float(getattr(each, "turn", 0.0)) for each in self.transforms]
        self._turning = [
            (part, turn) for part, turn in zip(self._slices, turns, strict=True) if turn and part.start < part.stop
        ]

    def __call__(self, item: Any, draws: Sequence[float] = ()) -> Any:
        """One item through every transform, with its row of `draw` as floats.

        Raises ShapeError if the number of draws is not `n_draws`.
        """
        return self.rest(self.fixed(item), draws)

    @property
    def has_turns(self) -> bool:
        """Whether the draws of a transform move on from one epoch to the next (ItemTransform.turn)."""
        return bool(self._turning)

    def draw_in_epoch(self, keys_B: Tensor, *, lasting_B: Tensor, epoch: int) -> Tensor:
        """As `draw`; the draws that turn are those of the keys that a sample keeps, moved on by their turn each epoch.

        keys_B: of this epoch; lasting_B: the same in every epoch.
        """
        draws_BN = self.draw(keys_B)
        lasting_BN = self.draw(lasting_B)
        for part, turn in self._turning:
            draws_BN[:, part] = (lasting_BN[:, part] + epoch * turn) % 1
        return draws_BN

    def fixed(self, item: Any) -> Any:
        """The item through the fixed transforms."""
        for transform in self.fixed_transforms:
            item = transform(item)
        return item

    def rest(self, item: Any, draws: Sequence[float] = ()) -> Any:
        """What `fixed` made through the other transforms; draws and errors as for all of them."""
        if len(draws) != self.n_draws:
            raise ShapeError(
                f"the pipeline got {len(draws)} draws, needs {self.n_draws}",
                where=f"ItemPipeline: {', '.join(map(name_of, self.transforms))}",
                fix="pass one row of pipeline.draw(keys_B).tolist()",
            )
        for transform, part in self._rest:
            item = transform(item, draws[part]) if part.start < part.stop else transform(item)
        return item

    def drawing(self) -> list[tuple[Transform, slice]]:
        """The transforms behind the fixed ones, and which draws of a row are whose."""
        return list(self._rest)

    @property
    def _rest(self) -> Iterable[tuple[Transform, slice]]:
        return zip(self.rest_transforms, self._slices[len(self.fixed_transforms) :], strict=True)


def name_of(transform: Transform) -> str:
    """What to call a transform: a function's own name, or its class."""
    return str(getattr(transform, "__name__", type(transform).__name__))
