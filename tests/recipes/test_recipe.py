"""Recipe, ResizeRule and HashSplit: a value that makes no sense cannot be held."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle

import pytest

from imagekit.errors import RecipeError
from imagekit.pixels.resize import FILTERS as pixel_filters
from imagekit.recipes.recipe import ChooseRule, HashSplit, Part, Recipe, ResizeRule, shown, toml_type, union_of_classes
from imagekit.recipes.resize_rule import FILTERS as recipe_filters

KNOWN_FILTERS = "known: bicubic, bicubic-nearest, bilinear, box, hamming, lanczos, nearest"


def text_of(kind, **values):
    with pytest.raises(RecipeError) as caught:
        kind(**values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def recipe_text(**values):
    return text_of(Recipe, **({"name": "tiny", "layout": "split/class", "split": "folders"} | values))


def composite(*parts, **values):
    return Recipe(**({"name": "wang", "parts": parts, "classes": union_of_classes(parts)} | values))


def test_resize_rule_defaults_are_those_of_the_shipped_recipes():
    assert ResizeRule() == ResizeRule(
        mode="shortest",
        filter="bicubic",
        format="jpeg",
        quality=90,
        background="#ffffff",
        enlarge=False,
        subsampling="4:2:0",
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "mode",
            "shorttest",
            'mode is "shorttest", which is not known\n  where: mode\n'
            '  fix: did you mean "shortest"? known: fill, fit, longest, none, shortest, stretch',
        ),
        (
            "filter",
            "cubic",
            f'filter is "cubic", which is not known\n  where: filter\n  fix: did you mean "bicubic"? {KNOWN_FILTERS}',
        ),
        (
            "format",
            "gif",
            'format is "gif", which is not known\n  where: format\n  fix: known: jpeg, keep, png, webp',
        ),
        (
            "subsampling",
            "4:1:1",
            'subsampling is "4:1:1", which is not known\n  where: subsampling\n'
            '  fix: did you mean "4:4:4"? known: 4:2:0, 4:2:2, 4:4:4',
        ),
        (
            "quality",
            0,
            "quality is 0, must be from 1 to 100\n  where: quality\n"
            "  fix: set quality = 90, or another whole number in that range",
        ),
        (
            "quality",
            101,
            "quality is 101, must be from 1 to 100\n  where: quality\n"
            "  fix: set quality = 90, or another whole number in that range",
        ),
        (
            "background",
            "white",
            'background is "white", must be # and six hexadecimal digits\n  where: background\n'
            '  fix: set background = "#ffffff" for white, or delete the key',
        ),
    ],
)
def test_resize_rule_refuses_a_bad_value_and_says_which(key, value, text):
    assert text_of(ResizeRule, **{key: value}) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("mode", mode) for mode in ("none", "shortest", "longest", "fit", "fill", "stretch")),
        ("filter", "lanczos"),
        ("filter", "bicubic-nearest"),
        ("format", "keep"),
        ("quality", 1),
        ("quality", 100),
        ("enlarge", True),
        ("subsampling", "4:4:4"),
    ],
)
def test_resize_rule_takes_the_valid_neighbours(key, value):
    assert getattr(ResizeRule(**{key: value}), key) == value


def test_background_is_given_as_red_green_blue():
    assert ResizeRule(background="#0a80FF").background_rgb == (10, 128, 255)


def test_hash_split_reads_one_or_two_fractions():
    assert HashSplit.from_spec("hash:0.2") == HashSplit(valid=0.2, test=0.0)
    assert HashSplit.from_spec("hash:0.2,0.1") == HashSplit(valid=0.2, test=0.1)


@pytest.mark.parametrize("spec", ["hash:", "hash:a", "hash:0.2,", "hash:0.1,0.1,0.1"])
def test_hash_split_refuses_what_is_not_one_or_two_numbers(spec):
    with pytest.raises(RecipeError) as caught:
        HashSplit.from_spec(spec)

    assert str(caught.value) == (
        f'split is "{spec}", must be hash:V or hash:V,T with V and T numbers\n  where: split\n'
        '  fix: write split = "hash:0.2" for a fifth as valid, "hash:0.2,0.1" for a tenth as test, too'
    )


@pytest.mark.parametrize(
    ("valid", "test"), [(0.0, 0.0), (1.0, 0.0), (-0.1, 0.0), (0.5, 0.5), (0.2, -0.1), (float("nan"), 0.0)]
)
def test_hash_split_refuses_fractions_that_leave_a_split_empty(valid, test):
    assert text_of(HashSplit, valid=valid, test=test) == (
        f"split asks for {valid:g} as valid and {test:g} as test, which leaves no train or no valid\n  where: split\n"
        '  fix: give fractions above 0 that add up to less than 1, such as split = "hash:0.2" or "hash:0.2,0.1"'
    )


@pytest.mark.parametrize("name", ["", "-tiny", ".tiny", "a/b", "a b", "tiny\n", "caf\u00e9", "a" * 101])
def test_recipe_name_must_be_usable_as_a_folder_name(name):
    assert recipe_text(name=name) == (
        f"recipe name {shown(name)} cannot be used as a folder name everywhere\n"
        "  fix: use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit"
    )


@pytest.mark.parametrize("name", ["a", "0", "tiny-2.v_1", "a" * 100])
def test_recipe_name_takes_the_valid_neighbours(name):
    assert Recipe(name=name, layout="class", split="none").name == name


@pytest.mark.parametrize("key", ["title", "version", "homepage", "licence"])
def test_a_text_with_a_control_character_is_refused_and_shown_escaped(key):
    assert recipe_text(**{key: "a\x1b[31m"}) == (
        f'{key} is "a\\u001b[31m", must be one line of printable characters\n  where: {key}\n'
        "  fix: take out line breaks, tabs and control characters"
    )


def test_an_empty_version_is_refused():
    assert recipe_text(version="") == (
        'version is empty\n  where: version\n  fix: set version = "1", or delete the key'
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "layout",
            "splits/class",
            'layout is "splits/class", which is not known\n  where: layout\n'
            '  fix: did you mean "split/class"? known: auto, class, flat, list, split/class, split/tree, tree',
        ),
        (
            "label",
            "parents",
            'label is "parents", which is not known\n  where: label\n'
            '  fix: did you mean "parent"? known: auto, folder:N, name:REGEX, parent, table:FILE[:PATH:LABEL]',
        ),
        (
            "label",
            "auto:2",
            'label is "auto:2", which is not known\n  where: label\n'
            '  fix: did you mean "auto"? known: auto, folder:N, name:REGEX, parent, table:FILE[:PATH:LABEL]',
        ),
        (
            "names",
            "files",
            'names is "files", which is not known\n  where: names\n  fix: did you mean "file"? known: file, path',
        ),
        (
            "split",
            "folder",
            'split is "folder", which is not known\n  where: split\n'
            '  fix: did you mean "folders"? known: auto, folders, hash:V[,T], none, table:FILE[:PATH:SPLIT]',
        ),
    ],
)
def test_an_unknown_rule_is_refused_with_the_nearest_name(key, value, text):
    assert recipe_text(**{key: value}) == text


@pytest.mark.parametrize("split", ["auto", "folders", "none", "hash:0.2", "hash:0.2,0.1", "table:s.csv"])
def test_every_documented_split_is_taken(split):
    assert Recipe(name="tiny", layout="split/class", split=split).split == split


@pytest.mark.parametrize("layout", ["class", "flat"])
def test_split_folders_needs_a_layout_that_has_them(layout):
    assert recipe_text(layout=layout, split="folders") == (
        f'split is "folders", but layout "{layout}" has no folder for each split\n  where: split\n'
        '  fix: set layout = "split/class", or split = "hash:0.2" or "none"'
    )


@pytest.mark.parametrize(
    ("size", "received"),
    [
        (0, "integer 0"),
        (-1, "integer -1"),
        (65_536, "integer 65536"),
        (True, "boolean True"),
        (160.0, "float 160.0"),
        ("big", 'string "big"'),
        ([160], "array [...]"),
        (None, "null None"),
        (1 << 200, "integer (an integer of 201 bits)"),
    ],
)
def test_a_bad_size_is_refused_by_its_place(size, received):
    assert recipe_text(sizes=("full", size)) == (
        f'sizes[1] is the {received}, must be "full" or an integer from 1 to 65535\n  where: sizes[1]\n'
        '  fix: list sizes as in sizes = ["full", 320, 160]: "full", or a side in pixels'
    )


def test_sizes_take_the_valid_neighbours():
    assert Recipe(name="tiny", layout="class", split="none", sizes=(1, "full", 65_535)).sizes == (1, "full", 65_535)


def test_no_sizes_at_all_is_refused():
    assert recipe_text(sizes=()) == 'sizes is empty\n  where: sizes\n  fix: set sizes = ["full"], or delete the key'


@pytest.mark.parametrize(("size", "seen"), [(160, "160"), ("full", '"full"')])
def test_a_size_listed_twice_is_refused(size, seen):
    assert recipe_text(sizes=(size, 99, size)) == (
        f"sizes[2] is {seen}, which sizes[0] already is\n  where: sizes[2]\n  fix: list every size once"
    )


def test_a_size_in_pixels_needs_a_resize_mode():
    assert recipe_text(sizes=("full", 160), resize=ResizeRule(mode="none")) == (
        'sizes[1] is 160, but resize.mode is "none"\n  where: sizes[1]\n'
        '  fix: set resize.mode = "shortest", or keep only "full" in sizes'
    )
    neighbour = Recipe(name="tiny", layout="class", split="none", resize=ResizeRule(mode="none"))
    assert neighbour.sizes == ("full",)


def test_a_class_id_must_be_usable_as_a_folder_name():
    assert recipe_text(classes={"ok": "fine", "../up": "bad"}) == (
        'class id "../up" cannot be used as a folder name everywhere\n  where: classes.../up\n'
        "  fix: use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit"
    )


def test_a_class_id_with_a_control_character_is_shown_escaped():
    assert recipe_text(classes={"a\n": "bad"}) == (
        'class id "a\\n" cannot be used as a folder name everywhere\n  where: classes."a\\n"\n'
        "  fix: use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit"
    )


@pytest.mark.parametrize("name", ["", "  ", "golf\tball"])
def test_a_class_needs_a_readable_name(name):
    assert recipe_text(classes={"n1": name}) == (
        f"the name of class n1 is {shown(name)}, must be one line of printable characters\n  where: classes.n1\n"
        '  fix: give the class a readable name, as in n1 = "golf ball"'
    )


def test_two_classes_of_the_same_readable_name_are_refused():
    assert recipe_text(classes={"n1": "tench", "n2": "beagle", "n3": "tench"}) == (
        'the name of class n3 is "tench", which is also that of n1\n  where: classes.n3\n'
        "  fix: give every class a name of its own"
    )


def test_a_recipe_cannot_be_changed_but_can_be_pickled_for_a_worker():
    tiny = Recipe(name="tiny", layout="class", split="none", classes={"n1": "tench"})
    recipe = composite(Part(recipe=tiny, to="train"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"

    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_the_default_recipe_as_a_table_never_changes():
    assert Recipe(name="tiny", layout="class", split="none").to_dict() == {
        "layout": "class",
        "label": "auto",
        "split": "none",
        "title": "",
        "version": "1",
        "sizes": ["full"],
        "homepage": "",
        "licence": "",
        "resize": {
            "mode": "shortest",
            "filter": "bicubic",
            "format": "jpeg",
            "quality": 90,
            "background": "#ffffff",
            "enlarge": False,
            "subsampling": "4:2:0",
        },
        "choose": {"classes": [], "fraction": 1.0, "seed": 0, "include": [], "deny": [], "formats": []},
        "classes": {},
        "names": "file",
    }


def test_changing_the_table_of_a_recipe_leaves_the_recipe_alone():
    recipe = Recipe(name="tiny", layout="class", split="none", classes={"n1": "tench"})

    recipe.to_dict()["classes"]["n2"] = "beagle"

    assert recipe.classes == {"n1": "tench"}


def test_the_hash_tells_two_recipes_apart_by_name_and_by_any_value():
    recipe = Recipe(name="tiny", layout="class", split="none", classes={"n1": "tench"})
    others = [
        dataclasses.replace(recipe, name="tiny2"),
        dataclasses.replace(recipe, version="2"),
        dataclasses.replace(recipe, sizes=(64,)),
        dataclasses.replace(recipe, resize=ResizeRule(quality=91)),
        dataclasses.replace(recipe, classes={"n1": "beagle"}),
        dataclasses.replace(recipe, label={"train": "folder:1"}),
        dataclasses.replace(recipe, choose=ChooseRule(fraction=0.5)),
        dataclasses.replace(recipe, names="path"),
    ]

    assert len({recipe.sha256(), *(other.sha256() for other in others)}) == 1 + len(others)


def test_the_hash_leaves_out_what_has_its_default():
    # so that a key of a later version, with a default that changes nothing, changes no hash
    said = {"name": "tiny", "recipe": {"layout": "class", "resize": {"quality": 80}, "choose": {"seed": 3}}}
    recipe = Recipe(name="tiny", layout="class", resize=ResizeRule(quality=80), choose=ChooseRule(seed=3))

    text = json.dumps(said, sort_keys=True, separators=(",", ":"))

    assert recipe.sha256() == hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_of_a_composite_tells_its_parts_apart_and_what_their_recipes_say():
    cats = Recipe(name="cats", layout="split/class", split="folders", classes={"n1": "tabby"})
    part = Part(recipe=cats, to="train")
    wang = composite(part)
    others = [
        composite(dataclasses.replace(part, to="unsup")),
        composite(dataclasses.replace(part, fraction=0.5)),
        composite(dataclasses.replace(part, seed=1)),
        composite(dataclasses.replace(part, from_splits=("valid",))),
        composite(part, part),
        composite(dataclasses.replace(part, recipe=dataclasses.replace(cats, version="2"))),
        composite(dataclasses.replace(part, recipe=dataclasses.replace(cats, name="tigers"))),
    ]

    assert len({wang.sha256(), *(other.sha256() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("value", "name"),
    [("a", "string"), (1, "integer"), (True, "boolean"), (1.5, "float"), ([], "array"), ({}, "table")],
)
def test_types_are_called_by_their_toml_names(value, name):
    assert toml_type(value) == name


def test_a_long_value_is_shown_shortened():
    assert shown("a" * 100) == '"' + "a" * 56 + "..."
    assert shown("a" * 58) == '"' + "a" * 58 + '"'


def test_the_filters_that_a_recipe_may_name_are_those_that_can_be_applied():
    in_one_step = set(recipe_filters) - {"bicubic-nearest"}  # two of the others, one after the other

    assert in_one_step == set(pixel_filters) - {"bicubic-nearest"}


def test_a_recipe_of_a_name_alone_leaves_layout_label_and_split_to_be_found_out():
    recipe = Recipe(name="tiny")

    assert (recipe.layout, recipe.label, recipe.split, recipe.names) == ("auto", "auto", "auto", "file")
    assert (recipe.choose, recipe.parts) == (ChooseRule(), ())


OUTSIDE = ["/abs", "..", "../x", "a/../../b", "a/..", "..\\x", "a\\..\\x", "\\x", "a\0b", ""]
STAY_INSIDE = 'give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"'


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_table_outside_the_source_is_refused(path):
    for key in ("label", "split"):
        assert recipe_text(**{key: f"table:{path}"}) == (
            f"the file of {key} is {shown(path)}, must be a relative path that stays inside\n  where: {key}\n"
            f"  fix: {STAY_INSIDE}"
        )


@pytest.mark.parametrize(
    "label",
    [
        "parent",
        "folder:1",
        "folder:999",
        r"name:^(.+)_\d+\.jpg$",
        r"name:(?P<label>[a-z]+)(_)(\d+)",
        "name:(a:b)",
        "table:labels.csv",
        "table:a..b/labels.csv:file_name:label",
        "table:labels.csv:1:2",
        {"train": "folder:2", "val": "table:val/val_annotations.txt"},
    ],
)
def test_every_documented_label_is_taken(label):
    assert Recipe(name="tiny", label=label).label == label


@pytest.mark.parametrize("number", ["", "0", "x", "-1", "1.5", "01", "1000", "\u0661"])
def test_a_folder_that_is_no_count_from_one_is_refused(number):
    assert recipe_text(label=f"folder:{number}") == (
        f'label is "folder:{number}", must be folder:N with N from 1 to 999\n  where: label\n'
        '  fix: count folders from the top: "folder:2" is cats in train/cats/images/1.jpg'
    )


def test_a_pattern_that_does_not_compile_says_why():
    assert recipe_text(label="name:(") == (
        'label is "name:(", which is no regular expression: missing ), unterminated subpattern at position 0\n'
        "  where: label\n  fix: write it as Python's re module reads it"
    )


@pytest.mark.parametrize(("pattern", "n_groups"), [("abc", 0), ("(a)(b)", 2), ("(?P<kind>a)(b)", 2)])
def test_a_pattern_has_to_say_which_group_is_the_label(pattern, n_groups):
    assert recipe_text(label=f"name:{pattern}") == (
        f'label is "name:{pattern}", which has {n_groups} groups and none called label\n  where: label\n'
        r"  fix: put the label into one group, as in name:^(.+)_\d+\.jpg$, or into one called (?P<label>...)"
    )


@pytest.mark.parametrize("columns", ["1", ":", "1:", ":2", "1:2:3"])
def test_a_table_takes_both_columns_or_neither(columns):
    assert recipe_text(label=f"table:labels.csv:{columns}") == (
        f'label is "table:labels.csv:{columns}", must be table:FILE or table:FILE:PATH:LABEL\n  where: label\n'
        "  fix: give both columns or neither, by name or counted from 1, as in table:labels.csv:1:2"
    )
    assert recipe_text(split=f"table:s.csv:{columns}") == (
        f'split is "table:s.csv:{columns}", must be table:FILE or table:FILE:PATH:SPLIT\n  where: split\n'
        "  fix: give both columns or neither, by name or counted from 1, as in table:s.csv:1:2"
    )


def test_a_rule_for_a_first_folder_carries_the_folder():
    assert recipe_text(label={"train": "folder:2", "val": "auto"}) == (
        'label.val is "auto", which is not known\n  where: label.val\n'
        "  fix: known: folder:N, name:REGEX, parent, table:FILE[:PATH:LABEL]"
    )


def test_a_label_table_needs_a_rule():
    assert recipe_text(label={}) == (
        "label is an empty table\n  where: label\n"
        '  fix: give a rule for each first folder, as in label = { train = "folder:2", val = "table:val/labels.txt" }'
    )


@pytest.mark.parametrize("folder", ["train/cats", "train/", "."])
def test_a_label_table_names_first_folders_only(folder):
    assert recipe_text(label={folder: "parent"}) == (
        f'label.{folder} has the folder "{folder}", must be one name\n  where: label.{folder}\n'
        "  fix: use the name of one folder directly below the source"
    )


def test_a_label_table_names_no_folder_outside():
    assert recipe_text(label={"..": "parent"}) == (
        'the folder of label... is "..", must be a relative path that stays inside\n  where: label...\n'
        f"  fix: {STAY_INSIDE}"
    )


@pytest.mark.parametrize("label", ["auto", "parent", {"train": "table:a.csv", "val": "parent"}])
def test_layout_list_needs_a_table(label):
    assert recipe_text(layout="list", split="none", label=label) == (
        'layout is "list", but label names no table that lists the files\n  where: label\n'
        '  fix: set label = "table:FILE", FILE from the root of the source on, such as "table:labels.csv"'
    )
    assert Recipe(name="tiny", layout="list", label={"train": "table:a.csv"}).layout == "list"


@pytest.mark.parametrize("label", ["parent", "folder:1", {"train": "table:a.csv"}])
def test_layout_flat_has_no_folders_for_a_label(label):
    assert recipe_text(layout="flat", split="none", label=label) == (
        'layout is "flat", but label needs folders\n  where: label\n'
        '  fix: set label = "name:REGEX" or "table:FILE", or another layout'
    )
    assert Recipe(name="tiny", layout="flat", label="name:(a)").layout == "flat"


def test_a_part_takes_every_split_unless_told():
    part = Part(recipe=Recipe(name="cats"), to="train")

    assert (part.from_splits, part.fraction, part.seed) == ((), 1.0, 0)
    assert part.to_dict() == {"recipe": "cats", "to": "train", "fraction": 1.0, "seed": 0}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"to": "val"},
            'to is "val", which is not known\n  where: to\n'
            '  fix: did you mean "valid"? known: test, train, unsup, valid',
        ),
        (
            {"from_splits": ("trian",)},
            'from is "trian", which is not known\n  where: from\n'
            '  fix: did you mean "train"? known: test, train, unsup, valid',
        ),
        (
            {"from_splits": ("train", "x")},
            'from[1] is "x", which is not known\n  where: from[1]\n  fix: known: test, train, unsup, valid',
        ),
        (
            {"fraction": 0.0},
            "fraction is 0.0, must be above 0 and at most 1\n  where: fraction\n"
            "  fix: set fraction = 0.1 for a tenth of the images, or delete the key for all of them",
        ),
        (
            {"seed": -1},
            "seed is -1, must be from 0 to 9223372036854775807\n  where: seed\n"
            "  fix: set seed = 0 or more, or delete the key",
        ),
        (
            {"recipe": Recipe(name="cats", layout="class", split="none"), "from_splits": ("train",)},
            'from is "train", but recipe cats has no splits\n  where: from\n'
            "  fix: delete the key to take every image of that recipe",
        ),
        (
            {"recipe": Recipe(name="wang", parts=(Part(recipe=Recipe(name="cats"), to="train"),))},
            "recipe wang is composite itself\n  where: recipe\n"
            "  fix: name recipes that have no parts; write out the parts of the other one",
        ),
    ],
)
def test_a_part_refuses_a_bad_value_and_says_which(values, text):
    assert text_of(Part, **({"recipe": Recipe(name="cats"), "to": "train"} | values)) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layout", "class"),
        ("label", "parent"),
        ("split", "none"),
        ("choose", ChooseRule(fraction=0.5)),
        ("classes", {"n1": "tabby", "n9": "lynx"}),
    ],
)
def test_a_composite_leaves_to_its_parts_what_they_say(key, value):
    cats = Recipe(name="cats", classes={"n1": "tabby"})

    assert text_of(composite, **{key: value}, parts=(Part(recipe=cats, to="train"),)) == (
        f"{key} is given, but a recipe with parts leaves it to the recipes of its parts\n  where: {key}\n"
        "  fix: delete the key, or write it in a recipe of its own that a part names"
    )


def test_the_classes_of_all_parts_stand_in_their_order():
    cats = Recipe(name="cats", classes={"n2": "tabby", "n1": "lynx"})
    dogs = Recipe(name="dogs", classes={"n0": "beagle", "n2": "tabby"})

    united = union_of_classes([Part(recipe=cats, to="train"), Part(recipe=dogs, to="valid")])

    assert list(united.items()) == [("n2", "tabby"), ("n1", "lynx"), ("n0", "beagle")]


@pytest.mark.parametrize(
    ("classes", "what"),
    [
        ({"n1": "lynx"}, 'class n1 is "lynx", but an earlier part has n1 as "tabby"'),
        ({"n7": "tabby"}, 'class n7 is "tabby", but an earlier part has n1 as "tabby"'),
    ],
)
def test_parts_that_disagree_about_a_class_are_refused(classes, what):
    parts = [
        Part(recipe=Recipe(name="cats", classes={"n1": "tabby"}), to="train"),
        Part(recipe=Recipe(name="dogs", classes=classes), to="train"),
    ]

    with pytest.raises(RecipeError) as caught:
        union_of_classes(parts)

    assert str(caught.value) == (
        f"{what}\n  where: part[1].recipe\n  fix: give the class one id and one name in the recipes of all parts"
    )
