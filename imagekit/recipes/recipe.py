"""What a recipe is: frozen dataclasses that cannot hold a value that makes no sense.

A RecipeError raised here carries the key inside the recipe (`resize.quality` is raised by ResizeRule as `quality`);
`parse` puts the levels above in front of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from imagekit.errors import RecipeError
from imagekit.recipes.checks import (
    MAX_SIDE_PX,
    check_count,
    check_fraction,
    check_id,
    check_line,
    check_one_of,
    shown,
    shown_key,
    toml_type,
)
from imagekit.recipes.choose_rule import ChooseRule
from imagekit.recipes.resize_rule import ResizeRule
from imagekit.recipes.source_rules import SPLITS, HashSplit, check_rules

__all__ = ["ChooseRule", "HashSplit", "Part", "Recipe", "ResizeRule", "Size", "shown", "toml_type", "union_of_classes"]

NAMES = ("file", "path")
COMPOSITE_WITHOUT = ("layout", "label", "split", "classes", "choose")  # the parts say these

Size = int | Literal["full"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a composite recipe takes of one recipe, and the split that it puts it in.

    recipe: not composite; from_splits: of that recipe's, empty for every one; to: the split, and the folder's name;
    fraction, seed: a share of the images, by a hash of path and seed. An image belongs to the first part that takes it.
    """

    recipe: Recipe
    from_splits: tuple[str, ...] = ()
    to: str
    fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.recipe.parts:
            raise RecipeError(
                f"recipe {self.recipe.name} is composite itself",
                where="recipe",
                fix="name recipes that have no parts; write out the parts of the other one",
            )
        for i, split in enumerate(self.from_splits):
            check_one_of(f"from[{i}]" if len(self.from_splits) > 1 else "from", split, SPLITS)
        if self.from_splits and self.recipe.split == "none":
            raise RecipeError(
                f"from is {shown(self.from_splits[0])}, but recipe {self.recipe.name} has no splits",
                where="from",
                fix="delete the key to take every image of that recipe",
            )
        check_one_of("to", self.to, SPLITS)
        check_fraction(self.fraction)
        check_count("seed", self.seed, least=0)

    def to_dict(self) -> dict[str, object]:
        """The part as its table: plain types, the recipe by its name; `from` only where it is given."""
        table: dict[str, object] = {"recipe": self.recipe.name}
        if self.from_splits:
            table["from"] = list(self.from_splits)
        return table | {"to": self.to, "fraction": self.fraction, "seed": self.seed}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One table of datasets.toml: what a data set is, which classes it has, and how a subset of it is stored.

    layout, label, split: where images lie and what that says, "auto" for the planner to find out; a label may be a rule
    for each first folder. sizes: "full" or a side in pixels; classes: id -> readable name, in order, empty for every
    class. names: a file keeps its name ("file"), or carries all its folders in it ("path"). parts: those of a composite
    recipe, which leaves layout, label, split and choose to them; its classes are theirs.
    Raises RecipeError, its `where` the key, for a value that makes no sense.
    """

    name: str
    layout: str = "auto"
    label: str | dict[str, str] = "auto"
    split: str = "auto"
    title: str = ""
    version: str = "1"
    sizes: tuple[Size, ...] = ("full",)
    homepage: str = ""
    licence: str = ""
    resize: ResizeRule = field(default_factory=ResizeRule)
    choose: ChooseRule = field(default_factory=ChooseRule)
    classes: dict[str, str] = field(default_factory=dict)
    names: str = "file"
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        check_id("recipe name", self.name, where=None)
        for key in ("title", "version", "homepage", "licence"):
            check_line(key, getattr(self, key))
        if not self.version:
            raise RecipeError("version is empty", where="version", fix='set version = "1", or delete the key')
        check_rules(layout=self.layout, label=self.label, split=self.split)
        _check_sizes(self.sizes, mode=self.resize.mode)
        _check_classes(self.classes)
        check_one_of("names", self.names, NAMES)
        if self.parts:
            _check_composite(self)

    def to_dict(self) -> dict[str, object]:
        """The recipe as its table: plain types, every key that has a value, no name; parts under the key `part`.

        `parse_recipe(name, ...)` gives it back, that of a composite with the recipes of its parts in `known`.
        """
        table = _plain(self, without=("name", "parts"))
        if not self.parts:
            return table
        table = {key: value for key, value in table.items() if key not in COMPOSITE_WITHOUT}
        return table | {"part": [part.to_dict() for part in self.parts]}

    def sha256(self) -> str:
        """Hex sha256 of name and table as canonical JSON (sorted keys, no spaces, ASCII): what it says, not how.

        A key with its default value is left out at every level, so that a key of a later version changes no hash. A
        part counts with the table of its recipe.
        """
        table = {"name": self.name, "recipe": _canonical(self)}
        text = json.dumps(table, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def union_of_classes(parts: Sequence[Part]) -> dict[str, str]:
    """The classes of all parts, id -> readable name, in order.

    Raises RecipeError where two parts call a class by two names, or two classes by one name.
    """
    name_of: dict[str, str] = {}
    id_of: dict[str, str] = {}
    for i, part in enumerate(parts):
        for class_id, name in part.recipe.classes.items():
            if name_of.setdefault(class_id, name) != name or id_of.setdefault(name, class_id) != class_id:
                other = id_of.get(name, class_id)
                raise RecipeError(
                    f"class {class_id} is {shown(name)}, but an earlier part has {other} as {shown(name_of[other])}",
                    where=f"part[{i}].recipe",
                    fix="give the class one id and one name in the recipes of all parts",
                )
    return name_of


def _plain(rule: Recipe | ResizeRule | ChooseRule, *, without: tuple[str, ...] = ()) -> dict[str, object]:
    """The fields of a dataclass in the types that TOML knows; a field that is None is left out."""
    values = {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in without}
    return {key: _plain_value(value) for key, value in values.items() if value is not None}


def _plain_value(value: object) -> object:
    if isinstance(value, ResizeRule | ChooseRule):
        return _plain(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, dict) else value


def _canonical(rule: Recipe | ResizeRule | ChooseRule | Part) -> dict[str, object]:
    """The table of a dataclass without what has its default value, parts with the tables of their recipes."""
    table: dict[str, object] = {}
    for key, value, default in _fields_of(rule):
        if value == default or key == "name" or (isinstance(rule, Recipe) and rule.parts and key == "classes"):
            continue
        if isinstance(value, Recipe):
            table[key] = {"name": value.name, "recipe": _canonical(value)}
        elif isinstance(value, ResizeRule | ChooseRule):
            table[key] = _canonical(value)
        else:
            table[key] = [_canonical(part) for part in value] if key == "parts" else _plain_value(value)
    return table


def _fields_of(rule: Recipe | ResizeRule | ChooseRule | Part) -> Iterator[tuple[str, Any, object]]:
    """Name, value and default of each field; the default of one that has none is MISSING."""
    for f in fields(rule):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        yield f.name, getattr(rule, f.name), default


def _check_composite(recipe: Recipe) -> None:
    for key in COMPOSITE_WITHOUT:
        if key != "classes" and getattr(recipe, key) not in ("auto", ChooseRule()):
            refuse_in_composite(key)
    if recipe.classes != union_of_classes(recipe.parts):
        refuse_in_composite("classes")


def refuse_in_composite(key: str) -> None:
    """Raise RecipeError for a key that a composite recipe leaves to its parts."""
    raise RecipeError(
        f"{key} is given, but a recipe with parts leaves it to the recipes of its parts",
        where=key,
        fix="delete the key, or write it in a recipe of its own that a part names",
    )


def _check_sizes(sizes: tuple[object, ...], *, mode: str) -> None:
    if not sizes:
        raise RecipeError("sizes is empty", where="sizes", fix='set sizes = ["full"], or delete the key')
    for i, size in enumerate(sizes):
        where = f"sizes[{i}]"
        # `type(...) is int`: True is an int to isinstance
        if size != "full" and not (type(size) is int and 1 <= size <= MAX_SIDE_PX):
            raise RecipeError(
                f'{where} is the {toml_type(size)} {shown(size)}, must be "full" or an integer from 1 to {MAX_SIDE_PX}',
                where=where,
                fix='list sizes as in sizes = ["full", 320, 160]: "full", or a side in pixels',
            )
        if size in sizes[:i]:
            what = f"{where} is {shown(size)}, which sizes[{sizes.index(size)}] already is"
            raise RecipeError(what, where=where, fix="list every size once")
        if size != "full" and mode == "none":
            raise RecipeError(
                f'{where} is {size}, but resize.mode is "none"',
                where=where,
                fix='set resize.mode = "shortest", or keep only "full" in sizes',
            )


def _check_classes(classes: Mapping[str, str]) -> None:
    first_id: dict[str, str] = {}
    for class_id, name in classes.items():
        where = f"classes.{shown_key(class_id)}"
        check_id("class id", class_id, where=where)
        if not name.strip() or not name.isprintable():
            raise RecipeError(
                f"the name of class {class_id} is {shown(name)}, must be one line of printable characters",
                where=where,
                fix=f'give the class a readable name, as in {class_id} = "golf ball"',
            )
        if name in first_id:
            raise RecipeError(
                f"the name of class {class_id} is {shown(name)}, which is also that of {first_id[name]}",
                where=where,
                fix="give every class a name of its own",
            )
        first_id[name] = class_id
