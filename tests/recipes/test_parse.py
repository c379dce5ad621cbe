"""parse_recipe: plain types in, a Recipe or an error with its dotted key out."""

from __future__ import annotations

import datetime
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import RecipeError
from imagekit.recipes.parse import parse_recipe
from imagekit.recipes.recipe import FILTERS, FORMATS, Recipe, ResizeRule

RECIPE_KEYS = "known: classes, homepage, label, layout, licence, resize, sizes, split, title, version"


def error_text(table, name="tiny"):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(name, table, where="mine.toml")
    return str(caught.value)


def test_a_layout_alone_makes_a_recipe():
    assert parse_recipe("tiny", {"layout": "class"}, where="mine.toml") == Recipe(
        name="tiny", layout="class", split="none", title="tiny"
    )


def test_the_split_left_out_follows_from_the_layout():
    assert parse_recipe("tiny", {"layout": "split/class"}, where="mine.toml").split == "folders"
    assert parse_recipe("tiny", {"layout": "class"}, where="mine.toml").split == "none"


def test_a_missing_layout_is_named():
    assert error_text({}) == (
        "layout is missing\n  where: mine.toml: [tiny] layout\n"
        '  fix: add layout = "split/class" (train/cats/1.jpg) or layout = "class" (cats/1.jpg)'
    )


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert error_text({"layout": "class", "licens": "CC0"}) == (
        'the key "licens" is not known\n  where: mine.toml: [tiny] licens\n'
        f'  fix: did you mean "licence"? {RECIPE_KEYS}'
    )


def test_the_name_is_the_table_and_not_a_key():
    assert error_text({"layout": "class", "name": "tiny"}) == (
        f'the key "name" is not known\n  where: mine.toml: [tiny] name\n  fix: {RECIPE_KEYS}'
    )


def test_parts_of_a_composite_recipe_are_refused_by_name():
    text = error_text({"layout": "class", "part": [{"recipe": "imagenette"}]})

    assert text == f'the key "part" is not known\n  where: mine.toml: [tiny] part\n  fix: {RECIPE_KEYS}'


def test_an_unknown_key_inside_resize_carries_both_levels():
    assert error_text({"layout": "class", "resize": {"qualty": 90}}) == (
        'the key "qualty" is not known\n  where: mine.toml: [tiny] resize.qualty\n'
        '  fix: did you mean "quality"? known: background, filter, format, mode, quality'
    )


def test_a_bad_value_inside_resize_carries_both_levels():
    assert error_text({"layout": "class", "resize": {"quality": 0}}) == (
        "quality is 0, must be from 1 to 100\n  where: mine.toml: [tiny] resize.quality\n"
        "  fix: set quality = 90, or another whole number in that range"
    )


def test_an_unprintable_key_is_shown_escaped():
    assert error_text({"\x1b[31m": 1}) == (
        f'the key "\\u001b[31m" is not known\n  where: mine.toml: [tiny] "\\u001b[31m"\n  fix: {RECIPE_KEYS}'
    )


FIX_STRING = 'put the text in double quotes, as in title = "..."'
FIX_INTEGER = "write a whole number without quotes"
FIX_ARRAY = 'write an array, as in sizes = ["full", 160]'
FIX_TABLE = "write a table: [name] on a line of its own, or { key = value }"


@pytest.mark.parametrize(
    ("key", "value", "what", "fix"),
    [
        ("title", 1, "title is the integer 1, must be a string", FIX_STRING),
        ("version", 2.0, "version is the float 2.0, must be a string", FIX_STRING),
        ("layout", ["class"], "layout is the array, must be a string", FIX_STRING),
        ("label", True, "label is the boolean True, must be a string", FIX_STRING),
        ("split", {}, "split is the table, must be a string", FIX_STRING),
        ("homepage", None, "homepage is the null None, must be a string", FIX_STRING),
        (
            "licence",
            datetime.date(2019, 12, 1),
            "licence is the date 2019-12-01, must be a string",
            FIX_STRING,
        ),
        ("sizes", "full", 'sizes is the string "full", must be an array', FIX_ARRAY),
        ("resize", "shortest", 'resize is the string "shortest", must be a table', FIX_TABLE),
        ("classes", ["tench"], "classes is the array, must be a table", FIX_TABLE),
    ],
)
def test_a_wrong_type_says_the_type_received(key, value, what, fix):
    text = error_text({"layout": "class"} | {key: value})

    assert text == f"{what}\n  where: mine.toml: [tiny] {key}\n  fix: {fix}"


@pytest.mark.parametrize(("value", "received"), [("90", 'string "90"'), (True, "boolean True"), (9.5, "float 9.5")])
def test_a_quality_that_is_no_integer_says_the_type_received(value, received):
    assert error_text({"layout": "class", "resize": {"quality": value}}) == (
        f"quality is the {received}, must be an integer\n  where: mine.toml: [tiny] resize.quality\n"
        f"  fix: {FIX_INTEGER}"
    )


def test_a_class_name_of_the_wrong_type_carries_the_class():
    assert error_text({"layout": "class", "classes": {"n1": 5}}) == (
        f"n1 is the integer 5, must be a string\n  where: mine.toml: [tiny] classes.n1\n  fix: {FIX_STRING}"
    )


def test_a_bad_size_carries_its_place():
    assert error_text({"layout": "class", "sizes": ["full", 0]}) == (
        'sizes[1] is the integer 0, must be "full" or an integer from 1 to 65535\n'
        "  where: mine.toml: [tiny] sizes[1]\n"
        '  fix: list sizes as in sizes = ["full", 320, 160]: "full", or the shortest side in pixels'
    )


def test_a_recipe_that_is_no_table_says_what_it_is():
    assert error_text("class") == (
        f'the recipe is the string "class", must be a table\n  where: mine.toml: [tiny]\n  fix: {FIX_TABLE}'
    )


def test_a_bad_recipe_name_is_shown_where_it_stands():
    assert error_text({"layout": "class"}, name="a b") == (
        'recipe name "a b" cannot be used as a folder name everywhere\n  where: mine.toml: [a b]\n'
        "  fix: use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit"
    )


LINES = st.text(alphabet=string.ascii_letters + string.digits + " \u00e9\u4e2d\U0001f415'\"\\", max_size=20)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)
RESIZES = st.builds(
    ResizeRule,
    filter=st.sampled_from(FILTERS),
    format=st.sampled_from(FORMATS),
    quality=st.integers(1, 100),
    background=st.from_regex(r"#[0-9A-Fa-f]{6}", fullmatch=True),
)
CLASSES = st.dictionaries(IDS, LINES.filter(str.strip), max_size=5).filter(
    lambda classes: len(set(classes.values())) == len(classes)
)
RECIPES = st.builds(
    Recipe,
    name=IDS,
    layout=st.just("split/class"),
    split=st.sampled_from(["folders", "none", "hash:0.2", "hash:0.2,0.1"]),
    title=LINES,
    version=LINES.filter(bool),
    sizes=st.lists(st.just("full") | st.integers(1, 65_535), min_size=1, max_size=4, unique=True).map(tuple),
    homepage=LINES,
    licence=LINES,
    resize=RESIZES,
    classes=CLASSES,
)


@settings(deadline=None)
@given(RECIPES)
def test_a_recipe_survives_the_way_through_its_table_and_through_json(recipe):
    table = json.loads(json.dumps(recipe.to_dict()))

    assert parse_recipe(recipe.name, recipe.to_dict(), where="receipt") == recipe
    assert parse_recipe(recipe.name, table, where="receipt") == recipe


@settings(deadline=None)
@given(RECIPES, st.randoms(use_true_random=False))
def test_the_hash_ignores_the_order_of_the_keys_and_the_file(recipe, random):
    def shuffled(table):
        items = [(key, shuffled(value) if isinstance(value, dict) else value) for key, value in table.items()]
        random.shuffle(items)
        return dict(items)

    assert parse_recipe(recipe.name, shuffled(recipe.to_dict()), where="other.toml").sha256() == recipe.sha256()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
KEYS = st.sampled_from(list(Recipe(name="a", layout="class", split="none").to_dict())) | st.text(max_size=8)


@settings(deadline=None)
@given(st.text(max_size=8), VALUES | st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_the_table_holds_the_answer_is_a_recipe_or_a_recipe_error(name, table):
    try:
        outcome = parse_recipe(name, table, where="mine.toml")
    except RecipeError as error:
        assert error.where.startswith("mine.toml: [")
        assert error.fix
    else:
        assert outcome.name == name
