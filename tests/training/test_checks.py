"""What stands in the way of a training is told before it begins, all of it at once."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from torch import nn
from trees import draw_image, draw_tree

from imagekit.errors import CheckpointError, ConfigError, ManifestError, OutputError, UsageError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.training.assemble import choose_device
from imagekit.training.checks import check_all, monitors
from imagekit.training.config import TrainConfig
from imagekit.training.train import train

QUICK = TrainConfig(epochs=1, size=16, batch_size=4, device="cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return build_manifest(draw_tree(tmp_path_factory.mktemp("checks") / "pictures"), n_workers=1).output


def check(manifest, run, config=QUICK):
    return check_all(manifest, run, config=config, root=None, overwrite=False)


def one_logit(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(c_in * 16 * 16, 1))


def two_outputs(c_in: int, c_out: int) -> nn.Module:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    return Two()


def test_what_can_be_used_comes_back(manifest, tmp_path):
    checked = check(manifest, tmp_path / "run")

    assert (checked.manifest.path, checked.device.type, checked.remarks) == (manifest, "cpu", ())
    assert list(checked.model.state_dict().values())[-1].shape == (2,)
    assert checked.model.training


class Touchy(nn.Module):
    """Fails in one mode, with an error of any kind; in the other it gives logits."""

    def __init__(self, c_out: int, *, in_training: bool, error: type[Exception]) -> None:
        super().__init__()
        self.layer, self.in_training, self.error = nn.Linear(3 * 16 * 16, c_out), in_training, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training is self.in_training:
            raise self.error("no")
        return self.layer(x.flatten(1))


def fails_in_training(c_in: int, c_out: int) -> nn.Module:
    return Touchy(c_out, in_training=True, error=AssertionError)


def fails_in_evaluation(c_in: int, c_out: int) -> nn.Module:
    return Touchy(c_out, in_training=False, error=KeyError)


def one_layer(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(c_in * 16 * 16, c_out))


def nothing_to_learn(c_in: int, c_out: int) -> nn.Module:
    return one_layer(c_in, c_out).requires_grad_(False)


def test_the_trial_leaves_no_trace(manifest, tmp_path):
    first, again = (check(manifest, tmp_path / "run").model.state_dict() for _ in range(2))

    assert all(first[name].equal(again[name]) for name in first)
    assert first["0.norm.num_batches_tracked"] == 0


def test_a_model_that_gives_no_logit_a_class_is_refused(manifest, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, model="training.test_checks:one_logit"))
    with pytest.raises(ConfigError) as no_tensor:
        check(manifest, tmp_path / "run", replace(QUICK, model="training.test_checks:two_outputs"))

    assert str(caught.value) == (
        "training.test_checks:one_logit makes [2, 1] of 2 images, must make [2, 2], a logit a class\n"
        "  where: model\n  fix: let the model end in a linear layer with c_out outputs"
    )
    assert str(no_tensor.value).startswith("training.test_checks:two_outputs makes tuple of 2 images, must make [2, 2]")


def test_a_size_that_the_model_does_not_take_is_refused(manifest, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, model="training.test_checks:one_logit", size=20))

    assert str(caught.value) == (
        "training.test_checks:one_logit does not take images of 20 pixels:"
        " RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x1200 and 768x1)\n"
        "  where: model, size\n  fix: give another --size or --model"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [("fails_in_training", " in training: AssertionError: no"), ("fails_in_evaluation", ": KeyError: 'no'")],
)
def test_a_model_of_ones_own_may_fail_in_any_way_and_in_any_mode(manifest, tmp_path, name, what):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, model=f"training.test_checks:{name}"))

    assert str(caught.value) == (
        f"training.test_checks:{name} does not take images of 16 pixels{what}\n"
        "  where: model, size\n  fix: give another --size or --model"
    )


def test_a_model_without_anything_to_learn_is_refused(manifest, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, model="training.test_checks:nothing_to_learn"))

    assert str(caught.value) == (
        "training.test_checks:nothing_to_learn has no parameter that can be trained\n  where: model\n"
        "  fix: give another --model, or let its parameters require gradients"
    )


def test_a_rate_of_the_body_is_refused_where_there_is_none(manifest, tmp_path):
    config = replace(QUICK, model="training.test_checks:one_layer")

    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(config, body_lr=0.1))

    assert str(caught.value) == (
        "body_lr is 0.1, and training.test_checks:one_layer has one layer with parameters, no body and head\n"
        "  where: body_lr\n  fix: leave body_lr out"
    )
    assert check(manifest, tmp_path / "run", config).remarks == ()


@pytest.mark.parametrize(
    ("monitor", "fix"),
    [
        (
            "valid_acuracy",
            'did you mean "valid_accuracy"? known: train_accuracy, train_loss, valid_accuracy, valid_loss',
        ),
        (
            "valid_ema_accuracy",
            'did you mean "valid_accuracy"? known: train_accuracy, train_loss, valid_accuracy, valid_loss;'
            " valid_ema_... come with --set ema=0.99, say",
        ),
        (
            "valid_top5",
            'did you mean "valid_loss"? known: train_accuracy, train_loss, valid_accuracy, valid_loss;'
            " top5 is of more than five classes",
        ),
        *(
            (name, "known: train_accuracy, train_loss, valid_accuracy, valid_loss")
            for name in ("lr", "seconds", "is_best", "skipped_steps")
        ),
    ],
)
def test_a_monitor_that_cannot_tell_the_best_epoch_is_refused_before_the_run(manifest, tmp_path, monitor, fix):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, monitor=monitor))

    assert str(caught.value) == (
        f'monitor is "{monitor}", which cannot tell the best epoch of this run\n  where: monitor\n  fix: {fix}'
    )


def test_every_monitor_is_a_column_of_a_run(tmp_path):
    for seed, name in enumerate("abcdef"):
        for split in ("train", "val"):
            draw_image(tmp_path / "pictures" / split / name / "0.JPEG", "cat", seed=2 * seed + (split == "val"))
    manifest = build_manifest(tmp_path / "pictures", n_workers=1).output
    config = replace(QUICK, ema=0.5, model_options={"nfs": [8]}, precision="fp32", monitor="valid_ema_top5")

    report = train(manifest, output=tmp_path / "run", config=config, quiet=True)

    row = report.rows[0]
    phases = ("train_", "valid_", "valid_ema_")
    measured = {f"{phase}{name}" for phase in phases for name in ("loss", "accuracy", "top5")}
    assert set(monitors(config, 6)) == measured
    assert {key for key in row if key.startswith(("train_", "valid_"))} == measured


def test_both_ways_to_correct_for_rare_classes_are_remarked_on(manifest, tmp_path):
    both = check(manifest, tmp_path / "run", replace(QUICK, class_weights=True, balance=True))
    one = check(manifest, tmp_path / "run", replace(QUICK, class_weights=True))

    assert both.remarks == ("class_weights and balance both correct for rare classes: together they count these twice",)
    assert one.remarks == ()


def test_a_device_is_there_or_not_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cuda") == torch.device("cuda")
    for name in ("cuda:2", "cpu:1"):
        with pytest.raises(ConfigError) as caught:
            choose_device(name)
        assert str(caught.value) == (
            f'device "{name}" is not there\n  where: device\n  fix: give --device cpu, or see imagekit doctor'
        )


@pytest.mark.parametrize("name", ["cuda:foo", "cuda:", "auto:0", "cpu:-1", "cuda:1:2", "cuda:٣"])
def test_a_device_that_is_no_kind_and_number_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        choose_device(name)

    assert str(caught.value) == (
        f'device is "{name}", which is no kind and number\n  where: device\n'
        "  fix: give cuda, say, or cuda:1 for the second of several"
    )


def test_a_hyper_that_the_optimizer_has_not_is_refused_before_a_folder_is_made(manifest, tmp_path):
    with pytest.raises(ConfigError, match='optimizer "sgd" has no hyper "epss"'):
        check(manifest, tmp_path / "run", replace(QUICK, opt_options={"epss": 1.0}))

    assert not (tmp_path / "run").exists()


def test_a_last_batch_of_one_image_is_refused_where_the_model_cannot_learn_from_it(manifest, tmp_path):
    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", replace(QUICK, batch_size=11))

    assert str(caught.value) == (
        "12 train images in batches of 11 leave a last batch of one, which lesson-cnn cannot learn from:"
        " Expected more than 1 value per channel when training, got input size torch.Size([1, 64, 1, 1])\n"
        "  where: batch_size\n  fix: give another --batch-size, or a greater --size"
    )
    assert check(manifest, tmp_path / "run", replace(QUICK, batch_size=11, size=128))
    with pytest.raises(ConfigError, match="leave a last batch of one"):
        check(manifest, tmp_path / "run", replace(QUICK, batch_size=11, balance=True))
    assert check(manifest, tmp_path / "run", replace(QUICK, batch_size=10))


def test_a_last_batch_of_one_small_image_is_refused_as_well(manifest, tmp_path):
    growing = replace(QUICK, batch_size=11, size=128, start_size=32)

    with pytest.raises(ConfigError) as caught:
        check(manifest, tmp_path / "run", growing)

    assert str(caught.value) == (
        "12 train images in batches of 11 leave a last batch of one, which lesson-cnn cannot learn from at 32 pixels:"
        " Expected more than 1 value per channel when training, got input size torch.Size([1, 128, 1, 1])\n"
        "  where: batch_size, start_size\n  fix: give another --batch-size, or a greater start_size"
    )
    assert check(manifest, tmp_path / "run", replace(growing, start_size=96))


def test_all_problems_come_in_one_list(manifest, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").touch()
    config = replace(QUICK, weights=str(tmp_path / "none.pt"), device="mps", monitor="valid_")

    with pytest.raises(UsageError) as caught:
        check(manifest, tmp_path / "run", config)

    assert str(caught.value) == (
        "4 problems stand in the way of training:\n"
        '- device "mps" is not there\n    where: device\n    fix: give --device cpu, or see imagekit doctor\n'
        f"- the output exists and is not a run of imagekit train\n    where: {tmp_path / 'run'}\n"
        "    fix: give another -o, or move it away yourself\n"
        '- monitor is "valid_", which cannot tell the best epoch of this run\n    where: monitor\n'
        '    fix: did you mean "valid_loss"? known: train_accuracy, train_loss, valid_accuracy, valid_loss\n'
        "- the weights cannot be read: No such file or directory\n"
        f"    where: {tmp_path / 'none.pt'}\n    fix: check the path"
    )


def test_weights_are_loaded_and_told(manifest, tmp_path):
    state = check(manifest, tmp_path / "run", replace(QUICK, seed=5)).model.state_dict()
    torch.save(state, tmp_path / "w.pt")

    checked = check(manifest, tmp_path / "run", replace(QUICK, weights=str(tmp_path / "w.pt")))

    assert all(value.equal(state[name]) for name, value in checked.model.state_dict().items())
    assert checked.remarks == (f"{len(state)} of the model's {len(state)} tensors loaded from {tmp_path / 'w.pt'}",)


def test_weights_for_another_model_are_refused(manifest, tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")

    with pytest.raises(CheckpointError, match="none of its 1 tensors fits the model"):
        check(manifest, tmp_path / "run", replace(QUICK, weights=str(tmp_path / "w.pt")))


def test_a_column_and_a_fold_that_are_not_there_are_refused(manifest, tmp_path):
    with pytest.raises(ManifestError, match='no column "colour" can be learnt'):
        check(manifest, tmp_path / "run", replace(QUICK, target_column="colour"))
    with pytest.raises(ManifestError, match="the manifest has no folds, not fold 1"):
        check(manifest, tmp_path / "run", replace(QUICK, fold=1))


def test_rows_without_a_value_are_counted(tmp_path):
    root = draw_tree(tmp_path / "pictures")
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.JPEG"))
    lines = [f"{name},{'' if number == 7 else number % 2}" for number, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["path,odd", *lines]) + "\n")
    options = ManifestOptions(columns=tmp_path / "t.csv", process=("odd:category",))
    manifest = build_manifest(root, options=options, n_workers=1).output

    checked = check(manifest, None, replace(QUICK, target_column="odd"))

    assert checked.manifest.vocab == ("0", "1")
    assert checked.remarks == ("1 rows have no value of odd and are left out",)


def test_a_disk_that_is_too_full_is_said_before(manifest, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 10, 1_000_000))

    with pytest.raises(OutputError) as caught:
        check(manifest, tmp_path / "run")

    assert str(caught.value) == (
        f"1 MB are free and the checkpoints may take 23 MB\n  where: {tmp_path / 'run'}\n"
        "  fix: make room, or give an -o on another disk"
    )
    with pytest.raises(OutputError, match="the checkpoints may take 30 MB"):
        check(manifest, tmp_path / "run", replace(QUICK, keep_best=5))  # of one epoch
    with pytest.raises(OutputError, match="the checkpoints may take 60 MB"):
        check(manifest, tmp_path / "run", replace(QUICK, keep_best=5, epochs=9))
