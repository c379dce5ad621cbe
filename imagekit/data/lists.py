"""Lists as the data block has them: anything as a list, and a list that takes ints, slices, lists and masks.

Nothing here knows of images. Source: fast.ai course v3, lessons 8 and 11.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from imagekit.errors import ShapeError

_N_SHOWN = 10


def listify(x: Any) -> list[Any]:
    """x as a list: nothing for None, a list itself, the elements of any other iterable, else x as the only element.

    A text, bytes (a file's name), a tensor and an array are one object each.
    """
    if x is None:
        return []
    if isinstance(x, list):
        return x
    is_one = isinstance(x, str | bytes | Tensor | np.ndarray) or not isinstance(x, Iterable)
    return [x] if is_one else list(x)


def setify(x: Any) -> set[Any]:
    """x as a set: a set itself, else the elements of `listify(x)`."""
    return x if isinstance(x, set) else set(listify(x))


def uniqueify(x: Iterable[Any], *, sort: bool = False) -> list[Any]:
    """Every element once, where it first appears; sorted if `sort`."""
    unique = list(dict.fromkeys(x))
    return sorted(unique) if sort else unique


def is_position(index: object) -> bool:
    """Whether an index names one item: an int, one of numpy's, or a tensor without axes."""
    return isinstance(index, SupportsIndex) and not getattr(index, "ndim", 0)


class ListContainer:
    """A list of its own: `items`, by `listify` and copied, so that a change here changes no list elsewhere.

    An index is an int (negative from the end), a slice, a list of ints, a mask (one bool for each item), or either of
    these as a tensor or array of one axis. Raises IndexError for an int outside, ShapeError for a mask of another
    length, TypeError for any other index. Assigning and deleting take an int or a slice.
    """

    def __init__(self, items: Any) -> None:
        self.items = [*listify(items)]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        found = self.pick(self.positions(index))
        return found[0] if is_position(index) else found

    def __setitem__(self, index: Any, item: Any) -> None:
        self.items[self._position(index) if is_position(index) else index] = item

    def __delitem__(self, index: Any) -> None:
        del self.items[self._position(index) if is_position(index) else index]

    def __repr__(self) -> str:
        more = "..." if len(self) > _N_SHOWN else ""
        return f"{type(self).__name__} ({len(self)} items)\n{str(self.items[:_N_SHOWN])[:-1]}{more}]"

    def pick(self, positions: Sequence[int]) -> list[Any]:
        """The items at these positions, which count from 0: what indexing gives."""
        return [self.items[position] for position in positions]

    def positions(self, index: Any) -> list[int]:
        """The positions that an index names, counted from 0. Raises as the class says."""
        if is_position(index):
            return [self._position(index)]
        if isinstance(index, slice):
            return list(range(len(self))[index])
        if not isinstance(index, list | Tensor | np.ndarray):
            name, kind = type(self).__name__, type(index).__name__
            raise TypeError(f"{name} indices must be integers, slices, lists or masks, not {kind}")
        chosen = index if isinstance(index, list) else index.tolist()
        if chosen and all(map(_is_truth, chosen)):
            return self._marked(chosen)
        return [self._position(one) for one in chosen]

    def _position(self, index: Any) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is outside the {len(self)} items of {type(self).__name__}")
        return position % len(self)

    def _marked(self, mask: Sequence[Any]) -> list[int]:
        if len(mask) != len(self):
            raise ShapeError(
                f"the mask has {len(mask)} values for {len(self)} items",
                where=type(self).__name__,
                fix="give one bool for each item",
            )
        return [position for position, is_marked in enumerate(mask) if is_marked]


def _is_truth(value: object) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, Tensor) and value.dtype == torch.bool)
