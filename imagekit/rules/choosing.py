"""Which rows a recipe's class list keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def choose_classes(labels: Sequence[str | None], classes: Mapping[str, str]) -> list[bool]:
    """True for each row whose label is among the class ids; an empty `classes` keeps every row, unlabelled ones too."""
    return [label in classes for label in labels] if classes else [True] * len(labels)


def missing_classes(found: Iterable[str | None], classes: Mapping[str, str]) -> list[str]:
    """The class ids of the recipe that no row has, in the recipe's order."""
    seen = set(found)
    return [class_id for class_id in classes if class_id not in seen]
