"""What the report reads besides the metrics: origins of settings, the data, activations, averaged weights, old runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from look.made_runs import DATA, make_run, page_of, row
from PIL import Image

from imagekit.files.jsonl import write_json
from imagekit.look import report as report_module
from imagekit.look.data_facts import parse_data
from imagekit.look.epochs import best_number, epoch_table
from imagekit.look.report import write_report
from imagekit.look.settings import flatten, read_origins
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_row
from imagekit.runs.status import write_status
from imagekit.runs.telemetry import TelemetryRecord, write_telemetry

NO_PICTURES = "no pictures: give --root DIR"


@pytest.fixture(autouse=True)
def small_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "CURVES_SIZE", (300, 140))


# --- where a setting came from


CONFIG = """model = "lesson-cnn"  # preset lesson-cnn
lr = 0.2  # default of sgd
name = "a # b"  # flag
path = 'C:\\#'
escaped = "say \\"#\\" # no"# file
momentum = 0.9
sizes = [64, 128]   #   flag
"quoted key" = nan # flag # twice

# a line of its own
[model_options]
act = "relu"  # file
[deep."er one"]
x = 1  # flag
[[parts]]
lr = 3  # of a part
"""


def test_the_comment_behind_a_value_is_its_origin():
    assert read_origins(CONFIG) == {
        "model": "preset lesson-cnn",
        "lr": "default of sgd",
        "name": "flag",
        "escaped": "file",
        "sizes": "flag",
        "quoted key": "flag # twice",
        "model_options.act": "file",
        "deep.er one.x": "flag",
        "parts.[].lr": "of a part",
    }


@pytest.mark.parametrize(
    "text",
    [
        'note = """\nlr = 0.2  # flag\n"""\nlr = 0.1  # file\n',
        "sizes = [  # flag\n64,  # file\n]\n",
        "lr = 0.2 0.3  # flag\n",
        "lr = 0.2  # flag\rfile\n",
    ],
)
def test_a_file_that_is_not_one_value_a_line_has_no_origins(text: str):
    assert read_origins(text) == {}


def test_a_comment_that_quotes_make_uncertain_is_left_out():
    assert read_origins('x = """a " # b"""  # flag\ny = 1  # file\n') == {"y": "file"}


def test_origins_stand_beside_their_values(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    layout.config.write_text('lr = 0.2  # flag\nname = "a#b"\n[model_options]\nact = "relu"  # file\n', "utf-8")

    text = page_of(write_report(layout.root)).text

    assert "lr\n0.2\nflag\nname\na#b\nmodel_options.act\nrelu\nfile" in text


def test_settings_are_flattened_in_their_order():
    told = {"b": 1, "a": {"x": True, "none": None, "y": [1, "é"]}, "free_bytes": 2**31}

    assert list(flatten(told)) == [("b", "1"), ("a.x", "true"), ("a.y", '[1, "é"]'), ("free", "2.0 GiB")]


# --- the data


def test_page_says_what_the_run_was_trained_on(tmp_path: Path):
    text = page_of(write_report(make_run(tmp_path / "run").root)).text

    data = text[text.index("\nData\n") :]
    assert "train\n3,009\n2\n1,009\n2,000\ntrained on\nvalid\n8\n2\n4\n4\nvalidated on" in data
    for fact in (
        "manifest\nshapes/metadata.parquet",
        "rows_sha256\n58465857b745af6b",
        "recipe.name\nshapes",
        "recipe.sha256\nab12",
        "mean\n0.4712, 0.4500, 0.4000",
        "stats_source\nthe manifest",
    ):
        assert fact in data
    assert "target_column" not in data  # null


def test_split_without_classes_shows_its_images_alone():
    value = {**DATA, "counts": {"unsup": {"images": 1234, "classes": None}, "test": {"images": 0, "classes": {"a": 0}}}}

    rows = [split.row() for split in parse_data(value).splits]

    assert [list(row.values()) for row in rows] == [
        ["unsup", "", "1,234", "0", "–", "–"],
        ["test", "", "0", "0", "–", "–"],
    ]


def test_train_images_of_a_class_that_the_counts_lack_are_not_known():
    data = parse_data(DATA)

    assert [data.n_train_images(name) for name in ("n01", "n99")] == [1009, None]


DAMAGED: list[dict[str, Any]] = [
    {},
    {"counts": 3},
    {"counts": {"train": 3}},
    {"counts": {"train": {"images": "3"}}},
    {"counts": {"train": {"images": -1, "classes": {}}}},
    {"counts": {"train": {"images": 1, "classes": {"a": True}}}},
    {"counts": {"train": {"images": 1, "classes": ["a"]}}},
]


@pytest.mark.parametrize("value", DAMAGED)
def test_counts_that_cannot_be_are_a_damaged_file(tmp_path: Path, value: dict[str, Any]):
    layout = make_run(tmp_path / "run")
    write_json(layout.data, value)

    report = write_report(layout.root)

    assert report.notes == ("data.json is damaged: what the run was trained on is not known", NO_PICTURES)
    assert "train images" not in page_of(report).text


# --- an older version's run


def test_a_run_of_before_these_files_gives_a_whole_report_with_a_note(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    layout.data.unlink()
    layout.config.write_text('model = "lesson-cnn"\nlr = 0.2\n', encoding="utf-8")
    layout.metrics.unlink()
    for epoch, accuracy in ((1, 0.75), (2, 0.5)):
        old = row(epoch, accuracy)
        del old["is_best"]
        append_row(layout.metrics, old)

    report = write_report(layout.root)

    page = page_of(report)
    assert report.notes == ("data.json is missing: what the run was trained on is not known", NO_PICTURES)
    for heading in (
        "Curves",
        "Epochs",
        "Confusion",
        "Classes",
        "Highest losses",
        "Data",
        "Configuration",
        "Environment",
    ):
        assert f"\n{heading}\n" in page.text
    assert "75.00 %\naccuracy in epoch 1" in page.text  # the highest, as nothing says which was kept
    assert "rows_sha256\n00" in page.text  # from beside the command line
    assert "lr\n0.2\n" in page.text
    assert "Activations" not in page.text


# --- the best epoch


def test_the_best_epoch_is_the_last_that_was_kept_whatever_its_accuracy():
    rows = [{"is_best": 1.0, "valid_accuracy": 0.9}, {"is_best": 1.0, "valid_accuracy": 0.8}, {"is_best": 0.0}]

    assert best_number(rows) == 1


def test_without_the_column_the_highest_accuracy_is_the_best_the_latest_of_equals():
    accuracies = (0.5, 0.75, None, math.nan, 0.75, 0.6)

    assert best_number([{"valid_accuracy": value} for value in accuracies]) == 4
    assert best_number([{"valid_accuracy": value, "is_best": None} for value in accuracies]) == 4


def test_no_epoch_that_was_kept_is_no_best():
    assert best_number([{"is_best": 0.0, "valid_accuracy": 0.9}]) is None
    assert best_number([]) is None


def test_the_table_of_very_many_epochs_holds_the_best_one():
    rows = [{"epoch": float(n + 1), "is_best": float(n == 1234)} for n in range(3000)]

    table = epoch_table(rows)

    assert (table["n"], table["is_thinned"], len(table["rows"])) == (3000, True, 501)
    assert [entry["cells"] for entry in table["rows"] if entry["is_best"]] == [["1235"]]


# --- averaged weights


def make_averaged(root: Path) -> RunLayout:
    """A run whose second epoch was kept for the accuracy of its averaged weights, not for its own."""
    layout = make_run(root, accuracies=())
    for epoch, own, averaged in ((1, 0.7, 0.6), (2, 0.65, 0.8), (3, 0.68, 0.75)):
        columns = {"valid_ema_loss": 1.0 / epoch, "valid_ema_accuracy": averaged}
        append_row(layout.metrics, row(epoch, own, is_best=epoch == 2, **columns))
    return layout


def test_a_run_with_averaged_weights_shows_both_accuracies_of_its_best_epoch(tmp_path: Path):
    report = write_report(make_averaged(tmp_path / "run").root)

    text = page_of(report).text
    assert report.result == "valid accuracy 0.6800 after 3 epochs, 0.6500 in epoch 2, which was kept as the best"
    assert "best epoch\n65.00 %\naccuracy in epoch 2 · EMA 80.00 %" in text
    assert "valid EMA accuracy" in text
    assert "80.00 %" in text


@pytest.mark.parametrize(
    ("config", "of_average"),
    [
        ("ema = 0.5\n", True),
        ('ema = 0.5\nmonitor = "valid_ema_loss"\n', True),
        ('ema = 0.5\nmonitor = "valid_loss"\n', False),
        ("ema = 0.0\n", False),
        ('ema = "much"\n', False),
        ("[ema]\nx = 1\n", False),
    ],
)
def test_the_accuracy_told_is_that_of_the_weights_that_were_kept(tmp_path: Path, config: str, of_average: bool):
    layout = make_averaged(tmp_path / "run")
    layout.config.write_text(config)

    report = write_report(layout.root)

    kept, tile = (
        ("best 0.8000 of the averaged weights in epoch 2", "80.00 %\nEMA accuracy in epoch 2 · own weights 65.00 %")
        if of_average
        else ("0.6500 in epoch 2, which was kept as the best", "65.00 %\naccuracy in epoch 2 · EMA 80.00 %")
    )
    assert report.result == f"valid accuracy 0.6800 after 3 epochs, {kept}"
    assert f"best epoch\n{tile}" in page_of(report).text


def test_an_average_that_was_kept_for_its_loss_is_told_as_kept(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=())
    for epoch, averaged in ((1, 0.7), (2, 0.6)):
        columns = {"valid_ema_loss": 1.0 / epoch, "valid_ema_accuracy": averaged}
        append_row(layout.metrics, row(epoch, 0.5, is_best=True, **columns))
    layout.config.write_text('ema = 0.5\nmonitor = "valid_ema_loss"\n')

    assert write_report(layout.root).result == (
        "valid accuracy 0.5000 after 2 epochs, 0.6000 of the averaged weights in epoch 2, which was kept as the best"
    )


def test_a_kept_epoch_without_an_accuracy_is_told_without_one(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=())
    append_row(layout.metrics, row(1, None, is_best=True))

    report = write_report(layout.root)

    assert report.result == "valid accuracy not known after 1 epoch, best not known in epoch 1"
    assert "best epoch\n–\naccuracy in epoch 1" in page_of(report).text


def test_one_epoch_is_told_as_one(tmp_path: Path):
    layout = RunLayout(tmp_path / "run").create()
    write_status(layout.status, state="done", epoch=1, n_epochs=1)

    report = write_report(layout.root)

    assert report.result == "no validation accuracy yet, 1 of 1 epoch"
    assert "finished, 1 of 1 epoch\n" in page_of(report).text


# --- activations


def test_activations_are_shown_where_the_run_has_them(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    Image.new("RGB", (60, 40), "red").save(layout.telemetry)

    page = page_of(write_report(layout.root))

    assert "\nActivations\n" in page.text
    assert len(page.loads) == 4


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"<svg onload='alert(1)'/>", "unsupported-format"), (b"", "truncated"), (b"\x89PNG\r\n\x1a\n", "truncated")],
)
def test_activations_that_are_no_picture_become_a_note(tmp_path: Path, content: bytes, why: str):
    layout = make_run(tmp_path / "run")
    layout.telemetry.write_bytes(content)

    report = write_report(layout.root)

    assert report.notes == (f"telemetry.png cannot be used ({why}): no activations", NO_PICTURES)
    assert len(page_of(report).loads) == 3


def test_activations_of_another_format_become_a_note(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(layout.telemetry, format="JPEG")

    assert write_report(layout.root).notes == ("telemetry.png cannot be used (it is JPEG): no activations", NO_PICTURES)


def test_what_the_layers_did_is_drawn_from_its_numbers(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    record = TelemetryRecord(
        every=1, steps=[1, 2], names=["stem"], means=[[0.1, 0.2]], stds=[[1.0, 1.1]], near_zero=[[0.5, 0.4]],
        hists=[[[1, 2], [2, 1]]], value_range=(-7.0, 7.0), near_zero_below=0.1,
    )  # fmt: skip
    write_telemetry(layout.telemetry_data, record)

    report = write_report(layout.root)

    assert report.notes == (NO_PICTURES,)
    assert "\nActivations\n" in page_of(report).text
    assert layout.telemetry.read_bytes().startswith(b"\x89PNG")


def test_numbers_that_cannot_be_read_are_a_note(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    layout.telemetry_data.write_text("{")

    assert write_report(layout.root).notes == ("the activations are not drawn: telemetry.json is damaged", NO_PICTURES)
