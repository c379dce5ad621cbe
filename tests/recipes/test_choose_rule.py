"""ChooseRule: which images are taken; a value that makes no sense cannot be held."""

from __future__ import annotations

import pytest

from imagekit.errors import RecipeError
from imagekit.recipes.choose_rule import ChooseRule
from imagekit.recipes.recipe import shown

SHA256 = "0123456789abcdefABCDEF" + "0" * 42


def text_of(**values):
    with pytest.raises(RecipeError) as caught:
        ChooseRule(**values)
    return str(caught.value)


def test_the_default_takes_everything_by_name_alone():
    assert not ChooseRule().needs_content()
    assert ChooseRule().fraction == 1.0


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ({"classes": ("n*",), "fraction": 0.1, "per_class": 3, "include": ("a/*.jpg",), "deny": ("b",)}, False),
        ({"min_side": 64}, True),
        ({"max_aspect": 3.0}, True),
        ({"formats": ("jpeg",)}, True),
        ({"include": ("a.jpg", SHA256)}, True),
        ({"deny": (SHA256,)}, True),
        ({"deny": (SHA256 + "0",)}, False),
    ],
)
def test_content_is_needed_for_sizes_formats_and_hashes_only(values, needs):
    assert ChooseRule(**values).needs_content() is needs


def test_hashes_are_kept_in_lower_case_and_paths_without_the_dot_in_front():
    rule = ChooseRule(include=(SHA256, "./A/b.jpg", ".//./c.jpg"), deny=(".hidden/x.jpg",))

    assert rule.include == (SHA256.lower(), "A/b.jpg", "c.jpg")
    assert rule.deny == (".hidden/x.jpg",)


@pytest.mark.parametrize("key", ["classes", "include", "deny"])
@pytest.mark.parametrize("entry", ["/abs", "..", "../x", "a/../../b", "./../x", "..\\x", "a\\..\\x", "\\x", "a\0b", ""])
def test_an_entry_that_leaves_the_source_is_refused_and_named(key, entry):
    shown_entry = shown("../x" if entry == "./../x" and key != "classes" else entry)

    assert text_of(**{key: ("fine", entry)}) == (
        f"{key}[1] is {shown_entry}, must be a relative path that stays inside\n  where: {key}[1]\n"
        '  fix: give a path without "..", from the root on, with no slash in front, as in "train/cats/1.jpg"'
    )


@pytest.mark.parametrize(
    "entry", ["a..b/c..jpg", "...", "a b", "[.]x", "a\nb.jpg", "a\\b.jpg", "**/x.jpg", "caf\u00e9"]
)
def test_odd_entries_that_stay_inside_are_taken(entry):
    assert ChooseRule(include=(entry,)).include == (entry,)


@pytest.mark.parametrize("entry", ["@ids.txt", "./@ids.txt"])
def test_a_file_of_entries_is_for_recipes_files_only(entry):
    assert text_of(deny=(entry,)) == (
        'deny[0] is "@ids.txt", but only a recipes file can name a file of entries\n  where: deny[0]\n'
        '  fix: list the entries themselves; where a name begins with @, write "[@]" for it'
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "fraction",
            value,
            f"fraction is {value}, must be above 0 and at most 1\n  where: fraction\n"
            "  fix: set fraction = 0.1 for a tenth of the images, or delete the key for all of them",
        )
        for value in (0.0, -0.1, 1.1, float("nan"))
    ]
    + [
        (
            "max_aspect",
            value,
            f"max_aspect is {value}, must be a number of at least 1\n  where: max_aspect\n"
            "  fix: set max_aspect = 3.0 to leave out what is over three times as long as wide, or delete the key",
        )
        for value in (0.5, float("inf"), float("nan"))
    ]
    + [
        (
            "per_class",
            0,
            "per_class is 0, must be from 1 to 9223372036854775807\n  where: per_class\n"
            "  fix: set per_class = 1 or more, or delete the key",
        ),
        (
            "seed",
            1 << 200,
            "seed is (an integer of 201 bits), must be from 0 to 9223372036854775807\n  where: seed\n"
            "  fix: set seed = 0 or more, or delete the key",
        ),
        (
            "min_side",
            0,
            "min_side is 0, must be from 1 to 2147483647\n  where: min_side\n"
            "  fix: set min_side = 1 or more, or delete the key",
        ),
        (
            "formats",
            ("png", "jpg"),
            'formats[1] is "jpg", which is not known\n  where: formats[1]\n'
            '  fix: did you mean "jpeg"? known: bmp, gif, jpeg, png, tiff, webp',
        ),
    ],
)
def test_a_bad_value_is_refused_and_says_which(key, value, text):
    assert text_of(**{key: value}) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fraction", 1.0),
        ("fraction", 1e-9),
        ("max_aspect", 1.0),
        ("per_class", 1),
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("min_side", 1),
        ("formats", ("jpeg", "png", "webp", "gif", "bmp", "tiff")),
    ],
)
def test_the_valid_neighbours_are_taken(key, value):
    assert getattr(ChooseRule(**{key: value}), key) == value
