"""The layers and their initial weights."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.init import init_cnn, init_layer
from imagekit.models.layers import (
    BlurPool,
    GeneralRelu,
    Lambda,
    MaxBlurPool,
    SameConv2d,
    conv_layer,
    conv_norm_act,
    flatten,
    make_act,
    max_pool,
)


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
@pytest.mark.parametrize("norm", ["batch", None])
def test_gradients_through_a_layer_are_right_although_it_works_in_place(options, norm):
    torch.manual_seed(0)
    layer = conv_layer(2, 3, norm=norm, **options).double()

    assert torch.autograd.gradcheck(layer, (_noise(2, 2, 4, 4).double().requires_grad_(),))


def test_subtracting_brings_the_mean_nearer_zero():
    noise = _noise(10_000)

    assert GeneralRelu(sub=0.4)(noise.clone()).mean().abs() < GeneralRelu()(noise.clone()).mean().abs() / 10


def test_a_layer_is_convolution_relu_norm_and_has_no_spare_bias():
    with_norm, without = conv_layer(3, 8), conv_layer(3, 8, norm=None)

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
    assert repr(GeneralRelu()) == "GeneralRelu(leak=0.0, sub=0.0, max_value=None)"
    assert repr(BlurPool(8, kernel_size=5)) == "BlurPool(8, stride=2, kernel_size=5)"


def test_layers_without_numbers_print_too():
    with torch.device("meta"):
        layer = GeneralRelu(sub=0.4)

    assert repr(layer) == "GeneralRelu(leak=0.0, sub=?, max_value=None)"


# what is taken off behind a rectifier, in a state


def test_a_state_holds_what_is_taken_off_where_something_is():
    assert GeneralRelu(sub=0.4).state_dict() == {"sub": torch.tensor(0.4)}
    assert GeneralRelu().state_dict() == {}


@pytest.mark.parametrize("sub", [0.0, 0.25])
def test_a_state_that_takes_something_off_loads_into_any_layer(sub):
    layer = conv_layer(3, 4, sub=sub)

    layer.load_state_dict(conv_layer(3, 4, sub=0.5).state_dict())

    assert layer.relu.sub.item() == 0.5
    assert layer.relu(torch.zeros(2)).tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("sub", [0.0, 0.25])
def test_a_state_that_takes_nothing_off_loads_into_any_layer(sub):
    layer = conv_layer(3, 4, sub=sub)

    layer.load_state_dict(conv_layer(3, 4).state_dict())

    assert layer.relu.sub is None


def test_what_is_taken_off_changes_its_type_with_the_layer():
    layer = conv_layer(3, 4, sub=0.5).double()

    assert layer(_noise(2, 3, 4, 4).double()).dtype == torch.float64
    assert layer.relu.sub.dtype == torch.float64


# convolutions of images smaller than their kernel


@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
@settings(deadline=None, max_examples=60)
def test_a_convolution_of_an_image_of_any_size_is_torchs(kernel_size, stride, groups, size):
    ours = SameConv2d(4, 6, kernel_size, stride=stride, groups=groups).double()
    theirs = nn.Conv2d(4, 6, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups).double()
    theirs.load_state_dict(ours.state_dict())
    x = _noise(2, 4, *size).double()

    found = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.square().sum().backward()
        found.append((y, leaf.grad, layer.weight.grad, layer.bias.grad))

    assert all(torch.allclose(ours, theirs) for ours, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("is_channels_last", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("n_in", [3, 64])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (9, 1)])
def test_weights_that_see_padding_only_have_a_gradient_of_zero_in_bfloat16(size, n_in, stride, is_channels_last):
    order = torch.channels_last if is_channels_last else torch.contiguous_format
    layer, x = (
        SameConv2d(64, 64, 3, stride=stride).to(memory_format=order),
        _noise(2, 64, *size).to(memory_format=order),
    )

    for _ in range(3):
        layer.zero_grad()
        # memory that is given back full of what must not be read
        for dtype in (torch.float32, torch.bfloat16):
            torch.full(layer.weight.shape, math.nan, dtype=dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x).float().square().sum().backward()

        unseen = layer.weight.grad.clone()
        unseen[:, :, 1 - (size[0] > 1) : 2 + (size[0] > 1), 1 - (size[1] > 1) : 2 + (size[1] > 1)] = 0
        assert layer.weight.grad.isfinite().all()
        assert unseen.abs().max() == 0


# norm and activation by name


@pytest.mark.parametrize("norm", ["running", nn.SyncBatchNorm])
@pytest.mark.parametrize("act", ["relu", "mish", "silu", nn.GELU])
def test_a_layer_takes_a_norm_and_an_activation_by_name_or_function(norm, act):
    first, second = conv_layer(3, 8, norm=norm, act=act), conv_norm_act(3, 8, norm=norm, act=act)

    assert list(dict(first.named_children())) == ["conv", "relu", "norm"]
    assert list(dict(second.named_children())) == ["conv", "norm", "act"]
    assert type(first.relu) is type(second.act) is type(make_act(act))
    assert type(first.norm) is type(second.norm)


def test_the_order_of_resnets_is_convolution_norm_activation():
    layer, x = conv_norm_act(3, 4, stride=2), _noise(2, 3, 8, 8)

    result = layer(x)

    assert torch.equal(result, layer.norm(layer.conv(x)).relu())
    assert result.shape == (2, 4, 4, 4)
    assert layer.conv.bias is None


def test_norm_and_activation_can_be_left_out():
    layer = conv_norm_act(3, 4, norm=None, act=None)

    assert list(dict(layer.named_children())) == ["conv"]
    assert layer.conv.bias is not None


def test_a_norm_can_start_at_zero():
    layer = conv_norm_act(3, 4, zero_norm=True, act=None)

    assert layer(_noise(2, 3, 4, 4)).abs().max() == 0


@pytest.mark.parametrize(("norm", "text"), [(None, "None"), (nn.Identity, "Identity()")])
def test_a_norm_without_a_weight_cannot_start_at_zero(norm, text):
    with pytest.raises(ConfigError) as caught:
        conv_norm_act(3, 4, norm=norm, zero_norm=True)

    assert str(caught.value) == (
        f"norm is {text}, must have a weight, which a residual block starts at 0\n"
        "  where: norm\n"
        '  fix: write norm="batch", say'
    )


@pytest.mark.parametrize("make", [conv_layer, conv_norm_act])
def test_grouped_convolutions_have_fewer_weights(make):
    assert make(8, 16, groups=4).conv.weight.shape == (16, 2, 3, 3)


def test_an_unknown_activation_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        conv_layer(3, 4, act="Mesh")

    assert str(caught.value) == (
        'act is "Mesh", which is not known\n  where: act\n  fix: did you mean "mish"? known: mish, relu, silu'
    )


@pytest.mark.parametrize(("act", "text"), [(nn.GELU(), "GELU(approximate='none')"), (3, "3")])
def test_what_makes_no_activation_is_refused(act, text):
    with pytest.raises(ConfigError) as caught:
        make_act(act)

    assert str(caught.value) == (
        f"act is {text}, must be a name, or a function that makes a module\n"
        "  where: act\n"
        '  fix: write act="relu" or act=nn.GELU, say; known: mish, relu, silu'
    )


def test_settings_of_the_relu_are_refused_with_another_activation():
    with pytest.raises(ConfigError) as caught:
        conv_layer(3, 4, act="mish", leak=0.1)

    assert str(caught.value) == (
        "leak=0.1, sub=0.0, max_value=None with act='mish': only relu has them\n"
        "  where: act\n"
        '  fix: leave them out, or write act="relu"'
    )


@pytest.mark.parametrize(("size", "where", "fix"), [(2, "kernel_size", "1 or 3"), (0, "kernel_size", "1 or 3")])
@pytest.mark.parametrize("make", [conv_layer, conv_norm_act])
def test_an_even_kernel_is_refused(make, size, where, fix):
    with pytest.raises(ConfigError) as caught:
        make(3, 4, size)

    assert str(caught.value) == (
        f"kernel_size is {size}, must be odd: it has a middle\n  where: {where}\n  fix: use {fix}"
    )


# blur


def test_a_blur_has_the_binomial_filter():
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 16

    result = BlurPool(1, stride=1)(point)

    assert result[0, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert result.sum() == 16


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (2, 3), (7, 7), (8, 9)])
def test_a_blur_keeps_a_flat_image_flat_and_halves_the_sides_rounding_up(kernel_size, size):
    result = BlurPool(4, kernel_size=kernel_size)(torch.full((2, 4, *size), 0.3))

    assert torch.allclose(result, torch.full((2, 4, -(-size[0] // 2), -(-size[1] // 2)), 0.3))


def test_a_blur_removes_what_is_finer_than_its_stride():
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)

    assert BlurPool(1)(stripes).abs().max() == 0
    assert (stripes[..., ::2] == 1).all()  # without it: a flat image


def test_a_max_pool_with_blur_has_the_shape_of_one_without():
    x = _noise(2, 4, 9, 12)

    assert type(max_pool(4, blur=True)) is MaxBlurPool
    assert max_pool(4, blur=True)(x).shape == max_pool(4, blur=False)(x).shape == (2, 4, 5, 6)


def test_a_shift_by_one_pixel_changes_less_with_blur():
    x = _noise(1, 4, 33, 33)

    changes = [
        (pool(x[..., :-1]) - pool(x[..., 1:])).std().item() for pool in (MaxBlurPool(4), max_pool(4, blur=False))
    ]

    assert changes[0] < changes[1] / 2


def test_a_blur_works_in_bfloat16_and_keeps_channels_last():
    x = _noise(2, 4, 8, 8).to(memory_format=torch.channels_last)

    result = BlurPool(4).bfloat16()(x.bfloat16())

    assert result.dtype == torch.bfloat16
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.float(), BlurPool(4)(x), atol=0.02)


def test_a_blur_adds_nothing_to_the_state():
    assert MaxBlurPool(4).state_dict() == {}


def test_a_blur_of_even_size_is_refused():
    with pytest.raises(ConfigError) as caught:
        BlurPool(4, kernel_size=4)

    assert str(caught.value) == (
        "kernel_size is 4, must be odd: it has a middle\n  where: BlurPool: kernel_size\n  fix: use 3 or 5"
    )


# initial weights


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


@pytest.mark.parametrize(("leak", "gain"), [(1.0, 1.0), (0.0, 1.4142), (0.1, 1.4072), (math.sqrt(5), 0.5774)])
def test_the_gain_depends_on_the_leak(leak, gain):
    layer = nn.Linear(400, 400)

    init_layer(layer, leak=leak, uniform=True, generator=torch.Generator().manual_seed(0))

    # a uniform distribution ends at sqrt(3) deviations, and some of 160,000 weights come within 0.1 % of that
    assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(3) * gain / math.sqrt(400), rel=1e-3)
    assert layer.bias.abs().max() == 0


def test_the_fan_of_a_weight_counts_what_one_output_sees():
    layer = nn.Conv2d(1, 32, 5)

    assert layer.weight.shape == (32, 1, 5, 5)
    assert nn.init._calculate_fan_in_and_fan_out(layer.weight) == (25, 800)


@pytest.mark.parametrize(("groups", "fan_in"), [(1, 9 * 256), (4, 9 * 64), (256, 9)])
def test_the_fan_of_a_grouped_convolution_is_that_of_a_group(groups, fan_in):
    layer = nn.Conv2d(256, 256, 3, groups=groups)

    init_layer(layer, generator=torch.Generator().manual_seed(0))

    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)


def test_linear_layers_take_part_on_request():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.Linear(500, 200)))

    init_cnn(model, linear=True)

    assert model[1][0].weight.std().item() == pytest.approx(math.sqrt(2 / 500), rel=0.05)
    assert model[1][0].bias.abs().max() == 0


def test_a_layer_without_a_kaiming_rule_is_refused():
    with pytest.raises(ConfigError) as caught:
        init_layer(nn.BatchNorm2d(4))

    assert str(caught.value) == (
        "init_layer got BatchNorm2d, must be a convolution or a linear layer\n"
        "  where: init_layer\n"
        "  fix: give it one layer; init_cnn goes through a whole model"
    )


# why: a hundred layers of 512


def _through(n_layers: int, *, scale: float, relu: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, generator=generator)
    for _ in range(n_layers):
        x = scale * torch.randn(512, 512, generator=generator) @ x
        x = x.relu() if relu else x
    return x


def test_weights_of_deviation_one_end_in_nothing_that_is_a_number():
    assert _through(40, scale=1.0).isnan().all()


def test_weights_a_hundred_times_smaller_end_in_zeros():
    assert _through(100, scale=0.01).abs().max() == 0


def test_weights_by_the_root_of_the_fan_keep_the_size():
    assert 0.2 < _through(100, scale=1 / math.sqrt(512)).std() < 5


def test_behind_a_relu_it_takes_the_root_of_two_more():
    assert 0.2 < _through(100, scale=math.sqrt(2 / 512), relu=True).square().mean().sqrt() < 5
    assert _through(100, scale=math.sqrt(1 / 512), relu=True).abs().max() < 1e-10
