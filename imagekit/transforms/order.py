"""The order in which transforms run: by their `_order`, whatever the order of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

Transform = Callable[..., Any]


def sort_by_order(funcs: Transform | Iterable[Transform] | None, *, order_key: str = "_order") -> list[Transform]:
    """The functions by `order_key`, a missing one counting as 0; equals keep their place in the list.

    funcs: None (nothing), one function, or any iterable of functions.
    """
    if funcs is None:
        return []
    # a function that can be iterated over does not occur; a list that can be called does not either
    listed = [cast(Transform, funcs)] if callable(funcs) else list(funcs)
    return sorted(listed, key=lambda func: getattr(func, order_key, 0))
