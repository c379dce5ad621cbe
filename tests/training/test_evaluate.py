"""A run measured afterwards: which checkpoint, in which precision, on which rows, and what stands in the way."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from trees import draw_image, draw_tree

from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.errors import CheckpointError, ManifestError, SourceError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.training import assemble
from imagekit.training import trained as trained_module
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import evaluate
from imagekit.training.predict import predict
from imagekit.training.train import train
from imagekit.training.trained import load_trained, no_loss

QUICK = TrainConfig(
    model_options={"nfs": [8]}, epochs=2, size=16, batch_size=4, lr=0.005, precision="fp32", device="cpu", keep_best=2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folds.parquet, of three; run, trained on fold 1; plain.parquet, of the same pictures and two without a label."""
    folder = tmp_path_factory.mktemp("evaluate")
    root = draw_tree(folder / "pictures", n_train=3, n_valid=3)
    folds = ManifestOptions(split="kfold:3")
    manifest = build_manifest(root, output=folder / "folds.parquet", options=folds, n_workers=1).output
    for number in (1, 2):
        draw_image(root / f"unsup/{number}.JPEG", "cat", seed=50 + number)
    build_manifest(root, output=folder / "plain.parquet", n_workers=1)
    train(manifest, output=folder / "run", config=replace(QUICK, fold=1), quiet=True)
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(folder / "run", tmp_path / "run")


def rewrite(run, **values):
    """best.pt with other values; None takes a key out."""
    path = RunLayout(run).best
    state = load_checkpoint(path) | values
    save_checkpoint(path, {key: value for key, value in state.items() if value is not None})


# --- which checkpoint


@pytest.mark.parametrize(
    ("name", "file", "epoch"),
    [("epoch-0001", "epoch-0001.pt", 1), ("epoch-2", "epoch-0002.pt", 2), ("last", "last.pt", 2)],
)
def test_a_checkpoint_is_taken_by_its_name(folder, name, file, epoch):
    report = evaluate(folder / "run", folder / "folds.parquet", checkpoint=name)

    assert (report.checkpoint.name, report.epoch) == (file, epoch)
    assert f" checkpoint {file} (epoch {epoch})\n" in report.summary()


@pytest.mark.parametrize(
    ("name", "guess"),
    [("epoch-7", ""), ("bst", 'did you mean "best"? '), ("../../x", ""), ("", "")],
)
def test_a_checkpoint_that_the_run_has_not_is_refused_with_those_that_it_has(folder, name, guess):
    with pytest.raises(SourceError) as caught:
        load_trained(folder / "run", checkpoint=name)

    assert str(caught.value) == (
        f'the run has no checkpoint "{name}"\n  where: {folder}/run/checkpoints\n'
        f"  fix: {guess}known: best, epoch-0001, epoch-0002, last"
    )


def test_a_run_without_a_finished_epoch_says_so(folder, run, tmp_path):
    for path in RunLayout(run).checkpoints.iterdir():
        path.unlink()

    with pytest.raises(CheckpointError) as evaluating:
        evaluate(run, folder / "plain.parquet")
    with pytest.raises(CheckpointError) as predicting:
        predict(run, [folder / "pictures"], output=tmp_path / "p.parquet", checkpoint="epoch-1")

    text = (
        f"no epoch was finished, so the run has no checkpoint\n  where: {run}\n"
        "  fix: wait until its first epoch is over, or train again"
    )
    assert (str(evaluating.value), str(predicting.value)) == (text, text)


def test_a_setting_that_this_version_does_not_take_costs_no_finished_run(folder, run):
    config = load_checkpoint(RunLayout(run).best)["config"]
    rewrite(run, config={**config, "mixup": 1000.0, "of_another_version": 1})

    again, before = (evaluate(each, folder / "folds.parquet") for each in (run, folder / "run"))

    assert again.loss == before.loss


# --- in which precision


def precision_of(trained):
    """The type that the learner would compute in; None is float32."""
    mixed = trained.learner([], loss_func=no_loss, callbacks=[]).find(MixedPrecision)
    return None if mixed is None else mixed.dtype


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16), (None, torch.bfloat16)]
)
def test_it_computes_in_the_precision_that_the_checkpoint_was_trained_in(run, monkeypatch, precision, dtype):
    monkeypatch.setattr(assemble, "torch_facts", lambda: {"cpu_bf16": True})
    rewrite(run, precision=precision, config={**load_checkpoint(RunLayout(run).best)["config"], "precision": "auto"})

    found = load_trained(run, device="cpu")

    assert (precision_of(found), found.notes) == (dtype, ())


def test_a_run_of_bfloat16_is_told_where_the_processor_does_not_compute_in_it(folder, run, monkeypatch, tmp_path):
    monkeypatch.setattr(assemble, "torch_facts", lambda: {"cpu_bf16": False})
    before = evaluate(run, folder / "folds.parquet", device="cpu")
    rewrite(run, precision="bf16")

    measured = evaluate(run, folder / "folds.parquet", device="cpu")
    said = predict(run, [folder / "pictures/val"], output=tmp_path / "p.parquet", device="cpu")

    note = "the run was trained in bf16, which cpu does not compute in: float32 was used"
    assert (measured.notes, said.notes, before.notes) == ((note,), (note,), ())
    assert (measured.loss, measured.to_dict()["notes"]) == (before.loss, [note])
    assert measured.summary().endswith(f"\nnote: {note}")


def test_a_type_that_autocast_refuses_falls_back_to_float32(run, monkeypatch):
    def refuse(device_type, *, dtype):
        raise RuntimeError("this card has no units for it")

    monkeypatch.setattr(trained_module.torch, "autocast", refuse)
    rewrite(run, precision="fp16")

    found = load_trained(run, device="cpu")

    assert found.config.precision == "fp32"
    assert found.notes == ("the run was trained in fp16, which cpu does not compute in: float32 was used",)


def test_a_precision_that_is_none_is_a_damaged_checkpoint(run):
    rewrite(run, precision="fp8")

    with pytest.raises(CheckpointError) as caught:
        load_trained(run)

    assert str(caught.value) == (
        "the checkpoint's precision is 'fp8', must be one of auto, bf16, fp16, fp32\n"
        f"  where: {RunLayout(run).best}\n  fix: use a checkpoint that train wrote"
    )


# --- on which rows


def test_the_fold_is_the_checkpoints_unless_another_is_told(folder):
    own, second = (evaluate(folder / "run", folder / "folds.parquet", fold=fold) for fold in (None, 2))

    before = pq.read_table(RunLayout(folder / "run").predictions)
    right = [a == b for a, b in zip(*(before[name].to_pylist() for name in ("target", "prediction")), strict=True)]
    assert (own.n_images, own.accuracy) == (len(right), sum(right) / len(right))
    assert own.notes == second.notes == ()
    assert own.loss != second.loss


def test_a_manifest_without_folds_is_measured_on_its_own_split(folder):
    report = evaluate(folder / "run", folder / "plain.parquet")

    note = "the manifest has no folds: its own split was used, not fold 1 of the training"
    assert (report.n_images, report.notes) == (6, (note,))
    assert report.summary().endswith(f"\nnote: {note}")


def test_a_fold_that_is_told_must_be_there(folder):
    with pytest.raises(ManifestError, match="the manifest has no folds, not fold 1"):
        evaluate(folder / "run", folder / "plain.parquet", fold=1)


def test_the_column_is_the_checkpoints_unless_another_is_told(folder, run):
    config = load_checkpoint(RunLayout(run).best)["config"]
    rewrite(run, config={**config, "target_column": "noisy_40"})

    with pytest.raises(ManifestError, match='no column "noisy_40" can be learnt'):
        evaluate(run, folder / "plain.parquet")
    assert evaluate(run, folder / "plain.parquet", target_column="label").n_images == 6


def test_a_split_without_labels_is_refused(folder):
    with pytest.raises(ManifestError) as caught:
        evaluate(folder / "run", folder / "plain.parquet", split="unsup")

    assert str(caught.value) == (
        f"2 of the 2 rows of split unsup have no label to compare with\n  where: {folder / 'plain.parquet'}\n"
        "  fix: give another --split; imagekit predict says what images without a label show"
    )


def test_images_that_are_not_there_are_told_in_the_words_of_training(folder, tmp_path):
    with pytest.raises(SourceError) as caught:
        evaluate(folder / "run", folder / "plain.parquet", root=tmp_path)

    assert str(caught.value) == (
        f"6 of 6 files looked for are not there, val/cat/0.JPEG for one\n  where: {tmp_path}\n"
        "  fix: give --root DIR, the folder that the manifest's names are relative to"
    )


# --- how it is told


def test_names_that_are_shown_longer_than_they_are_move_no_column(folder):
    report = evaluate(folder / "run", folder / "plain.parquet")

    lines = replace(report, vocab=("c\x1bt", "dog")).summary().splitlines()

    assert lines[2] == "  class   precision  recall  F1      images"
    assert lines[3].startswith(r"  c\x1bt  ")
    assert lines[4].startswith("  dog     ")


def test_one_image_is_told_as_one(folder):
    report = evaluate(folder / "run", folder / "plain.parquet")

    assert ", 1 image, checkpoint best.pt " in replace(report, n_images=1).summary()
