"""`imagekit recipes`: the table, one in full, what it says about a name it does not know."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import cli
from imagekit.cli.recipes import recipes, to_toml
from imagekit.recipes.load import load_recipes
from imagekit.recipes.parse import parse_recipe
from imagekit.recipes.recipe import ChooseRule, Recipe, ResizeRule

OWN = """
[tiny]
title = "Two kinds of thing"
version = "1"
layout = "class"
label = "parent"
split = "hash:0.2"
sizes = [64]
homepage = "https://example.org"
licence = "CC0-1.0"
resize = { mode = "shortest", format = "png" }
[tiny.classes]
"a.1" = 'the "first"'
b = "caf\u00e9"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def imagekit(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_the_table_has_a_row_a_recipe() -> None:
    result = imagekit("recipes")

    rows = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert rows == ["NAME", *load_recipes()]
    assert result.stderr == "next: imagekit recipes imagenette\n"
    assert result.exit_code == 0


def test_the_table_lines_up_and_adds_recipes_of_a_file(own: Path) -> None:
    lines = imagekit("recipes", "--recipes", own).stdout.splitlines()

    starts = {line.index(title) for line, title in zip(lines, ["TITLE", "Imagenette:"], strict=False)}
    assert len(starts) == 1
    assert lines[-1].split() == ["tiny", "2", "64", "hash:0.2", "Two", "kinds", "of", "thing"]


def test_one_recipe_in_full_is_toml_that_reads_back_the_same(own: Path) -> None:
    result = imagekit("recipes", "tiny", "--recipes", own)

    recipe = load_recipes(own)["tiny"]
    table = tomllib.loads(result.stdout)["tiny"]
    assert parse_recipe("tiny", table, where="the printed text") == recipe
    assert result.stdout.endswith(f"\n\n# sha256 {recipe.sha256()}\n")
    assert result.stderr == "next: imagekit make-subset tiny SRC -o tiny\n"


@pytest.mark.parametrize("name", list(load_recipes()))
def test_every_shipped_recipe_reads_back_the_same(name: str) -> None:
    recipes = load_recipes()

    table = tomllib.loads(to_toml(name, recipes[name].to_dict()))[name]

    assert parse_recipe(name, table, where="the printed text", known=recipes) == recipes[name]


WILD = [f"train/{n}/*.jpg" for n in range(100)]
PRINTED = [
    Recipe(name="a.b", label={"train": "folder:2", "v l": r'name:^"(.+)"\.jpg$'}, layout="split/tree"),
    Recipe(name="tiny", label=r"name:^(.+)_\d+\x7f\.jpg$", layout="flat", names="path", classes={"n1": "caf\u00e9"}),
    Recipe(name="tiny", choose=ChooseRule(classes=("n*", "del\x7f\x9b"), fraction=1e-9, per_class=3, min_side=64)),
    Recipe(name="tiny", choose=ChooseRule(deny=tuple(WILD), include=("f" * 64, "\U0001f415.jpg"), max_aspect=1e300)),
    Recipe(name="tiny", sizes=tuple(range(1, 100)), resize=ResizeRule(mode="fit", enlarge=True, subsampling="4:4:4")),
]


@pytest.mark.parametrize("recipe", PRINTED, ids=range(len(PRINTED)))
def test_whatever_a_recipe_says_it_is_printed_so_that_it_reads_back(recipe: Recipe) -> None:
    text = to_toml(recipe.name, recipe.to_dict())

    assert parse_recipe(recipe.name, tomllib.loads(text)[recipe.name], where="the printed text") == recipe
    assert all(line.isprintable() for line in text.splitlines())


def test_a_long_array_is_printed_a_line_an_entry() -> None:
    recipe = Recipe(name="tiny", choose=ChooseRule(deny=tuple(WILD)))

    text = to_toml("tiny", recipe.to_dict())

    assert text.endswith('\n\n[tiny.choose]\ndeny = [\n  "' + '",\n  "'.join(WILD) + '",\n]')


def test_a_composite_recipe_shows_its_parts() -> None:
    table = imagekit("recipes").stdout.splitlines()
    text = imagekit("recipes", "imagewang").stdout

    row = next(line for line in table if line.startswith("imagewang "))
    assert row.split()[1:6] == ["20", "full,", "320,", "160", "parts"]
    assert text.count("[[imagewang.part]]") == 4
    assert (
        '\n[[imagewang.part]]\nrecipe = "imagewoof"\nfrom = ["train"]\nto = "train"\nfraction = 0.1\nseed = 0\n' in text
    )
    assert not {"layout", "split", "label"} & set(tomllib.loads(text)["imagewang"])


def test_json_holds_the_same_facts(own: Path) -> None:
    one = json.loads(imagekit("recipes", "tiny", "--recipes", own, "--json").stdout)
    every = json.loads(imagekit("recipes", "--recipes", own, "--json").stdout)

    assert one["recipe"]["classes"] == {"a.1": 'the "first"', "b": "caf\u00e9"}
    assert one["recipe"]["sha256"] == load_recipes(own)["tiny"].sha256()
    assert every["recipes"]["tiny"] == one["recipe"]
    assert (one["schema_version"], one["command"], one["exit_code"]) == (1, "recipes", 0)


def test_an_unknown_name_gets_the_nearest() -> None:
    result = imagekit("recipes", "imagenete")

    assert result.stderr.startswith("error: no recipe has the name")
    assert 'did you mean "imagenette"?' in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_file_that_is_missing_is_a_usage_error(tmp_path: Path) -> None:
    result = imagekit("recipes", "--recipes", tmp_path / "nosuch.toml")

    assert result.stderr.startswith("error: the recipes file does not exist\n")
    assert result.exit_code == 2


@pytest.mark.parametrize("example", recipes.examples)
def test_the_examples_of_the_help_run(example: str) -> None:
    assert imagekit(*shlex.split(example)[1:]).exit_code == 0
