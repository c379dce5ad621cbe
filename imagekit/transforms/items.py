"""What a transform of one item is. Nothing here knows of images: an item may be a picture, a sound or a table row.

A transform's options are its dataclass fields; its draws are handed in, so the same item with the same draws gives the
same result, and a draw can be stored, shown and replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from imagekit.errors import ShapeError


class ItemTransform:
    """One item in, one item out; `n_draws` uniform numbers in [0, 1) decide what is random in it.

    `_order` says when it runs (lower first), `stream` names its draws. A subclass is a frozen dataclass with `apply`.
    keeps_kind: whether what it makes is of the kind that it was given, so that it can be kept in the other's place.
    turn: how far its draws of a sample move on from each epoch to the next, wrapped into [0, 1); 0 draws anew.
    """

    _order: ClassVar[int] = 0
    keeps_kind: ClassVar[bool] = True
    stream: ClassVar[str] = ""
    n_draws: int = 0

    @property
    def turn(self) -> float:
        """0: every epoch draws for itself."""
        return 0.0

    def __call__(self, item: Any, draws: Sequence[float] | None = None) -> Any:
        """The transformed item. Raises ShapeError if the number of draws is not `n_draws`."""
        n_given = len(draws) if draws is not None else 0
        if n_given != self.n_draws:
            raise ShapeError(
                f"{type(self).__name__} got {n_given} draws, needs {self.n_draws}",
                where=f"item transform {type(self).__name__}",
                fix=f'draw them with uniform(keys_B, stream="{self.stream}", n={self.n_draws})[0].tolist()'
                if self.n_draws
                else "call it with the item alone",
            )
        return self.apply(item, () if draws is None else draws)

    def apply(self, item: Any, draws: Sequence[float]) -> Any:
        """What the transform does with draws whose number is right."""
        raise NotImplementedError(type(self).__name__)

    def to_dict(self) -> dict[str, object]:
        """Name and options in plain types, for the record of a run."""
        return describe(self)


def describe(transform: object) -> dict[str, object]:
    """Class name and dataclass fields of a transform, tuples as lists: what a record of a run says of it."""
    names = [field.name for field in fields(transform)] if is_dataclass(transform) else []
    options = {name: getattr(transform, name) for name in names}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {"name": type(transform).__name__, **plain}
