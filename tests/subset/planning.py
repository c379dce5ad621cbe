"""From a folder to its plan, without a pixel read: what the tests of planning have in common."""

import os
from collections import Counter
from pathlib import Path

from imagekit.recipes.recipe import Recipe
from imagekit.subset.choose import RULES, Choice, choose_by_name
from imagekit.subset.plan import Plan, place_choice
from imagekit.subset.sources import open_source
from imagekit.subset.survey import cap_classes


def named(*names: str | bytes) -> dict[str | bytes, bytes]:
    """Files of no content: a plan looks at names only."""
    return dict.fromkeys(names, b"")


def choice_of(root: Path, rule: Recipe, *, beside: Path | None = None) -> Choice:
    """What a recipe takes of a folder by names, the cap a class included."""
    found = open_source(root, rule, beside=beside)
    choice = choose_by_name(found.discovery.names, found.recipe, tables=found.tables, root=str(root))
    cap_classes(found.discovery.names, choice, found.recipe, bad={})
    return choice


def plan_of(root: Path, rule: Recipe, *, out_format: str = "jpeg", beside: Path | None = None) -> Plan:
    """The plan of a folder."""
    found = open_source(root, rule, beside=beside)
    choice = choose_by_name(found.discovery.names, found.recipe, tables=found.tables, root=str(root))
    cap_classes(found.discovery.names, choice, found.recipe, bad={})
    return place_choice(found.discovery, choice, found.recipe, out_format=out_format)


def taken(root: Path, rule: Recipe, *, beside: Path | None = None) -> list[str]:
    """The source names of the images that a recipe takes."""
    return [os.fsdecode(job.name) for job in plan_of(root, rule, beside=beside).jobs()]


def out_names(plan: Plan) -> list[str]:
    """Where the images of a plan go, in the order of their rows."""
    return [os.fsdecode(job.out_name) for job in plan.jobs()]


def placed(plan: Plan) -> dict[str, tuple[str | None, str | None]]:
    """Label and split by output name."""
    places = [plan.places[code] for code in plan.place_of[plan.rows()].tolist()]
    return {name: (place.label, place.split) for name, place in zip(out_names(plan), places, strict=True)}


def verdict_counts(found: Plan | Choice) -> dict[str, int]:
    """How many names met each rule."""
    return dict(Counter(RULES[verdict] for verdict in found.verdicts.tolist()))


def told(plan: Plan) -> list[tuple[str, str, str]]:
    """What the plan puts into quarantine: name, reason, detail."""
    return [(bad.file_name, bad.reason, bad.detail) for bad in plan.bad.values()]
