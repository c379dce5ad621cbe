"""A source as a recipe reads it: its files, its layout found out where the recipe leaves it open, its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagekit.errors import SourceError
from imagekit.files.discover import Discovery, discover
from imagekit.files.tables import find_table
from imagekit.recipes.recipe import Recipe
from imagekit.rules.columns import SourceTable, table_files
from imagekit.rules.layouts import Detected, detect_layout

AUTO = "auto"
_LABEL_OF_LAYOUT = {"class": "parent", "split/class": "parent", "tree": "parent"}
# (layout of a recipe, layout found): the first holds the second; the label rule that is right for both, None: as found
_HOLDS: Mapping[tuple[str, str], str | None] = {("flat", "list"): None, ("split/tree", "split/class"): "folder:2"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was found below `root` and how it is read.

    recipe: with layout, label and split settled, those of its parts too. tables: by the FILE of the rules; checksums:
    sha256 in hex by FILE. said: lines for the screen about what was detected and what was not looked at.
    """

    root: Path
    discovery: Discovery
    recipe: Recipe
    tables: Mapping[str, SourceTable]
    checksums: Mapping[str, str]
    said: tuple[str, ...]

    def read_as(self) -> dict[str, Any]:
        """What the receipt holds: what open rules came to, the tables that were used, how many names were hidden."""
        recipes = [part.recipe for part in self.recipe.parts] or [self.recipe]
        rules = [{"layout": one.layout, "label": one.label, "split": one.split} for one in recipes]
        return {"rules": rules, "tables": dict(self.checksums)}


def open_source(root: Path, recipe: Recipe, *, beside: Path | None) -> Source:
    """List the files below `root` and settle how the recipe reads them.

    beside: a second folder in which the tables of the rules are looked for, that of the recipes file.
    Raises SourceError for a folder without images or a table that is missing, and what detection raises.
    """
    discovery = discover(root)
    if len(discovery) == 0:
        raise _no_images(discovery)
    said: list[str] = []
    if recipe.parts:
        parts = tuple(replace(part, recipe=_settle(part.recipe, discovery, said)) for part in recipe.parts)
        settled = replace(recipe, parts=parts)
    else:
        settled = _settle(recipe, discovery, said)
    if discovery.n_hidden:
        said.append(f"{_hidden(discovery.n_hidden)} not looked into")
    tables, checksums = _read_tables(settled, root=root, beside=beside)
    return Source(
        root=root,
        discovery=discovery,
        recipe=settled,
        tables=tables,
        checksums=checksums,
        said=tuple(dict.fromkeys(said)),
    )


def _no_images(discovery: Discovery) -> SourceError:
    kinds = Counter(discovery.other_kinds.to_pylist())
    n_links = sum(n for kind, n in kinds.items() if kind.startswith("symlink"))
    n_files = kinds.total() - n_links
    found = [f"{n_files:,} other file{'s' * (n_files != 1)}"] if n_files else []
    fix = "point at a folder of images; names that begin with a dot are not read"
    if n_links:
        found.append(
            "1 symbolic link, which is not followed"
            if n_links == 1
            else f"{n_links:,} symbolic links, which are not followed"
        )
        fix = "point at the folder that the links lead to, or copy what they lead to (cp -rL)"
    only = f", only {' and '.join(found)}" if found else ""
    return SourceError(f"the folder holds no images{only}", where=str(discovery.root), fix=fix)


def _hidden(n: int) -> str:
    if n == 1:
        return "1 hidden file or folder (its name begins with a dot) was"
    return f"{n:,} hidden files and folders (names that begin with a dot) were"


def _settle(recipe: Recipe, discovery: Discovery, said: list[str]) -> Recipe:
    """The recipe without "auto": what it leaves open is read off the names."""
    layout, label, split = recipe.layout, recipe.label, recipe.split
    if layout == AUTO or (label == AUTO and layout not in _LABEL_OF_LAYOUT):
        detected = detect_layout(discovery.names, discovery.others)
        layout, label = _as_detected(recipe, detected, root=discovery.root)
        split = detected.split if split == AUTO else split
        said.append(f"detected {detected.why}")
    if label == AUTO:
        label = _LABEL_OF_LAYOUT[layout]
    if split == AUTO:
        split = "folders" if layout.startswith("split/") else "none"
    return replace(recipe, layout=layout, label=label, split=split)


def _as_detected(recipe: Recipe, detected: Detected, *, root: Path) -> tuple[str, str | dict[str, str]]:
    if (recipe.layout, detected.layout) in _HOLDS and recipe.label == AUTO:
        return recipe.layout, _HOLDS[recipe.layout, detected.layout] or detected.label
    if recipe.layout not in (AUTO, detected.layout):
        raise SourceError(
            f"recipe {recipe.name} has layout {recipe.layout} and no label rule, and the source is no such folder: "
            f"{detected.why}",
            where=str(root),
            fix='give the recipe a label, such as label = "folder:2", or another layout',
        )
    return detected.layout, detected.label if recipe.label == AUTO else recipe.label


def _read_tables(recipe: Recipe, *, root: Path, beside: Path | None) -> tuple[dict[str, SourceTable], dict[str, str]]:
    tables: dict[str, SourceTable] = {}
    checksums: dict[str, str] = {}
    for file in dict.fromkeys(_files_of(recipe)):
        table, base = find_table(
            file,
            root=root,
            beside=beside,
            asked_by=f"recipe {recipe.name}",
            fix="put it into the source or beside the recipes file, or mend its name in the recipe",
        )
        tables[file] = SourceTable(data=table.data, has_header=table.has_header, base=base)
        checksums[file] = table.sha256
    return tables, checksums


def _files_of(recipe: Recipe) -> Iterable[str]:
    for one in [part.recipe for part in recipe.parts] or [recipe]:
        yield from table_files(one.label)
        yield from table_files(one.split)
