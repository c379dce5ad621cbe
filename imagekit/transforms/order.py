"""The order in which transforms run: by their `_order`, whatever the order of the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

Transform = Callable[..., Any]
AnyTransform = TypeVar("AnyTransform", bound=Transform)


def sort_by_order(
    funcs: AnyTransform | Iterable[AnyTransform] | None, *, order_key: str = "_order"
) -> list[AnyTransform]:
    """The functions by `order_key`, a missing one counting as 0; equals keep their place in the list.

    funcs: None (nothing), one function, or any iterable of functions.
    """
    if funcs is None:
        return []
    listed = [funcs] if callable(funcs) else list(funcs)
    return sorted(listed, key=lambda func: getattr(func, order_key, 0))


def number_repeats(names: Sequence[str]) -> list[str]:
    """The names, a repeated one numbered from 2 on: a, b, a -> a, b, a#2."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return numbered
