"""Files and folders in, one row an image out, seen as validation sees them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from trees import draw_image, draw_tree

from imagekit.errors import OutputError, SourceError
from imagekit.manifest.build import build_manifest
from imagekit.runs.layout import RunLayout
from imagekit.training.config import TrainConfig
from imagekit.training.predict import predict
from imagekit.training.train import train

QUICK = TrainConfig(epochs=2, size=16, batch_size=4, lr=0.005, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of the pictures and a run."""
    folder = tmp_path_factory.mktemp("predict")
    manifest = build_manifest(draw_tree(folder / "pictures"), n_workers=1).output
    train(manifest, output=folder / "run", config=QUICK, quiet=True)
    return folder / "pictures", folder / "run"


def test_validation_images_get_the_predictions_of_training(trained, tmp_path):
    root, run = trained

    report = predict(run, [root / "val"], output=tmp_path / "p.parquet")

    table = pq.read_table(tmp_path / "p.parquet")
    before = pq.read_table(RunLayout(run).predictions)
    vocab = json.loads(RunLayout(run).vocab.read_text())["vocab"]
    assert table["file_name"].to_pylist() == [f"{root}/{name}" for name in before["file_name"].to_pylist()]
    assert table["prediction"].to_pylist() == [vocab[k] for k in before["prediction"].to_pylist()]
    assert table["probability"].equals(before["probability"])
    assert (report.n_images, sum(report.counts.values()), report.exit_code) == (6, 6, 0)
    assert json.loads(pq.read_schema(tmp_path / "p.parquet").metadata[b"imagekit_predictions"])["vocab"] == vocab


def test_a_row_has_its_digest_and_the_largest_probabilities(trained, tmp_path):
    root, run = trained
    image = root / "val/cat/0.JPEG"

    predict(run, [image], output=tmp_path / "p.parquet")

    [row] = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert list(row) == [
        "file_name", "sha256", "prediction", "class_name", "probability", "top_classes", "top_probabilities",
    ]  # fmt: skip
    assert row["file_name"] == str(image)
    assert row["sha256"] == hashlib.sha256(image.read_bytes()).digest()
    assert (row["top_classes"][0], row["top_probabilities"][0]) == (row["prediction"], row["probability"])
    assert sum(row["top_probabilities"]) == pytest.approx(1.0)


def test_files_come_in_the_order_given_and_each_path_once(trained, tmp_path):
    root, run = trained
    first, second = root / "val/dog/1.JPEG", root / "val/cat/2.JPEG"

    predict(run, [first, second, first], output=tmp_path / "p.parquet")

    assert pq.read_table(tmp_path / "p.parquet")["file_name"].to_pylist() == [str(first), str(second)]


@pytest.mark.parametrize(
    ("paths", "names", "note"),
    [
        (["val/cat", "val/cat/0.JPEG"], ["val/cat/0.JPEG", "val/cat/1.JPEG", "val/cat/2.JPEG"], "1 file"),
        (["val/cat/1.JPEG", "val/cat"], ["val/cat/1.JPEG", "val/cat/0.JPEG", "val/cat/2.JPEG"], "1 file"),
        (["val/dog/../cat/1.JPEG", "val/cat/1.JPEG"], ["val/dog/../cat/1.JPEG"], "1 file"),
        (["val/cat", "val/cat"], ["val/cat/0.JPEG", "val/cat/1.JPEG", "val/cat/2.JPEG"], "3 files"),
        (["link.JPEG", "door/1.JPEG", "val/cat/1.JPEG"], ["door/1.JPEG"], "1 file"),  # the link cannot be used
    ],
)
def test_a_file_that_is_named_again_comes_once_and_is_counted(trained, tmp_path, paths, names, note):
    (tmp_path / "val").symlink_to(trained[0] / "val")
    (tmp_path / "door").symlink_to(trained[0] / "val/cat")
    (tmp_path / "link.JPEG").symlink_to(trained[0] / "val/cat/1.JPEG")

    report = predict(trained[1], [f"{tmp_path}/{path}" for path in paths], output=tmp_path / "p.parquet")

    found = pq.read_table(tmp_path / "p.parquet")["file_name"].to_pylist()
    assert found == [f"{tmp_path}/{name}" for name in names]
    assert report.notes == (f"{note} named again {'comes' if note[0] == '1' else 'come'} once",)
    assert f"\nnote: {report.notes[0]}\n" in report.summary()


def test_the_table_keeps_its_columns_whatever_a_name_looks_like(trained, tmp_path):
    report = predict(trained[1], [trained[0] / "val/cat/0.JPEG"], output=tmp_path / "p.parquet")
    rows = [
        {"file_name": r"a\x1b.png", "probability": 0.5, "class_name": "cat"},
        {"file_name": "鯉.png", "probability": 0.25, "class_name": "d\x1bg"},
    ]

    lines = replace(report, first=rows, n_images=2).summary().splitlines()

    assert lines[:3] == [
        "probability  class   file",
        r"     0.5000  cat     a\x1b.png",
        r"     0.2500  d\x1bg  鯉.png",
    ]


def test_what_cannot_be_used_is_listed_and_costs_the_others_nothing(trained, tmp_path):
    run = trained[1]
    folder = tmp_path / "mixed"
    draw_image(folder / "good.JPEG", "cat", seed=1)
    (folder / "cut.JPEG").write_bytes((folder / "good.JPEG").read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")

    report = predict(run, [folder, folder / "notes.txt"], output=tmp_path / "p.parquet")

    lines = (tmp_path / "p.parquet.quarantine.jsonl").read_text().splitlines()
    reasons = {row["file_name"]: row["reason"] for row in map(json.loads, lines)}
    assert reasons == {str(folder / "cut.JPEG"): "truncated", str(folder / "notes.txt"): "unidentified"}
    assert (report.exit_code, report.n_images) == (3, 1)
    summary = report.summary().splitlines()
    assert summary[-3] == f"1 image: {report.first[0]['class_name']} 1"
    assert summary[-2] == (
        f"2 files could not be used, {folder / 'cut.JPEG'} for one: truncated;"
        f" all in {tmp_path / 'p.parquet.quarantine.jsonl'}"
    )


def test_no_usable_image_gives_an_empty_table_and_says_so(trained, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"none")

    report = predict(trained[1], [tmp_path / "bad.png"], output=tmp_path / "p.parquet")

    assert pq.read_table(tmp_path / "p.parquet").num_rows == report.n_images == 0
    assert report.summary().startswith("no image\n1 file could not be used, ")


def test_a_quarantine_that_is_true_no_longer_goes(trained, tmp_path):
    image = tmp_path / "image.JPEG"
    image.write_bytes(b"none")
    predict(trained[1], [image], output=tmp_path / "p.parquet")
    draw_image(image, "cat", seed=1)

    predict(trained[1], [image], output=tmp_path / "p.parquet", overwrite=True)

    assert not (tmp_path / "p.parquet.quarantine.jsonl").exists()


def test_an_output_is_replaced_only_when_told_and_only_our_own(trained, tmp_path):
    image = trained[0] / "val/cat/0.JPEG"
    output = tmp_path / "p.parquet"
    predict(trained[1], [image], output=output)
    (tmp_path / "mine.parquet").write_text("mine")
    manifest = trained[0] / "metadata.parquet"

    with pytest.raises(OutputError) as caught:
        predict(trained[1], [image], output=output)
    assert str(caught.value) == (
        f"the output exists already\n  where: {output}\n  fix: give another -o, or --overwrite to replace it"
    )
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "mine.parquet", manifest, tmp_path, tmp_path / "pipe"):
        for overwrite in (False, True):
            with pytest.raises(OutputError) as caught:
                predict(trained[1], [image], output=path, overwrite=overwrite)
            assert str(caught.value) == (
                f"the output exists and is not a table that predict wrote\n  where: {path}\n"
                "  fix: give another -o, or move it away yourself"
            )
    assert predict(trained[1], [image], output=output, overwrite=True).n_images == 1


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        ([], "no path was given\n  where: predict\n  fix: give image files or folders"),
        (["none"], "the path does not exist\n  where: ROOT/none\n  fix: check it for a typing error"),
        (["empty"], "no image lies below the folder\n  where: ROOT/empty\n  fix: give a folder with images"),
    ],
)
def test_paths_without_an_image_are_refused(trained, tmp_path, paths, text):
    (tmp_path / "empty").mkdir()

    with pytest.raises(SourceError) as caught:
        predict(trained[1], [tmp_path / path for path in paths], output=tmp_path / "p.parquet")

    assert str(caught.value) == text.replace("ROOT", str(tmp_path))


def test_the_folder_of_the_output_must_be_there(trained, tmp_path):
    with pytest.raises(OutputError) as caught:
        predict(trained[1], [trained[0]], output=tmp_path / "no/p.parquet")

    assert str(caught.value) == (
        f"the folder of the output does not exist\n  where: {tmp_path / 'no/p.parquet'}\n"
        "  fix: make the folder, or give another -o"
    )
