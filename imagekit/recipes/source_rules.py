"""How a recipe says where the images of a source lie, what their labels are and how they are split: three keys.

Spellings only; `rules/` applies them. What contradicts another key is refused here, before a source is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.errors import RecipeError, did_you_mean
from imagekit.recipes.checks import check_inside, check_one_of, shown, shown_key

LAYOUTS = ("auto", "class", "split/class", "tree", "split/tree", "flat", "list")
LABEL_SPELLINGS = ("auto", "parent", "folder:N", "name:REGEX", "table:FILE[:PATH:LABEL]")
SPLIT_SPELLINGS = ("auto", "folders", "none", "hash:V[,T]", "table:FILE[:PATH:SPLIT]")
SPLITS = ("train", "valid", "test", "unsup")


@dataclass(frozen=True, kw_only=True, slots=True)
class HashSplit:
    """The fractions of `hash:V[,T]`: valid, test (0.0 for no test split); train is the rest."""

    valid: float
    test: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.valid < 1.0 and 0.0 <= self.test < 1.0 and self.valid + self.test < 1.0):
            raise RecipeError(
                f"split asks for {self.valid:g} as valid and {self.test:g} as test, which leaves no train or no valid",
                where="split",
                fix='give fractions above 0 that add up to less than 1, such as split = "hash:0.2" or "hash:0.2,0.1"',
            )

    @classmethod
    def from_spec(cls, spec: str) -> HashSplit:
        """Read `hash:V[,T]`; RecipeError where V or T is no number, or there are more than two."""
        try:
            fractions = [float(part) for part in spec.removeprefix("hash:").split(",")]
        except ValueError:
            fractions = []
        if len(fractions) not in (1, 2):
            raise RecipeError(
                f"split is {shown(spec)}, must be hash:V or hash:V,T with V and T numbers",
                where="split",
                fix='write split = "hash:0.2" for a fifth as valid, "hash:0.2,0.1" for a tenth as test, too',
            )
        return cls(valid=fractions[0], test=fractions[-1] if len(fractions) == 2 else 0.0)


def usual_label(layout: str) -> str:
    """The label rule of a recipe that gives none: what the layout says, else for the planner to find out."""
    return "parent" if layout in ("class", "split/class") else "auto"


def usual_split(layout: str) -> str:
    """The split rule of a recipe that gives none: the layout's folders, if it has them."""
    if layout == "auto":
        return "auto"
    return "folders" if layout in ("split/class", "split/tree") else "none"


def check_rules(*, layout: str, label: str | Mapping[str, str], split: str) -> None:
    """Refuse a layout, label rule or split rule that is not known, and those that contradict one another."""
    check_one_of("layout", layout, LAYOUTS)
    if isinstance(label, str):
        _check_label(label, key="label")
    else:
        _check_label_table(label)
    _check_label_fits(label, layout=layout)
    _check_split(split, layout=layout)


def _check_label_table(rules: Mapping[str, str]) -> None:
    if not rules:
        fix = 'give a rule for each first folder, as in label = { train = "folder:2", val = "table:val/labels.txt" }'
        raise RecipeError("label is an empty table", where="label", fix=fix)
    for folder, rule in rules.items():
        key = f"label.{shown_key(folder)}"
        check_inside(f"the folder of {key}", folder, where=key)
        if "/" in folder or folder == ".":
            fix = "use the name of one folder directly below the source"
            raise RecipeError(f"{key} has the folder {shown(folder)}, must be one name", where=key, fix=fix)
        _check_label(rule, key=key, spellings=LABEL_SPELLINGS[1:])


def _check_label(rule: str, *, key: str, spellings: tuple[str, ...] = LABEL_SPELLINGS) -> None:
    kind, colon, value = rule.partition(":")
    if kind == "folder" and colon:
        _check_folder(rule, value, key=key)
    elif kind == "name" and colon:
        _check_pattern(rule, value, key=key)
    elif kind == "table" and colon:
        _check_table(rule, key=key, value_column="LABEL")
    elif colon or kind not in spellings:
        raise RecipeError(f"{key} is {shown(rule)}, which is not known", where=key, fix=did_you_mean(rule, spellings))


def _check_folder(rule: str, number: str, *, key: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", number):
        raise RecipeError(
            f"{key} is {shown(rule)}, must be folder:N with N from 1 to 999",
            where=key,
            fix='count folders from the top: "folder:2" is cats in train/cats/images/1.jpg',
        )


def _check_pattern(rule: str, pattern: str, *, key: str) -> None:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        what = f"{key} is {shown(rule)}, which is no regular expression: {error}"
        raise RecipeError(what, where=key, fix="write it as Python's re module reads it") from error
    if "label" not in compiled.groupindex and compiled.groups != 1:
        raise RecipeError(
            f"{key} is {shown(rule)}, which has {compiled.groups} groups and none called label",
            where=key,
            fix=r"put the label into one group, as in name:^(.+)_\d+\.jpg$, or into one called (?P<label>...)",
        )


def _check_table(rule: str, *, key: str, value_column: str) -> None:
    _, file, *columns = rule.split(":")
    check_inside(f"the file of {key}", file, where=key)
    if len(columns) not in (0, 2) or not all(columns):
        raise RecipeError(
            f"{key} is {shown(rule)}, must be table:FILE or table:FILE:PATH:{value_column}",
            where=key,
            fix=f"give both columns or neither, by name or counted from 1, as in table:{file}:1:2",
        )


def _check_label_fits(label: str | Mapping[str, str], *, layout: str) -> None:
    rules = [label] if isinstance(label, str) else list(label.values())
    if layout == "list" and not all(rule.startswith("table:") for rule in rules):
        raise RecipeError(
            'layout is "list", but label names no table that lists the files',
            where="label",
            fix='set label = "table:FILE", FILE from the root of the source on, such as "table:labels.csv"',
        )
    if layout == "flat" and not (isinstance(label, str) and label.startswith(("auto", "name:", "table:"))):
        raise RecipeError(
            'layout is "flat", but label needs folders',
            where="label",
            fix='set label = "name:REGEX" or "table:FILE", or another layout',
        )


def _check_split(split: str, *, layout: str) -> None:
    if split.startswith("hash:"):
        HashSplit.from_spec(split)
    elif split.startswith("table:"):
        _check_table(split, key="split", value_column="SPLIT")
    elif split not in SPLIT_SPELLINGS[:3]:
        fix = did_you_mean(split, SPLIT_SPELLINGS)
        raise RecipeError(f"split is {shown(split)}, which is not known", where="split", fix=fix)
    elif split == "folders" and layout in ("class", "flat"):
        raise RecipeError(
            f'split is "folders", but layout "{layout}" has no folder for each split',
            where="split",
            fix='set layout = "split/class", or split = "hash:0.2" or "none"',
        )
