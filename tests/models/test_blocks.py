"""Residual blocks: shapes, the kernels of each kind, and how they start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imagekit.errors import ConfigError
from imagekit.models.blocks import ResBlock, SqueezeExcite
from imagekit.models.layers import BlurPool


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _kernels(block: ResBlock) -> list[tuple[int, int, int, int, int]]:
    """(in, out, kernel, stride, groups) of each convolution of the branch."""
    return [
        (conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.groups)
        for conv in block.convs.modules()
        if isinstance(conv, nn.Conv2d)
    ]


def test_a_block_of_expansion_1_is_two_3x3():
    assert _kernels(ResBlock(1, 8, 16, stride=2)) == [(8, 16, 3, 2, 1), (16, 16, 3, 1, 1)]


def test_a_block_of_expansion_4_is_1x1_3x3_1x1():
    assert _kernels(ResBlock(4, 8, 16, stride=2)) == [(8, 16, 1, 1, 1), (16, 16, 3, 2, 1), (16, 64, 1, 1, 1)]


def test_groups_are_those_of_the_3x3_and_the_output_may_be_given():
    block = ResBlock(4, 8, 32, n_out=16, groups=8)

    assert _kernels(block) == [(8, 32, 1, 1, 1), (32, 32, 3, 1, 8), (32, 16, 1, 1, 1)]


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("reduction", [0, 4])
@pytest.mark.parametrize("expansion", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 7)])
def test_a_block_divides_the_sides_by_its_stride_rounding_up(size, stride, expansion, reduction, blur):
    block = ResBlock(expansion, 8, 8, stride=stride, reduction=reduction, blur=blur)

    result = block(_noise(2, 8, *size))

    assert result.shape == (2, 8 * expansion, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("options", [{}, {"blur": True}, {"reduction": 4}, {"norm": "running"}, {"act": "mish"}])
@pytest.mark.parametrize("expansion", [1, 4])
def test_a_block_starts_as_its_shortcut(expansion, options):
    block, x = ResBlock(expansion, 8, 16, stride=2, **options).eval(), _noise(2, 8, 6, 6)

    assert torch.equal(block(x), block.act(block.shortcut(x)))


def test_a_shortcut_has_only_what_it_needs():
    parts = {
        (n_in, stride): list(dict(ResBlock(1, n_in, 8, stride=stride).shortcut.named_children()))
        for n_in in (8, 4)
        for stride in (1, 2)
    }

    assert parts == {(8, 1): [], (8, 2): ["pool"], (4, 1): ["conv"], (4, 2): ["pool", "conv"]}


def test_a_shortcut_averages_what_there_is_at_an_odd_border():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)

    assert ResBlock(1, 1, 1, stride=2).shortcut(x).tolist() == [[[[2.0, 3.5], [6.5, 8.0]]]]


def test_a_block_with_blur_takes_its_stride_behind_the_activation():
    block = ResBlock(4, 8, 16, stride=2, blur=True)

    assert _kernels(block) == [(8, 16, 1, 1, 1), (16, 16, 3, 1, 1), (16, 64, 1, 1, 1)]
    assert list(dict(block.convs.named_children())) == ["narrow", "middle", "blur", "last"]
    assert type(block.convs.blur) is BlurPool


@pytest.mark.parametrize("options", [{}, {"blur": True}, {"reduction": 2}])
@pytest.mark.parametrize("expansion", [1, 4])
def test_gradients_through_a_block_are_right_although_it_works_in_place(expansion, options):
    torch.manual_seed(0)
    block = ResBlock(expansion, 2, 4, stride=2, norm="layer", **options).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1)

    assert torch.autograd.gradcheck(block, (_noise(1, 2, 3, 3).double().requires_grad_(),))


def test_squeeze_and_excitation_scales_channels_by_a_number_from_0_to_1():
    layer, x = SqueezeExcite(8, reduction=4), _noise(2, 8, 5, 5).abs() + 0.1

    scale = layer(x) / x

    assert (layer.squeeze.out_channels, layer.excite.out_channels) == (2, 8)
    assert ((scale > 0) & (scale < 1)).all()
    assert torch.allclose(scale, scale[..., :1, :1].expand_as(scale))


def test_squeeze_and_excitation_keeps_one_channel_at_least():
    assert SqueezeExcite(8, reduction=16)(_noise(2, 8, 3, 3)).shape == (2, 8, 3, 3)


def test_a_block_without_a_norm_is_refused():
    with pytest.raises(ConfigError) as caught:
        ResBlock(1, 8, 8, norm=None)

    assert str(caught.value) == (
        "norm is None, must have a weight, which a residual block starts at 0\n"
        "  where: norm\n"
        '  fix: write norm="batch", say'
    )
