"""load_recipes and find_recipe: the recipes that ship, and a user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagekit.errors import RecipeError
from imagekit.recipes import load
from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.recipes.recipe import ResizeRule

SHIPPED = ["imagenette", "imagewoof", "shapes"]


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
        "shapes": ("1", ("full", 64)),
    }
    assert {r.resize for r in recipes.values()} == {ResizeRule()}
    assert {(r.layout, r.label, r.split) for r in recipes.values()} == {("split/class", "parent", "folders")}


def test_the_hashes_of_the_shipped_recipes_never_change():
    # subsets that people built carry them: a recipe that changes gets a new version, and this test a new line
    assert {f"{r.name} {r.version}": r.sha256() for r in load_recipes().values()} == {
        "imagenette 2": "5feb229d4910bba56a930f3aafd7ed6003938a8b358665676cd5d5c888b0fa63",
        "imagewoof 2": "69f5c3cbea3e5713cc8ff4619ea5c7b92db3c5453faf3259ffaf5b9fc23735ad",
        "shapes 1": "bb77ac41932ca3c015d9f4aa4223d05fe5ec86604f73d7da4c4e24a81595c904",
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


def test_a_composite_recipe_is_refused_by_its_key(tmp_path):
    path = write(tmp_path, '[wang]\nlayout = "class"\n[[wang.part]]\nrecipe = "imagenette"\n')

    assert error_text(path) == (
        f'the key "part" is not known\n  where: {path}: [wang] part\n'
        "  fix: known: classes, homepage, label, layout, licence, resize, sizes, split, title, version"
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
        '  fix: did you mean "imagenette"? known: imagenette, imagewoof, shapes; --recipes FILE adds your own'
    )
