"""From the plain types that TOML (or JSON) gives to a Recipe; every level puts its key in front of an error's.

The idea is that of packaging's pylock.py: a getter raises with its own key, each level prefixes where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from imagekit.errors import RecipeError, did_you_mean
from imagekit.recipes.recipe import Recipe, ResizeRule, shown, toml_type

T = TypeVar("T")

_FIX = {
    str: 'put the text in double quotes, as in title = "..."',
    int: "write a whole number without quotes",
    list: 'write an array, as in sizes = ["full", 160]',
    dict: "write a table: [name] on a line of its own, or { key = value }",
}
_NOUN = {str: "a string", int: "an integer", list: "an array", dict: "a table"}


def parse_recipe(name: str, table: object, *, where: str) -> Recipe:
    """One table of a recipes file as a Recipe; `layout` is the one key that has to be there.

    name: the table's name; where: the file, for errors. A title left out is the name; a split left out is "folders"
    with layout "split/class" and "none" with "class". Raises RecipeError with `where` such as
    "datasets.toml: [imagenette] resize.quality".
    """
    with _inside(f"{where}: [{name if name.isprintable() else shown(name)}]", separator=" "):
        values = _typed(table, dict)
        _refuse_unknown(values, {f.name for f in fields(Recipe)} - {"name"})
        if "layout" not in values:
            fix = 'add layout = "split/class" (train/cats/1.jpg) or layout = "class" (cats/1.jpg)'
            raise RecipeError("layout is missing", where="layout", fix=fix)
        layout = _get(values, "layout", str)
        return Recipe(
            name=name,
            layout=layout,
            split=_get(values, "split", str, default="folders" if layout == "split/class" else "none"),
            title=_get(values, "title", str, default=name),
            version=_get(values, "version", str, default="1"),
            label=_get(values, "label", str, default="parent"),
            sizes=tuple(_get(values, "sizes", list, default=["full"])),
            homepage=_get(values, "homepage", str, default=""),
            licence=_get(values, "licence", str, default=""),
            resize=_parse_resize(_get(values, "resize", dict, default={})),
            classes=_parse_classes(_get(values, "classes", dict, default={})),
        )


def _parse_resize(table: dict[str, Any]) -> ResizeRule:
    default = ResizeRule()
    with _inside("resize"):
        _refuse_unknown(table, [f.name for f in fields(ResizeRule)])
        return ResizeRule(
            mode=_get(table, "mode", str, default=default.mode),
            filter=_get(table, "filter", str, default=default.filter),
            format=_get(table, "format", str, default=default.format),
            quality=_get(table, "quality", int, default=default.quality),
            background=_get(table, "background", str, default=default.background),
        )


def _parse_classes(table: dict[str, Any]) -> dict[str, str]:
    with _inside("classes"):
        return {class_id: _get(table, class_id, str) for class_id in table}


@contextmanager
def _inside(prefix: str, *, separator: str = ".") -> Iterator[None]:
    """Put `prefix` in front of the key of a RecipeError that passes through."""
    try:
        yield
    except RecipeError as error:
        where = f"{prefix}{separator}{error.where}" if error.where else prefix
        raise RecipeError(error.what, where=where, fix=error.fix) from None


def _refuse_unknown(table: Mapping[str, object], known: Iterable[str]) -> None:
    for key in table:
        if key not in known:
            where = key if key.isprintable() else shown(key)
            raise RecipeError(f"the key {shown(key)} is not known", where=where, fix=did_you_mean(key, known))


def _get(table: Mapping[str, object], key: str, kind: type[T], *, default: T | None = None) -> T:
    """The value of a key, which is of type `kind`; `default` where the key is absent."""
    if key not in table and default is not None:
        return default
    return _typed(table[key], kind, key=key if key.isprintable() else shown(key))


def _typed(value: object, kind: type[T], *, key: str | None = None) -> T:
    """`value`, checked to be of type `kind`; a boolean is no integer."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    received = toml_type(value) if isinstance(value, list | dict) else f"{toml_type(value)} {shown(value)}"
    what = f"{key or 'the recipe'} is the {received}, must be {_NOUN[kind]}"
    raise RecipeError(what, where=key, fix=_FIX[kind])
