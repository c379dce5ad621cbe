"""Flag, file, preset, default: the first that says something wins, and is named."""

from __future__ import annotations

import tomllib

import pytest

from imagekit.errors import ConfigError
from imagekit.training.config import TrainConfig
from imagekit.training.presets import PRESETS
from imagekit.training.settings import resolve_config, resolve_settings


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("lr = 0.5\nepochs = 7\n")

    config = resolve_config({"lr": 0.1, "epochs": None}, file=file)

    assert (config.lr, config.epochs, config.size) == (0.1, 7, 128)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("lr = ", "not a TOML file: Invalid value (at end of document)\n  where: FILE\n  fix: write key = value lines"),
        ("epochs = 0", "epochs is 0, must be at least 1\n  where: FILE: epochs\n  fix: give 1 or more"),
        (
            'epochs = "5"',
            "epochs is '5', must be of type int\n  where: FILE: epochs\n  fix: give a whole number, as in epochs = 5",
        ),
        ("lr = true", "lr is True, must be of type float\n  where: FILE: lr\n  fix: give a number"),
        (
            "lr = -1\nflip = 2",
            "2 settings cannot be:\n"
            "- flip is 2, must be from 0 to 1\n    where: flip\n    fix: give a value from 0 to 1\n"
            "- lr is -1, must be above 0\n    where: lr\n    fix: give --lr 0.2, say\n  where: FILE",
        ),
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


def test_every_value_has_the_origin_that_said_it_first(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("epochs = 7\nbatch_size = 8\n")

    settings = resolve_settings({"batch_size": 4}, sets=["mixup=0.4"], file=file, preset="lesson-cnn")

    config, origins = settings.config, settings.origins
    assert (config.batch_size, config.mixup, config.epochs, config.lr, config.ema) == (4, 0.4, 7, 0.3, 0.0)
    assert {key: origins[key] for key in ("batch_size", "mixup", "epochs", "lr", "ema")} == {
        "batch_size": "flag",
        "mixup": "flag",
        "epochs": f"file {file}",
        "lr": "preset lesson-cnn",
        "ema": "default",
    }
    assert set(origins) == set(config.to_dict())


def test_hypers_that_nobody_told_are_the_optimizers():
    settings = resolve_settings({"opt": "adamw"})

    assert (settings.config.lr, settings.origins["lr"]) == (2e-3, "default of adamw")


def test_another_optimizer_sets_aside_what_was_meant_for_the_first(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('opt = "sgd"\nlr = 0.3\nmomentum = 0.8\nepochs = 9\n')

    config = resolve_config({"opt": "adamw"}, file=file)

    assert (config.lr, config.momentum, config.weight_decay, config.epochs) == (2e-3, 0.9, 0.01, 9)


def test_another_model_sets_aside_the_options_of_the_first():
    config = resolve_config({"model": "mini"}, preset="lesson-adam")

    assert (config.model, dict(config.model_options), config.opt) == ("mini", {}, "adam")


def test_options_of_the_model_are_joined_key_by_key(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[model_options]\nact = "mish"\nnfs = [8]\n')

    settings = resolve_settings({}, sets=["model_options.act=silu"], file=file)

    assert settings.config.model_options == {"act": "silu", "nfs": [8]}
    origins = {key: origin for key, origin in settings.origins.items() if key.startswith("model_options")}
    assert origins == {
        "model_options": f"flag, file {file}",
        "model_options.act": "flag",
        "model_options.nfs": f"file {file}",
    }
    assert f'act = "silu"  # flag\nnfs = [8]  # file {file}\n' in settings.to_toml()


def test_a_table_comes_from_those_alone_who_said_something_of_it_first(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[model_options]\nnfs = [8]\n")

    settings = resolve_settings({}, file=file, preset="lesson-adam")

    assert (settings.origins["model_options"], settings.origins["model_options.nfs"]) == (f"file {file}",) * 2
    assert f"nfs = [8]  # file {file}\n" in settings.to_toml()
    assert settings.to_dict()["model_options"] == {"value": {"nfs": [8]}, "origin": f"file {file}"}


@pytest.mark.parametrize(
    ("given", "sets", "text"),
    [
        (
            {"lr": 0.016},
            ["lr=0.1"],
            "lr is told twice: by --lr 0.016 and by --set lr=0.1\n  where: --set lr\n  fix: leave one of them out",
        ),
        (
            {"balance": True},
            ["balance=false"],
            "balance is told twice: by --balance and by --set balance=false\n  where: --set balance\n"
            "  fix: leave one of them out",
        ),
        (
            {"batch_size": 4},
            ["batch_size = 4"],
            "batch_size is told twice: by --batch-size 4 and by --set batch_size = 4\n  where: --set batch_size\n"
            "  fix: leave one of them out",
        ),
        (
            {},
            ["model_options.act=mish", "model_options={act = 'silu'}"],
            "model_options.act is told twice: by --set model_options.act=mish and by --set model_options={act = 'silu'}"
            "\n  where: --set model_options.act\n  fix: leave one of them out",
        ),
    ],
)
def test_a_key_that_is_told_twice_is_refused(given, sets, text):
    with pytest.raises(ConfigError) as caught:
        resolve_settings(given, sets=sets)

    assert str(caught.value) == text


def test_two_keys_of_a_table_may_be_set_and_a_flag_that_was_not_given_may_too():
    settings = resolve_settings({"lr": None}, sets=["model_options.act=mish", "model_options.nfs=[8]", "lr=0.1"])

    assert (settings.config.model_options, settings.config.lr) == ({"act": "mish", "nfs": [8]}, 0.1)


def test_what_is_not_set_is_printed_as_a_comment_and_odd_keys_in_quotes(tmp_path):
    file = tmp_path / "odd\nname.toml"
    file.write_text("fold = 2\n")

    settings = resolve_settings({}, sets=["model_options.a b=1"], file=file)

    text = settings.to_toml()
    assert TrainConfig.from_dict(tomllib.loads(text)) == settings.config
    assert "\n# weights =  # default\n" in text
    assert "\n# monitor =  # default\n" in text
    assert "\n# [opt_options]  # default\n" in text
    assert '\n[model_options]\n"a b" = 1  # flag\n' in text
    assert f"\nfold = 2  # file {tmp_path}/odd?name.toml\n" in text


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [("mixup=0.4", "mixup", 0.4), ("schedule=linear", "schedule", "linear"), ("lsuv = true", "lsuv", True),
     ('precision="fp32"', "precision", "fp32"), ("model_options.nfs=[8, 16]", "model_options", {"nfs": [8, 16]})],
)  # fmt: skip
def test_a_set_is_toml_or_a_bare_word(text, key, value):
    assert resolve_config({}, preset=None) == TrainConfig()
    assert getattr(resolve_settings({}, sets=[text]).config, key) == value


def test_a_set_that_is_none_is_refused():
    with pytest.raises(ConfigError) as caught:
        resolve_settings({}, sets=["mixup"])

    assert str(caught.value) == (
        '--set got "mixup", which is no KEY=VALUE\n  where: --set\n'
        "  fix: write --set mixup=0.4 or --set model_options.act=mish, say"
    )


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        resolve_settings({}, preset="lesson")

    assert str(caught.value) == (
        'preset is "lesson", which is not known\n  where: preset\n'
        '  fix: did you mean "lesson-cnn"? known: cnn-5, imagenette-5, imagenette-5-cpu, lesson-adam, lesson-cnn, '
        "lesson-lamb, lesson-lsuv, xresnet18-5"
    )


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_config(name):
    config = resolve_config({}, preset=name)

    assert TrainConfig.from_dict(tomllib.loads(config.to_toml())) == config


def test_the_printed_settings_are_toml_with_origins_and_give_the_same_config():
    settings = resolve_settings({"weights": "a # b.pt"}, preset="lesson-adam")

    text = settings.to_toml()

    assert TrainConfig.from_dict(tomllib.loads(text)) == settings.config
    assert 'weights = "a # b.pt"  # flag\n' in text
    assert "lr = 0.001  # preset lesson-adam\n" in text
    assert "nfs = [32, 64, 128, 256]  # preset lesson-adam\n" in text
    assert settings.summary() == text.rstrip("\n")
    assert settings.to_dict()["lr"] == {"value": 0.001, "origin": "preset lesson-adam"}
