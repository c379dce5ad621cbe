"""A training configuration that cannot be does not exist."""

import math
import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.batch.erase import RandomErasing
from imagekit.batch.geometry import Rotate, Warp, Zoom
from imagekit.batch.lighting import Brightness, Contrast, Saturation
from imagekit.callbacks.mix import CutMix, MixUp
from imagekit.errors import ConfigError, did_you_mean
from imagekit.optim.presets import OPTIMIZERS
from imagekit.training.config import OPT_DEFAULTS, TrainConfig
from imagekit.training.limits import BOUNDS, BOUNDS_OR_OFF


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epochs": 0}, "epochs is 0, must be at least 1\n  where: epochs\n  fix: give 1 or more"),
        ({"clip": math.inf}, "clip is inf, must be at least 0 and finite\n  where: clip\n  fix: give 0 or more"),
        ({"clip": math.nan}, "clip is nan, must be at least 0\n  where: clip\n  fix: give 0 or more"),
        ({"lr": 0.0}, "lr is 0.0, must be above 0\n  where: lr\n  fix: give --lr 0.2, say"),
        ({"lr": math.inf}, "lr is inf, must be above 0 and finite\n  where: lr\n  fix: give --lr 0.2, say"),
        (
            {"seed": 2**63},
            "seed is 9223372036854775808, must be from 0 to 9223372036854775807\n  where: seed\n"
            "  fix: give a value from 0 to 9223372036854775807",
        ),
        (
            {"decay_bias": False, "body_lr": 0.1},
            "decay_bias is off and body_lr is 0.1: each divides the parameters into groups of its own\n"
            "  where: decay_bias, body_lr\n  fix: leave one of them out",
        ),
        (
            {"valid_every": 2, "monitor": "train_loss"},
            "valid_every is 2 and monitor is train_loss: the best epoch may have no accuracy\n"
            "  where: valid_every, monitor\n  fix: monitor a column of validation, or validate every epoch",
        ),
        (
            {"valid_every": 2, "keep_best": 1},
            "valid_every is 2 and keep_best is 1, which needs the accuracy of every epoch\n"
            "  where: valid_every, keep_best\n  fix: set valid_every = 1, or keep_best = 0",
        ),
        (
            {"start_size": 160, "size": 128},
            "start_size is 160 and size is 128: images grow while training, they do not shrink\n"
            "  where: start_size, size\n"
            "  fix: give a start_size below size, three quarters of it say, or 0 to do without",
        ),
        (
            {"presize": 100, "size": 128},
            "presize is 100 and size is 128: no crop of 128 pixels can be taken out of it\n  where: presize, size\n"
            "  fix: give a presize of 128 or more, a quarter more say, or 0 to do without",
        ),
        (
            {"mixup": 0.001},
            "mixup is 0.001, must be 0, or from 0.01 to 100\n  where: mixup\n"
            "  fix: give 0 to do without, or a value from 0.01 to 100",
        ),
        (
            {"model": "leson-cnn"},
            'model is "leson-cnn", which is not known\n  where: model\n'
            '  fix: did you mean "lesson-cnn"? known: lesson-cnn, mini, xresnet18, xresnet26, xresnet34, xresnet50,'
            ' xresnext50, xse-resnet50, xse-resnext50; or write "package.module:function" for one of your own',
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
            {"device": "cuda:foo"},
            'device is "cuda:foo", which is no kind and number\n  where: device\n'
            "  fix: give cuda, say, or cuda:1 for the second of several",
        ),
        (
            {"device": "cupa"},
            'device is "cupa", which is not known\n  where: device\n'
            '  fix: did you mean "cuda"? known: auto, cpu, cuda, mps',
        ),
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
            {"lsuv": True, "weights": "w.pt"},
            'lsuv is on and weights is "w.pt", which it would overwrite\n  where: lsuv, weights\n'
            "  fix: leave one of them out",
        ),
        (
            {"freeze": "body", "body_lr": 0.1},
            "body_lr is 0.1 and freeze is body: what is held still learns at no rate\n  where: body_lr, freeze\n"
            "  fix: leave one of them out",
        ),
        (
            {"model_options": {"c_in": 3}},
            "model_options holds c_in, which the run gives itself\n  where: model_options.c_in\n  fix: leave c_in out",
        ),
        (
            {"opt_options": {"momentum": 0.8}},
            "opt_options holds momentum, which the run gives itself\n  where: opt_options.momentum\n"
            "  fix: give the setting momentum instead",
        ),
        (
            {"model_options": {"nfs": {1, 2}}},
            "{1, 2} is a set, which a settings file cannot hold\n  where: model_options.nfs\n"
            "  fix: use text, numbers, true or false, and lists of them",
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


@pytest.mark.parametrize(("key", "bounds"), BOUNDS.items())
def test_a_number_may_be_its_bounds_and_nothing_beyond(key, bounds):
    low, high = bounds
    is_whole = isinstance(TrainConfig.__dataclass_fields__[key].default, int) or key == "fold"
    above = math.inf if math.isinf(high) and not is_whole else high + (1 if is_whole else 0.0001)

    assert getattr(TrainConfig(**{key: low}), key) == low
    with pytest.raises(ConfigError, match=f"^{key} is .*, must be ") as below:
        TrainConfig(**{key: low - (1 if is_whole else 0.0001)})

    if math.isinf(high):
        assert below.value.fix == f"give {low} or more"
    else:
        assert getattr(TrainConfig(**{key: high}), key) == high
        assert below.value.what.endswith(f", must be from {low} to {high}")
        assert below.value.fix == f"give a value from {low} to {high}"
    if above < math.inf or not is_whole:
        with pytest.raises(ConfigError, match=f"^{key} is .*, must be "):
            TrainConfig(**{key: above})


def test_the_bounds_are_those_of_the_transforms():
    places = {
        "degrees": Rotate.hypers["max_degrees"],
        "warp": Warp.hypers["magnitude"],
        "brightness": Brightness.hypers["max_change"],
        "contrast": Contrast.hypers["max_change"],
        "saturation": Saturation.hypers["max_change"],
        "erase": RandomErasing.hypers["p"],
        "zoom": (1.0, Zoom.hypers["max_zoom"][1]),  # below 1 would make images smaller
    }

    assert {key: BOUNDS[key] for key in places} == places
    for alpha in BOUNDS_OR_OFF["mixup"]:
        assert (MixUp(n_classes=2, alpha=alpha).alpha, CutMix(n_classes=2, alpha=alpha).alpha) == (alpha, alpha)
    for beyond in (0.009, 100.1):
        with pytest.raises(ConfigError, match=r"alpha is .*, must be from 0\.01 to 100"):
            MixUp(n_classes=2, alpha=beyond)


def test_all_that_cannot_be_is_told_at_once():
    settings = did_you_mean("foo", TrainConfig().to_dict())

    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"epochs": "5", "clip": -1, "mixup": 500, "foo": 1, "opt": "sgdd", "momentum": 0.5})

    assert str(caught.value) == (
        "5 settings cannot be:\n"
        f"- foo is no setting of a training run\n    where: foo\n    fix: {settings}\n"
        "- epochs is '5', must be of type int\n    where: epochs\n    fix: give a whole number, as in epochs = 5\n"
        '- opt is "sgdd", which is not known\n    where: opt\n    fix: did you mean "sgd"? known: adabound, adafactor,'
        " adam, adamw, lamb, lars, momentum, muon, nadam, nvlamb, radam, ranger, rmsprop, sgd\n"
        "- clip is -1, must be at least 0\n    where: clip\n    fix: give 0 or more\n"
        "- mixup is 500, must be 0, or from 0.01 to 100\n    where: mixup\n"
        "    fix: give 0 to do without, or a value from 0.01 to 100"
    )


def test_the_neighbours_of_what_is_refused_are_fine():
    assert TrainConfig() == TrainConfig.from_dict({})
    assert TrainConfig(model_options={"width": 3, "inner": {"a b": [1]}}).model_options["width"] == 3
    assert TrainConfig(weights="w.pt").weights == "w.pt"
    assert TrainConfig(freeze="body").rates == [0.2]
    assert TrainConfig(mixup=0.4, device="cuda:1").device == "cuda:1"


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


def test_the_best_epoch_is_told_by_accuracy_or_by_that_of_the_averaged_weights():
    assert TrainConfig().best_by == "valid_accuracy"
    assert TrainConfig(ema=0.99).best_by == "valid_ema_accuracy"
    assert TrainConfig(ema=0.99, monitor="valid_loss").best_by == "valid_loss"


def test_tables_and_text_come_back_from_toml():
    config = TrainConfig(
        model_options={"nfs": [8, 16], "act": "mish", "a b": 1, 'a."b"': {"c d": [True]}},
        opt_options={"eps": 1e-6},
        weights='odd "name"\x7f\n\u2028.pt',
        fold=2,
    )

    assert TrainConfig.from_dict(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lsuv": 1}, "lsuv is 1, must be of type bool\n  where: lsuv\n  fix: give true or false, as in lsuv = false"),
        ({"weights": 1}, "weights is 1, must be of type str\n  where: weights\n  fix: give text"),
        ({"opt": 1}, 'opt is 1, must be of type str\n  where: opt\n  fix: give text, as in opt = "sgd"'),
        ({"zoom": "1"}, "zoom is '1', must be of type float\n  where: zoom\n  fix: give a number, as in zoom = 1.0"),
        (
            {"model_options": "act"},
            "model_options is 'act', must be of type table\n  where: model_options\n"
            "  fix: give a table, as in model_options.NAME = VALUE",
        ),
        (
            {"epochs": None},
            "epochs is None, must be of type int\n  where: epochs\n  fix: give a whole number, as in epochs = 5",
        ),
    ],
)
def test_a_value_of_another_type_is_refused(values, text):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(values)
    with pytest.raises(ConfigError) as made:
        TrainConfig(**values)

    assert str(caught.value) == str(made.value) == text
