"""docs/why.md: its code runs, prints what the page shows and draws its figures, and what the page claims holds."""

from __future__ import annotations

import importlib.util
import math
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from imagekit.models.layers import conv_layer

REPOSITORY = Path(__file__).parent.parent
FIGURES = REPOSITORY / "docs" / "figures"
PAGE = (REPOSITORY / "docs" / "why.md").read_text(encoding="utf-8")
MOMENTA = ("0.5", "0.7", "0.9", "0.99")

pytestmark = pytest.mark.slow


class Run(NamedTuple):
    """What the page left behind: the text of each block, its names, and the folder with its figures."""

    outputs: list[str]
    names: dict[str, Any]
    folder: Path


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_figures", REPOSITORY / "scripts" / "draw_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("why")
    return Run(*script().run_page(PAGE, folder), folder)


def test_every_block_prints_what_the_page_shows(page):
    shown = [block["shown"] or "" for block in script().BLOCK.finditer(PAGE)]

    assert len(shown) == PAGE.count("```python") == 9
    assert page.outputs == shown


def test_the_page_is_what_the_script_would_write(page):
    assert script().with_outputs(PAGE, page.outputs) == PAGE
    assert script().with_outputs("```python\nprint(1)\n```\n", ["1\n"]) == (
        "```python\nprint(1)\n```\n\n```text\n1\n```\n"
    )


def test_every_figure_of_the_page_is_there_small_and_drawn_by_its_run(page):
    named = re.findall(r"!\[.+\]\(figures/(\w+\.png)\)", PAGE)

    assert sorted(named) == sorted(path.name for path in FIGURES.iterdir())
    assert sorted(named) == sorted(path.name for path in (page.folder / "figures").iterdir())
    for name in named:
        with Image.open(FIGURES / name) as kept, Image.open(page.folder / "figures" / name) as drawn:
            assert (kept.mode, kept.size) == ("P", drawn.size)
        assert (FIGURES / name).stat().st_size < 40_000


def test_few_colours_keep_the_faint_ones_and_change_others_little():
    image = Image.new("RGB", (60, 20), (255, 255, 255))
    image.paste((229, 232, 236), (0, 3, 60, 4))
    image.paste(Image.linear_gradient("L").resize((60, 10)).convert("RGB"), (0, 10))

    small = script().with_few_colours(image).convert("RGB")

    assert (small.getpixel((5, 0)), small.getpixel((5, 3))) == ((255, 255, 255), (229, 232, 236))
    assert len(small.getcolors()) <= 64


def test_standard_normal_weights_overflow_early_and_small_ones_vanish(page):
    plain = page.names["plain"]

    lost = [number for number, value in enumerate(plain["times 1"], start=1) if not math.isfinite(value)]

    assert lost[0] in (28, 29)
    assert plain["times 0.01"][-1] == 0
    assert plain["times 0.01"][40] < 1e-20


def test_scaled_weights_keep_the_deviation_near_1_and_a_relu_needs_twice_the_variance(page):
    plain, relu = page.names["plain"], page.names["relu"]

    assert all(0.4 < value < 2.5 for value in plain["over sqrt(512)"])
    assert all(0.4 < value < 2.5 for value in relu["times sqrt(2/512)"])
    assert relu["times sqrt(1/512)"][-1] == pytest.approx(2**-50 * relu["times sqrt(2/512)"][-1], rel=0.1)


def test_torchs_layers_shrink_kaimings_less_and_lsuvs_not(page):
    stds, means = page.names["stds"], page.names["means"]

    assert (stds["torch's"][1:] < stds["torch's"][:-1]).all()
    assert (stds["torch's"] < stds["init_cnn"]).all() and (stds["init_cnn"] < 0.99).all()
    assert abs(stds["lsuv_init"] - 1).max() < 1e-3
    assert abs(means["lsuv_init"]).max() < 1e-3 < abs(means["init_cnn"]).min()


def test_a_first_value_is_right_once_it_is_debiased(page):
    values, kinds = page.names["values"], page.names["kinds"]

    for momentum in MOMENTA:
        name = f"momentum {momentum}"
        assert kinds["Dampened, debiased"][name][0] == pytest.approx(values[0].item(), rel=1e-6)
        assert kinds["Dampened"][name][0] == pytest.approx((1 - float(momentum)) * values[0].item(), rel=1e-5)


def test_debiasing_is_exact_for_equal_values_dampened_or_not(page):
    averages = page.names["averages"]

    for momentum in map(float, MOMENTA):
        for dampening in (True, False):
            plain, debiased = averages(torch.full((2000,), 3.0), momentum, dampening=dampening)
            assert torch.allclose(debiased, torch.full((2000,), 3.0), rtol=1e-4)
            assert plain[-1] == pytest.approx(3.0 if dampening else 3.0 / (1 - momentum), rel=1e-3)


def test_debiased_averages_are_better_early_and_no_worse_later(page):
    kinds, error = page.names["kinds"], page.names["error"]

    for momentum in MOMENTA:
        dampened, debiased = (kinds[kind][f"momentum {momentum}"] for kind in ("Dampened", "Dampened, debiased"))
        assert error(debiased, 1, 10) < 0.3 < error(dampened, 1, 10)
        assert error(debiased, 101, 200) <= error(dampened, 101, 200) + 1e-4


def test_behind_a_norm_the_scale_of_the_weights_changes_the_gradient_alone(page):
    names = page.names
    names["layer"].norm.eps = 1e-20  # what is left of a difference is rounding

    output, size, cosine = names["look"](1)

    assert abs(cosine) < 1e-4
    for k in (100, 10, 0.1):
        other, other_size, _ = names["look"](k)
        assert (other - output).abs().max() < 2e-5
        assert other_size / size == pytest.approx(1 / k, rel=1e-3)


def test_decay_shortens_the_weights_and_raises_the_effective_rate(page):
    weights, rates = page.names["weights"], page.names["rates"]

    for name in ("decoupled 0.1", "L2 0.01"):
        assert weights[name][-1] < 0.9 * weights[name][0] < 0.9 * weights["none"][-1]
        assert rates[name][-1] > 1.2 * rates[name][0]
    assert weights["none"][-1] > 1.1 * weights["none"][0]
    assert rates["none"][-1] < 0.9 * rates["none"][0]
    assert weights["L2 0.01"][-1] == pytest.approx(weights["decoupled 0.1"][-1].item(), rel=0.05)


def test_a_larger_eps_makes_shorter_steps_and_eps_1_is_nearly_sgd(page):
    curves, gradients = page.names["curves"], page.names["gradients"]
    names = [f"eps {eps:g}" for eps in (1e-8, 1e-5, 1e-3, 0.1, 1)]

    for smaller, larger in pairwise(names):
        assert (curves[smaller] >= curves[larger]).all()
    for name in names:
        eps = float(name[4:])
        assert torch.allclose(curves[name], gradients / (gradients + eps), rtol=1e-4)
    is_small = gradients < 0.05
    assert torch.allclose(curves["eps 1"][is_small], curves["SGD"][is_small], rtol=0.0101)


def test_the_layer_of_the_page_has_its_norm_last():
    assert list(dict(conv_layer(3, 16).named_children())) == ["conv", "relu", "norm"]
