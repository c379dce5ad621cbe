"""The report of a run: everything on one page, nothing from elsewhere, no name more than text."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from look.made_runs import DATA, make_run, page_of, row, write_predictions
from PIL import Image

from imagekit.errors import CheckpointError, OutputError, SourceError
from imagekit.files.jsonl import write_json
from imagekit.look import report as report_module
from imagekit.look.report import CURVES_SIZE, ReportWritten, write_report
from imagekit.manifest.schema import METADATA_KEY, Metadata
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_event
from imagekit.runs.status import write_status

NO_PICTURES = "no pictures: give --root DIR"


@pytest.fixture(autouse=True)
def small_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves of a thirtieth of the pixels: what is drawn on them is tested elsewhere."""
    monkeypatch.setattr(report_module, "CURVES_SIZE", (300, 140))


def test_report_is_one_page_beside_two_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout = make_run(tmp_path / "run")
    monkeypatch.setattr(report_module, "CURVES_SIZE", CURVES_SIZE)

    report = write_report(layout.root)

    assert (report.output, report.curves, report.confusion) == (layout.report, layout.curves, layout.confusion)
    with Image.open(layout.curves) as curves, Image.open(layout.confusion) as confusion:
        assert curves.size == (1800, 840)
        assert (curves.format, confusion.format) == ("PNG", "PNG")
    assert report.size_bytes == layout.report.stat().st_size < 2_000_000
    assert (report.exit_code, report.next_command, report.notes) == (0, None, (NO_PICTURES,))


def test_page_loads_nothing_and_runs_nothing(tmp_path: Path):
    page = page_of(write_report(make_run(tmp_path / "run").root))

    assert len(page.loads) == 3  # two halves of the curves, the confusion matrix
    assert all(address.startswith("data:image/png;base64,") for address in page.loads)
    assert page.handlers == []
    assert not {"script", "iframe", "link", "object", "embed", "form", "base"} & set(page.tags)


def test_stylesheet_asks_for_nothing_and_knows_dark_phone_and_paper(tmp_path: Path):
    text = write_report(make_run(tmp_path / "run").root).output.read_text(encoding="utf-8")

    style = text[text.index("<style>") : text.index("</style>")]
    assert not any(word in style for word in ("url(", "@import", "http"))
    assert all(word in style for word in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"))
    assert "default-src 'none'" in text


def test_page_says_what_the_run_reached(tmp_path: Path):
    text = page_of(write_report(make_run(tmp_path / "run").root)).text

    for fact in (
        "75.00 %\naccuracy in epoch 2",
        "62.50 %\naccuracy, loss 0.7000",
        "2 min 07 s\nin all",
        "calibration error\n33.01 %\non average 80.5 % sure, 62.5 % right",
        "150\n25 % of the time waiting for data",
    ):
        assert fact in text
    assert "finished, 3 of 3 epochs · 2 classes · 8 validation images" in text
    assert "imagekit train 'my data.parquet'" in text
    for fact in (
        "model\nlesson-cnn",
        "lr\n0.2\ndefault of sgd",
        "versions.torch\n2.13.0",
        "memory.total\n16.0 GiB",
        "1.23e-05",
    ):
        assert fact in text


def test_classes_come_lowest_f1_first_with_a_bar_and_their_train_images(tmp_path: Path):
    report = write_report(make_run(tmp_path / "run").root)

    text = page_of(report).text
    church, tench = "4\n66.7 %\n50.0 %\n57.1 %\n2,000", "4\n60.0 %\n75.0 %\n66.7 %\n1,009"
    assert f"train images\nchurch\nn02\n{church}\ntench\nn01\n{tench}" in text
    assert "macro precision 63.33 %, balanced accuracy (macro recall) 62.50 %, macro F1 61.90 %." in text
    assert 'style="width:57.1%"' in report.output.read_text(encoding="utf-8")


def test_images_come_highest_loss_first_right_or_wrong(tmp_path: Path):
    text = page_of(write_report(make_run(tmp_path / "run").root)).text

    worst = text[text.index("Highest losses") :]
    first = "val/a/3.jpg\ntench\nchurch\n98.7 %\n4.250\nval/a/7.jpg\nchurch\ntench\n70.0 %\n2.750\nval/a/6.jpg"
    assert first in worst
    assert worst.index("val/a/6.jpg") < worst.index("val/a/2.jpg\ntench\ntench") < worst.index("val/a/0.jpg")


def test_mixups_come_most_frequent_first(tmp_path: Path):
    text = page_of(write_report(make_run(tmp_path / "run").root)).text

    assert "church\ntench\n2\n50.0 %\ntench\nchurch\n1\n25.0 %" in text


def test_summary_and_dict_say_the_same(tmp_path: Path):
    run = make_run(tmp_path / "run").root

    report = write_report(run)

    result = "valid accuracy 0.6250 after 3 epochs, best 0.7500 in epoch 2"
    assert report.summary() == (
        f"{result}\nnote: {NO_PICTURES}\nplots: {run}/curves.png, {run}/confusion.png\n"
        f"report: {run}/report.html ({report.size_bytes / 1000:,.0f} kB)"
    )
    assert json.loads(json.dumps(report.to_dict())) == {
        "run": str(run),
        "output": f"{run}/report.html",
        "curves": f"{run}/curves.png",
        "confusion": f"{run}/confusion.png",
        "size_bytes": report.size_bytes,
        "result": result,
        "notes": [NO_PICTURES],
    }


def test_same_run_gives_the_same_bytes_wherever_it_lies(tmp_path: Path):
    one = make_run(tmp_path / "a" / "run").root
    other = tmp_path / "b" / "run"
    shutil.copytree(one, other)

    files = [(run / name).read_bytes() for run in (one, other, one) if write_report(run) for name in FILES]

    assert files[:3] == files[3:6] == files[6:]


FILES = ("report.html", "curves.png", "confusion.png")


def test_run_that_just_began_says_what_is_missing(tmp_path: Path):
    layout = RunLayout(tmp_path / "run").create()
    write_status(layout.status, state="running", epoch=0, n_epochs=3)

    report = write_report(layout.root)

    assert (report.curves, report.confusion) == (None, None)
    assert report.result == "no validation accuracy yet, 0 of 3 epochs"
    assert report.notes == (
        "metrics.csv holds no epoch yet: no curves",
        "vocab.json is missing: classes are shown by their number",
        "predictions.parquet is missing: no confusion matrix, no scores per class, no losses of single images",
        "timing.json is missing: times are those of the epochs",
        "data.json is missing: what the run was trained on is not known",
        "config.toml is missing: the settings are not known",
        "environment.json is missing: the machine is not known",
        "command.json is missing: the command line is not known",
    )
    text = page_of(report).text
    assert all(note in text and f"note: {note}" in report.summary() for note in report.notes)
    assert "running or killed, 0 of 3 epochs when last heard of at 20" in text
    assert not layout.curves.exists()


def test_interrupted_run_shows_its_curves_and_the_sum_of_its_epochs(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=(0.5, 0.6), state="interrupted")
    layout.timing.unlink()
    layout.predictions.unlink()

    report = write_report(layout.root)

    text = page_of(report).text
    assert report.curves == layout.curves
    assert report.confusion is None
    assert "interrupted after 2 of 3 epochs" in text
    assert "16.0 s\nthe epochs alone" in text


def test_failed_run_says_why(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=(0.5,), state="failed")
    append_event(layout.events, "failure", epoch=1, error="TrainingError", what="the loss is nan")

    assert "failed after 1 of 3 epochs: the loss is nan" in page_of(write_report(layout.root)).text


@pytest.mark.parametrize(
    "name", ["metrics", "vocab", "predictions", "timing", "data", "config", "environment", "command"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage\n1,2,3\n", b"[]", b'{"vocab": 3, "argv": {}}'])
def test_damaged_file_becomes_a_note_at_most(tmp_path: Path, name: str, content: bytes):
    layout = make_run(tmp_path / "run")
    path: Path = getattr(layout, name)
    path.write_bytes(content)

    report = write_report(layout.root)

    assert page_of(report).text
    assert all(path.name in note or note == NO_PICTURES for note in report.notes)


DAMAGED = "is damaged: no confusion matrix, no scores per class, no losses of single images"
DAMAGED_COLUMNS: list[tuple[dict[str, list[Any]], str]] = [
    (
        {"target": [None, 0, 0, 0, 1, 1, 1, 1]},
        "is damaged: no confusion matrix, no scores per class, no losses of single images",
    ),
    (
        {"target": [-1, 0, 0, 0, 1, 1, 1, 1]},
        "is damaged: no confusion matrix, no scores per class, no losses of single images",
    ),
    ({"loss": ["x"] * 8}, DAMAGED),
    ({"prediction": [2] * 8}, "names classes that vocab.json lacks and is left out"),
]


@pytest.mark.parametrize(("columns", "note"), DAMAGED_COLUMNS)
def test_predictions_that_cannot_be_are_left_out(tmp_path: Path, columns: dict[str, list[Any]], note: str):
    layout = make_run(tmp_path / "run")
    write_predictions(layout, file_names=tuple("abcdefgh"), **columns)

    report = write_report(layout.root)

    assert report.notes == (f"predictions.parquet {note}",)
    assert report.confusion is None


def test_numbers_that_are_not_finite_are_shown_and_not_drawn(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=(None, math.nan, 0.5))
    write_predictions(layout, file_names=tuple("abcdefgh"), loss=[math.nan] * 6 + [math.inf, 1.0])

    text = page_of(write_report(layout.root)).text

    assert "50.00 %\naccuracy in epoch 3" in text
    worst = text[text.index("Highest losses") :]
    assert worst.index("inf") < worst.index("1.000") < worst.index("nan")


def test_no_validation_image_is_no_error(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    pq.write_table(pq.read_table(layout.predictions).slice(0, 0), layout.predictions)

    report = write_report(layout.root)

    assert report.confusion is None
    assert "0 validation images" in page_of(report).text


def test_many_epochs_and_classes_stay_under_two_megabytes(tmp_path: Path):
    layout = make_run(tmp_path / "run", accuracies=())
    names = [f"class with a rather long name {i}" for i in range(2000)]
    write_json(layout.vocab, {"vocab": [f"n{i:08}" for i in range(2000)], "class_names": names})
    header, *lines = (
        ",".join(map(str, [*row(1)])),
        *(",".join(map(str, row(i, 0.5, is_best=True).values())) for i in range(1, 3001)),
    )
    layout.metrics.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    n = 4000
    columns = {"file_name": ["x"] * n, "target": [i % 2000 for i in range(n)], "prediction": [0] * n}
    pq.write_table(pa.table({**columns, "probability": [0.5] * n, "loss": [1.0] * n}), layout.predictions)

    report = write_report(layout.root)

    assert report.size_bytes < 2_000_000
    assert report.notes == ("2,000 classes are too many for a confusion matrix, 1,000 at most", NO_PICTURES)
    text = page_of(report).text
    assert "500 of 3000 epochs, evenly spread" in text
    assert "the lowest\n1000 of 2000 classes" in text


def test_thumbnails_appear_where_images_root_has_the_file(tmp_path: Path):
    names = ("../out.png", "a.png", "b.png", "gone.png", "/etc/hostname", "link.png", "text.png", r"esc\x1b.png")
    images = tmp_path / "images"
    images.mkdir()
    for path in (tmp_path / "out.png", images / "a.png", images / "b.png", images / "esc\x1b.png"):
        Image.new("RGB", (300, 200), "red").save(path)
    (images / "text.png").write_text("no image")
    (images / "link.png").symlink_to(tmp_path / "out.png")
    layout = make_run(tmp_path / "run")
    write_predictions(layout, file_names=names, prediction=[1, 1, 1, 1, 0, 0, 0, 0])

    without, with_root = (page_of(write_report(layout.root, images_root=root)) for root in (None, images))

    assert sum(address.startswith("data:image/jpeg;base64,") for address in without.loads) == 0
    assert sum(address.startswith("data:image/jpeg;base64,") for address in with_root.loads) == 3


PICTURES = tuple(f"{i}.png" for i in range(8))


def make_pictured_run(root: Path) -> RunLayout:
    """A run whose data.json names images/metadata.parquet, with one picture beside it."""
    images = root / "images"
    images.mkdir()
    Image.new("RGB", (30, 20), "red").save(images / "3.png")
    write_manifest(images / "metadata.parquet")
    layout = make_run(root / "run", file_names=PICTURES)
    write_json(layout.data, {**DATA, "manifest": str(images / "metadata.parquet")})
    return layout


def write_manifest(path: Path, **told: Any) -> None:
    """A Parquet file that says of itself what a manifest says, of the rows of DATA."""
    metadata = Metadata(
        root=".", vocab=("n01", "n02"), class_names=("tench", "church"), processors=(), stats=None, label_rule="parent",
        split_rule="folders", salt="", seed=0, counts={}, rows_sha256=DATA["rows_sha256"],
    )  # fmt: skip
    text = replace(metadata, **told).to_json()
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({METADATA_KEY: text}), path)


def n_pictures(report: ReportWritten) -> int:
    return sum(address.startswith("data:image/jpeg;base64,") for address in page_of(report).loads)


def test_pictures_are_found_by_the_manifest_that_the_run_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout = make_pictured_run(tmp_path)
    absolute = write_report(layout.root)
    write_json(layout.data, {**DATA, "manifest": "images/metadata.parquet"})
    monkeypatch.chdir(tmp_path)

    relative = write_report(layout.root)

    assert (n_pictures(absolute), n_pictures(relative)) == (1, 1)
    assert (absolute.notes, relative.notes) == ((), ())


@pytest.mark.parametrize(
    "told",
    [
        {"manifest": "nowhere/metadata.parquet"},
        {"manifest": "images/3.png"},
        {"manifest": "images"},
        {"manifest": "x" * 5000},
        {"manifest": "images/metadata.parquet\0"},
        {"manifest": "\ud800"},
        {"manifest": None},
        {"manifest": 3},
        {"rows_sha256": "another"},
        {"rows_sha256": None},
    ],
)
def test_without_that_very_manifest_nothing_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
):
    layout = make_pictured_run(tmp_path)
    layout.data.write_text(json.dumps({**DATA, "manifest": "images/metadata.parquet", **told}))
    monkeypatch.chdir(tmp_path)

    report = write_report(layout.root)

    assert (n_pictures(report), report.notes) == (0, (NO_PICTURES,))
    assert NO_PICTURES in page_of(report).text


def test_no_name_leads_out_of_the_root_of_that_manifest(tmp_path: Path):
    layout = make_pictured_run(tmp_path)
    images, secret = tmp_path / "images", tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (30, 20), "red").save(secret / "s.png")
    (images / "door").symlink_to(secret)
    (images / "link.png").symlink_to(secret / "s.png")
    names = ("../secret/s.png", "door/s.png", "link.png", str(secret / "s.png"), "door/../secret/s.png", "a", "b", "c")
    write_predictions(layout, file_names=names)

    report = write_report(layout.root)

    assert (n_pictures(report), report.notes) == (0, (NO_PICTURES,))


def test_a_root_without_the_images_is_told(tmp_path: Path):
    layout = make_pictured_run(tmp_path)

    report = write_report(layout.root, images_root=tmp_path / "nothere")

    note = f"no pictures: no image was found below {tmp_path / 'nothere'}, give another --root DIR"
    assert (n_pictures(report), report.notes) == (0, (note,))


def test_output_elsewhere_leaves_the_plots_in_the_run(tmp_path: Path):
    layout, output = make_run(tmp_path / "run"), tmp_path / "page.html"

    report = write_report(layout.root, output=output)
    again = write_report(layout.root, output=output)  # a report may replace a report

    assert report == again
    assert output.exists()
    assert layout.curves.exists()
    assert not layout.report.exists()


def test_file_that_is_no_report_is_never_replaced(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    before = layout.metrics.read_bytes()

    with pytest.raises(OutputError) as caught:
        write_report(layout.root, output=layout.metrics)

    assert layout.metrics.read_bytes() == before
    assert str(caught.value) == (
        "the output exists and is not a report of imagekit\n"
        f"  where: {layout.metrics}\n"
        "  fix: give another -o, or move it away yourself"
    )


def test_folder_as_output_is_refused_like_a_foreign_file(tmp_path: Path):
    with pytest.raises(OutputError, match="is not a report of imagekit"):
        write_report(make_run(tmp_path / "run").root, output=tmp_path)


def test_output_in_a_folder_that_is_not_there_says_so(tmp_path: Path):
    output = tmp_path / "none" / "page.html"

    with pytest.raises(OutputError) as caught:
        write_report(make_run(tmp_path / "run").root, output=output)

    assert str(caught.value) == (
        f"the folder of the output does not exist\n  where: {output}\n  fix: make the folder, or give another -o"
    )


def test_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(SourceError) as caught:
        write_report(tmp_path)

    assert str(caught.value) == (
        "the folder is not a run of imagekit train\n"
        f"  where: {tmp_path}\n"
        "  fix: give the folder that train wrote with -o"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_status_is_told_as_such(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    layout.status.write_text("{}")

    with pytest.raises(CheckpointError, match="the status of the run is damaged"):
        write_report(layout.root)


def test_class_names_that_the_typeface_lacks_are_drawn_by_their_identifier(tmp_path: Path):
    japanese, plain = (
        make_run(tmp_path / name, class_names=names) for name, names in (("a", ("鯉", "教会")), ("b", ("n01", "n02")))
    )

    for layout in (japanese, plain):
        write_report(layout.root)

    assert japanese.confusion.read_bytes() == plain.confusion.read_bytes()
    assert "鯉" in japanese.report.read_text(encoding="utf-8")
