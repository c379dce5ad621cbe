"""Which rows of a source a recipe takes, by their names alone: layout, label, class, lists, fraction, split. Pure.

A verdict is an index into RULES; 0 means taken. The order of RULES is the order of the questions: of a composite
recipe, an image that no part takes gets the verdict of the part that came furthest with it. N names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import RecipeError, SourceError, SplitError, did_you_mean
from imagekit.files.names import display_name
from imagekit.recipes.recipe import Recipe
from imagekit.rules.choosing import (
    match_classes,
    match_paths,
    missing_classes,
    path_hashes,
    sha256_entries,
    take_fraction,
)
from imagekit.rules.columns import Coded, SourceTable, label_names, split_names
from imagekit.rules.layouts import fits_layout
from imagekit.rules.outcomes import BadFile
from imagekit.rules.splitters import SPLIT_SYNONYMS
from imagekit.rules.tables import MAX_PROBLEMS

RULES = (
    "selected",
    "outside-layout",
    "not-in-list",
    "no-label",
    "class-not-in-recipe",
    "denied",
    "not-included",
    "not-in-part",
    "not-in-fraction",
    "no-split",
    "format-not-chosen",
    "below-min-side",
    "above-max-aspect",
    "over-cap",
    "quarantined",
)
SELECTED = 0
OUTSIDE_LAYOUT, NOT_LISTED, NO_LABEL, NOT_CHOSEN, DENIED, NOT_INCLUDED, NOT_IN_PART, NOT_IN_FRACTION, NO_SPLIT = range(
    1, 10
)
OVER_CAP, QUARANTINED = 13, 14

Tables = Mapping[str, SourceTable]
Codes = npt.NDArray[np.int32]


@dataclass(kw_only=True, slots=True)
class Choice:
    """The verdicts so far, and label and split of the rows that are taken; -1 for a row without.

    parts: which part of a composite recipe took the row; 0 throughout for a plain one. problems: what tables and lists
    name that is not in the source, by names as shown.
    """

    verdicts: npt.NDArray[np.int8]
    label_codes: Codes
    labels: tuple[str, ...]
    split_codes: Codes
    splits: tuple[str, ...]
    parts: npt.NDArray[np.int8]
    problems: tuple[BadFile, ...] = field(default=())

    def taken(self) -> npt.NDArray[np.int64]:
        """The rows that are taken."""
        return np.flatnonzero(self.verdicts == SELECTED)


def choose_by_name(names: pa.LargeBinaryArray, recipe: Recipe, *, tables: Tables, root: str) -> Choice:
    """Ask every question that a name can answer.

    recipe: its layout, label and split are no longer "auto". tables: the label and split tables by their FILE.
    Raises SourceError when no image lies where the layout says or a class of the recipe has none, SplitError when no
    folder stands for a split, a table or hash leaves train or valid empty, or a part takes from splits that are not
    there, LabelError from a label table, RecipeError for a part whose recipe asks what a name cannot answer.
    """
    choice = _choose_parts if recipe.parts else _choose
    found = choice(names, recipe, tables=tables, root=root)
    found.problems = tuple(replace(bad, file_name=_shown(bad.file_name)) for bad in found.problems)
    return found


def _choose_parts(names: pa.LargeBinaryArray, recipe: Recipe, *, tables: Tables, root: str) -> Choice:
    whole = _nothing(len(names))
    for index, part in enumerate(recipe.parts):
        _refuse_late_rules(part.recipe, where=f"recipe {recipe.name}: part[{index}].recipe")
        choice = _choose(names, part.recipe, tables=tables, root=root)
        if part.from_splits:
            wanted = [code for code, split in enumerate(choice.splits) if split in part.from_splits]
            if not wanted:
                raise SplitError(
                    f"the source has no image in {' or '.join(part.from_splits)}, which the part takes from",
                    where=f"recipe {recipe.name}: part[{index}].from",
                    fix="complete the source, or make a recipe of your own without that part (--recipes FILE)",
                )
            _exclude(choice, choice.taken(), ~np.isin(choice.split_codes[choice.taken()], wanted), NOT_IN_PART)
        rows = choice.taken()
        # a recipe that draws for itself has taken the lowest ranks: the same ranks again would draw from those only
        salt = "part\0" if part.recipe.choose.fraction < 1 else ""
        drawn = take_fraction(path_hashes(names.take(pa.array(rows)), seed=part.seed, salt=salt), part.fraction)
        _exclude(choice, rows, ~drawn, NOT_IN_FRACTION)
        _join(whole, choice, index=index, split=part.to)
    return whole


def _choose(names: pa.LargeBinaryArray, recipe: Recipe, *, tables: Tables, root: str) -> Choice:
    fits = fits_layout(names, recipe.layout)
    choice = _nothing(len(names))
    choice.verdicts[fits] = SELECTED
    rows = choice.taken()
    coded = label_names(names, recipe.label, tables=tables)  # of all: a table may list what the layout leaves out
    choice.label_codes, choice.labels, choice.problems = coded.codes, coded.values, coded.problems
    if recipe.layout == "list" and coded.listed is not None:
        _exclude(choice, rows, ~coded.listed[rows], NOT_LISTED)
    rows = choice.taken()
    _exclude(choice, rows, (choice.label_codes[rows] < 0) & ~_may_lack_label(names, recipe)[rows], NO_LABEL)
    _require_rows(names, choice, recipe, root=root)
    _choose_classes(choice, recipe, root=root)
    _choose_paths(names, choice, recipe)
    _choose_split(names, choice, recipe, tables=tables)
    return choice


def _refuse_late_rules(recipe: Recipe, *, where: str) -> None:
    """Parts are given out by name: what a look at an image would take away again, another part might have wanted."""
    rule = recipe.choose
    if rule.needs_content() or rule.per_class is not None:
        raise RecipeError(
            f"recipe {recipe.name} chooses by what only content tells, or caps its classes, which a part cannot",
            where=where,
            fix="name a recipe whose choose holds classes, fraction, and include and deny by path only",
        )


def _nothing(n_rows: int) -> Choice:
    return Choice(
        verdicts=np.full(n_rows, OUTSIDE_LAYOUT, np.int8),
        label_codes=np.full(n_rows, -1, np.int32),
        labels=(),
        split_codes=np.full(n_rows, -1, np.int32),
        splits=(),
        parts=np.zeros(n_rows, np.int8),
    )


def _at(names: pa.LargeBinaryArray, rows: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    return names if len(rows) == len(names) else names.take(pa.array(rows))


def _may_lack_label(names: pa.LargeBinaryArray, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Images in the source's own folders for test and unsup: nobody may know what they show."""
    if recipe.split != "folders":
        return np.zeros(len(names), np.bool_)
    tops = label_names(names, "folder:1", tables={})
    free = [SPLIT_SYNONYMS.get(top.lower()) in ("test", "unsup") for top in tops.values]
    return np.array([*free, False], np.bool_)[tops.codes]


def _exclude(choice: Choice, rows: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_], verdict: int) -> None:
    choice.verdicts[rows[mask]] = verdict


def _require_rows(names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe, *, root: str) -> None:
    if len(choice.taken()):
        return
    tops = sorted({name.split(b"/")[0] for name in names.slice(0, 65_536).to_pylist()})[:8]
    shown = ", ".join(map(display_name, tops))
    if np.any(choice.verdicts != OUTSIDE_LAYOUT):
        raise SourceError(
            f"no image gets a label by the rule of recipe {recipe.name}: label = {recipe.label!r}",
            where=f"{root} holds {shown}",
            fix="mend the rule in the recipe (--recipes FILE)",
        )
    raise SourceError(
        f"no image lies in {recipe.layout}/file, the layout of recipe {recipe.name}",
        where=f"{root} holds {shown}",
        fix="point at the folder that holds train/ and val/"
        if recipe.layout.startswith("split/")
        else "point at the folder that holds the class folders, or give the recipe another layout",
    )


def _choose_classes(choice: Choice, recipe: Recipe, *, root: str) -> None:
    """Keep the recipe's classes, and of them those that its `choose.classes` names."""
    rows = choice.taken()
    codes = choice.label_codes[rows]
    found = {choice.labels[code] for code in np.unique(codes).tolist() if code >= 0}
    wanted = set(recipe.classes) or found
    if recipe.choose.classes:
        match = match_classes(recipe.choose.classes, ids=sorted(wanted | found), names=recipe.classes)
        if match.unmatched:
            raise SourceError(
                f'no class is called "{match.unmatched[0]}"'
                + (f", nor {len(match.unmatched) - 1} others that choose.classes names" * (len(match.unmatched) > 1)),
                where=f"recipe {recipe.name}: choose.classes",
                fix=did_you_mean(match.unmatched[0], sorted({*found, *recipe.classes.values()})),
            )
        wanted &= match.chosen
    missing = missing_classes(found, {name: title for name, title in recipe.classes.items() if name in wanted})
    if missing:
        listed = ", ".join(f"{name} ({recipe.classes[name]})" for name in missing[:5])
        raise SourceError(
            f"{len(missing)} of the {len(recipe.classes)} classes of recipe {recipe.name} have no image: {listed}",
            where=root,
            fix=f"the source is another data set or incomplete; {did_you_mean(missing[0], found)}",
        )
    is_wanted = np.array([*(label in wanted for label in choice.labels), True], np.bool_)  # the last: no label
    _exclude(choice, rows, ~is_wanted[codes], NOT_CHOSEN)


def _choose_paths(names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe) -> None:
    """Deny and include lists by path, then the fraction. A list with checksums waits until content was read."""
    rule = recipe.choose
    if rule.deny:
        rows = choice.taken()
        _exclude(choice, rows, match_paths(_at(names, rows), rule.deny).mask, DENIED)
    if rule.include and not sha256_entries(rule.include):
        rows = choice.taken()
        match = match_paths(_at(names, rows), rule.include)
        _exclude(choice, rows, ~match.mask, NOT_INCLUDED)
        choice.problems += not_there(match.unmatched)
    if rule.fraction < 1:
        rows = choice.taken()
        drawn = take_fraction(path_hashes(_at(names, rows), seed=rule.seed), rule.fraction)
        _exclude(choice, rows, ~drawn, NOT_IN_FRACTION)


def not_there(entries: Sequence[str]) -> tuple[BadFile, ...]:
    """For the quarantine list: entries of choose.include that no image has, a bounded number of them by name."""
    detail = "choose.include lists it, but no image that is left has it"
    found = [BadFile(file_name=entry, reason="vanished", detail=detail) for entry in entries[:MAX_PROBLEMS]]
    if len(entries) > MAX_PROBLEMS:
        detail = f"{len(entries) - MAX_PROBLEMS:,} more entries that no image that is left has"
        found.append(BadFile(file_name="choose.include", reason="vanished", detail=detail))
    return tuple(found)


def _shown(text: str) -> str:
    return display_name(text.encode("utf-8", "surrogateescape"))


def _choose_split(names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe, *, tables: Tables) -> None:
    # a table is matched with every name, or what another rule left out would count as vanished
    rows = np.arange(len(names)) if recipe.split.startswith("table:") else choice.taken()
    labels = Coded(codes=choice.label_codes[rows], values=choice.labels)
    try:
        coded = split_names(_at(names, rows), recipe.split, tables=tables, labels=labels, salt=recipe.name)
    except SplitError as error:
        if error.where and error.where.startswith("table "):
            raise SplitError(error.what, where=f"recipe {recipe.name}: {error.where}", fix=error.fix) from error
        # the splitter knows the command's options, not that a recipe chose it
        raise SplitError(
            error.what,
            where=f'recipe {recipe.name}: split = "{recipe.split}"',
            fix="complete the source, or give another split in a recipe of your own (--recipes FILE)",
        ) from error
    choice.split_codes[rows], choice.splits = coded.codes, coded.values
    choice.problems = tuple(dict.fromkeys((*choice.problems, *coded.problems)))
    if recipe.split != "none":
        rows = choice.taken()
        _exclude(choice, rows, choice.split_codes[rows] < 0, NO_SPLIT)


def _join(whole: Choice, choice: Choice, *, index: int, split: str) -> None:
    """Give the part what it takes and nobody took before."""
    free = whole.verdicts != SELECTED
    rows = np.flatnonzero(free & (choice.verdicts == SELECTED))
    whole.verdicts[free] = np.where(
        choice.verdicts[free] == SELECTED, SELECTED, np.maximum(whole.verdicts[free], choice.verdicts[free])
    )
    labels = tuple(dict.fromkeys((*whole.labels, *choice.labels)))
    splits = tuple(dict.fromkeys((*whole.splits, split)))
    position = np.array([*(labels.index(label) for label in choice.labels), -1], np.int32)
    whole.label_codes[rows] = position[choice.label_codes[rows]]
    whole.split_codes[rows] = splits.index(split)
    whole.parts[rows] = index
    whole.labels, whole.splits = labels, splits
    whole.problems = tuple(dict.fromkeys((*whole.problems, *choice.problems)))
