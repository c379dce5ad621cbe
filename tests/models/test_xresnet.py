"""XResNet and its relatives: counts, shapes, sizes of images, options."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.blocks import SqueezeExcite
from imagekit.models.layers import BlurPool
from imagekit.models.registry import create_model
from imagekit.models.xresnet import xresnet, xresnet18


def _small(**options: object) -> nn.Sequential:
    return xresnet(3, 5, expansion=1, n_blocks=[1, 2], **options)


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        ("xresnet18", 11_228_586),
        ("xresnet26", 14_013_610),
        ("xresnet34", 21_336_746),
        ("xresnet50", 23_575_466),
        ("xresnext50", 23_047_338),
        ("xse-resnet50", 26_106_458),
        ("xse-resnext50", 25_578_330),
    ],
)
def test_the_networks_have_their_parameter_counts(name, n_parameters):
    with torch.device("meta"):
        model = create_model(name, c_in=3, c_out=10)

    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters


def test_the_network_of_18_layers_has_the_lessons_shapes():
    x, shapes = torch.zeros(2, 3, 128, 128), []

    for layer in xresnet18().eval():
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))

    assert shapes == [
        (32, 64, 64),
        (64, 64, 64),
        (64, 64, 64),
        (64, 32, 32),
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 1, 1),
        (512,),
        (10,),
    ]


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (31, 33), (47, 20)])
def test_any_number_of_channels_and_any_size_of_image_works(size, blur):
    model = xresnet18(4, 7, blur=blur)

    assert model(torch.zeros(2, 4, *size)).shape == (2, 7)
    assert model.eval()(torch.zeros(1, 4, *size)).shape == (1, 7)


def test_convolutions_and_the_linear_layer_start_with_the_deviation_of_a_plain_relu():
    model = create_model("xresnext50", c_in=3, c_out=200)

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]

    assert len(layers) == 3 + 16 * 3 + 4 + 1
    for layer in layers:
        n_numbers, fan_in = layer.weight.numel(), layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=5 / math.sqrt(2 * n_numbers))
    assert model.linear.bias.abs().max() == 0


def test_every_block_starts_as_its_shortcut():
    model = xresnet18()

    weights = [block.convs.last.norm.weight for i in range(1, 5) for block in model.get_submodule(f"stage{i}")]

    assert len(weights) == 8
    assert all(weight.abs().max() == 0 for weight in weights)


@pytest.mark.parametrize(
    "options",
    [{"act": "mish"}, {"norm": "running"}, {"norm": "layer"}, {"norm": "group"}, {"blur": True}, {"reduction": 8}],
)
def test_every_option_trains(options):
    model = _small(**options)

    model(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))).square().sum().backward()

    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_options_put_their_layers_in():
    kinds = [type(module) for module in _small(blur=True, reduction=8, act="silu").modules()]

    assert (kinds.count(BlurPool), kinds.count(SqueezeExcite), kinds.count(nn.SiLU)) == (2, 3, 3 + 3 * 2)


def test_a_stem_has_the_convolutions_that_it_is_told():
    model = _small(stem=[8, 16])

    assert [name for name, _ in model.named_children()][:3] == ["stem1", "stem2", "pool"]
    assert (model.stem1.conv.out_channels, model.stem2.conv.out_channels) == (8, 16)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


def test_what_a_name_stands_for_can_be_told_otherwise():
    model = create_model("xresnet18", c_in=3, c_out=4, n_blocks=[1, 1], base_width=16)

    assert [len(stage) for stage in (model.stage1, model.stage2)] == [1, 1]
    assert model.stage1[0].convs.middle.conv.out_channels == 16


@pytest.mark.parametrize(("options", "name"), [({"stem": [8, 0]}, "stem[1]"), ({"base_width": 0}, "base_width")])
def test_a_width_below_one_is_refused(options, name):
    with pytest.raises(ConfigError) as caught:
        _small(**options)

    assert str(caught.value) == (
        f"{name} is 0, must be a whole number of at least 1\n  where: xresnet: {name}\n  fix: set {name} to 1 or more"
    )


def test_a_stem_without_a_convolution_is_refused():
    with pytest.raises(ConfigError) as caught:
        _small(stem=[])

    assert str(caught.value) == (
        "stem is empty, must name at least one convolution\n  where: xresnet: stem\n  fix: write [32, 64, 64], say"
    )


def test_a_blurred_stem_convolves_every_pixel_and_halves_the_sides_behind():
    plain, blurred = _small(), _small(blur_stem=True)
    x = torch.zeros(1, 3, 17, 17)

    blurred.load_state_dict(plain.state_dict())

    assert [name for name, _ in blurred.named_children()][:3] == ["stem1", "stem_blur", "stem2"]
    assert (plain.stem1.conv.stride, blurred.stem1.conv.stride) == ((2, 2), (1, 1))
    assert blurred[:2](x).shape == plain[:1](x).shape == (1, 32, 9, 9)


def test_a_blur_that_comes_first_leaves_the_convolution_its_stride():
    model = _small(blur="first", blur_stem="first")

    block = model.stage2[0].convs
    assert [name for name, _ in model.named_children()][:2] == ["stem_blur", "stem1"]
    assert [name for name, _ in block.named_children()] == ["blur", "middle", "last"]
    assert (block.middle.conv.stride, block.blur.stride, model.stem1.conv.stride) == ((2, 2), 1, (2, 2))
    assert model(torch.zeros(2, 3, 33, 31)).shape == (2, 5)


@pytest.mark.parametrize(("of_source", "of_target"), [(True, False), (False, True), ("first", True), (False, "first")])
def test_weights_with_and_without_blur_load_into_one_another(of_source, of_target):
    source, target = _small(blur=of_source, blur_stem=of_source), _small(blur=of_target, blur_stem=of_target)

    target.load_state_dict(source.state_dict())

    assert torch.equal(target.stage2[0].convs.last.conv.weight, source.stage2[0].convs.last.conv.weight)


def test_a_network_can_be_cut_and_given_a_new_head():
    body = xresnet18()[:-1]

    assert nn.Sequential(body, nn.Linear(512, 3))(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "name", "value", "least"),
    [
        ({"c_in": 0}, "c_in", 0, 1),
        ({"c_out": True}, "c_out", True, 1),
        ({"n_blocks": [2, 0]}, "n_blocks[1]", 0, 1),
        ({"reduction": -1}, "reduction", -1, 0),
    ],
)
def test_a_count_too_small_is_refused(options, name, value, least):
    with pytest.raises(ConfigError) as caught:
        xresnet(**{"c_in": 3, "c_out": 10, "expansion": 1, "n_blocks": [1], **options})

    assert str(caught.value) == (
        f"{name} is {value!r}, must be a whole number of at least {least}\n"
        f"  where: xresnet: {name}\n"
        f"  fix: set {name} to {least} or more"
    )


def test_a_network_without_stages_is_refused():
    with pytest.raises(ConfigError) as caught:
        xresnet(3, 10, expansion=1, n_blocks=[])

    assert str(caught.value) == (
        "n_blocks is empty, must name at least one stage\n  where: xresnet: n_blocks\n  fix: write [2, 2, 2, 2], say"
    )


@pytest.mark.parametrize("name", ["blur", "blur_stem"])
def test_a_blur_that_cannot_be_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        xresnet18(**{name: "no"})

    assert str(caught.value) == (
        f"{name} is 'no', must be true, false or \"first\"\n  where: xresnet: {name}\n"
        f'  fix: set {name} to true to blur behind the convolution, or to "first" to blur before it, which costs less'
    )
