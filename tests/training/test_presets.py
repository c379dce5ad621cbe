"""Presets: what they say of themselves, the figures they stand for, and the list of them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

import pytest

from imagekit.training.preset_list import PresetList
from imagekit.training.presets import PRESETS, Measured, Preset, find_preset

RESULTS = Path(__file__).parents[2] / "scripts" / "results"
N_IMAGES = 5 * 9_469
MINE = Preset(title="mine", settings={"model": "mini", "epochs": 20, "size": 96})


def test_each_preset_says_its_model_epochs_and_size_and_what_it_is() -> None:
    for preset in PRESETS.values():
        assert {"model", "epochs", "size"} <= set(preset.settings)
        assert 0 < len(preset.title) <= 50


def test_a_preset_is_found_as_its_settings() -> None:
    assert find_preset("lesson-lsuv") == {**find_preset("lesson-cnn"), "lsuv": True}


@pytest.mark.parametrize("name", ["lesson-cnn", "lesson-lsuv", "lesson-adam", "lesson-lamb"])
def test_a_lessons_figures_are_those_of_its_last_measurement(name: str) -> None:
    rows = [json.loads(line) for line in (RESULTS / "lessons.jsonl").read_text(encoding="utf-8").splitlines()]
    row = [row for row in rows if row["name"] == name][-1]

    assert PRESETS[name].measured == Measured(
        accuracy=round(row["mean"], 4),
        sd=round(row["sd"], 4),
        n=row["n"],
        seconds=round(row["seconds"]),
        data="Imagenette v2 as 224 px centre crops (records decode 320 px)",
        hardware=f"{row['cpu']['cores']} cores of an {row['cpu']['model']}",
    )


@pytest.mark.parametrize("name", ["xresnet18-5", "imagenette-5-cpu"])
def test_a_presets_figures_are_those_of_its_measured_trainings(name: str) -> None:
    rows = [json.loads(line) for line in (RESULTS / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["system"] == "imagekit" and row["options"] == ["--preset", name]]
    rows = [row for row in rows if row.get("images", N_IMAGES) == N_IMAGES]  # others had images held out
    accuracies, measured = [row["accuracy"] for row in rows], PRESETS[name].measured

    assert sorted(row["seed"] for row in rows) == list(range(len(rows)))
    assert measured is not None
    assert (measured.n, measured.accuracy) == (len(rows), round(mean(accuracies), 4))
    assert measured.sd == round(stdev(accuracies), 4)
    assert measured.seconds == round(mean(row["train_s"] + row["valid_s"] for row in rows))


def test_the_list_groups_by_data_and_machine_and_shows_a_dash_where_nothing_was_measured() -> None:
    figures = {"accuracy": 0.5, "sd": 0.012345, "n": 5, "seconds": 12.6}
    b = Preset(title="b", settings=MINE.settings, measured=Measured(**figures, data="pets", hardware="a GPU"))
    c = Preset(title="c", settings=MINE.settings, measured=Measured(**figures, data="pets", hardware="a core"))

    listed = PresetList(presets={"mine": MINE, "b": b, "c": c, "b2": b})

    assert listed.summary() == (
        "PRESET  MODEL  EPOCHS  SIZE  ACCURACY                 SECONDS  WHAT IT IS\n"
        "mine    mini   20      96    -                        -        mine\n"
        "b       mini   20      96    0.5000 (sd 0.0123, n 5)  13       b\n"
        "c       mini   20      96    0.5000 (sd 0.0123, n 5)  13       c\n"
        "b2      mini   20      96    0.5000 (sd 0.0123, n 5)  13       b\n"
        "\n"
        "accuracy: of the last epoch, the mean over n seeds; seconds: of one training; -: not measured\n"
        "on pets, with a GPU: b, b2\n"
        "on pets, with a core: c\n"
        "the command of each, FILE being the manifest:\n"
        "  imagekit train FILE -o RUN --preset mine\n"
        "  imagekit train FILE -o RUN --preset b\n"
        "  imagekit train FILE -o RUN --preset c\n"
        "  imagekit train FILE -o RUN --preset b2"
    )
    assert (listed.next_command, listed.exit_code) == ("imagekit train --preset mine --print-config", 0)


def test_the_list_in_plain_types_holds_settings_figures_and_command() -> None:
    facts = PresetList(presets={"mine": MINE, "lesson-cnn": PRESETS["lesson-cnn"]}).to_dict()

    assert json.loads(json.dumps(facts)) == facts
    presets = facts["presets"]
    assert presets["mine"] == {
        "title": "mine",
        "settings": {"model": "mini", "epochs": 20, "size": 96},
        "measured": None,
        "command": "imagekit train FILE -o RUN --preset mine",
    }
    assert presets["lesson-cnn"]["measured"]["seconds"] == 186
    assert presets["lesson-cnn"]["settings"]["lr"] == 0.3
