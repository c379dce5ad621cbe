"""From the plain types that TOML (or JSON) gives to a Recipe; every level puts its key in front of an error's.

The idea is that of packaging's pylock.py: a getter raises with its own key, each level prefixes where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from imagekit.errors import RecipeError, did_you_mean
from imagekit.recipes.checks import shown, shown_key, toml_type
from imagekit.recipes.choose_rule import ENTRY_KEYS, ChooseRule
from imagekit.recipes.entries import expand_entries
from imagekit.recipes.recipe import COMPOSITE_WITHOUT, Part, Recipe, ResizeRule, refuse_in_composite, union_of_classes
from imagekit.recipes.source_rules import usual_label, usual_split

T = TypeVar("T")

PART_KEYS = ("recipe", "from", "to", "fraction", "seed")

_FIX: dict[type, str] = {
    str: 'put the text in double quotes, as in title = "..."',
    int: "write a whole number without quotes",
    float: "write a number without quotes",
    bool: "write true or false without quotes",
    list: 'write an array, as in sizes = ["full", 160]',
    dict: "write a table: [name] on a line of its own, or { key = value }",
}
_NOUN: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}
_KINDS: dict[str, type] = {"bool": bool, "int": int, "int | None": int, "float": float, "float | None": float}


def parse_recipe(
    name: str,
    table: object,
    *,
    where: str,
    known: Mapping[str, Recipe] | None = None,
    folder: Path | None = None,
    composites: Collection[str] = (),
) -> Recipe:
    """One table of a recipes file as a Recipe; a key left out has its default.

    name: the table's name; where: the file, for errors; known: the recipes that parts may name; folder: that "@FILE"
    entries are relative to; composites: names that no part may use, because they have parts themselves. A title left
    out is the name; a label or split left out is what the layout says, "auto" where that is "auto".
    Raises RecipeError with `where` such as "datasets.toml: [imagenette] resize.quality".
    """
    with _inside(f"{where}: [{shown_key(name)}]", separator=" "):
        values = _typed(table, dict)
        _refuse_unknown(values, ({f.name for f in fields(Recipe)} - {"name", "parts"}) | {"part"})
        own = _parse_composite(name, values, known or {}, composites) if "part" in values else _parse_plain(values)
        return Recipe(
            name=name,
            title=_get(values, "title", str, default=name),
            version=_get(values, "version", str, default="1"),
            sizes=tuple(_get(values, "sizes", list, default=["full"])),
            homepage=_get(values, "homepage", str, default=""),
            licence=_get(values, "licence", str, default=""),
            names=_get(values, "names", str, default="file"),
            resize=_parse_rule("resize", ResizeRule, values),
            choose=_parse_rule("choose", ChooseRule, values, folder=folder),
            **own,
        )


def _parse_plain(values: dict[str, Any]) -> dict[str, Any]:
    """Where images lie, what that says, and which classes there are: what a composite leaves to its parts."""
    layout = _get(values, "layout", str, default="auto")
    label = values.get("label", usual_label(layout))
    if isinstance(label, dict):
        label = _parse_strings("label", label)
    return {
        "layout": layout,
        "label": label if isinstance(label, dict) else _typed(label, str, key="label"),
        "split": _get(values, "split", str, default=usual_split(layout)),
        "classes": _parse_strings("classes", _get(values, "classes", dict, default={})),
    }


def _parse_strings(key: str, table: dict[str, Any]) -> dict[str, str]:
    with _inside(key):
        return {inner: _get(table, inner, str) for inner in table}


def _parse_composite(
    name: str, values: dict[str, Any], known: Mapping[str, Recipe], composites: Collection[str]
) -> dict[str, Any]:
    """The parts, and the classes that they have together."""
    tables = _get(values, "part", list)
    for key in COMPOSITE_WITHOUT:
        if key in values:
            refuse_in_composite(key)
    if not tables:
        raise RecipeError("part is empty", where="part", fix="write [[NAME.part]] once for each part, or delete it")
    parts = []
    for i, table in enumerate(tables):
        with _inside(f"part[{i}]"):
            parts.append(_parse_part(name, table, known, composites))
    return {"parts": tuple(parts), "classes": union_of_classes(parts)}


def _parse_part(name: str, table: object, known: Mapping[str, Recipe], composites: Collection[str]) -> Part:
    values = _typed(table, dict, what="the part")
    _refuse_unknown(values, PART_KEYS)
    for key in ("recipe", "to"):
        if key not in values:
            fix = 'write recipe = "imagenette" and to = "train" in every part'
            raise RecipeError(f"{key} is missing", where=key, fix=fix)
    return Part(
        recipe=_find_part_recipe(name, _get(values, "recipe", str), known, composites),
        from_splits=_parse_from(values),
        to=_get(values, "to", str),
        fraction=_get(values, "fraction", float, default=1.0),
        seed=_get(values, "seed", int, default=0),
    )


def _find_part_recipe(name: str, wanted: str, known: Mapping[str, Recipe], composites: Collection[str]) -> Recipe:
    if wanted == name:
        fix = "name another recipe, one that has no parts"
        raise RecipeError(f"recipe {shown_key(name)} has itself as a part", where="recipe", fix=fix)
    if wanted in composites:
        fix = "name recipes that have no parts; write out the parts of the other one"
        raise RecipeError(f"recipe {shown_key(wanted)} is composite itself", where="recipe", fix=fix)
    if wanted not in known:
        plain = [other for other, recipe in known.items() if not recipe.parts and other != name]
        raise RecipeError(f"no recipe has the name {shown(wanted)}", where="recipe", fix=did_you_mean(wanted, plain))
    return known[wanted]


def _parse_from(values: dict[str, Any]) -> tuple[str, ...]:
    splits = values.get("from", [])
    if isinstance(splits, str):
        return (splits,)
    with _inside("from", separator=""):
        listed = _typed(splits, list, what="from")
        return tuple(_typed(split, str, key=f"[{i}]", what=f"from[{i}]") for i, split in enumerate(listed))


def _parse_rule(key: str, kind: type[T], values: Mapping[str, Any], *, folder: Path | None = None) -> T:
    """The dataclass of simple fields that the table under `key` says; every value is of its field's type."""
    table = _get(values, key, dict, default={})
    declared = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    with _inside(key):
        _refuse_unknown(table, declared)
        return kind(**{inner: _parse_field(inner, declared[inner], table, folder=folder) for inner in table})


def _parse_field(key: str, declared: str, table: Mapping[str, Any], *, folder: Path | None) -> object:
    if not declared.startswith("tuple"):
        return _get(table, key, _KINDS.get(declared, str))
    entries = _parse_list(key, table)
    return expand_entries(key, entries, folder=folder) if key in ENTRY_KEYS else entries


def _parse_list(key: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    values = _get(table, key, list)
    with _inside(key, separator=""):
        return tuple(_typed(value, str, key=f"[{i}]", what=f"{key}[{i}]") for i, value in enumerate(values))


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
            raise RecipeError(f"the key {shown(key)} is not known", where=shown_key(key), fix=did_you_mean(key, known))


def _get(table: Mapping[str, object], key: str, kind: type[T], *, default: T | None = None) -> T:
    """The value of a key, which is of type `kind`; `default` where the key is absent."""
    if key not in table and default is not None:
        return default
    return _typed(table[key], kind, key=shown_key(key))


def _typed(value: object, kind: type[T], *, key: str | None = None, what: str | None = None) -> T:
    """`value`, checked to be of type `kind`; a boolean is no integer, an integer is a float."""
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    received = toml_type(value) if isinstance(value, list | dict) else f"{toml_type(value)} {shown(value)}"
    text = f"{what or key or 'the recipe'} is the {received}, must be {_NOUN[kind]}"
    raise RecipeError(text, where=key, fix=_FIX[kind])
