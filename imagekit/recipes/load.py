"""Recipes at hand: those that ship, and those of a user's file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from imagekit.errors import RecipeError, did_you_mean
from imagekit.recipes.parse import parse_recipe
from imagekit.recipes.recipe import Recipe, shown

_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / "datasets.toml", _PACKAGE.parent / "datasets.toml")  # in a wheel, in a checkout


def load_recipes(extra: Path | None = None) -> dict[str, Recipe]:
    """The shipped recipes by name; those of the file `extra` are added, and replace one of the same name.

    Raises RecipeError for a file that is missing, cannot be read, is not TOML or says something that cannot be.
    """
    shipped = next((place for place in _PLACES if place.is_file()), _PLACES[0])
    recipes = _read_recipes(shipped, where="datasets.toml", known={})
    return recipes if extra is None else recipes | _read_recipes(extra, where=str(extra), known=recipes)


def find_recipe(name: str, recipes: Mapping[str, Recipe]) -> Recipe:
    """The recipe of that name; RecipeError with the nearest name otherwise."""
    if name in recipes:
        return recipes[name]
    fix = f"{did_you_mean(name, recipes)}; --recipes FILE adds your own"
    raise RecipeError(f"no recipe has the name {shown(name)}", where="RECIPE", fix=fix)


def _read_recipes(path: Path, *, where: str, known: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The recipes of one file in its order; those with parts are read last, for the parts may stand anywhere in it."""
    tables = _read_toml(path, where=where)
    composites = [name for name, table in tables.items() if isinstance(table, dict) and "part" in table]
    recipes: dict[str, Recipe] = {}
    for name in [*(name for name in tables if name not in composites), *composites]:
        recipes[name] = parse_recipe(
            name, tables[name], where=where, known={**known, **recipes}, folder=path.parent, composites=composites
        )
    return {name: recipes[name] for name in tables}


def _read_toml(path: Path, *, where: str) -> dict[str, object]:
    try:
        if not path.is_file():  # a pipe would be waited for without end
            state = "is not a regular file" if path.exists() else "does not exist"
            raise RecipeError(f"the recipes file {state}", where=where, fix="give the path of a TOML file of recipes")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        what = f"the recipes file cannot be read: {error.strerror}"
        raise RecipeError(what, where=where, fix="check the path and its permissions") from error
    except UnicodeDecodeError as error:
        what = f"the recipes file is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise RecipeError(what, where=where, fix="save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:  # its text ends in "(at line 3, column 9)"
        what = f"the recipes file is not TOML: {error}"
        raise RecipeError(what, where=where, fix="mend the file at that line and column") from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, a thousand brackets
        what = f"the recipes file holds a value too large to read: {type(error).__name__}"
        raise RecipeError(what, where=where, fix="take out very long numbers and deep nesting") from error
