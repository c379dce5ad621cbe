"""The lessons' CNN."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imagekit.errors import ConfigError
from imagekit.models.cnn import get_cnn_layers, lesson_cnn, prev_pow_2
from imagekit.models.layers import conv_layer
from imagekit.models.norm import RunningBatchNorm
from imagekit.models.registry import create_model


@pytest.mark.parametrize(("x", "expected"), [(1, 1), (8, 8), (9, 8), (27, 16), (36, 32), (117, 64)])
def test_prev_pow_2_is_the_largest_power_of_two_not_above(x, expected):
    assert prev_pow_2(x) == expected


def test_prev_pow_2_of_nothing_is_refused():
    with pytest.raises(ConfigError) as caught:
        prev_pow_2(0)

    assert str(caught.value) == (
        "x is 0, must be at least 1\n  where: prev_pow_2\n  fix: pass a whole number of at least 1"
    )


@pytest.mark.parametrize(
    ("nfs", "n_parameters"),
    [
        ([64, 64, 128, 256], 469_658),
        ([32, 64, 128, 256], 432_730),
        ([32] * 4, 70_362),
        ([32, 64, 128, 256, 512], 1_615_962),
    ],
)
def test_the_lesson_models_have_the_lessons_parameter_counts(nfs, n_parameters):
    assert sum(parameter.numel() for parameter in lesson_cnn(3, 10, nfs).parameters()) == n_parameters


def test_the_default_model_has_the_lessons_shapes():
    x, shapes = torch.zeros(2, 3, 128, 128), []

    for layer in lesson_cnn().eval():
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))

    assert shapes == [
        (16, 128, 128),
        (32, 64, 64),
        (64, 32, 32),
        (64, 16, 16),
        (64, 8, 8),
        (128, 4, 4),
        (256, 2, 2),
        (256, 1, 1),
        (256,),
        (10,),
    ]


@pytest.mark.parametrize("c_in", [1, 3, 4, 13])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1)])
def test_any_number_of_channels_and_any_size_of_image_works(c_in, size):
    model = create_model("lesson-cnn", c_in=c_in, c_out=7).eval()

    assert model(torch.zeros(2, c_in, *size)).shape == (2, 7)


def test_another_layer_can_be_put_in():
    layers = get_cnn_layers(c_in=1, c_out=2, nfs=[4], layer=conv_layer, leak=0.1, sub=0.4)

    assert [type(layer).__name__ for layer in layers] == ["Sequential"] * 4 + ["AdaptiveAvgPool2d", "Lambda", "Linear"]
    assert repr(layers[0].relu) == "GeneralRelu(leak=0.1, sub=0.4, max_value=None)"


def test_the_model_takes_the_options_of_its_layers():
    model = create_model("lesson-cnn", c_in=1, c_out=2, nfs=[4], norm="running", leak=0.1, sub=0.4, max_value=6.0)

    assert repr(model[3].relu) == "GeneralRelu(leak=0.1, sub=0.4, max_value=6.0)"
    assert [type(layer.norm) for layer in model[:4]] == [RunningBatchNorm] * 4
    assert type(create_model("lesson-cnn", c_in=1, c_out=2, act="mish")[0].relu) is nn.Mish


def test_a_leak_makes_the_initial_weights_smaller():
    model = create_model("lesson-cnn", c_in=3, c_out=10, leak=1.0)

    assert model[5].conv.weight.std().item() == pytest.approx((1 / (64 * 9)) ** 0.5, rel=0.05)


def test_convolutions_start_with_the_deviation_of_a_plain_relu():
    model = create_model("lesson-cnn", c_in=3, c_out=10)

    for layer in list(model)[3:7]:
        fan_in = layer.conv.weight[0].numel()
        assert layer.conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_the_model_trains_in_bfloat16_and_channels_last():
    model = create_model("lesson-cnn", c_in=3, c_out=10).to(memory_format=torch.channels_last)
    batch = torch.rand(8, 3, 64, 64).to(memory_format=torch.channels_last)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(batch), torch.arange(8))
    loss.backward()

    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_model_can_learn_a_few_images_by_heart():
    model, generator = create_model("lesson-cnn", c_in=3, c_out=4, nfs=[32]), torch.Generator().manual_seed(0)
    batch, target = torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch), target)
        loss.backward()
        optimizer.step()

    assert loss < 0.1


def test_a_model_saves_and_loads_by_its_state(tmp_path):
    model = create_model("lesson-cnn", c_in=3, c_out=10)
    torch.save(model.state_dict(), tmp_path / "weights.pt")

    other = create_model("lesson-cnn", c_in=3, c_out=10, seed=1)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))

    batch = torch.rand(2, 3, 32, 32)
    assert torch.equal(other.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"c_in": 0}, "c_in", 0),
        ({"c_out": -1}, "c_out", -1),
        ({"c_out": 2.0}, "c_out", 2.0),
        ({"nfs": [64, 0]}, "nfs[1]", 0),
    ],
)
def test_a_count_below_one_is_refused(options, name, value):
    with pytest.raises(ConfigError) as caught:
        create_model("lesson-cnn", **{"c_in": 3, "c_out": 10, **options})

    assert str(caught.value) == (
        f"{name} is {value!r}, must be a whole number of at least 1\n"
        f"  where: lesson-cnn: {name}\n"
        f"  fix: set {name} to 1 or more"
    )


def test_a_model_without_widths_is_refused():
    with pytest.raises(ConfigError) as caught:
        create_model("lesson-cnn", c_in=3, c_out=10, nfs=[])

    assert str(caught.value) == (
        "nfs is empty, must name at least one width\n"
        "  where: lesson-cnn: nfs\n"
        "  fix: set nfs = [64, 64, 128, 256], or leave it out"
    )
