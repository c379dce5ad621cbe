"""A training configuration that cannot be does not exist."""

import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ConfigError
from imagekit.optim.presets import OPTIMIZERS
from imagekit.training.config import OPT_DEFAULTS, TrainConfig


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
        ({"warp": 0.7}, "warp is 0.7, must be from 0 to 0.6\n  where: warp\n  fix: correct warp"),
        ({"ema": 1.0}, "ema is 1.0, must be from 0 to 0.999999\n  where: ema\n  fix: correct ema"),
        (
            {"schedule": "onecycle"},
            'schedule is "onecycle", which is not known\n  where: schedule\n'
            '  fix: did you mean "one-cycle"? known: constant, flat-cosine, linear, one-cycle',
        ),
        (
            {"freeze": "boddy"},
            'freeze is "boddy", which is not known\n  where: freeze\n  fix: did you mean "body"? known: body, none',
        ),
        (
            {"mixup": 0.4, "cutmix": 1.0},
            "mixup is 0.4 and cutmix is 1.0, of which one can be on\n  where: mixup, cutmix\n"
            "  fix: set one of them to 0",
        ),
        (
            {"precision": "bf17"},
            'precision is "bf17", which is not known\n  where: precision\n'
            '  fix: did you mean "bf16"? known: auto, bf16, fp16, fp32',
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


def test_every_optimizer_has_a_learning_rate_of_its_own():
    assert set(OPT_DEFAULTS) == set(OPTIMIZERS)
    assert TrainConfig(opt="adamw").lr == 2e-3
    assert TrainConfig(opt="adamw", lr=0.1).lr == 0.1


def test_hypers_that_were_not_told_are_the_optimizers_own():
    sgd, adamw, adafactor = TrainConfig(), TrainConfig(opt="adamw"), TrainConfig(opt="adafactor")

    assert (sgd.lr, sgd.momentum, sgd.weight_decay) == (0.2, 0.9, 1e-4)
    assert (adamw.momentum, adamw.weight_decay) == (0.9, 0.01)
    assert adafactor.momentum is None


def test_further_hypers_of_the_optimizer_go_along():
    assert TrainConfig(opt="adam", opt_options={"eps": 1e-3}).opt_hypers == {
        "momentum": 0.9,
        "weight_decay": 0.0,
        "eps": 1e-3,
    }


def test_body_and_head_have_their_rates():
    assert TrainConfig(lr=0.1, body_lr=0.1).rates == pytest.approx([0.01, 0.1])
    assert TrainConfig(lr=0.1).rates == [0.1]
    assert TrainConfig(lr=0.1, body_lr=0.1, freeze="body").rates == [0.1]


def test_the_best_epoch_is_told_by_accuracy_or_by_that_of_the_averaged_weights():
    assert TrainConfig().best_by == "valid_accuracy"
    assert TrainConfig(ema=0.99).best_by == "valid_ema_accuracy"
    assert TrainConfig(ema=0.99, monitor="valid_loss").best_by == "valid_loss"


def test_tables_and_text_come_back_from_toml():
    config = TrainConfig(
        model_options={"nfs": [8, 16], "act": "mish"},
        opt_options={"eps": 1e-6},
        weights='odd "name"\x7f\n.pt',
        lsuv=True,
        fold=2,
    )

    assert TrainConfig.from_dict(tomllib.loads(config.to_toml())) == config


def test_what_toml_cannot_hold_is_refused():
    with pytest.raises(ConfigError) as caught:
        TrainConfig(model_options={"nfs": {1, 2}}).to_toml()

    assert str(caught.value) == (
        "{1, 2} is a set, which a settings file cannot hold\n  where: TrainConfig.to_toml\n"
        "  fix: use text, numbers, true or false, and lists of them"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lsuv": 1}, "lsuv is 1, must be of type bool\n  where: lsuv\n  fix: correct the type of lsuv"),
        (
            {"model_options": "act"},
            "model_options is 'act', must be of type table\n  where: model_options\n"
            "  fix: correct the type of model_options",
        ),
        ({"epochs": None}, "epochs is None, must be of type int\n  where: epochs\n  fix: correct the type of epochs"),
    ],
)
def test_a_value_of_another_type_is_refused(values, text):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(values)

    assert str(caught.value) == text
