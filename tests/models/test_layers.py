"""The layers and their initial weights."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn

from imagekit.models.init import init_cnn
from imagekit.models.layers import GeneralRelu, Lambda, conv_layer, flatten


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.0, 0.0, 0.5, 8.0]),
        ({"leak": 0.1}, [-0.2, -0.1, 0.5, 8.0]),
        ({"leak": 0.1, "sub": 0.4}, [-0.6, -0.5, 0.1, 7.6]),
        ({"leak": 0.1, "sub": 0.4, "max_value": 6.0}, [-0.6, -0.5, 0.1, 6.0]),
        ({"max_value": 0.0}, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_general_relu_leaks_subtracts_then_clamps(options, expected):
    result = GeneralRelu(**options)(torch.tensor([-2.0, -1.0, 0.5, 8.0]))

    assert torch.allclose(result, torch.tensor(expected))


@pytest.mark.parametrize("options", [{}, {"leak": 0.1}, {"leak": 0.1, "sub": 0.4, "max_value": 6.0}, {"sub": 0.4}])
@pytest.mark.parametrize("norm", [True, False])
def test_gradients_through_a_layer_are_right_although_it_works_in_place(options, norm):
    torch.manual_seed(0)
    layer = conv_layer(2, 3, norm=norm, **options).double()

    assert torch.autograd.gradcheck(layer, (_noise(2, 2, 4, 4).double().requires_grad_(),))


def test_subtracting_brings_the_mean_nearer_zero():
    noise = _noise(10_000)

    assert GeneralRelu(sub=0.4)(noise.clone()).mean().abs() < GeneralRelu()(noise.clone()).mean().abs() / 10


def test_a_layer_is_convolution_relu_norm_and_has_no_spare_bias():
    with_norm, without = conv_layer(3, 8), conv_layer(3, 8, norm=False)

    assert list(dict(with_norm.named_children())) == ["conv", "relu", "norm"]
    assert with_norm.conv.bias is None
    assert list(dict(without.named_children())) == ["conv", "relu"]
    assert without.conv.bias is not None


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (7, 2)])
def test_a_layer_divides_the_sides_by_its_stride_rounding_up(kernel_size, stride):
    result = conv_layer(3, 4, kernel_size, stride=stride)(_noise(2, 3, 9, 12))

    assert result.shape == (2, 4, math.ceil(9 / stride), math.ceil(12 / stride))


def test_flatten_keeps_the_batch():
    assert flatten(torch.zeros(4, 3, 2, 2)).shape == (4, 12)


def test_a_named_function_as_a_layer_saves_and_loads():
    buffer = io.BytesIO()
    torch.save(Lambda(flatten), buffer)
    buffer.seek(0)

    loaded = torch.load(buffer, weights_only=False)

    assert loaded(torch.zeros(4, 3, 2, 2)).shape == (4, 12)
    assert repr(loaded) == "Lambda(flatten)"


def test_layers_print_their_settings():
    assert repr(GeneralRelu(leak=0.1, sub=0.4, max_value=6.0)) == "GeneralRelu(leak=0.1, sub=0.4, max_value=6.0)"


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(("leak", "gain"), [(0.0, math.sqrt(2)), (0.1, 1.4071950), (1.0, 1.0)])
def test_initial_weights_have_the_kaiming_deviation_at_any_depth(uniform, leak, gain):
    model = nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(32, 256, 5))), nn.Conv2d(64, 128, 3))

    init_cnn(model, leak=leak, uniform=uniform, generator=torch.Generator().manual_seed(0))

    for module, fan_in in ((model[0][0][0], 32 * 25), (model[1], 64 * 9)):
        std = gain / math.sqrt(fan_in)
        assert module.weight.std().item() == pytest.approx(std, rel=0.02)
        assert abs(module.weight.mean().item()) < 5 * std / math.sqrt(module.weight.numel())
        assert (module.weight.abs().max() <= math.sqrt(3) * std).item() is uniform
        assert module.bias.abs().max() == 0


def test_initial_weights_leave_other_layers_alone():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    before = {key: value.clone() for key, value in model.state_dict().items()}

    init_cnn(model)

    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"0.weight", "0.bias"}


def test_a_generator_makes_the_initial_weights_repeatable():
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)

    init_cnn(first, generator=torch.Generator().manual_seed(1))
    init_cnn(second, generator=torch.Generator().manual_seed(1))

    assert torch.equal(first.weight, second.weight)


def test_the_signal_keeps_its_size_through_ten_layers():
    layers = nn.Sequential(*(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()) for _ in range(10)))
    init_cnn(layers, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        result = layers(_noise(4, 64, 16, 16))

    # the mean square stays near 1 up to the edges' zeros, where torch's own initialisation ends near 1e-8
    assert 0.1 < result.square().mean() < 3
