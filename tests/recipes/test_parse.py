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
from imagekit.recipes.recipe import ChooseRule, Part, Recipe, ResizeRule, union_of_classes
from imagekit.recipes.resize_rule import FILTERS, FORMATS, MODES, SUBSAMPLINGS

RECIPE_KEYS = (
    "known: choose, classes, homepage, label, layout, licence, names, part, resize, sizes, split, title, version"
)


CATS = Recipe(name="cats", layout="split/class", split="folders", classes={"n1": "tabby"})
DOGS = Recipe(name="dogs", layout="split/class", split="folders", classes={"n2": "beagle"})
KNOWN = {"cats": CATS, "dogs": DOGS}


def error_text(table, name="tiny", **options):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(name, table, where="mine.toml", **options)
    return str(caught.value)


def test_a_layout_alone_makes_a_recipe():
    assert parse_recipe("tiny", {"layout": "class"}, where="mine.toml") == Recipe(
        name="tiny", layout="class", label="parent", split="none", title="tiny"
    )


def test_an_empty_table_leaves_everything_to_be_found_out():
    assert parse_recipe("tiny", {}, where="mine.toml") == Recipe(name="tiny", title="tiny")


@pytest.mark.parametrize(
    ("layout", "label", "split"),
    [
        ("auto", "auto", "auto"),
        ("class", "parent", "none"),
        ("split/class", "parent", "folders"),
        ("tree", "auto", "none"),
        ("split/tree", "auto", "folders"),
        ("flat", "auto", "none"),
    ],
)
def test_label_and_split_left_out_follow_from_the_layout(layout, label, split):
    recipe = parse_recipe("tiny", {"layout": layout}, where="mine.toml")

    assert (recipe.label, recipe.split) == (label, split)


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert error_text({"layout": "class", "licens": "CC0"}) == (
        'the key "licens" is not known\n  where: mine.toml: [tiny] licens\n'
        f'  fix: did you mean "licence"? {RECIPE_KEYS}'
    )


def test_the_name_is_the_table_and_not_a_key():
    assert error_text({"layout": "class", "name": "tiny"}) == (
        f'the key "name" is not known\n  where: mine.toml: [tiny] name\n  fix: did you mean "names"? {RECIPE_KEYS}'
    )


def test_an_unknown_key_inside_resize_carries_both_levels():
    assert error_text({"layout": "class", "resize": {"qualty": 90}}) == (
        'the key "qualty" is not known\n  where: mine.toml: [tiny] resize.qualty\n'
        '  fix: did you mean "quality"? known: background, enlarge, filter, format, mode, quality, subsampling'
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
        ("names", 1, "names is the integer 1, must be a string", FIX_STRING),
        ("choose", "all", 'choose is the string "all", must be a table', FIX_TABLE),
        ("part", {}, "part is the table, must be an array", FIX_ARRAY),
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


def test_enlarge_is_true_or_false_and_nothing_else():
    assert parse_recipe("tiny", {"resize": {"enlarge": True}}, where="mine.toml").resize.enlarge
    assert error_text({"resize": {"enlarge": 1}}) == (
        "enlarge is the integer 1, must be true or false\n  where: mine.toml: [tiny] resize.enlarge\n"
        "  fix: write true or false without quotes"
    )


@pytest.mark.parametrize(
    ("value", "received"), [("0.1", 'string "0.1"'), (True, "boolean True"), (1 << 60, f"integer {1 << 60}")]
)
def test_a_fraction_that_is_no_number_says_the_type_received(value, received):
    assert error_text({"choose": {"fraction": value}}) == (
        f"fraction is the {received}, must be a number\n  where: mine.toml: [tiny] choose.fraction\n"
        "  fix: write a number without quotes"
    )


def test_a_whole_number_is_a_number_and_hashes_alike():
    whole = parse_recipe("tiny", {"choose": {"fraction": 1, "max_aspect": 3}}, where="mine.toml")
    real = parse_recipe("tiny", {"choose": {"max_aspect": 3.0}}, where="mine.toml")

    assert whole == real
    assert whole.sha256() == real.sha256()


def test_an_unknown_key_inside_choose_carries_both_levels():
    assert error_text({"choose": {"class": ["n1"]}}) == (
        'the key "class" is not known\n  where: mine.toml: [tiny] choose.class\n'
        '  fix: did you mean "classes"? known: classes, deny, formats, fraction, include, max_aspect, min_side, '
        "per_class, seed"
    )


def test_an_entry_of_the_wrong_type_carries_its_place():
    assert error_text({"choose": {"deny": ["a.jpg", 5]}}) == (
        f"deny[1] is the integer 5, must be a string\n  where: mine.toml: [tiny] choose.deny[1]\n  fix: {FIX_STRING}"
    )


def test_an_entry_that_leaves_the_source_carries_its_place():
    assert error_text({"choose": {"include": ["a.jpg", "../x"]}}) == (
        'include[1] is "../x", must be a relative path that stays inside\n'
        "  where: mine.toml: [tiny] choose.include[1]\n"
        '  fix: give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"'
    )


def test_a_label_may_be_a_rule_for_each_first_folder():
    label = {"train": "folder:2", "val": "table:val/val_annotations.txt"}

    assert parse_recipe("tiny", {"layout": "split/tree", "label": label}, where="mine.toml").label == label


def test_a_rule_for_a_first_folder_of_the_wrong_type_carries_the_folder():
    assert error_text({"label": {"train": 2}}) == (
        f"train is the integer 2, must be a string\n  where: mine.toml: [tiny] label.train\n  fix: {FIX_STRING}"
    )


def test_parts_are_the_recipes_that_they_name():
    table = {
        "part": [
            {"recipe": "dogs", "from": "valid", "to": "valid"},
            {"recipe": "cats", "from": ["train", "valid"], "to": "train", "fraction": 0.1, "seed": 7},
        ]
    }

    recipe = parse_recipe("wang", table, where="mine.toml", known=KNOWN)

    assert recipe.parts == (
        Part(recipe=DOGS, from_splits=("valid",), to="valid"),
        Part(recipe=CATS, from_splits=("train", "valid"), to="train", fraction=0.1, seed=7),
    )
    assert list(recipe.classes.items()) == [("n2", "beagle"), ("n1", "tabby")]
    assert recipe.to_dict()["part"] == [
        {"recipe": "dogs", "from": ["valid"], "to": "valid", "fraction": 1.0, "seed": 0},
        {"recipe": "cats", "from": ["train", "valid"], "to": "train", "fraction": 0.1, "seed": 7},
    ]
    assert not {"layout", "label", "split", "classes", "choose"} & set(recipe.to_dict())


def part_text(part, **options):
    return error_text({"part": [{"recipe": "cats", "to": "train"}, part]}, name="wang", known=KNOWN, **options)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (
            {"recipe": "cat", "to": "train"},
            'no recipe has the name "cat"\n  where: mine.toml: [wang] part[1].recipe\n'
            '  fix: did you mean "cats"? known: cats, dogs',
        ),
        (
            {"recipe": "wang", "to": "train"},
            "recipe wang has itself as a part\n  where: mine.toml: [wang] part[1].recipe\n"
            "  fix: name another recipe, one that has no parts",
        ),
        (
            {"to": "train"},
            "recipe is missing\n  where: mine.toml: [wang] part[1].recipe\n"
            '  fix: write recipe = "imagenette" and to = "train" in every part',
        ),
        (
            {"recipe": "dogs"},
            "to is missing\n  where: mine.toml: [wang] part[1].to\n"
            '  fix: write recipe = "imagenette" and to = "train" in every part',
        ),
        (
            {"recipe": "dogs", "to": "val"},
            'to is "val", which is not known\n  where: mine.toml: [wang] part[1].to\n'
            '  fix: did you mean "valid"? known: test, train, unsup, valid',
        ),
        (
            {"recipe": "dogs", "to": "train", "from": ["train", "val"]},
            'from[1] is "val", which is not known\n  where: mine.toml: [wang] part[1].from[1]\n'
            '  fix: did you mean "valid"? known: test, train, unsup, valid',
        ),
        (
            {"recipe": "dogs", "to": "train", "from": ["train", 1]},
            f"from[1] is the integer 1, must be a string\n  where: mine.toml: [wang] part[1].from[1]\n"
            f"  fix: {FIX_STRING}",
        ),
        (
            {"recipe": "dogs", "to": "train", "from": 1},
            f"from is the integer 1, must be an array\n  where: mine.toml: [wang] part[1].from\n  fix: {FIX_ARRAY}",
        ),
        (
            {"recipe": "dogs", "too": "train"},
            'the key "too" is not known\n  where: mine.toml: [wang] part[1].too\n'
            '  fix: did you mean "to"? known: fraction, from, recipe, seed, to',
        ),
        (
            "dogs",
            f'the part is the string "dogs", must be a table\n  where: mine.toml: [wang] part[1]\n  fix: {FIX_TABLE}',
        ),
    ],
)
def test_a_bad_part_carries_its_place(part, text):
    assert part_text(part) == text


def test_a_part_that_is_composite_is_refused_whether_read_or_still_to_be_read():
    wang = parse_recipe("wang", {"part": [{"recipe": "cats", "to": "train"}]}, where="mine.toml", known=KNOWN)
    table = {"part": [{"recipe": "wang", "to": "train"}]}
    text = (
        "recipe wang is composite itself\n  where: mine.toml: [tiny] part[0].recipe\n"
        "  fix: name recipes that have no parts; write out the parts of the other one"
    )

    assert error_text(table, known={"wang": wang}) == text
    assert error_text(table, composites=["wang"]) == text


def test_no_parts_at_all_are_refused():
    assert error_text({"part": []}) == (
        "part is empty\n  where: mine.toml: [tiny] part\n  fix: write [[NAME.part]] once for each part, or delete it"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("layout", "auto"), ("label", "auto"), ("split", "auto"), ("classes", {}), ("choose", {})]
)
def test_a_composite_leaves_keys_to_its_parts_even_at_their_defaults(key, value):
    assert error_text({"part": [{"recipe": "cats", "to": "train"}], key: value}, known=KNOWN) == (
        f"{key} is given, but a recipe with parts leaves it to the recipes of its parts\n"
        f"  where: mine.toml: [tiny] {key}\n"
        "  fix: delete the key, or write it in a recipe of its own that a part names"
    )


def test_a_class_name_of_the_wrong_type_carries_the_class():
    assert error_text({"layout": "class", "classes": {"n1": 5}}) == (
        f"n1 is the integer 5, must be a string\n  where: mine.toml: [tiny] classes.n1\n  fix: {FIX_STRING}"
    )


def test_a_bad_size_carries_its_place():
    assert error_text({"layout": "class", "sizes": ["full", 0]}) == (
        'sizes[1] is the integer 0, must be "full" or an integer from 1 to 65535\n'
        "  where: mine.toml: [tiny] sizes[1]\n"
        '  fix: list sizes as in sizes = ["full", 320, 160]: "full", or a side in pixels'
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
    mode=st.sampled_from(MODES[1:]),
    filter=st.sampled_from(FILTERS),
    format=st.sampled_from(FORMATS),
    quality=st.integers(1, 100),
    background=st.from_regex(r"#[0-9A-Fa-f]{6}", fullmatch=True),
    enlarge=st.booleans(),
    subsampling=st.sampled_from(SUBSAMPLINGS),
)
ENTRIES = st.lists(
    st.sampled_from(["n1", "n0*/[ab]?.jpg", "./a/b.jpg", "F" * 64, "[@]x", "caf\u00e9/\x7f\n.png", "\U0001f415"]),
    max_size=3,
).map(tuple)
CHOICES = st.builds(
    ChooseRule,
    classes=ENTRIES,
    fraction=st.floats(0, 1, exclude_min=True),
    per_class=st.none() | st.integers(1, 2**63 - 1),
    seed=st.integers(0, 2**63 - 1),
    include=ENTRIES,
    deny=ENTRIES,
    min_side=st.none() | st.integers(1, 2**31 - 1),
    max_aspect=st.none() | st.floats(1, allow_nan=False, allow_infinity=False),
    formats=st.lists(st.sampled_from(["jpeg", "png"]), max_size=2).map(tuple),
)
LABELS = st.sampled_from(
    ["auto", "parent", "folder:2", r"name:^(.+)_\d+\.jpg$", "table:a b.csv:1:2", {"train": "folder:2", "v l": "parent"}]
)
CLASSES = st.dictionaries(IDS, LINES.filter(str.strip), max_size=5).filter(
    lambda classes: len(set(classes.values())) == len(classes)
)
RECIPES = st.builds(
    Recipe,
    name=IDS,
    layout=st.sampled_from(["auto", "split/class", "split/tree", "tree"]),
    label=LABELS,
    split=st.sampled_from(["auto", "folders", "none", "hash:0.2", "hash:0.2,0.1", "table:s.csv"]),
    title=LINES,
    version=LINES.filter(bool),
    sizes=st.lists(st.just("full") | st.integers(1, 65_535), min_size=1, max_size=4, unique=True).map(tuple),
    homepage=LINES,
    licence=LINES,
    resize=RESIZES,
    choose=CHOICES,
    classes=CLASSES,
    names=st.sampled_from(["file", "path"]),
)
PARTS = st.builds(
    Part,
    recipe=st.sampled_from([CATS, DOGS]),
    from_splits=st.sampled_from([(), ("train",), ("valid", "train")]),
    to=st.sampled_from(["train", "valid", "test", "unsup"]),
    fraction=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**63 - 1),
)
COMPOSITES = st.builds(
    lambda parts, resize: Recipe(name="wang", parts=tuple(parts), resize=resize, classes=union_of_classes(parts)),
    st.lists(PARTS, min_size=1, max_size=3),
    RESIZES,
)


@settings(deadline=None)
@given(RECIPES | COMPOSITES)
def test_a_recipe_survives_the_way_through_its_table_and_through_json(recipe):
    table = json.loads(json.dumps(recipe.to_dict()))

    assert parse_recipe(recipe.name, recipe.to_dict(), where="receipt", known=KNOWN) == recipe
    assert parse_recipe(recipe.name, table, where="receipt", known=KNOWN) == recipe


@settings(deadline=None)
@given(RECIPES | COMPOSITES, st.randoms(use_true_random=False))
def test_the_hash_ignores_the_order_of_the_keys_and_the_file(recipe, random):
    def shuffled(table):
        items = [(key, shuffled(value) if isinstance(value, dict) else value) for key, value in table.items()]
        random.shuffle(items)
        return dict(items)

    again = parse_recipe(recipe.name, shuffled(recipe.to_dict()), where="other.toml", known=KNOWN)

    assert again.sha256() == recipe.sha256()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
KEYS = st.sampled_from([*Recipe(name="a").to_dict(), "part"]) | st.text(max_size=8)


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
