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
    recipe = load_recipes()[name]

    table = tomllib.loads(to_toml(name, recipe.to_dict()))[name]

    assert parse_recipe(name, table, where="the printed text") == recipe


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
