"""Recipe, ResizeRule and HashSplit: a value that makes no sense cannot be held."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from imagekit.errors import RecipeError
from imagekit.pixels.resize import FILTERS as pixel_filters
from imagekit.recipes.recipe import FILTERS as recipe_filters
from imagekit.recipes.recipe import HashSplit, Recipe, ResizeRule, shown, toml_type

KNOWN_FILTERS = "known: bicubic, bilinear, box, hamming, lanczos, nearest"


def text_of(kind, **values):
    with pytest.raises(RecipeError) as caught:
        kind(**values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def recipe_text(**values):
    return text_of(Recipe, **({"name": "tiny", "layout": "split/class", "split": "folders"} | values))


def test_resize_rule_defaults_are_those_of_the_shipped_recipes():
    assert ResizeRule() == ResizeRule(
        mode="shortest", filter="bicubic", format="jpeg", quality=90, background="#ffffff"
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "mode",
            "shorttest",
            'mode is "shorttest", which is not known\n  where: mode\n'
            '  fix: did you mean "shortest"? known: none, shortest',
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
    [("mode", "none"), ("filter", "lanczos"), ("format", "keep"), ("quality", 1), ("quality", 100)],
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
            '  fix: did you mean "split/class"? known: class, split/class',
        ),
        (
            "label",
            "parents",
            'label is "parents", which is not known\n  where: label\n  fix: did you mean "parent"? known: parent',
        ),
        (
            "split",
            "folder",
            'split is "folder", which is not known\n  where: split\n'
            '  fix: did you mean "folders"? known: folders, hash:V[,T], none',
        ),
    ],
)
def test_an_unknown_rule_is_refused_with_the_nearest_name(key, value, text):
    assert recipe_text(**{key: value}) == text


@pytest.mark.parametrize("split", ["folders", "none", "hash:0.2", "hash:0.2,0.1"])
def test_every_documented_split_is_taken(split):
    assert Recipe(name="tiny", layout="split/class", split=split).split == split


def test_split_folders_needs_a_layout_that_has_them():
    assert recipe_text(layout="class", split="folders") == (
        'split is "folders", but layout "class" has no folder for each split\n  where: split\n'
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
        '  fix: list sizes as in sizes = ["full", 320, 160]: "full", or the shortest side in pixels'
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
    recipe = Recipe(name="tiny", layout="class", split="none", classes={"n1": "tench"})

    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"

    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_the_default_recipe_as_a_table_never_changes():
    assert Recipe(name="tiny", layout="class", split="none").to_dict() == {
        "layout": "class",
        "split": "none",
        "title": "",
        "version": "1",
        "label": "parent",
        "sizes": ["full"],
        "homepage": "",
        "licence": "",
        "resize": {
            "mode": "shortest",
            "filter": "bicubic",
            "format": "jpeg",
            "quality": 90,
            "background": "#ffffff",
        },
        "classes": {},
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
    ]

    assert len({recipe.sha256(), *(other.sha256() for other in others)}) == 6


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
    assert set(recipe_filters) == set(pixel_filters)
