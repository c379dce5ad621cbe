"""docs/transforms.md: its code runs as it stands, its tables name what is there, with the defaults it has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.workspace import draw_classes

from imagekit.batch import erase, geometry, lighting
from imagekit.batch.transform import BatchTransform
from imagekit.learner.callback import Callback
from imagekit.recipes.load import load_recipes
from imagekit.transforms import crops, flips, resize, tensors, warp
from imagekit.transforms.items import ItemTransform

PAGE = (Path(__file__).parent.parent / "docs" / "transforms.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict[str, Any]:
    """What the blocks leave behind, run one after another beside a folder of images."""
    draw_classes(tmp_path / "nette", list(load_recipes()["imagenette"].classes))
    monkeypatch.chdir(tmp_path)
    left: dict[str, Any] = {"__name__": "transforms_page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/transforms.md, block {number}", "exec", dont_inherit=True), left)
        if number < 2:
            left[f"x{number}"] = left["x" if number == 0 else "again"]
        if number == 2:
            left["x2"] = left["x"]
        if number == 3:  # before a schedule changes a strength
            left["at once"] = left["augment"](left["batch"].x, left["batch"].keys)
    return left


def test_the_code_of_the_page_runs_and_does_what_it_says(names):
    assert len(BLOCKS) == 7
    assert (names["x0"].shape, names["x0"].dtype) == ((4, 3, 32, 32), torch.float32)
    assert torch.equal(names["x0"], names["x1"])
    assert (names["x2"].shape[1:], names["x2"].dtype) == ((3, 24, 24), torch.float32)
    assert torch.equal(names["replayed"], names["at once"])
    assert Path("batch.png").exists()
    assert names["learner"].epochs_done == 2
    assert 0 < names["augment"].hypers()["rotate.max_degrees"][0].max_degrees < 20


def test_a_learner_of_the_page_sees_other_draws_in_each_epoch(names):
    class Keys(Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, ...]] = []

        def begin_batch(self) -> None:
            if self.in_train:
                self.seen.append(tuple(self.batch.keys.tolist()))

    keys = Keys()

    names["learner"].fit(2, [keys])

    assert len(set(keys.seen)) == len(keys.seen)


def test_the_transform_of_another_domain_is_short_and_keyed(names):
    sounds, example = names["sounds"], BLOCKS[-2]

    silent = [(sound == 0).all(dim=1) for sound in sounds]

    code = [line for line in example.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(code) <= 20
    assert torch.equal(names["masked"], sounds[0])
    assert [sound.shape[1] for sound in sounds] == [25, 26, 27, 28, 29, 30]
    assert 0 < max(int(rows.sum()) for rows in silent) <= 8
    assert len({tuple(rows.tolist()) for rows in silent}) > 1


def _classes(module: Any, base: type) -> set[str]:
    named = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name for name, value in named.items() if isinstance(value, type) and issubclass(value, base)}


def test_the_tables_name_every_transform():
    items = {name for module in (crops, flips, resize, tensors, warp) for name in _classes(module, ItemTransform)}
    batches = {name for module in (erase, geometry, lighting) for name in _classes(module, BatchTransform)}

    named = set(re.findall(r"`(\w+)\(?", "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))))

    assert items - {"ItemTransform", "Resampling", "Crop"} <= named
    assert batches - {"BatchTransform", "Geometry", "Colour", "Pixels"} <= named


def test_the_defaults_shown_for_images_are_the_defaults():
    shown = re.findall(r"^\| `(\w+)\(([^)]*(?:\([^)]*\)[^)]*)*)\)`.*\| (\d+) \|", PAGE, re.MULTILINE)
    kinds = {**vars(crops), **vars(flips), **vars(resize), **vars(tensors), **vars(warp)}

    assert len(shown) == 13
    for name, options, order in shown:
        defaults = {field.name: field.default for field in fields(kinds[name])}
        for key, value in re.findall(r"(\w+)=(\([^)]*\)|[^,]+)", options):
            assert defaults[key] == eval(value), (name, key)
        assert kinds[name]._order == int(order)


def test_the_defaults_shown_for_batches_are_the_defaults():
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 4]
    kinds = {**vars(geometry), **vars(lighting), **vars(erase)}
    compared = 0

    for name, hypers in rows:
        kind = kinds.get(re.match(r" `(\w+)", name)[1])
        shown = dict(re.findall(r"(\w+) ([\d./]+)", hypers))
        if kind is None or not kind.hypers:
            assert shown == {}
            continue
        defaults = {field.name: field.default for field in fields(kind)}
        assert set(re.findall(r"[a-z_]+", hypers)) == set(kind.hypers)
        assert {key: eval(value) for key, value in shown.items()} == {key: defaults[key] for key in shown}
        compared += len(shown)
    assert compared == 27


def test_light_of_ones_own_changes_red_and_blue_against_each_other(names):
    change = names["warm"] / (names["batch"].x / 255).clamp(min=1e-3)

    red, green, blue = (change[:, i].flatten(1).quantile(0.5, dim=1) for i in range(3))
    assert torch.allclose(green, torch.ones(4), atol=1e-3)
    assert torch.allclose(red + blue, torch.full((4,), 2.0), atol=1e-3)
    assert (red - 1).abs().max() > 0.01
