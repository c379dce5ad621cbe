"""The designed screen of settings: its design is orthogonal, its estimates are right, and no run is made twice."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "scripts/screens").glob("*.toml"))


@pytest.fixture
def screen(tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("screen", ROOT / "scripts/screen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RESULTS = tmp_path / "screens.jsonl"
    return module


def design(*columns: str) -> dict[str, Any]:
    factors = {f"f{n}": {"column": column, "low": {}, "high": {f"k{n}": n}} for n, column in enumerate(columns)}
    return {"base": {"lr": 0.1}, "factors": factors}


def signs_of(screen: ModuleType, made: dict[str, Any]) -> np.ndarray:
    return np.array([[1, *screen.levels(made, number).values()] for number in range(screen.n_runs(made))], dtype=float)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_every_screen_that_is_shipped_is_orthogonal_and_its_settings_are_known(screen, path):
    from imagekit.training.config import TrainConfig
    from imagekit.training.settings import resolve_settings

    made = tomllib.loads(path.read_text(encoding="utf-8"))
    screen.check(made)

    signs = signs_of(screen, made)
    told = [screen.settings(made, number) for number in (0, screen.n_runs(made) - 1)]
    sets = [[f"{key}={screen.toml(value)}" for key, value in each.items()] for each in told]
    configs = [resolve_settings({}, sets=each).config for each in sets]

    assert np.array_equal(signs.T @ signs, screen.n_runs(made) * np.eye(signs.shape[1]))
    assert all(isinstance(config, TrainConfig) for config in configs)


@pytest.mark.parametrize("columns", [("A", "B", "AB"), ("A", "B", "ABF"), ("A", "AAA"), ("A", "A"), ("A", "C"), ("",)])
def test_a_design_whose_effects_could_not_be_told_apart_is_refused(screen, columns):
    with pytest.raises(SystemExit):
        screen.check(design(*columns))


def test_three_letters_are_eight_runs_and_hold_four_factors(screen):
    made = design("A", "B", "C", "ABC")

    screen.check(made)

    signs = signs_of(screen, made)
    assert np.array_equal(signs.T @ signs, 8 * np.eye(5))


def test_a_star_multiplies_what_was_set_before(screen):
    made = design("A")
    made["factors"]["f0"]["high"] = {"lr*": 2.0, "model_options": {"act": "mish"}}

    high, low = screen.settings(made, 1), screen.settings(made, 0)

    assert high == {"lr": 0.2, "model_options.act": "mish"}
    assert low == {"lr": 0.1}


def test_effects_and_their_errors_are_those_of_least_squares(screen):
    made = design("A", "B", "C", "D", "E")
    signs = signs_of(screen, made)
    noise = np.random.default_rng(0).normal(0, 0.01, len(signs))

    values = 0.5 + signs @ [0, 0.02, -0.05, 0, 0, 0] + noise

    effects, errors = screen.estimate(signs, values)

    means = [values[column > 0].mean() - values[column < 0].mean() for column in signs.T[1:]]
    left = values - values.mean() - signs[:, 1:] @ means / 2
    assert effects == pytest.approx(means)
    assert errors == pytest.approx([2 * np.sqrt((left**2).sum() / 26 / 32)] * 5)  # 26 degrees of freedom
    assert np.abs(np.array(effects[:2]) - [0.04, -0.1]).max() < 0.01


def row_of(screen: ModuleType, made: dict[str, Any], number: int, **measured: float) -> dict[str, Any]:
    told = {"levels": screen.levels(made, number), "settings": screen.settings(made, number)}
    return {"screen": "mine", **told, "measured": measured}


def test_the_report_is_of_the_runs_that_are_kept_and_whose_settings_are_those_of_the_screen(screen, capsys):
    made = design("A", "B", "C")
    rows = [
        row_of(screen, made, n, valid_accuracy=0.5 + 0.1 * screen.levels(made, n)["f0"], train_s=10.0 + n % 2)
        for n in range(8)
    ]
    rows.append(rows[0] | {"settings": {"lr": 3.0}})
    screen.RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))

    screen.report("mine", made)

    told = capsys.readouterr().out
    assert told.startswith("mine: 8 of 8 runs, 3 factors\n")
    assert "valid_accuracy: mean 0.5000, 4 degrees of freedom\n  f0                   +0.2000 +- 0.0000\n" in told
    assert "train_s: mean 10.5000" in told
    assert "f0                   x 1.100 +- " in told


def test_runs_that_do_not_tell_the_factors_apart_have_no_effects(screen, capsys):
    made = design("A", "B", "C", "D", "E")
    # both A and B low in all of them
    rows = [row_of(screen, made, number, valid_accuracy=0.5) for number in range(0, 32, 4)]
    screen.RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))

    screen.report("mine", made)

    assert capsys.readouterr().out == "mine: 8 of 32 runs, 5 factors\ntoo few runs to tell the effects apart\n"


def test_a_report_without_some_runs_says_what_that_mixes(screen, capsys):
    made = design("A", "B", "C")
    rows = [row_of(screen, made, number, valid_accuracy=0.5 + 0.01 * number) for number in range(7)]
    screen.RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))

    screen.report("mine", made)

    assert capsys.readouterr().out.startswith(
        "mine: 7 of 8 runs, 3 factors\nsome runs are missing: what two factors do together is mixed into the effects\n"
    )
