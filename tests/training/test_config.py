"""A training configuration that cannot be does not exist."""

import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ConfigError
from imagekit.optim.presets import OPTIMIZERS
from imagekit.training.config import TrainConfig, resolve_config


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epochs": 0}, "epochs is 0, must be at least 1\n  where: epochs\n  fix: correct epochs"),
        ({"size": 0}, "size is 0, must be at least 1\n  where: size\n  fix: correct size"),
        ({"batch_size": 0}, "batch_size is 0, must be at least 1\n  where: batch_size\n  fix: correct batch_size"),
        ({"lr": 0.0}, "lr is 0.0, must be above 0\n  where: lr\n  fix: give --lr 0.2, say"),
        ({"seed": -1}, "seed is -1, must be at least 0\n  where: seed\n  fix: correct seed"),
        ({"zoom": 0.9}, "zoom is 0.9, must be at least 1\n  where: zoom\n  fix: correct zoom"),
        ({"flip": 1.5}, "flip is 1.5, must be from 0 to 1\n  where: flip\n  fix: correct flip"),
        ({"warm_up": 1.0}, "warm_up is 1.0, must be from 0.01 to 0.99\n  where: warm_up\n  fix: correct warm_up"),
        ({"crop_scale": 0}, "crop_scale is 0, must be from 0.01 to 1\n  where: crop_scale\n  fix: correct crop_scale"),
        (
            {"model": "leson-cnn"},
            'model is "leson-cnn", which is not known\n  where: model\n'
            '  fix: did you mean "lesson-cnn"? known: lesson-cnn, mini, xresnet18, xresnet34, xresnet50, xresnext50,'
            ' xse-resnet50, xse-resnext50; or write "package.module:function" for one of your own',
        ),
        (
            {"opt": "sdg"},
            'opt is "sdg", which is not known\n  where: opt\n  fix: did you mean "sgd"? known: adabound, adafactor,'
            " adam, adamw, lamb, lars, momentum, muon, nadam, nvlamb, radam, ranger, rmsprop, sgd",
        ),
        (
            {"opt": "adafactor", "momentum": 0.8},
            "momentum is 0.8, which adafactor does not have\n  where: momentum\n"
            "  fix: leave momentum out, or choose another opt",
        ),
        (
            {"device": "cupa"},
            'device is "cupa", which is not known\n  where: device\n'
            '  fix: did you mean "cuda"? known: auto, cpu, cuda, mps',
        ),
        (
            {"precision": "bf17"},
            'precision is "bf17", which is not known\n  where: precision\n'
            '  fix: did you mean "bf16"? known: auto, bf16, fp32',
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_key(values, text):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**values)

    assert str(caught.value) == text


def test_the_defaults_and_their_edges_are_fine():
    assert TrainConfig() == TrainConfig.from_dict({})
    assert TrainConfig(epochs=1, size=1, batch_size=1, seed=0, zoom=1.0, flip=0.0, crop_scale=1.0).epochs == 1


@pytest.mark.parametrize("opt", list(OPTIMIZERS))
def test_every_optimizer_gets_the_hypers_that_it_has(opt):
    config = TrainConfig(opt=opt)

    made = OPTIMIZERS[opt]([torch.nn.Parameter(torch.zeros(2, 2))], lr=config.lr, **config.opt_hypers)

    assert {key: made.param_groups[0][key] for key in config.opt_hypers} == config.opt_hypers


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"epoch": 5})

    assert str(caught.value).startswith(
        'epoch is no setting of a training run\n  where: epoch\n  fix: did you mean "epochs"?'
    )


@settings(deadline=None)
@given(lr=st.floats(1e-8, 10), epochs=st.integers(1, 1000), momentum=st.floats(0, 0.999))
def test_toml_gives_the_same_config_back(lr, epochs, momentum):
    config = TrainConfig(lr=lr, epochs=epochs, momentum=momentum)

    assert TrainConfig.from_dict(tomllib.loads(config.to_toml())) == config


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("lr = 0.5\nepochs = 7\n")

    config = resolve_config({"lr": 0.1, "epochs": None}, file=file)

    assert (config.lr, config.epochs, config.size) == (0.1, 7, 128)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("lr = ", "not a TOML file: Invalid value (at end of document)\n  where: FILE\n  fix: write key = value lines"),
        ("epochs = 0", "epochs is 0, must be at least 1\n  where: FILE: epochs\n  fix: correct epochs"),
        (
            'epochs = "5"',
            "epochs is '5', must be of type int\n  where: FILE: epochs\n  fix: correct the type of epochs",
        ),
        ("lr = true", "lr is True, must be of type float\n  where: FILE: lr\n  fix: correct the type of lr"),
    ],
)
def test_a_bad_file_is_told_by_its_name_and_key(tmp_path, content, text):
    file = tmp_path / "run.toml"
    file.write_text(content)

    with pytest.raises(ConfigError) as caught:
        resolve_config({}, file=file)

    assert str(caught.value) == text.replace("FILE", str(file))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError) as caught:
        resolve_config({}, file=tmp_path / "none.toml")

    assert str(caught.value) == (
        f"the file cannot be read: No such file or directory\n  where: {tmp_path / 'none.toml'}\n"
        "  fix: give the path of a TOML file of settings"
    )
