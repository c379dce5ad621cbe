"""load_recipes and find_recipe: the recipes that ship, and a user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagekit.errors import RecipeError
from imagekit.recipes import load
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import Part, ResizeRule

SHIPPED = ["imagenette", "imagewoof", "imagewang", "all", "shapes"]


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def error_text(path):
    with pytest.raises(RecipeError) as caught:
        load_recipes(path)
    return str(caught.value)


def test_the_recipes_that_ship_are_these():
    assert list(load_recipes()) == SHIPPED


def test_imagenette_has_its_ten_classes():
    assert load_recipes()["imagenette"].classes == {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    }


def test_imagewoof_has_its_ten_dogs():
    assert load_recipes()["imagewoof"].classes == {
        "n02086240": "Shih-Tzu",
        "n02087394": "Rhodesian ridgeback",
        "n02088364": "beagle",
        "n02089973": "English foxhound",
        "n02093754": "Border terrier",
        "n02096294": "Australian terrier",
        "n02099601": "golden retriever",
        "n02105641": "Old English sheepdog",
        "n02111889": "Samoyed",
        "n02115641": "dingo",
    }


def test_shapes_has_its_ten_drawings():
    assert load_recipes()["shapes"].classes == {
        "s00000001": "circle",
        "s00000002": "square",
        "s00000003": "triangle",
        "s00000004": "star",
        "s00000005": "cross",
        "s00000006": "ring",
        "s00000007": "stripes",
        "s00000008": "checker",
        "s00000009": "dots",
        "s00000010": "crescent",
    }


def test_the_shipped_recipes_say_version_sizes_and_how_to_resize():
    recipes = load_recipes()

    assert {name: (r.version, r.sizes) for name, r in recipes.items()} == {
        "imagenette": ("2", ("full", 320, 160)),
        "imagewoof": ("2", ("full", 320, 160)),
        "imagewang": ("1", ("full", 320, 160)),
        "all": ("1", ("full", 320, 224, 160)),
        "shapes": ("1", ("full", 64)),
    }
    assert {r.resize for r in recipes.values()} == {ResizeRule()}
    assert {name: (r.layout, r.label, r.split) for name, r in recipes.items()} == {
        "imagenette": ("split/class", "parent", "folders"),
        "imagewoof": ("split/class", "parent", "folders"),
        "imagewang": ("auto", "auto", "auto"),
        "all": ("auto", "auto", "auto"),
        "shapes": ("split/class", "parent", "folders"),
    }


def test_imagewang_is_made_of_imagenette_and_imagewoof():
    recipes = load_recipes()
    nette, woof, wang = recipes["imagenette"], recipes["imagewoof"], recipes["imagewang"]

    assert wang.parts == (
        Part(recipe=woof, from_splits=("valid",), to="valid"),
        Part(recipe=nette, to="train"),
        Part(recipe=woof, from_splits=("train",), to="train", fraction=0.1),
        Part(recipe=woof, from_splits=("train",), to="unsup"),
    )
    assert wang.classes == woof.classes | nette.classes


def test_the_hashes_of_the_shipped_recipes_never_change():
    # subsets that people built carry them: a recipe that changes gets a new version, and this test a new line
    assert {f"{r.name} {r.version}": r.sha256() for r in load_recipes().values()} == {
        "imagenette 2": "57e51f4ca0f41ec18f54cc678e69d8294f077954820bb816a009aac52e8dc469",
        "imagewoof 2": "7a3f826130f91ea2cd8724df6a4db5de9f4d7ad60470b4af12adb5442b687aa9",
        "imagewang 1": "c37d886fd3d67b9e999e928ef0c64ab0fcc02cf37e1ecdf2888c0f263f4048cc",
        "all 1": "2c488466005ded96401bfd4720e18c1c8a4c84075eec3ab016740ba7db23660b",
        "shapes 1": "950ca84b1d7293b41d71c19acdc323243a14d69245bb86d64a5c47d19da83cd6",
    }


def test_the_file_in_the_package_comes_before_that_of_the_checkout(tmp_path, monkeypatch):
    packaged = write(tmp_path, '[packaged]\nlayout = "class"\n')
    monkeypatch.setattr(load, "_PLACES", (packaged, *load._PLACES))

    assert list(load_recipes()) == ["packaged"]


def test_an_installation_without_its_recipes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_PLACES", (tmp_path / "gone.toml",))

    assert error_text(None) == (
        "the recipes file does not exist\n  where: datasets.toml\n  fix: give the path of a TOML file of recipes"
    )


def test_a_file_of_the_user_adds_recipes(tmp_path):
    path = write(tmp_path, '[tiny]\nlayout = "class"\n')

    assert list(load_recipes(path)) == [*SHIPPED, "tiny"]


def test_a_file_of_the_user_replaces_a_shipped_recipe_whole(tmp_path):
    path = write(tmp_path, '[imagewoof]\nlayout = "class"\n')

    recipe = load_recipes(path)["imagewoof"]

    assert (recipe.title, recipe.version, recipe.classes) == ("imagewoof", "1", {})


def test_a_byte_order_mark_does_no_harm(tmp_path):
    assert "tiny" in load_recipes(write(tmp_path, b'\xef\xbb\xbf[tiny]\r\nlayout = "class"\r\n'))


def test_an_error_in_the_users_file_names_file_and_dotted_key(tmp_path):
    path = write(tmp_path, '[tiny]\nlayout = "class"\nresize = { quality = 0 }\n')

    assert error_text(path) == (
        f"quality is 0, must be from 1 to 100\n  where: {path}: [tiny] resize.quality\n"
        "  fix: set quality = 90, or another whole number in that range"
    )


def test_a_key_outside_any_table_is_no_recipe(tmp_path):
    path = write(tmp_path, 'layout = "class"\n')

    assert error_text(path) == (
        f'the recipe is the string "class", must be a table\n  where: {path}: [layout]\n'
        "  fix: write a table: [name] on a line of its own, or { key = value }"
    )


def test_the_order_of_a_file_does_not_matter_to_parts(tmp_path):
    path = write(
        tmp_path,
        '[[wang.part]]\nrecipe = "mine"\nto = "train"\n[[wang.part]]\nrecipe = "imagenette"\nto = "valid"\n'
        '[mine]\nlayout = "class"\n',
    )

    recipes = load_recipes(path)

    assert list(recipes) == [*SHIPPED, "wang", "mine"]
    assert [part.recipe for part in recipes["wang"].parts] == [recipes["mine"], recipes["imagenette"]]


def test_a_part_takes_the_recipe_of_the_same_file_before_a_shipped_one(tmp_path):
    path = write(tmp_path, '[[wang.part]]\nrecipe = "imagewoof"\nto = "train"\n[imagewoof]\nlayout = "class"\n')

    recipes = load_recipes(path)

    assert recipes["wang"].parts[0].recipe.layout == "class"
    assert recipes["imagewang"].parts[0].recipe.layout == "split/class"  # what ships stays what it is


@pytest.mark.parametrize("other", ["imagewang", "later"])
def test_a_composite_in_a_composite_is_refused_wherever_it_stands(tmp_path, other):
    later = '[[later.part]]\nrecipe = "imagenette"\nto = "train"\n'
    path = write(tmp_path, f'[[wang.part]]\nrecipe = "{other}"\nto = "train"\n{later}')

    assert error_text(path) == (
        f"recipe {other} is composite itself\n  where: {path}: [wang] part[0].recipe\n"
        "  fix: name recipes that have no parts; write out the parts of the other one"
    )


def test_a_part_that_names_no_recipe_gets_the_nearest_one(tmp_path):
    path = write(tmp_path, '[[wang.part]]\nrecipe = "imagenete"\nto = "train"\n')

    assert error_text(path) == (
        f'no recipe has the name "imagenete"\n  where: {path}: [wang] part[0].recipe\n'
        '  fix: did you mean "imagenette"? known: all, imagenette, imagewoof, shapes'
    )


def test_toml_that_is_none_says_line_and_column(tmp_path):
    path = write(tmp_path, '[tiny]\nlayout = "class"\nsizes = [full]\n')

    assert error_text(path) == (
        f"the recipes file is not TOML: Invalid value (at line 3, column 10)\n  where: {path}\n"
        "  fix: mend the file at that line and column"
    )


def test_a_class_listed_twice_says_line_and_column(tmp_path):
    path = write(tmp_path, '[tiny]\nlayout = "class"\n[tiny.classes]\nn1 = "tench"\nn1 = "beagle"\n')

    assert error_text(path) == (
        f"the recipes file is not TOML: Cannot overwrite a value (at line 5, column 14)\n  where: {path}\n"
        "  fix: mend the file at that line and column"
    )


def test_a_file_that_is_not_utf8_says_where(tmp_path):
    path = write(tmp_path, b'[tiny]\ntitle = "caf\xe9"\n')

    assert error_text(path) == (
        f"the recipes file is not UTF-8 text: byte 19 is 0xe9\n  where: {path}\n  fix: save the file as UTF-8"
    )


@pytest.mark.parametrize(
    ("text", "kind"), [("a = " + "9" * 5000, "ValueError"), ("a = " + "[" * 5000, "RecursionError")]
)
def test_a_file_made_to_choke_the_reader_is_refused(tmp_path, text, kind):
    path = write(tmp_path, text)

    assert error_text(path) == (
        f"the recipes file holds a value too large to read: {kind}\n  where: {path}\n"
        "  fix: take out very long numbers and deep nesting"
    )


def test_an_integer_too_long_to_print_is_refused_as_any_other(tmp_path):
    path = write(tmp_path, '[tiny]\nlayout = "class"\nresize = { quality = 0x1' + "0" * 5000 + " }\n")

    assert error_text(path) == (
        f"quality is (an integer of 20001 bits), must be from 1 to 100\n  where: {path}: [tiny] resize.quality\n"
        "  fix: set quality = 90, or another whole number in that range"
    )


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "gone.toml"

    assert error_text(path) == (
        f"the recipes file does not exist\n  where: {path}\n  fix: give the path of a TOML file of recipes"
    )


def test_a_folder_is_no_recipes_file(tmp_path):
    assert error_text(tmp_path) == (
        f"the recipes file is not a regular file\n  where: {tmp_path}\n  fix: give the path of a TOML file of recipes"
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    assert error_text(path) == (
        f"the recipes file is not a regular file\n  where: {path}\n  fix: give the path of a TOML file of recipes"
    )


def test_a_file_that_cannot_be_read_says_what_the_system_says(tmp_path, monkeypatch):
    path = write(tmp_path, '[tiny]\nlayout = "class"\n')
    real = Path.read_text

    def refuse(self, **options):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, **options)

    monkeypatch.setattr(Path, "read_text", refuse)

    assert error_text(path) == (
        f"the recipes file cannot be read: Permission denied\n  where: {path}\n"
        "  fix: check the path and its permissions"
    )


def test_a_recipe_is_found_by_its_name():
    recipes = load_recipes()

    assert find_recipe("imagewoof", recipes) is recipes["imagewoof"]


def test_a_recipe_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(RecipeError) as caught:
        find_recipe("imagenete", load_recipes())

    assert str(caught.value) == (
        'no recipe has the name "imagenete"\n  where: RECIPE\n'
        '  fix: did you mean "imagenette"? known: all, imagenette, imagewang, imagewoof, shapes; '
        "--recipes FILE adds your own"
    )
