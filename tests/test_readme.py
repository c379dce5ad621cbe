"""The README's claims: its Python runs as it stands, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

from cli.workspace import draw_classes

from imagekit.cli.main import COMMANDS
from imagekit.recipes.load import load_recipes

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_example() -> str:
    return re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]


def test_the_python_example_runs_and_is_short(tmp_path, monkeypatch):
    draw_classes(tmp_path / "IMAGENET", list(load_recipes()["imagenette"].classes))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    exec(compile(python_example(), "README.md", "exec"), names)

    assert (tmp_path / "run/checkpoints/best.pt").exists()
    assert names["image"].shape == (3, 20, 24)
    assert len([line for line in python_example().splitlines() if line.strip()]) < 15


def test_the_readme_names_every_command_and_no_other():
    named = {match.split()[0] for match in re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)}

    assert named == {entry.name for entry in COMMANDS}


def test_every_link_of_the_readme_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_recipe_of_the_readme_is_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1])

    assert load_recipes(path)["pets"].classes == {"cat": "cat", "dog": "dog"}
