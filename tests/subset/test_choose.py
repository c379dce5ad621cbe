"""Choosing by name: which rule leaves each image out, and what the lists and tables say of what is not there."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subset.planning import named, out_names, placed, plan_of, taken, told, verdict_counts
from subset.trees import plant, recipe, two_classes

from imagekit.errors import ImagekitError, LabelError, RecipeError, SourceError, SplitError
from imagekit.recipes.load import load_recipes
from imagekit.recipes.recipe import ChooseRule, Part, Recipe
from imagekit.rules.choosing import path_hashes, take_fraction
from imagekit.rules.columns import SourceTable
from imagekit.rules.tables import MAX_PROBLEMS
from imagekit.subset.choose import RULES, Choice, choose_by_name
from imagekit.subset.survey import cap_classes

NAMES = [f"{label}/{i:02}.jpg" for label in ("cat", "dog", "emu") for i in range(20)]
SUM = "ab" * 32


def class_recipe(**choose: Any) -> Recipe:
    return Recipe(name="mine", layout="class", label="parent", split="none", choose=ChooseRule(**choose))


def chosen(names: Sequence[str], rule: Recipe, **tables: SourceTable) -> list[str]:
    """The names that a recipe takes."""
    choice = choice_from(names, rule, **tables)
    return [sorted(names)[row] for row in choice.taken().tolist()]


def choice_from(names: Sequence[str], rule: Recipe, **tables: SourceTable) -> Choice:
    arrow = pa.array(sorted(name.encode() for name in names), pa.large_binary())
    choice = choose_by_name(arrow, rule, tables=tables, root="source")
    cap_classes(arrow, choice, rule, bad={})
    return choice


def table(*rows: tuple[str, ...], base: str = "") -> SourceTable:
    columns = {str(i): [*column] for i, column in enumerate(zip(*rows, strict=True), start=1)}
    return SourceTable(data=pa.table(columns), has_header=False, base=base)


def refused(call: Callable[[], object], kind: type[ImagekitError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# one image a rule


def test_every_rule_that_a_name_can_break_has_its_word() -> None:
    labels = [("train/cat/0.jpg", "cat"), ("val/cat/1.jpg", "cat"), ("train/cat/2.jpg", "cat")]
    labels += [("train/dog/3.jpg", "dog"), ("train/cat/4.jpg", "cat"), ("other/5.jpg", "cat")]
    names = [*(name for name, _ in labels), "train/cat/6.jpg", "loose.jpg"]
    rule = Recipe(
        name="mine",
        layout="list",
        label="table:labels.csv",
        split="folders",
        classes={"cat": "cat"},
        choose=ChooseRule(deny=("train/*/2.jpg",), include=("train/cat/[0-3].jpg", "val/**", "other/*")),
    )

    choice = choice_from(names, rule, **{"labels.csv": table(*labels)})

    words = {name: RULES[verdict] for name, verdict in zip(sorted(names), choice.verdicts.tolist(), strict=True)}
    assert words == {
        "loose.jpg": "not-in-list",
        "other/5.jpg": "no-split",
        "train/cat/0.jpg": "selected",
        "train/cat/2.jpg": "denied",
        "train/cat/4.jpg": "not-included",
        "train/cat/6.jpg": "not-in-list",
        "train/dog/3.jpg": "class-not-in-recipe",
        "val/cat/1.jpg": "selected",
    }


def test_a_layout_a_label_a_fraction_a_cap_and_a_part_have_their_words_too() -> None:
    outside = choice_from(["cat/0.jpg", "0.jpg"], class_recipe())
    unlabelled = choice_from(
        ["a_0.jpg", "b.jpg"], Recipe(name="mine", layout="flat", label=r"name:^(.+)_\d+", split="none")
    )
    drawn = choice_from(NAMES, class_recipe(fraction=0.5))
    capped = choice_from(NAMES, class_recipe(per_class=3))
    splits = ["train/cat/0.jpg", "val/cat/0.jpg"]
    part = Part(recipe=Recipe(name="plain", layout="split/class"), from_splits=("train",), to="train")
    composite = choice_from(splits, settled_parts(part))

    assert verdict_counts(outside) == {"selected": 1, "outside-layout": 1}
    assert verdict_counts(unlabelled) == {"selected": 1, "no-label": 1}
    assert verdict_counts(drawn).keys() == {"selected", "not-in-fraction"}
    assert verdict_counts(capped) == {"selected": 9, "over-cap": 51}
    assert verdict_counts(composite) == {"selected": 1, "not-in-part": 1}


def settled_parts(*parts: Part) -> Recipe:
    """A composite whose parts leave nothing open."""
    settled = []
    for part in parts:
        split = "folders" if part.recipe.layout.startswith("split/") else "none"
        settled.append(replace(part, recipe=replace(part.recipe, label="parent", split=split)))
    return Recipe(name="both", parts=tuple(settled))


# classes


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("n01",), {"n01"}),
        (("bee",), {"n02"}),
        (("n0*",), {"n01", "n02"}),
        (("n0[2-9]", "ant"), {"n01", "n02"}),
        (("?02",), {"n02"}),
    ],
)
def test_classes_are_chosen_by_id_readable_name_or_glob(
    tmp_path: Path, classes: tuple[str, ...], labels: set[str]
) -> None:
    source = plant(tmp_path, two_classes())

    plan = plan_of(source, recipe(choose=ChooseRule(classes=classes)))

    assert {label for label, _ in placed(plan).values()} == labels


def test_without_classes_of_its_own_a_recipe_chooses_among_those_of_the_source() -> None:
    assert chosen(["cat/0.jpg", "dog/0.jpg", "cow/0.jpg"], class_recipe(classes=("c*",))) == ["cat/0.jpg", "cow/0.jpg"]


def test_a_file_of_ids_chooses_its_classes(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", named(*NAMES))
    plant(tmp_path / "mine", {"ids.txt": b"# two of them\ncat\n\n emu \n", "paths.txt": b"./cat/00.jpg\nemu/*.jpg\n"})
    file = tmp_path / "mine/recipes.toml"
    file.write_text('[few]\nlayout = "class"\nchoose = { classes = ["@ids.txt"], include = ["@paths.txt"] }\n')

    found = taken(source, load_recipes(file)["few"])

    assert found == ["cat/00.jpg", *(name for name in NAMES if name.startswith("emu/"))]


def test_a_class_that_nobody_has_is_named_with_the_nearest() -> None:
    one = refused(lambda: chosen(NAMES, class_recipe(classes=("cot",))), SourceError)
    three = refused(lambda: chosen(NAMES, class_recipe(classes=("cat", "cot", "x*", "y"))), SourceError)

    assert one == (
        'no class is called "cot"\n'
        "  where: recipe mine: choose.classes\n"
        '  fix: did you mean "cat"? known: cat, dog, emu'
    )
    assert three.startswith('no class is called "cot", nor 2 others that choose.classes names\n')


def test_a_class_of_the_recipe_that_is_chosen_but_not_there_is_missing() -> None:
    rule = Recipe(
        name="mine", layout="class", label="parent", split="none", classes={"cat": "Cat", "yak": "Yak"},
        choose=ChooseRule(classes=("Yak",)),
    )  # fmt: skip

    assert refused(lambda: chosen(NAMES, rule), SourceError) == (
        "1 of the 2 classes of recipe mine have no image: yak (Yak)\n"
        "  where: source\n"
        "  fix: the source is another data set or incomplete; known: cat, dog, emu"
    )


def test_classes_that_are_missing_do_not_matter_when_others_are_chosen() -> None:
    rule = Recipe(
        name="mine", layout="class", label="parent", split="none", classes={"cat": "Cat", "yak": "Yak"},
        choose=ChooseRule(classes=("Cat",)),
    )  # fmt: skip

    assert len(chosen(NAMES, rule)) == 20


# lists of paths


def test_include_and_deny_name_paths_and_globs_and_deny_goes_first() -> None:
    rule = class_recipe(include=("cat/0?.jpg", "dog/00.jpg"), deny=("**/00.jpg", "emu/*"))

    choice = choice_from(NAMES, rule)

    assert [sorted(NAMES)[row] for row in choice.taken().tolist()] == [f"cat/{i:02}.jpg" for i in range(1, 10)]
    assert verdict_counts(choice) == {"selected": 9, "denied": 22, "not-included": 29}
    assert [(bad.file_name, bad.reason, bad.detail) for bad in choice.problems] == [
        ("dog/00.jpg", "vanished", "choose.include lists it, but no image that is left has it")
    ]


def test_an_included_name_that_is_not_there_is_shown_escaped_and_a_denied_one_is_no_loss() -> None:
    choice = choice_from(NAMES, class_recipe(include=("cat/00.jpg", "cat/\x1b[31m.jpg"), deny=("gone/0.jpg",)))

    assert [bad.file_name for bad in choice.problems] == [r"cat/\x1b[31m.jpg"]


def test_very_many_included_names_that_are_not_there_are_counted_in_one_line() -> None:
    gone = tuple(f"gone/{i}.jpg" for i in range(MAX_PROBLEMS + 7))

    problems = choice_from(NAMES, class_recipe(include=("cat/00.jpg", *gone))).problems

    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].file_name == "choose.include"
    assert problems[-1].detail == "7 more entries that no image that is left has"


@pytest.mark.parametrize("entry", ["../x", "/abs", "a/../../b", "..\\x", "a/\0b"])
@pytest.mark.parametrize("key", ["include", "deny", "classes"])
def test_an_entry_that_leaves_the_source_is_refused_before_anything_is_read(key: str, entry: str) -> None:
    shown = entry.replace("\\", "\\\\").replace("\0", "\\u0000")

    text = refused(lambda: ChooseRule(**{key: ("a.jpg", entry)}), RecipeError)

    assert f'{key}[1] is "{shown}"' in text
    assert f"where: {key}[1]" in text


def test_a_list_with_checksums_waits_until_content_is_read() -> None:
    choice = choice_from(NAMES, class_recipe(include=("cat/00.jpg", SUM)))

    assert len(choice.taken()) == len(NAMES)
    assert choice.problems == ()


# fraction and cap

SETS = st.lists(st.sampled_from(NAMES), unique=True, min_size=1)


@settings(deadline=None, max_examples=40)
@given(before=SETS, more=SETS, seed=st.integers(0, 3))
def test_adding_files_never_reshuffles_a_fraction(before: list[str], more: list[str], seed: int) -> None:
    rule = class_recipe(fraction=0.4, seed=seed)
    together = sorted({*before, *more})

    assert set(chosen(before, rule)) == set(chosen(together, rule)) & set(before)


@settings(deadline=None, max_examples=40)
@given(before=SETS, new=st.sampled_from(NAMES), seed=st.integers(0, 3))
def test_a_file_that_is_added_displaces_at_most_one_under_a_cap(before: list[str], new: str, seed: int) -> None:
    rule = class_recipe(per_class=3, seed=seed)

    old, now = set(chosen(before, rule)), set(chosen([*{*before, new}], rule))

    assert len(old - now) <= 1
    assert now - old <= {new}


def test_a_fraction_is_drawn_by_the_hash_of_seed_and_path() -> None:
    names = pa.array([name.encode() for name in NAMES], pa.large_binary())

    for seed in (0, 1):
        mask = take_fraction(path_hashes(names, seed=seed), 0.3)
        assert chosen(NAMES, class_recipe(fraction=0.3, seed=seed)) == [NAMES[i] for i in np.flatnonzero(mask)]


def test_a_cap_holds_in_each_split_of_each_class() -> None:
    names = [f"{split}/{label}/{i}.jpg" for split in ("train", "val") for label in ("cat", "dog") for i in range(5)]
    rule = Recipe(name="mine", layout="split/class", label="parent", split="folders", choose=ChooseRule(per_class=2))

    found = chosen(names, rule)

    folders = [name.rpartition("/")[0] for name in found]
    assert {folder: folders.count(folder) for folder in folders} == {
        "train/cat": 2, "train/dog": 2, "val/cat": 2, "val/dog": 2,
    }  # fmt: skip


# labels


@pytest.mark.parametrize(
    ("layout", "label", "names", "expected"),
    [
        ("tree", "folder:1", ["cat/x/0.jpg", "dog/1.jpg"], ["cat/0.jpg", "dog/1.jpg"]),
        ("tree", "folder:2", ["a/cat/x/0.jpg", "a/dog/1.jpg", "a/2.jpg"], ["cat/0.jpg", "dog/1.jpg"]),
        ("tree", "parent", ["a/cat/0.jpg", "b/c/dog/1.jpg"], ["cat/0.jpg", "dog/1.jpg"]),
        ("flat", r"name:^(.+)_\d+", ["cat_0.jpg", "sea_cow_1.jpg"], ["cat/cat_0.jpg", "sea_cow/sea_cow_1.jpg"]),
        (
            "split/tree",
            r"name:\d_(?P<label>[a-z]+)(\.|-)",
            ["train/0_cat.jpg", "val/x/1_dog-2.jpg"],
            ["train/cat/0_cat.jpg", "val/dog/1_dog-2.jpg"],
        ),
    ],
)
def test_labels_come_from_folders_or_names(
    tmp_path: Path, layout: str, label: str, names: list[str], expected: list[str]
) -> None:
    source = plant(tmp_path, named(*names))

    assert out_names(plan_of(source, Recipe(name="mine", layout=layout, label=label))) == expected


def test_each_first_folder_can_have_its_own_label_rule(tmp_path: Path) -> None:
    names = named("train/cat/0.jpg", "val/0.jpg", "val/1.jpg", "extra/cat/3.jpg")
    source = plant(tmp_path, names | {"val/list.txt": b"0.jpg cat\n1.jpg dog\n"})
    label = {"train": "folder:2", "val": "table:val/list.txt"}

    plan = plan_of(source, Recipe(name="mine", layout="split/tree", label=label))

    assert placed(plan) == {
        "train/cat/0.jpg": ("cat", "train"),
        "val/cat/0.jpg": ("cat", "valid"),
        "val/dog/1.jpg": ("dog", "valid"),
    }
    assert verdict_counts(plan) == {"selected": 3, "outside-layout": 1}


def test_a_list_with_a_column_of_splits_places_every_image(tmp_path: Path) -> None:
    lines = b"path,label,set\na/0.jpg,cat,train\na/1.jpg,dog,dev\nb/2.jpg,cat,test\nb/3.jpg,dog,\n"
    source = plant(tmp_path, named("a/0.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg", "b/4.jpg") | {"all.csv": lines})
    rule = Recipe(name="mine", layout="list", label="table:all.csv:path:label", split="table:all.csv:path:set")

    plan = plan_of(source, rule)

    assert placed(plan) == {
        "train/cat/0.jpg": ("cat", "train"),
        "valid/dog/1.jpg": ("dog", "valid"),
        "test/cat/2.jpg": ("cat", "test"),
    }
    assert verdict_counts(plan) == {"selected": 3, "not-in-list": 1, "no-split": 1}


def test_a_row_without_a_label_in_its_table_is_left_out(tmp_path: Path) -> None:
    source = plant(tmp_path, named("0.jpg", "1.jpg", "2.jpg") | {"all.csv": b'0.jpg,cat\n1.jpg,\n2.jpg,""\n'})

    plan = plan_of(source, Recipe(name="mine", layout="list", label="table:all.csv"))

    assert placed(plan) == {"cat/0.jpg": ("cat", None)}
    assert verdict_counts(plan) == {"selected": 1, "no-label": 2}


def test_labels_from_a_table_that_would_leave_the_output_are_quarantined(tmp_path: Path) -> None:
    lines = b"0.jpg,../x\n1.jpg,a/b\n2.jpg,.hidden\n3.jpg,cat\n4.jpg,/abs\n"
    source = plant(tmp_path, named(*(f"{i}.jpg" for i in range(5))) | {"all.csv": lines})

    plan = plan_of(source, Recipe(name="mine", layout="list", label="table:all.csv"))

    assert [(name, reason) for name, reason, _ in told(plan)] == [(f"{i}.jpg", "path-escape") for i in (0, 1, 2, 4)]
    assert out_names(plan) == ["cat/3.jpg"]


def test_when_no_name_gets_a_label_the_rule_is_shown() -> None:
    rule = Recipe(name="mine", layout="flat", label=r"name:^(\d+)x", split="none")

    assert refused(lambda: choice_from(["a.jpg", "b\n.jpg"], rule), SourceError) == (
        "no image gets a label by the rule of recipe mine: label = 'name:^(\\\\d+)x'\n"
        "  where: source holds a.jpg, b\\n.jpg\n"
        "  fix: mend the rule in the recipe (--recipes FILE)"
    )


def test_one_image_with_two_labels_in_a_table_is_an_error(tmp_path: Path) -> None:
    source = plant(tmp_path, named("0.jpg", "1.jpg") | {"all.csv": b"0.jpg,cat\n1.jpg,dog\n./0.jpg,dog\n"})

    text = refused(lambda: plan_of(source, Recipe(name="mine", layout="list", label="table:all.csv")), LabelError)

    assert text == (
        '0.jpg has two values: line 1 says "cat", line 3 says "dog"\n'
        "  where: table all.csv\n"
        "  fix: list every image once, or with one value"
    )


# what tables list that is not there


def test_paths_of_a_table_that_are_not_there_or_lead_out_are_told_by_names_as_shown() -> None:
    lines = [("0.jpg", "cat"), ("gone\n.jpg", "cat"), ("../secret.jpg", "cat"), ("/etc/x.jpg", "cat")]
    lines += [("a/../../secret.jpg", "cat"), ("\x1b[2J.jpg", "cat")]
    choice = choice_from(["0.jpg"], Recipe(name="mine", layout="list", label="table:l", split="none"), l=table(*lines))

    outside = "it does not name a file below the source"
    assert len(choice.taken()) == 1
    assert [(bad.file_name, bad.reason, bad.detail) for bad in choice.problems] == [
        (r"gone\n.jpg", "vanished", "listed in l, line 2, but not in the source"),
        ("../secret.jpg", "path-escape", f"listed in l, line 3: {outside}"),
        ("/etc/x.jpg", "path-escape", f"listed in l, line 4: {outside}"),
        ("a/../../secret.jpg", "path-escape", f"listed in l, line 5: {outside}"),
        (r"\x1b[2J.jpg", "vanished", "listed in l, line 6, but not in the source"),
    ]


def test_a_table_that_lists_far_more_than_the_source_holds_tells_the_first_of_each_reason_and_counts_the_rest() -> None:
    n_gone, n_out = 50_000, MAX_PROBLEMS + 2
    paths = ["0.jpg", *(f"{i}.jpg" for i in range(1, n_gone + 1)), *(f"../{i}.jpg" for i in range(n_out))]
    labels = SourceTable(data=pa.table({"1": paths, "2": ["cat"] * len(paths)}), has_header=False, base="")
    rule = Recipe(name="mine", layout="list", label="table:l:1:2", split="none")

    problems = choice_from(["0.jpg"], rule, l=labels).problems

    assert len(problems) == 2 * (MAX_PROBLEMS + 1)
    assert [(bad.file_name, bad.reason, bad.detail) for bad in problems[-2:]] == [
        ("l", "vanished", "listed in l, 49,000 more lines, but not in the source"),
        ("l", "path-escape", "listed in l, 2 more lines: it does not name a file below the source"),
    ]
    assert problems[0].detail == "listed in l, line 2, but not in the source"


def test_a_table_for_labels_and_splits_tells_its_problems_once() -> None:
    rows = table(("n/0.jpg", "cat", "train"), ("n/1.jpg", "cat", "val"), ("gone.jpg", "cat", "train"))
    rule = Recipe(name="mine", layout="list", label="table:l:1:2", split="table:l:1:3")

    assert len(choice_from(["n/0.jpg", "n/1.jpg"], rule, l=rows).problems) == 1


# parts


def test_an_image_belongs_to_the_first_part_that_takes_it() -> None:
    plain = Recipe(name="plain", layout="class")
    cats = Recipe(name="cats", layout="class", choose=ChooseRule(classes=("cat",)))
    parts = (Part(recipe=cats, to="valid"), Part(recipe=plain, to="train", fraction=0.5), Part(recipe=plain, to="test"))

    choice = choice_from(NAMES, settled_parts(*parts))

    rows = choice.taken()
    assert len(rows) == len(NAMES)
    splits = [choice.splits[code] for code in choice.split_codes[rows].tolist()]
    assert splits[:20] == ["valid"] * 20
    assert set(splits[20:]) == {"train", "test"}
    assert choice.parts[rows].tolist() == [("valid", "train", "test").index(split) for split in splits]
    labels = {choice.labels[code] for code in choice.label_codes[rows].tolist()}
    assert labels == {"cat", "dog", "emu"}


def test_an_image_that_no_part_takes_has_the_verdict_of_the_part_that_came_furthest() -> None:
    cats = Recipe(name="cats", layout="class", choose=ChooseRule(classes=("cat",)))
    dogs = Recipe(name="dogs", layout="class", choose=ChooseRule(classes=("dog",), deny=("dog/*",)))

    parts = settled_parts(Part(recipe=cats, to="train", fraction=0.0001), Part(recipe=dogs, to="valid"))

    assert verdict_counts(choice_from(NAMES, parts)) == {
        "not-in-fraction": 20, "denied": 20, "class-not-in-recipe": 20,
    }  # fmt: skip


@pytest.mark.parametrize("rule", [{"min_side": 3}, {"per_class": 3}, {"deny": (SUM,)}, {"formats": ("png",)}])
def test_a_part_cannot_ask_what_names_do_not_answer(rule: dict[str, Any]) -> None:
    picky = Recipe(name="picky", layout="class", choose=ChooseRule(**rule))

    text = refused(lambda: choice_from(NAMES, settled_parts(Part(recipe=picky, to="train"))), RecipeError)

    assert text == (
        "recipe picky chooses by what only content tells, or caps its classes, which a part cannot\n"
        "  where: recipe both: part[0].recipe\n"
        "  fix: name a recipe whose choose holds classes, fraction, and include and deny by path only"
    )


def test_a_part_draws_anew_from_what_its_recipe_has_drawn() -> None:
    names = [f"cat/{i:04}.jpg" for i in range(2_000)]
    half = Recipe(name="half", layout="class", choose=ChooseRule(fraction=0.5))

    choice = choice_from(names, settled_parts(Part(recipe=half, to="train", fraction=0.5)))

    n_taken = len(choice.taken())
    assert abs(n_taken - 500) < 4 * (2_000 * 0.25 * 0.75) ** 0.5


def test_a_part_of_a_recipe_that_draws_nothing_draws_as_it_always_did() -> None:
    plain = Recipe(name="plain", layout="class")

    choice = choice_from(NAMES, settled_parts(Part(recipe=plain, to="train", fraction=0.3, seed=4)))

    names = pa.array([name.encode() for name in NAMES], pa.large_binary())
    assert choice.taken().tolist() == np.flatnonzero(take_fraction(path_hashes(names, seed=4), 0.3)).tolist()


def test_a_part_that_takes_from_splits_that_the_source_lacks_is_refused() -> None:
    plain = Recipe(name="plain", layout="split/class")
    parts = (Part(recipe=plain, to="train"), Part(recipe=plain, from_splits=("valid", "test"), to="valid"))

    text = refused(lambda: choice_from(["train/cat/0.jpg", "train/dog/0.jpg"], settled_parts(*parts)), SplitError)

    assert text == (
        "the source has no image in valid or test, which the part takes from\n"
        "  where: recipe both: part[1].from\n"
        "  fix: complete the source, or make a recipe of your own without that part (--recipes FILE)"
    )
    assert len(choice_from(["train/cat/0.jpg", "test/cat/0.jpg"], settled_parts(*parts)).taken()) == 2
