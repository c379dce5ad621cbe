"""The small network of depthwise-separable convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imagekit.errors import ConfigError
from imagekit.models.layers import MaxBlurPool
from imagekit.models.mini import mini_net
from imagekit.models.registry import create_model


def test_the_small_network_has_its_shapes_and_its_size():
    model, x, shapes = mini_net().eval(), torch.zeros(2, 3, 128, 128), {}

    for name, layer in model.named_children():
        x = layer(x)
        shapes[name] = tuple(x.shape[1:])

    assert sum(parameter.numel() for parameter in model.parameters()) == 188_778
    assert {name: shape for name, shape in shapes.items() if not name.startswith("pool")} == {
        "stem": (32, 64, 64),
        "stage1": (32, 64, 64),
        "stage2": (64, 32, 32),
        "stage3": (128, 16, 16),
        "stage4": (256, 8, 8),
        "stage5": (512, 4, 4),
        "average": (512, 1, 1),
        "flatten": (512,),
        "linear": (10,),
    }


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (31, 33)])
def test_any_number_of_channels_and_any_size_of_image_works(size, blur):
    model = mini_net(5, 7, blur=blur)

    assert model(torch.zeros(2, 5, *size)).shape == (2, 7)


def test_a_stage_convolves_within_channels_and_then_across_them():
    depthwise, pointwise = mini_net().stage2

    assert (depthwise.conv.groups, depthwise.conv.kernel_size) == (32, (3, 3))
    assert (pointwise.conv.groups, pointwise.conv.kernel_size) == (1, (1, 1))
    assert type(pointwise.act) is nn.Mish


def test_options_put_their_layers_in():
    model = mini_net(widths=[8, 16], act="relu", norm="group", blur=True)

    kinds = [type(module) for module in model.modules()]

    assert (kinds.count(MaxBlurPool), kinds.count(nn.GroupNorm), kinds.count(nn.Mish)) == (1, 5, 0)


def test_a_stage_can_widen_before_it_mixes_channels_and_neighbours_at_once():
    model = mini_net(widths=[8, 16], stem=4, expand=3, kernel_size=3)

    within, across = model.stage1
    assert (model.stem.conv.out_channels, within.conv.groups, within.conv.out_channels) == (4, 4, 12)
    assert (across.conv.kernel_size, across.conv.in_channels, across.conv.out_channels) == ((3, 3), 12, 8)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_a_blurred_stem_halves_the_sides_as_one_that_is_not_and_has_its_weights():
    plain, blurred = mini_net(widths=[8]), mini_net(widths=[8], blur_stem=True)

    blurred.load_state_dict(plain.state_dict())

    assert blurred.stem.conv.stride == (1, 1)
    assert blurred[:2](torch.zeros(1, 3, 9, 9)).shape == plain[:1](torch.zeros(1, 3, 9, 9)).shape == (1, 8, 5, 5)


def test_the_signal_neither_dies_nor_explodes_on_its_way():
    model, x = create_model("mini", c_in=3, c_out=10), torch.randn(16, 3, 64, 64, generator=torch.Generator())

    for layer in model[:-3]:
        x = layer(x)
        assert 0.3 < x.std() < 3


def test_the_small_network_can_learn_a_few_images_by_heart():
    model, generator = create_model("mini", c_in=3, c_out=4, widths=(16, 32)), torch.Generator().manual_seed(0)
    batch, target = torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch), target)
        loss.backward()
        optimizer.step()

    assert loss < 0.1


@pytest.mark.parametrize(
    ("options", "name", "value"), [({"c_in": 0}, "c_in", 0), ({"widths": [32, 1.5]}, "widths[1]", 1.5)]
)
def test_a_count_below_one_is_refused(options, name, value):
    with pytest.raises(ConfigError) as caught:
        mini_net(**options)

    assert str(caught.value) == (
        f"{name} is {value!r}, must be a whole number of at least 1\n"
        f"  where: mini: {name}\n"
        f"  fix: set {name} to 1 or more"
    )


def test_a_network_without_widths_is_refused():
    with pytest.raises(ConfigError) as caught:
        mini_net(widths=[])

    assert str(caught.value) == (
        "widths is empty, must name at least one stage\n"
        "  where: mini: widths\n"
        "  fix: set widths = [32, 64, 128, 256, 512], or leave it out"
    )


def test_a_blur_that_is_no_truth_value_is_refused():
    with pytest.raises(ConfigError) as caught:
        mini_net(blur=1)

    assert str(caught.value) == (
        "blur is 1, must be true or false\n  where: mini: blur\n  fix: set blur to true or false"
    )
