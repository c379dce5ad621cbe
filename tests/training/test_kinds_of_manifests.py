"""Training and evaluating on manifests of every kind: not decoded, several validation sets, several labels."""

import multiprocessing

import pyarrow.parquet as pq
import pytest
from trees import draw_image, draw_tree

from imagekit.errors import ManifestError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training import evaluate as evaluating
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import evaluate
from imagekit.training.train import train

QUICK = TrainConfig(epochs=1, size=16, batch_size=4, lr=0.05, precision="fp32", device="cpu")


def build(root, **options):
    return build_manifest(root, options=ManifestOptions(**options), n_workers=1).output


def label_table(root, columns):
    """ROOT/labels.csv: the label of each image in each column, by turns."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.JPEG"))
    lines = [",".join(["path", *columns])]
    lines += [",".join([name, *(f"{column}{i % 2}" for column in columns)]) for i, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def test_a_manifest_that_was_not_decoded_trains_and_evaluates_as_one_that_was(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    decoded = train(build(root), output=tmp_path / "decoded", config=QUICK, quiet=True)
    kept = build_manifest(
        root, output=tmp_path / "bare.parquet", options=ManifestOptions(check="none"), n_workers=1
    ).output

    bare = train(kept, output=tmp_path / "bare", config=QUICK, quiet=True)

    states = [load_checkpoint(RunLayout(run).last) for run in (decoded.run, bare.run)]
    assert (states[1]["mean"], states[1]["std"]) == (states[0]["mean"], states[0]["std"])
    assert all(states[0]["model"][name].equal(states[1]["model"][name]) for name in states[0]["model"])
    assert states[1]["stats"] == states[0]["stats"] | {"source": "all 12 train images"}
    assert " validating on valid, mean and std from all 12 train images\n" in RunLayout(bare.run).log.read_text()
    assert evaluate(bare.run, kept).loss == pytest.approx(bare.rows[-1]["valid_loss"], abs=1e-6)


def test_evaluate_takes_mean_and_std_of_the_checkpoint_and_measures_nothing(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    report = train(build(root, check="none"), output=tmp_path / "run", config=QUICK, quiet=True)
    for path in root.glob("train/*/*"):
        path.unlink()

    assert evaluate(report.run, report.manifest).accuracy == report.best["valid_accuracy"]
    assert not hasattr(evaluating, "find_stats")


def test_measuring_is_said_on_stderr_and_nothing_by_a_quiet_command(tmp_path, capsys):
    manifest = build(draw_tree(tmp_path / "pictures"), check="header")

    train(manifest, output=tmp_path / "loud", config=QUICK)
    loud = capsys.readouterr()
    train(manifest, output=tmp_path / "quiet", config=QUICK, quiet=True)

    assert loud.err.startswith("the manifest has no mean and std: measuring all 12 train images\n")
    assert (loud.out, capsys.readouterr().err) == ("", "")


def test_an_image_that_cannot_be_measured_costs_no_older_run(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    train(build(root), output=tmp_path / "run", config=QUICK, quiet=True)
    before = RunLayout(tmp_path / "run").metrics.read_bytes()
    (root / "train/cat/1.JPEG").write_bytes(b"no picture")
    (root / "metadata.parquet").unlink()

    with pytest.raises(ManifestError, match="1 of 12 train images that were measured cannot be used"):
        train(build(root, check="none"), output=tmp_path / "run", config=QUICK, quiet=True, overwrite=True)

    assert RunLayout(tmp_path / "run").metrics.read_bytes() == before


@pytest.mark.parametrize("n_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_broken_image_that_training_meets_first_is_named(tmp_path, n_workers):
    root = draw_tree(tmp_path / "pictures")
    (root / "val/dog/2.JPEG").write_bytes(b"no picture")
    manifest = build(root, check="none")

    with pytest.raises(ManifestError) as caught:
        train(manifest, output=tmp_path / "run", config=QUICK, quiet=True, n_workers=n_workers)

    assert multiprocessing.active_children() == []
    assert str(caught.value) == (
        "val/dog/2.JPEG cannot be used: unidentified: the content is no known image; it begins with b'no pictu'\n"
        f"  where: {root}, row 5 of valid in {manifest}\n"
        "  fix: restore the file, or build the manifest again with --check decode so that it is left out"
    )


@pytest.fixture(scope="module")
def two_valids(tmp_path_factory):
    """A tree with val_day and val_night and no val, its manifest and a run on it."""
    folder = tmp_path_factory.mktemp("two")
    root = draw_tree(folder / "pictures", n_valid=0)
    for name in ("cat", "dog"):
        draw_image(root / f"val_night/{name}/1.JPEG", name, seed=71)
        for number in (1, 2):
            draw_image(root / f"val_day/{name}/{number}.JPEG", name, seed=80 + number)
    return train(build(root), output=folder / "run", config=QUICK, quiet=True)


def test_without_valid_the_first_named_one_is_validated_on(two_valids):
    table = pq.read_table(RunLayout(two_valids.run).predictions)

    assert table["split"].to_pylist() == ["valid:day"] * 4
    assert two_valids.summary().startswith("valid:day accuracy ")
    assert two_valids.next_command == (f"imagekit evaluate {two_valids.run} {two_valids.manifest} --split valid:day")


def test_the_choice_of_a_named_one_is_said(two_valids, tmp_path, capsys):
    train(two_valids.manifest, output=tmp_path / "run", config=QUICK)

    assert capsys.readouterr().err.startswith("no row has split valid: validating on valid:day\n")
    assert " validating on valid:day, mean and std from manifest\n" in RunLayout(tmp_path / "run").log.read_text()


def test_evaluate_takes_either_by_name_and_says_which_there_are(two_valids):
    day = evaluate(two_valids.run, two_valids.manifest, split="valid:day")
    night = evaluate(two_valids.run, two_valids.manifest, split="valid:night")

    assert (day.n_images, night.n_images) == (4, 2)
    assert day.accuracy == two_valids.best["valid_accuracy"]
    assert night.summary().startswith("valid:night: accuracy ")
    with pytest.raises(ManifestError) as caught:
        evaluate(two_valids.run, two_valids.manifest)
    assert str(caught.value) == (
        f"no row has split valid\n  where: {two_valids.manifest}\n"
        '  fix: did you mean "valid:day"? known: train, valid:day, valid:night'
    )


def test_valid_is_validated_on_where_it_is_there_beside_others(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    for name in ("cat", "dog"):
        draw_image(root / f"val_day/{name}/1.JPEG", name, seed=71)

    report = train(build(root), output=tmp_path / "run", config=QUICK, quiet=True)

    assert report.valid_split == "valid"
    assert pq.read_table(RunLayout(report.run).predictions).num_rows == 6


def test_train_and_evaluate_refuse_several_label_columns_by_name(two_valids, tmp_path):
    root = draw_tree(tmp_path / "pictures")
    label_table(root, ["colour", "shape"])
    manifest = build(root, label="table:labels.csv:path:colour,shape")
    text = (
        "the manifest has 2 label columns, and a model learns one: colour, shape\n"
        f"  where: {manifest}\n"
        "  fix: choose one with --target-column colour, say"
    )

    with pytest.raises(ManifestError) as training:
        train(manifest, output=tmp_path / "run", config=QUICK, quiet=True)
    with pytest.raises(ManifestError) as evaluation:
        evaluate(two_valids.run, manifest)

    assert (str(training.value), str(evaluation.value)) == (text, text)
    assert not (tmp_path / "run").exists()


def test_the_label_rule_that_the_refusal_names_trains(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    label_table(root, ["colour", "shape"])

    report = train(build(root, label="table:labels.csv:path:colour"), output=tmp_path / "run", config=QUICK, quiet=True)

    assert load_checkpoint(RunLayout(report.run).last)["vocab"] == ["colour0", "colour1"]


@pytest.mark.parametrize(
    ("options", "vocab", "n_valid"),
    [
        ({"split": "kfold:3"}, ["cat", "dog"], 6),
        ({"noise": (50.0,)}, ["cat", "dog"], 6),
        ({"other_below": 5}, ["cat", "dog", "other"], 7),
    ],
)
def test_folds_noisy_columns_and_other_are_trained_on_as_they_are(tmp_path, options, vocab, n_valid):
    root = draw_tree(tmp_path / "pictures")
    if "other_below" in options:
        for split, number in (("train", 1), ("train", 2), ("val", 3)):
            draw_image(root / split / f"emu/{number}.JPEG", "emu", seed=30 + number)
    manifest = build(root, **options)

    report = train(manifest, output=tmp_path / "run", config=QUICK, quiet=True)

    assert load_checkpoint(RunLayout(report.run).last)["vocab"] == vocab
    assert evaluate(report.run, manifest).n_images == n_valid
