"""`imagekit recipes`: the recipes at hand; one in full."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagekit.cli.frame import Outcome, imagekit_command, recipes_option

if TYPE_CHECKING:
    from imagekit.recipes.recipe import Recipe

HEADINGS = ("NAME", "CLASSES", "SIZES", "SPLIT", "TITLE")
MAX_LINE = 120


@dataclass(frozen=True, kw_only=True)
class RecipeTable:
    """All recipes, a row each: an Outcome."""

    recipes: Mapping[str, Recipe]
    exit_code: int = 0

    @property
    def next_command(self) -> str | None:
        """One in full: the first."""
        return next((f"imagekit recipes {shlex.quote(name)}" for name in self.recipes), None)

    def summary(self) -> str:
        """A table."""
        rows = [HEADINGS, *(_row(recipe) for recipe in self.recipes.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        return "\n".join(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def to_dict(self) -> dict[str, object]:
        """The recipes by name, in full."""
        return {"recipes": {name: describe(recipe) for name, recipe in self.recipes.items()}}


@dataclass(frozen=True, kw_only=True)
class OneRecipe:
    """One recipe in full: an Outcome."""

    recipe: Recipe
    exit_code: int = 0

    @property
    def next_command(self) -> str | None:
        """Build it."""
        return f"imagekit make-subset {self.recipe.name} SRC -o {self.recipe.name}"

    def summary(self) -> str:
        """The table as it would stand in datasets.toml, and its hash."""
        return f"{to_toml(self.recipe.name, self.recipe.to_dict())}\n\n# sha256 {self.recipe.sha256()}"

    def to_dict(self) -> dict[str, object]:
        """The same in plain types."""
        return {"recipe": describe(self.recipe)}


@imagekit_command(
    "recipes",
    examples=["imagekit recipes", "imagekit recipes imagenette", "imagekit recipes --json"],
)
@click.argument("name", required=False)
@recipes_option
def recipes(name: str | None, recipes: Path | None) -> Outcome:
    """Show the recipes at hand, or the one called NAME in full.

    A recipe says which classes to take, how to split them and how to resize: one table of datasets.toml. It is what
    make-subset builds from.
    """
    from imagekit.recipes.load import find_recipe, load_recipes

    known = load_recipes(recipes)
    return RecipeTable(recipes=known) if name is None else OneRecipe(recipe=find_recipe(name, known))


def describe(recipe: Recipe) -> dict[str, object]:
    """Return a recipe in plain types with its name and hash."""
    return {**recipe.to_dict(), "name": recipe.name, "sha256": recipe.sha256()}


def to_toml(name: str, table: Mapping[str, object]) -> str:
    """Write one recipe as TOML that reads back the same: values first, then tables of their own; no default choose."""
    rows = {key: value for key, value in table.items() if key not in ("name", "classes", "choose", "part")}
    blocks = [_block(f"[{_key(name)}]", rows)]
    for key, inner in (("choose", _choice(table)), ("classes", _rows(table.get("classes")))):
        blocks += [_block(f"[{_key(name)}.{key}]", inner)] if inner else []
    parts = table.get("part")
    blocks += [_block(f"[[{_key(name)}.part]]", _rows(part)) for part in (parts if isinstance(parts, list) else [])]
    return "\n\n".join(blocks)


def _block(heading: str, rows: Mapping[str, object]) -> str:
    return "\n".join([heading, *(_line(_key(key), value) for key, value in rows.items() if value is not None)])


def _line(key: str, value: object) -> str:
    """Write `key = value`; a long array, such as the names of a thousand files, becomes a line an entry."""
    line = f"{key} = {_value(value)}"
    if len(line) <= MAX_LINE or not isinstance(value, list | tuple):
        return line
    return "\n".join([f"{key} = [", *(f"  {_value(item)}," for item in value), "]"])


def _choice(table: Mapping[str, object]) -> Mapping[str, object]:
    """What `choose` says beyond its defaults."""
    from imagekit.recipes.recipe import Recipe

    usual = _rows(Recipe(name="default").to_dict()["choose"])
    return {key: value for key, value in _rows(table.get("choose")).items() if key not in usual or value != usual[key]}


def _rows(table: object) -> Mapping[str, object]:
    return table if isinstance(table, Mapping) else {}


def _row(recipe: Recipe) -> tuple[str, str, str, str, str]:
    classes = str(len(recipe.classes)) if recipe.classes else "every"
    split = "parts" if recipe.parts else recipe.split
    return recipe.name, classes, ", ".join(map(str, recipe.sizes)), split, recipe.title


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _text(text)


def _value(value: object) -> str:
    """Write a TOML value; numbers and true or false as JSON writes them, which TOML reads alike."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    """Write a string as TOML does; what cannot be printed is escaped, for TOML refuses some and a terminal obeys it."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)
