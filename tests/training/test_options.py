"""Every setting of a run does what it says."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from trees import draw_tree

from imagekit.batch.erase import RandomErasing
from imagekit.batch.lighting import Brightness, Contrast, Saturation
from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.clip import GradientClip
from imagekit.callbacks.mix import CutMix, MixUp
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.data.order import SampleRef
from imagekit.learner.callback import Callback
from imagekit.look.report import write_report
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.runs.checkpoint import load_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.training.assemble import autocast_dtype, batch_augmentation, make_learner, make_loaders, step_callbacks
from imagekit.training.config import TrainConfig
from imagekit.training.evaluate import evaluate
from imagekit.training.settings import resolve_settings
from imagekit.training.train import train
from imagekit.transforms.flips import AlternatingFlip, RandomFlip
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB

QUICK = TrainConfig(
    model_options={"nfs": [8]}, epochs=2, size=16, batch_size=4, lr=0.005, precision="fp32", device="cpu"
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """24 train images, of cats three times as many as of dogs, in three folds."""
    root = draw_tree(tmp_path_factory.mktemp("options") / "pictures", n_train=9)
    for number in range(3, 9):
        (root / f"train/dog/{number}.JPEG").unlink()
    return build_manifest(root, options=ManifestOptions(noise=(40.0,)), n_workers=1).output


class StopInSecondEpoch(Callback):
    """As Ctrl-C."""

    _order = 10**6

    def after_batch(self):
        self.learner.stop = self.learner.epoch == 1


class Sides(Callback):
    """The side of every batch as the model gets it."""

    _order = 50

    def __init__(self):
        self.train, self.valid = [], []

    def after_pred(self):
        (self.train if self.learner.in_train else self.valid).append(self.learner.xb.shape[-1])


def learner_of(manifest, **values):
    content, config = read_manifest(manifest), replace(QUICK, **values)
    data = make_loaders(content, config, root=None, n_workers=0, pin=False)
    return make_learner(content, data, config, stats=content.metadata.stats, device=torch.device("cpu"))


def test_the_averaged_weights_are_in_the_best_checkpoint_and_are_what_evaluate_measures(manifest, tmp_path):
    config = replace(QUICK, ema=0.5, lr=0.05, keep_best=2)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    layout = RunLayout(tmp_path / "run")
    best, last = load_checkpoint(layout.best), load_checkpoint(layout.last)
    assert (best["is_averaged"], last["is_averaged"], report.monitor) == (True, False, "valid_ema_accuracy")
    assert not best["model"]["0.conv.weight"].equal(last["model"]["0.conv.weight"])
    assert last["callbacks"]["model_ema"]["n_updates"] == last["n_iter"] == 2 * 3
    found = evaluate(tmp_path / "run", manifest)
    assert (found.accuracy, found.loss) == (
        report.best["valid_ema_accuracy"],
        pytest.approx(report.best["valid_ema_loss"], abs=1e-6),
    )
    predictions = pq.read_table(layout.predictions)
    right = [a == b for a, b in zip(*(predictions[name].to_pylist() for name in ("target", "prediction")), strict=True)]
    assert sum(right) / len(right) == found.accuracy
    assert sorted(path.name for path in layout.checkpoints.glob("epoch-*.pt")) == ["epoch-0001.pt", "epoch-0002.pt"]
    assert f", best {found.accuracy:.4f} of the averaged weights in epoch {report.best['epoch']}\n" in report.summary()


def test_validation_measures_plain_cross_entropy_whatever_training_smooths(manifest, tmp_path):
    config = replace(QUICK, label_smoothing=0.2, class_weights=True, mixup=0.4)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    assert evaluate(tmp_path / "run", manifest).loss == pytest.approx(report.best["valid_loss"], abs=1e-6)


def test_training_ends_when_nothing_gets_better(manifest, tmp_path):
    # without running statistics and at such a rate nothing moves
    still = {"nfs": [8], "norm": "group"}
    config = replace(QUICK, epochs=9, early_stop=2, monitor="valid_loss", lr=1e-30, model_options=still)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    layout = RunLayout(tmp_path / "run")
    assert len(report.rows) == 3
    assert len(read_rows(layout.metrics)) == len(report.rows)
    assert json.loads(layout.status.read_text())["state"] == "done"
    assert read_events(layout.events)[-1]["event"] == "end"
    assert report.stopped in report.summary()
    assert read_events(layout.events)[-1]["why"] == report.stopped == report.to_dict()["stopped"]
    assert layout.log.read_text().endswith(f" done: {report.stopped}\n")


def test_telemetry_is_kept_when_asked_for(manifest, tmp_path):
    train(manifest, output=tmp_path / "run", config=replace(QUICK, epochs=1, telemetry=True), quiet=True)

    record = json.loads(RunLayout(tmp_path / "run").telemetry_data.read_text())
    assert len(record["names"]) == len(record["means"]) == 4


def test_presized_images_are_seen_through_crops_and_validated_in_their_middle(manifest, tmp_path):
    config = replace(QUICK, presize=20, size=16)
    data = learner_of(manifest, presize=20, size=16).data

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    assert [
        repr(each) for each in data.train_ds.pipeline.to_dict()[: len(data.train_ds.pipeline.fixed_transforms)]
    ] == [repr(each.to_dict()) for each in (MakeRGB(), ResizeFixed(20))]
    assert (data.train_ds[0][0].shape, data.valid_ds[0][0].shape) == ((3, 16, 16), (3, 16, 16))
    assert load_checkpoint(RunLayout(report.run).best)["crop"] == 20 / 16
    assert evaluate(report.run, manifest).loss == pytest.approx(report.best["valid_loss"], abs=1e-6)


def test_epochs_that_are_not_validated_have_no_accuracy_and_the_last_one_is_kept_as_any(manifest, tmp_path):
    every = train(manifest, output=tmp_path / "every", config=replace(QUICK, epochs=3), quiet=True)

    report = train(manifest, output=tmp_path / "run", config=replace(QUICK, epochs=3, valid_every=2), quiet=True)

    assert [row["valid_accuracy"] for row in report.rows] == [None, *(r["valid_accuracy"] for r in every.rows[1:])]
    assert [row["train_loss"] for row in report.rows] == [row["train_loss"] for row in every.rows]
    assert report.rows[1]["is_best"]  # the first that was measured
    assert evaluate(report.run, manifest).loss == pytest.approx(report.best["valid_loss"], abs=1e-6)


def test_a_run_that_was_stopped_before_anything_was_validated_says_so(manifest, tmp_path):
    config = replace(QUICK, epochs=3, valid_every=3)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True, extra_callbacks=[StopInSecondEpoch()])

    assert report.summary().splitlines()[1] == "no accuracy on valid yet, 1 epoch is whole"
    assert write_report(report.run).result == "valid accuracy not known after 1 epoch, best not known in epoch 1"


def test_what_was_last_validated_is_told_of_a_run_that_was_stopped_later(manifest, tmp_path):
    config = replace(QUICK, epochs=3, valid_every=1)
    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)
    rows = [*report.rows[:1], {**report.rows[1], "valid_accuracy": None, "is_best": False}]

    told = replace(report, rows=rows).summary().splitlines()[0]

    assert told == "valid accuracy {0:.4f} after 1 epoch, best {0:.4f} in epoch 1".format(rows[0]["valid_accuracy"])


def test_training_images_grow_and_validation_is_always_whole(manifest):
    learner = learner_of(manifest, size=32, start_size=16, grow_until=0.5, epochs=2)
    sides = Sides()

    learner.fit(2, [sides])

    n = len(learner.data.train_dl)
    assert sides.train == [16] * n + [32] * n
    assert set(sides.valid) == {32}


def test_an_alternating_flip_is_what_the_setting_says(manifest):
    flips = [learner_of(manifest, alternate_flip=each).data.train_ds.pipeline.transforms[-1] for each in (False, True)]

    assert [type(each) for each in flips] == [RandomFlip, AlternatingFlip]


def test_presizing_to_the_size_itself_leaves_nothing_to_choose(manifest):
    data = learner_of(manifest, presize=16, size=16, flip=0.0).data

    first, second = data.train_ds[SampleRef(0, 0)][0], data.train_ds[SampleRef(1, 0)][0]

    assert first.equal(second)


def test_a_balanced_epoch_shows_every_class_equally_often(manifest):
    learner = learner_of(manifest, balance=True)
    targets = torch.cat([y for _, y in learner.data.train_dl])

    assert torch.bincount(targets).tolist() == [6, 6]
    assert torch.bincount(torch.cat([y for _, y in learner_of(manifest).data.train_dl])).tolist() == [9, 3]


def test_class_weights_let_the_rare_class_count_more(manifest):
    learner = learner_of(manifest, class_weights=True)
    pred = torch.zeros(1, 2)

    losses = [learner.loss_func(pred, torch.tensor([k])).item() for k in range(2)]

    assert losses == pytest.approx([2 / 3 * 0.693147, 2 * 0.693147], rel=1e-5)


def test_lsuv_gives_every_layer_deviation_one(manifest):
    learner = learner_of(manifest, lsuv=True)
    x, _ = learner.get_batch()

    with torch.no_grad():
        first = learner.model[0](x)

    assert first.std().item() == pytest.approx(1.0, abs=1e-3)


def test_body_and_head_keep_the_ratio_of_their_rates_under_a_schedule(manifest):
    learner = learner_of(manifest, body_lr=0.1)
    learner.fit(1)

    body, head = (group["lr"] for group in learner.opt.param_groups)
    assert body == pytest.approx(head * 0.1)


@pytest.mark.parametrize("schedule", ["one-cycle", "flat-cosine", "linear"])
def test_a_schedule_begins_peaks_and_ends_where_it_was_told(manifest, schedule):
    learner = learner_of(manifest, schedule=schedule, lr=1.0, lr_start=0.5, lr_end=0.1, warm_up=0.4)

    at = learner.find(ParamScheduler).schedule

    start = 1.0 if schedule == "flat-cosine" else 0.5
    peak = 0.6 if schedule == "flat-cosine" else 0.4
    assert (at(0.0), at(peak), at(1.0)) == pytest.approx((start, 1.0, 0.1))


def test_a_constant_rate_has_no_schedule(manifest):
    assert learner_of(manifest, schedule="constant").find(ParamScheduler) is None


def test_biases_and_norms_need_not_decay(manifest):
    learner = learner_of(manifest, model="mini", model_options={"widths": [4]}, weight_decay=0.1, decay_bias=False)

    groups = learner.make_opt().param_groups

    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [{param.ndim for param in group["params"]} for group in groups] == [{2, 4}, {1}]
    assert sum(len(group["params"]) for group in groups) == len(list(learner.model.parameters()))


def test_a_frozen_body_leaves_the_optimizer_the_head(manifest):
    learner = learner_of(manifest, freeze="body")

    learner.fit(1)

    assert [tuple(each.shape) for each in learner.opt.param_groups[0]["params"]] == [(2, 8), (2,)]


def test_what_is_told_of_steps_and_pictures_is_there_and_what_is_off_is_not():
    told = replace(QUICK, accumulate=2, clip=1.0, mixup=0.4)
    seen = replace(QUICK, brightness=0.1, contrast=0.2, saturation=0.3, erase=0.5)

    assert [type(each) for each in step_callbacks(told, n_classes=2)] == [MixUp, GradientAccumulation, GradientClip]
    assert [type(each) for each in step_callbacks(replace(QUICK, cutmix=1.0), n_classes=2)] == [CutMix]
    before, after = batch_augmentation(seen)
    assert [each.max_change for each in before] == [0.1, 0.2, 0.3]
    assert ([type(each) for each in before], [type(each) for each in after]) == (
        [Brightness, Contrast, Saturation],
        [RandomErasing],
    )
    assert (step_callbacks(QUICK, n_classes=2), batch_augmentation(QUICK)) == ([], ([], []))


def test_a_precision_is_a_type_or_none():
    cpu = torch.device("cpu")

    types = [autocast_dtype(name, cpu) for name in ("bf16", "fp16", "fp32")]

    assert types == [torch.bfloat16, torch.float16, None]


@pytest.mark.slow
def test_half_precision_trains_with_accumulation_and_clipping(manifest, tmp_path):
    config = replace(QUICK, precision="fp16", accumulate=2, clip=1.0, epochs=1)

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    assert report.rows[0]["train_loss"] > 0
    assert load_checkpoint(RunLayout(tmp_path / "run").last)["callbacks"]["mixed_precision"]


def test_a_noisy_column_is_learnt_and_validated_on_the_truth(manifest, tmp_path):
    config = replace(QUICK, epochs=1, target_column="noisy_40")

    train(manifest, output=tmp_path / "run", config=config, quiet=True)

    data = json.loads(RunLayout(tmp_path / "run").data.read_text())
    whole = read_manifest(manifest)
    is_train = [split == "train" for split in whole.table["split"].to_pylist()]
    labels = [label for label, is_it in zip(whole.table["noisy_40"].to_pylist(), is_train, strict=True) if is_it]
    assert data["counts"]["train"] == {
        "images": 12,
        "classes": {name: labels.count(name) for name in ("cat", "dog")},
    }
    assert data["counts"]["valid"] == {"images": 6, "classes": {"cat": 3, "dog": 3}}
    assert evaluate(tmp_path / "run", manifest).n_images == 6


def test_a_fold_is_validated_on_in_training_and_in_evaluate(tmp_path):
    manifest = build_manifest(
        draw_tree(tmp_path / "pictures"), options=ManifestOptions(split="kfold:3"), n_workers=1
    ).output
    folds = read_manifest(manifest).table["fold"].to_pylist()

    train(manifest, output=tmp_path / "run", config=replace(QUICK, epochs=1, fold=2), quiet=True)

    data = json.loads(RunLayout(tmp_path / "run").data.read_text())
    assert data["fold"] == 2
    assert data["counts"]["valid"]["images"] == folds.count(2) == evaluate(tmp_path / "run", manifest).n_images
    assert data["mean"] == list(read_manifest(manifest).metadata.fold_stats[2].mean)


def test_a_run_writes_down_where_each_setting_came_from_and_runs_again_from_it(manifest, tmp_path):
    settings = resolve_settings(QUICK.to_dict() | {"epochs": 1}, sets=["model_options.act=silu"])

    first = train(manifest, output=tmp_path / "run", config=settings, quiet=True)

    text = RunLayout(tmp_path / "run").config.read_text()
    assert TrainConfig.from_dict(tomllib.loads(text)) == settings.config
    assert "epochs = 1  # flag\n" in text
    again = resolve_settings({}, file=RunLayout(tmp_path / "run").config)
    second = train(manifest, output=tmp_path / "again", config=again, quiet=True)
    assert second.rows[0]["valid_loss"] == first.rows[0]["valid_loss"]
    assert load_checkpoint(RunLayout(tmp_path / "again").best)["model_args"] == {
        "c_in": 3,
        "c_out": 2,
        "nfs": [8],
        "act": "silu",
    }


def test_weights_that_were_started_from_are_recorded(manifest, tmp_path):
    first = train(manifest, output=tmp_path / "first", config=replace(QUICK, epochs=1), quiet=True)
    config = replace(QUICK, epochs=1, lr=1e-9, weights=str(tmp_path / "first/checkpoints/best.pt"))

    second = train(manifest, output=tmp_path / "second", config=config, quiet=True)

    data = json.loads(RunLayout(second.run).data.read_text())
    assert (data["weights"]["file"], len(data["weights"]["sha256"])) == (config.weights, 64)
    states = [load_checkpoint(RunLayout(each.run).last)["model"]["0.conv.weight"] for each in (first, second)]
    torch.testing.assert_close(states[1], states[0])
    assert " weights: 26 of the model's 26 tensors loaded from " in RunLayout(second.run).log.read_text()
