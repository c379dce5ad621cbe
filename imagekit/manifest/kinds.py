"""That each field of a stranger's metadata is of its kind, so that telling it cannot stumble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from imagekit.errors import ManifestError
from imagekit.manifest.schema import REBUILD, Metadata


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and not PurePosixPath(value).is_absolute()


def _is_processor(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    outputs = value.get("outputs", [])
    is_listed = isinstance(outputs, list) and all(map(_is_text, outputs))
    return is_listed and _is_text(value.get("name")) and _is_text(value.get("column")) and _is_table(value.get("state"))


def _is_recipe(value: object) -> bool:
    return isinstance(value, Mapping) and _is_text(value.get("name")) and "version" in value


def _are_sizes(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        three is None or (isinstance(three, list | tuple) and len(three) == 3 and all(map(_is_number, three)))
        for three in value.values()
    )


def _are_stats(stats: Any) -> bool:
    values, counts = (*stats.mean, *stats.std), (stats.n_images, stats.n_pixels)
    return len(stats.mean) == len(stats.std) == 3 and all(map(_is_number, values)) and all(map(_is_number, counts))


def _or_none(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _all(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: all(map(test, values))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "root": (_is_path, "a relative path"),
    "label_rule": (_is_text, "text"),
    "split_rule": (_is_text, "text"),
    "salt": (_is_text, "text"),
    "seed": (_is_number, "a number"),
    "rows_sha256": (_is_text, "text"),
    "check": (_is_text, "text"),
    "group_rule": (_or_none(_is_text), "text or null"),
    "counts": (_is_table, "an object"),
    "options": (_is_table, "an object"),
    "recipe": (_or_none(_is_recipe), "null or an object with name and version"),
    "processors": (_all(_is_processor), "a list of objects with name, column and state"),
    "stats": (_or_none(_are_stats), "null or three numbers for mean and std and two counts"),
    "fold_stats": (_all(_are_stats), "a list of statistics"),
    "sizes": (_or_none(_are_sizes), "null or three numbers for each size"),
}


def check_kinds(metadata: Metadata, *, where: str) -> None:
    """Raise ManifestError for the first field of the metadata that is not of its kind."""
    for key, (is_right, kind) in _KINDS.items():
        if not is_right(getattr(metadata, key)):
            raise ManifestError(f"the metadata's {key} must be {kind}", where=where, fix=REBUILD)
