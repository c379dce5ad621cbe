"""docs/recipes.md: every recipe in it is read, and what it says of defaults and detection is so."""

import re
from pathlib import Path

import pytest
from subset.trees import InlineWorkers, picture, plant

from imagekit.recipes.load import load_recipes
from imagekit.recipes.recipe import ChooseRule, Recipe, ResizeRule
from imagekit.subset.build import make_subset

PAGE = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def recipes_in(text: str, folder: Path) -> dict[str, Recipe]:
    (folder / "own.toml").write_text(text, encoding="utf-8")
    return load_recipes(folder / "own.toml")


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("]")[0].strip("["))
def test_every_example_is_a_recipe(text: str, tmp_path: Path) -> None:
    known = recipes_in(text, tmp_path)

    names = {name.split(".")[0] for name in re.findall(r"^\[([a-z-]+)", text, re.MULTILINE)}
    assert names
    assert names <= set(known)


def test_the_values_shown_as_defaults_are_the_defaults(tmp_path: Path) -> None:
    known = recipes_in(next(text for text in EXAMPLES if "[stored]" in text), tmp_path)

    assert known["stored"].resize == ResizeRule()
    assert known["stored"].names == "file"
    assert known["stored"].choose == ChooseRule()


def test_the_imagewang_of_the_page_is_the_one_that_ships(tmp_path: Path) -> None:
    shown = recipes_in(next(text for text in EXAMPLES if "[[imagewang.part]]" in text), tmp_path)["imagewang"]

    shipped = load_recipes()["imagewang"]
    assert shown.parts == shipped.parts
    assert shown.sizes == shipped.sizes


def test_the_sentence_about_what_was_found_is_what_make_subset_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
    names = [f"{split}/cat/{i}.jpg" for split in ("train", "val") for i in (0, 1)]
    source = plant(tmp_path / "source", dict.fromkeys(names, picture()))

    report = make_subset("all", source, output=tmp_path / "out")

    form = re.search(r"for instance `(.*?)`", PAGE)
    assert form is not None
    assert report.said == (re.sub(r"9,469|3,925", "2", form[1]),)
