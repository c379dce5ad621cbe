"""One training run from a manifest, and what it leaves behind."""

import csv
import json
import shutil
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from trees import draw_image, draw_tree

from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.data.dataset import ManifestDataset
from imagekit.errors import (
    CheckpointError,
    ConfigError,
    ManifestError,
    OutputError,
    SourceError,
    TrainingError,
    UsageError,
)
from imagekit.learner.callback import Callback
from imagekit.manifest.build import build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.status import read_status, write_status
from imagekit.training import train as training
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import evaluate
from imagekit.training.predictions import predictions_table
from imagekit.training.train import train
from imagekit.training.train_report import TrainReport

# so small a rate that the outcome does not hang on the last bits, which differ with the number of threads
QUICK = TrainConfig(epochs=3, size=16, batch_size=4, lr=0.005, precision="fp32", crop_scale=0.8, device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A manifest and a finished run on it."""
    folder = tmp_path_factory.mktemp("trained")
    manifest = build_manifest(draw_tree(folder / "pictures", n_train=24), n_workers=1).output
    return manifest, train(manifest, output=folder / "run", config=QUICK, quiet=True, command=["imagekit", "train"])


def test_two_colours_are_learnt(trained):
    _, report = trained

    assert report.rows[-1]["valid_accuracy"] == 1.0


def test_a_run_leaves_every_file_of_the_design(trained):
    layout = RunLayout(trained[1].run)

    files = {path.relative_to(layout.root).as_posix() for path in layout.root.rglob("*") if path.is_file()}

    # curves, confusion and report are drawn by `look`
    assert files == {
        "config.toml", "command.json", "environment.json", "data.json", "vocab.json", "metrics.csv", "events.jsonl",
        "checkpoints/last.pt", "checkpoints/best.pt", "predictions.parquet", "timing.json", "status.json", "run.log",
    }  # fmt: skip


def test_metrics_has_a_row_an_epoch_and_the_status_is_done(trained):
    layout = RunLayout(trained[1].run)

    rows = list(csv.DictReader(layout.metrics.read_text().splitlines()))

    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[-1]["valid_accuracy"] == "1.0"
    assert read_status(layout.status).state == "done"


def test_the_log_has_versions_settings_every_epoch_and_the_end(trained):
    lines = RunLayout(trained[1].run).log.read_text().splitlines()

    assert "imagekit 0." in lines[0]
    assert lines[2].endswith("seed 0")
    assert lines[3].endswith(" validating on valid, mean and std from manifest")
    told = [line for line in lines if " epoch " in line and "train_loss" in line]
    assert [line.split()[2].replace("*", "") for line in told] == ["1/3", "2/3", "3/3"]
    # which epochs are the best hangs on how many threads torch has; that the log says so does not
    assert ["*" in line.split()[2] for line in told] == [bool(row["is_best"]) for row in trained[1].rows]
    assert lines[-1].endswith(" done")


def test_the_records_say_what_was_told_and_where_it_ran(trained):
    manifest, report = trained
    layout = RunLayout(report.run)

    assert TrainConfig.from_dict(tomllib.loads(layout.config.read_text())) == QUICK
    command = json.loads(layout.command.read_text())
    assert command["argv"] == ["imagekit", "train"]
    assert command["rows_sha256"] == read_manifest(manifest).metadata.rows_sha256
    assert json.loads(layout.vocab.read_text())["vocab"] == ["cat", "dog"]
    assert "torch" in json.loads(layout.environment.read_text())["versions"]


def test_predictions_join_to_the_manifest_and_agree_with_the_accuracy(trained):
    manifest, report = trained

    table = pq.read_table(RunLayout(report.run).predictions)

    valid = read_manifest(manifest).rows("valid")
    assert table["file_name"].to_pylist() == valid["file_name"].to_pylist()
    assert table["target"].to_pylist() == valid["target"].to_pylist()
    hits = [a == b for a, b in zip(table["target"].to_pylist(), table["prediction"].to_pylist(), strict=True)]
    assert sum(hits) / len(hits) == report.best["valid_accuracy"]
    assert table.column_names == ["file_name", "split", "target", "prediction", "probability", "loss"]


def test_evaluate_gives_the_accuracy_and_loss_that_training_printed(trained):
    manifest, report = trained

    best = evaluate(report.run, manifest)
    last = evaluate(report.run, manifest, checkpoint="last")

    assert (best.accuracy, best.epoch) == (report.best["valid_accuracy"], report.best["epoch"])
    assert last.loss == pytest.approx(report.rows[-1]["valid_loss"], abs=1e-6)
    assert best.per_class == {"cat": 1.0, "dog": 1.0}
    assert best.n_images == 6


def test_the_same_command_twice_gives_the_same_weights_bit_for_bit(trained, tmp_path, set_threads):
    set_threads(2)  # one thread sums in one order by itself

    runs = [train(trained[0], output=tmp_path / name, config=QUICK, quiet=True).run for name in ("one", "two")]

    first, second = (load_checkpoint(RunLayout(run).last)["model"] for run in runs)
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.slow
def test_worker_processes_do_not_change_the_weights(trained, tmp_path):
    manifest, report = trained

    helped = train(manifest, output=tmp_path / "helped", config=QUICK, quiet=True, n_workers=2)

    first, second = (load_checkpoint(RunLayout(run).last)["model"] for run in (report.run, helped.run))
    assert all(first[name].equal(second[name]) for name in first)


def test_another_seed_gives_other_weights(trained, tmp_path):
    manifest, report = trained
    other = TrainConfig(**{**QUICK.to_dict(), "seed": 1})

    again = train(manifest, output=tmp_path / "other", config=other, quiet=True)

    first, second = (load_checkpoint(RunLayout(run).last)["model"] for run in (report.run, again.run))
    assert not all(first[name].equal(second[name]) for name in first)


def test_a_checkpoint_holds_all_that_using_it_elsewhere_needs(trained):
    state = load_checkpoint(RunLayout(trained[1].run).best)

    assert set(state) == {
        "format_version", "model", "model_name", "model_args", "vocab", "class_names", "mean", "std", "stats", "size",
        "crop", "optimizer", "epochs_done", "batches_done", "epoch", "cursor", "position", "n_iter", "callbacks",
        "is_averaged", "row", "precision", "config", "rows_sha256", "versions", "threads",
    }  # fmt: skip
    assert (state["size"], state["crop"], state["vocab"]) == (16, 1.0, ["cat", "dog"])
    assert state["stats"] == {"n_images": 48, "n_pixels": 48 * 40 * 32, "source": "manifest"}
    assert all(isinstance(value, torch.Tensor) for value in state["model"].values())


@pytest.mark.parametrize("augment", [{"degrees": 0.0, "zoom": 1.0}, {"degrees": 10.0, "zoom": 1.2}])
def test_training_runs_with_and_without_batch_augmentation(trained, tmp_path, augment):
    config = TrainConfig(**{**QUICK.to_dict(), "epochs": 1, **augment})

    report = train(trained[0], output=tmp_path / "run", config=config, quiet=True)

    assert len(report.rows) == 1


def test_bf16_trains_where_it_is_asked_for(trained, tmp_path):
    config = TrainConfig(**{**QUICK.to_dict(), "precision": "bf16"})

    report = train(trained[0], output=tmp_path / "run", config=config, quiet=True)

    assert report.rows[-1]["valid_accuracy"] == 1.0


def test_an_existing_run_is_kept_without_overwrite_and_replaced_with_it(trained, tmp_path):
    run = tmp_path / "run"
    config = TrainConfig(**{**QUICK.to_dict(), "epochs": 1})
    train(trained[0], output=run, config=config, quiet=True)
    before = RunLayout(run).metrics.read_bytes()

    with pytest.raises(OutputError) as caught:
        train(trained[0], output=run, config=config, quiet=True)

    assert (
        str(caught.value)
        == f"the run exists already\n  where: {run}\n  fix: give another -o, or --overwrite to train anew"
    )
    assert RunLayout(run).metrics.read_bytes() == before
    assert len(train(trained[0], output=run, config=config, quiet=True, overwrite=True).rows) == 1


def test_a_folder_that_is_no_run_is_never_written_into(trained, tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")

    with pytest.raises(OutputError) as caught:
        train(trained[0], output=tmp_path, config=QUICK, quiet=True, overwrite=True)

    assert str(caught.value) == (
        f"the output exists and is not a run of imagekit train\n  where: {tmp_path}\n"
        "  fix: give another -o, or move it away yourself"
    )


def test_files_that_moved_are_noticed_before_training(manifest_path, tmp_path):
    root = read_manifest(manifest_path).root
    kept = manifest_path.rename(tmp_path / "metadata.parquet")  # the root is relative to the manifest's own folder

    with pytest.raises(SourceError) as caught:
        train(kept, output=tmp_path / "run", config=QUICK, quiet=True)

    assert str(caught.value) == (
        "18 of 18 files looked for are not there, train/cat/0.JPEG for one\n"
        f"  where: {tmp_path}\n"
        "  fix: give --root DIR, the folder that the manifest's names are relative to"
    )
    assert train(kept, output=tmp_path / "run", config=QUICK, quiet=True, root=root).exit_code == 0


def test_all_problems_come_in_one_list(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")

    with pytest.raises(UsageError) as caught:
        train(tmp_path / "none.parquet", output=tmp_path / "run", config=QUICK, quiet=True)

    assert str(caught.value) == (
        "2 problems stand in the way of training:\n"
        "- the manifest is not there\n"
        f"    where: {tmp_path / 'none.parquet'}\n"
        "    fix: build it with imagekit manifest ROOT\n"
        "- the output exists and is not a run of imagekit train\n"
        f"    where: {tmp_path / 'run'}\n"
        "    fix: give another -o, or move it away yourself"
    )


def test_one_class_is_too_few(tmp_path):
    manifest = build_manifest(draw_tree(tmp_path / "pictures", classes=["cat"]), n_workers=1).output

    with pytest.raises(ManifestError) as caught:
        train(manifest, output=tmp_path / "run", config=QUICK, quiet=True)

    assert str(caught.value) == (
        f"there are 1 classes, training needs at least 2\n  where: {manifest}\n"
        "  fix: choose a folder with more class folders, or another --label"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said(trained, tmp_path):
    config = TrainConfig(**{**QUICK.to_dict(), "device": "cuda"})

    with pytest.raises(ConfigError) as caught:
        train(trained[0], output=tmp_path / "run", config=config, quiet=True)

    assert str(caught.value) == (
        'device "cuda" is not there\n  where: device\n  fix: give --device cpu, or see imagekit doctor'
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_learns_the_two_colours_too(trained, tmp_path):
    config = TrainConfig(**{**QUICK.to_dict(), "device": "cuda"})

    report = train(trained[0], output=tmp_path / "run", config=config, quiet=True)

    assert report.rows[-1]["valid_accuracy"] == 1.0


class InterruptAt(Callback):
    """Ctrl-C in the given epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after_batch(self):
        if self.learner.epoch == self.epoch:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_the_last_whole_epoch_and_says_interrupted(trained, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(trained[0], output=tmp_path / "run", config=QUICK, quiet=True, extra_callbacks=[InterruptAt(1)])

    layout = RunLayout(tmp_path / "run")
    assert read_status(layout.status).state == "interrupted"
    assert load_checkpoint(layout.last)["epochs_done"] == 1
    assert pq.read_table(layout.predictions).num_rows == 6
    assert json.loads(layout.timing.read_text())["epochs"] == 1


@pytest.mark.parametrize("what", ["make_learner", "find_stats"])
def test_an_overwritten_run_goes_only_when_all_that_can_fail_has_been_done(trained, tmp_path, monkeypatch, what):
    def fail(*args, **options):
        raise TrainingError("no", fix="none")

    shutil.copytree(trained[1].run, tmp_path / "run")
    before = RunLayout(tmp_path / "run").best.read_bytes()
    monkeypatch.setattr(training, what, fail)

    with pytest.raises(TrainingError):
        train(trained[0], output=tmp_path / "run", config=QUICK, quiet=True, overwrite=True)

    assert RunLayout(tmp_path / "run").best.read_bytes() == before


def test_evaluate_refuses_a_manifest_of_other_classes(trained, tmp_path):
    manifest = build_manifest(draw_tree(tmp_path / "pictures", classes=["cat", "emu"]), n_workers=1).output

    with pytest.raises(CheckpointError) as caught:
        evaluate(trained[1].run, manifest)

    assert str(caught.value) == (
        "the checkpoint was trained on other classes than the manifest has; not in both: dog, emu\n"
        f"  where: {RunLayout(trained[1].run).best} and {manifest}\n"
        "  fix: evaluate on a manifest of the same classes"
    )


def test_evaluate_on_a_folder_that_is_no_run_says_so(trained, tmp_path):
    with pytest.raises(SourceError) as caught:
        evaluate(tmp_path, trained[0])

    assert str(caught.value) == (
        f"the folder is not a run of imagekit train\n  where: {tmp_path}\n"
        "  fix: give the folder that train wrote with -o"
    )


def test_predictions_need_a_whole_epoch(manifest_path):
    dataset = ManifestDataset(read_manifest(manifest_path), "valid")

    with pytest.raises(TrainingError) as caught:
        predictions_table(dataset, PredictionsCallback())

    assert str(caught.value) == (
        "no epoch came to the end of its validation\n  fix: train for at least one whole epoch"
    )


def test_evaluate_names_weights_that_do_not_fit(trained, tmp_path):
    manifest, report = trained
    state = load_checkpoint(RunLayout(report.run).best)
    layout = RunLayout(tmp_path / "run").create()
    write_status(layout.status, state="done", epoch=1, n_epochs=1)
    del state["model"]["0.conv.weight"]
    save_checkpoint(layout.best, state)

    with pytest.raises(CheckpointError) as caught:
        evaluate(layout.root, manifest)

    assert str(caught.value).startswith("the weights do not fit model lesson-cnn: Error(s) in loading state_dict")
    assert str(layout.best) in str(caught.value)


def test_evaluate_on_an_image_size_of_its_own_uses_the_checkpoints_size(trained, tmp_path):
    root = draw_tree(tmp_path / "pictures", n_train=1, n_valid=1)
    draw_image(root / "val/dog/big.JPEG", "dog", seed=9, size=(200, 90))
    manifest = build_manifest(root, n_workers=1).output

    assert evaluate(trained[1].run, manifest).n_images == 3


def test_a_report_tells_best_and_last(trained):
    _, report = trained

    assert report.summary().startswith("valid accuracy 1.0000 after 3 epochs, best 1.0000 in epoch 3\n")
    assert report.next_command == f"imagekit evaluate {report.run} {report.manifest}"


def report_of(**facts):
    row = {"epoch": 1, "valid_accuracy": 0.5, "images_per_s": None, "data_wait": None, "is_best": True}
    told = {"run": Path("my run"), "manifest": Path("m.parquet"), "images_root": Path(), "rows": [row], "seed": 0}
    return TrainReport(**{**told, "seconds": 1.0, "timing": {}, **facts})


@pytest.mark.parametrize(
    ("n", "lines"),
    [
        (0, []),
        (1, ["1 image could not be used and was left out:", "  0.png: it is cut"]),
        (2, ["2 images could not be used and were left out:", "  0.png: it is cut", "  1.png: it is cut"]),
        (5, ["5 images could not be used and were left out:", *(f"  {i}.png: it is cut" for i in range(3)),
             "  and 2 more, all in events.jsonl"]),
    ],
)  # fmt: skip
def test_images_that_were_left_out_are_counted_and_the_first_named(n, lines):
    report = report_of(skipped=[(f"{i}.png", "it is cut") for i in range(n)])

    assert report.summary().splitlines()[3:] == lines
    assert report.exit_code == (3 if n else 0)
    assert report.to_dict()["skipped"] == [{"file": f"{i}.png", "why": "it is cut"} for i in range(n)]


def test_a_run_that_was_interrupted_is_130_whatever_it_left_out():
    report = report_of(interrupted="interrupted in epoch 1 of 2", skipped=[("0.png", "it is cut")])

    assert (report.exit_code, report.summary().splitlines()[0]) == (130, "interrupted in epoch 1 of 2")


def test_the_next_command_can_be_typed_as_it_stands():
    commands = [
        report_of().next_command,
        report_of(valid_split="valid:my own").next_command,
        report_of(interrupted="interrupted").next_command,
    ]

    assert commands == [
        "imagekit evaluate 'my run' m.parquet",
        "imagekit evaluate 'my run' m.parquet --split 'valid:my own'",
        "imagekit train --resume 'my run'",
    ]


def test_every_time_that_is_written_down_is_explained(trained):
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")

    explained = page.split("timing.json\n")[1].split("\n## ")[0]

    timing = json.loads(RunLayout(trained[1].run).timing.read_text())
    assert [key for key in timing if f"`{key}`" not in explained] == []


class FailAt(Callback):
    """Raise in the second batch."""

    def __init__(self, error):
        self.error = error

    def after_batch(self):
        if self.learner.i_batch == 1:
            raise self.error


@pytest.mark.parametrize(("error", "is_told"), [(OSError("x"), True), (TrainingError("x", fix="y"), False)])
def test_what_fails_says_how_to_go_on_unless_it_would_fail_again(trained, tmp_path, capsys, error, is_told):
    with pytest.raises(type(error)):
        train(trained[0], output=tmp_path / "my run", config=QUICK, extra_callbacks=[FailAt(error)])

    command = f"imagekit train --resume '{tmp_path / 'my run'}'"
    said = f"to go on from the last checkpoint: {command}\n" in capsys.readouterr().err
    assert said == is_told


def test_a_run_that_can_be_gone_on_with_says_so_where_its_folder_is_given_again(trained, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(trained[0], output=run, config=QUICK, quiet=True, extra_callbacks=[InterruptAt(0)])

    with pytest.raises(OutputError) as caught:
        train(trained[0], output=run, config=QUICK, quiet=True)

    assert str(caught.value) == (
        f"the run exists already\n  where: {run}\n"
        f"  fix: give another -o, or --overwrite to train anew, or go on with it: imagekit train --resume {run}"
    )
