"""What stands in the way of a training is told before it begins, all of it at once."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from torch import nn
from trees import draw_tree

from imagekit.errors import CheckpointError, ConfigError, ManifestError, OutputError, UsageError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.training.checks import check_all
from imagekit.training.config import TrainConfig

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
        " mat1 and mat2 shapes cannot be multiplied (2x1200 and 768x1)\n"
        "  where: model, size\n  fix: give another --size or --model"
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


def test_all_problems_come_in_one_list(manifest, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").touch()
    config = replace(QUICK, weights=str(tmp_path / "none.pt"), device="mps")

    with pytest.raises(UsageError) as caught:
        check(manifest, tmp_path / "run", config)

    assert str(caught.value) == (
        "3 problems stand in the way of training:\n"
        '- device "mps" is not there\n    where: device\n    fix: give --device cpu, or see imagekit doctor\n'
        f"- the output exists and is not a run of imagekit train\n    where: {tmp_path / 'run'}\n"
        "    fix: give another -o, or move it away yourself\n"
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
