"""LSUV: every layer ends at mean 0 and deviation 1, by the right knob in the right order, and nothing else changes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imagekit.errors import ConfigError, TrainingError
from imagekit.models.blocks import ResBlock
from imagekit.models.cnn import lesson_cnn
from imagekit.models.hooks import Hooks, undisturbed
from imagekit.models.init import init_cnn
from imagekit.models.layers import GeneralRelu, Lambda, conv_layer, conv_norm_act, flatten
from imagekit.models.lsuv import lsuv_init
from imagekit.models.units import find_units
from imagekit.models.xresnet import xresnet18


@pytest.fixture(autouse=True)
def same_weights():
    """Layers made in the tests have the same weights in each run."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _images(n=8, side=16):
    """Smooth colours with hard edges, of mean 0 and deviation 1 over all."""
    smooth = nn.functional.interpolate(_noise(n, 3, 4, 4), size=side, mode="bicubic")
    x = smooth + nn.functional.interpolate(_noise(n, 1, 8, 8, seed=1), size=side)
    return (x - x.mean()) / x.std()


NOISE, IMAGES = _noise(8, 3, 16, 16), _images() * 3 + 2


def _cnn(layer=conv_layer, widths=(3, 8, 16, 16), **options):
    """Three layers, a pool and a head, from a seed."""
    torch.default_generator.manual_seed(0)
    layers = [layer(n_in, n_out, 3, stride=2, **options) for n_in, n_out in pairwise(widths)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), Lambda(flatten), nn.Linear(widths[-1], 4))
    init_cnn(model)
    return model


def _stats(model, modules, x):
    """(mean, deviation) at each module in a forward in training mode."""
    found = []

    def note(hook, module, inputs, output):
        found.append((output.mean().item(), output.std().item()))

    with Hooks(modules, note), undisturbed(model, training=True):
        model(x)
    return found


def _are_set(stats, tolerance=1e-3):
    return all(abs(mean) < tolerance and abs(std - 1) < tolerance for mean, std in stats)


def _state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def _changed(model, before):
    return {name for name, value in model.state_dict().items() if name not in before or not value.equal(before[name])}


def _same(state, other):
    return state.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.mark.parametrize(
    "x", [_noise(8, 3, 16, 16), _images(), _images() * 3 + 2], ids=["noise", "images", "not normal"]
)
@pytest.mark.parametrize("norm", [None, "batch", "running", "layer"])
@pytest.mark.parametrize(
    "relu", [{}, {"leak": 0.1, "sub": 0.4, "max_value": 6.0}, {"leak": 0.1}], ids=["plain", "general", "leaky"]
)
def test_every_layer_ends_at_mean_0_and_deviation_1(x, norm, relu):
    model = _cnn(norm=norm, **relu)
    activations = [layer.relu for layer in model[:3]]

    report = lsuv_init(model, x)

    assert _are_set(_stats(model, activations, x))
    assert [(row.name, row.measured) for row in report.rows] == [(str(i), "GeneralRelu") for i in range(3)]
    assert _are_set([(row.mean, row.std) for row in report.rows])
    assert report.skipped == ()


def test_the_deviation_comes_before_the_mean_so_that_one_pass_is_enough():
    model = _cnn(norm=None)

    report = lsuv_init(model, _images(), max_passes=1)

    # the other way round the scaling would move the mean off 0, and a second pass would have to follow
    assert [row.n_passes for row in report.rows] == [1, 1, 1]
    assert all(row.mean_before > 0.1 for row in report.rows)


def test_a_second_run_finds_nothing_to_do():
    model = _cnn(norm=None)
    lsuv_init(model, _images())
    before = _state(model)

    report = lsuv_init(model, _images())

    assert [row.n_passes for row in report.rows] == [0, 0, 0]
    assert _same(_state(model), before)


def test_the_report_tells_before_and_after_of_the_layers():
    model = _cnn(norm=None)
    activations = [layer.relu for layer in model[:3]]
    before = _stats(model, activations, _images())

    report = lsuv_init(model, _images())

    assert [(row.mean_before, row.std_before) for row in report.rows] == [pytest.approx(pair) for pair in before]
    after = _stats(model, activations, _images())
    assert [(row.mean, row.std) for row in report.rows] == [pytest.approx(pair, abs=1e-5) for pair in after]


def test_the_report_is_a_table_with_what_was_skipped_below():
    model = nn.Sequential(nn.Linear(2, 1), conv_norm_act(1, 1, 1, norm=nn.BatchNorm1d, act=None, zero_norm=True))
    model[1].conv = nn.Linear(1, 1)
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.fill_(0)

    report = lsuv_init(model, torch.tensor([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]))

    assert str(report) == (
        "layer  measured at  mean before  std before    mean     std  passes\n"
        "0      Linear            5.0000      2.0000  0.0000  1.0000       1\n"
        "skipped, its norm has weights of 0: 1"
    )
    assert model[0].weight.tolist() == [[0.5, 0.5]]
    assert model[0].bias.tolist() == [-2.5]


def test_a_convolution_before_its_activation_is_scaled_and_sub_shifted_and_the_norm_behind_left_alone():
    model = _cnn()
    before = _state(model)

    lsuv_init(model, _images())

    changed = {
        name for name, value in model.state_dict().items() if name not in before or not torch.equal(value, before[name])
    }
    assert changed == {f"{i}.{name}" for i in range(3) for name in ("conv.weight", "relu.sub")}


def test_a_norm_before_the_activation_is_scaled_instead_of_the_convolution():
    model = _cnn(conv_norm_act)
    before = _state(model)

    report = lsuv_init(model, _images())

    changed = {
        name for name, value in model.state_dict().items() if name not in before or not torch.equal(value, before[name])
    }
    assert changed == {f"{i}.{name}" for i in range(3) for name in ("norm.weight", "act.sub")}
    assert _are_set(_stats(model, [layer.act for layer in model[:3]], _images()))
    assert [row.measured for row in report.rows] == ["GeneralRelu"] * 3


@pytest.mark.parametrize("act", [nn.SiLU, nn.GELU, nn.Mish, nn.ReLU, nn.Tanh, nn.LeakyReLU])
def test_activations_that_no_bias_can_centre_are_measured_before(act):
    model = _cnn(norm=None, act=act)

    report = lsuv_init(model, _images())

    assert [row.measured for row in report.rows] == ["SameConv2d"] * 3
    assert _are_set(_stats(model, [layer.conv for layer in model[:3]], _images()))


def test_silu_behind_a_norm_is_measured_at_the_norm():
    model = _cnn(conv_norm_act, act="silu")
    with torch.no_grad():
        model[1].norm.weight.fill_(2)
        model[1].norm.bias.fill_(0.5)

    report = lsuv_init(model, _images())

    assert [(row.measured, row.n_passes) for row in report.rows] == [
        ("BatchNorm2d", 0),
        ("BatchNorm2d", 1),
        ("BatchNorm2d", 0),
    ]
    assert torch.allclose(model[1].norm.weight, torch.ones(16), atol=1e-3)


@pytest.mark.parametrize("act", [nn.ELU, nn.SELU, nn.PReLU])
def test_a_curved_activation_takes_several_passes_of_weight_and_bias(act):
    model = _cnn(norm=None, act=act)

    report = lsuv_init(model, _images())

    assert _are_set(_stats(model, [layer.relu for layer in model[:3]], _images()))
    assert [row.measured for row in report.rows] == [act.__name__] * 3
    assert all(1 <= row.n_passes <= 20 for row in report.rows)


def test_linear_layers_alone_are_set_but_for_the_head():
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    head = _state(model[4])

    report = lsuv_init(model, _noise(64, 6))

    assert [row.name for row in report.rows] == ["0", "2"]
    assert _are_set(_stats(model, [model[0], model[2]], _noise(64, 6)))
    assert _same(_state(model[4]), head)


def test_a_residual_network_keeps_its_identities_and_leaves_final_activations_alone():
    model = xresnet18(c_out=4)
    x = _images(4, 32)

    report = lsuv_init(model, x)

    assert len(report.rows) == 14
    assert _are_set([(row.mean, row.std) for row in report.rows])
    assert len(report.skipped) == 8
    assert ("stage1.0.convs.last", "its norm has weights of 0") in report.skipped
    assert model.stage1[0].act.sub is None
    assert report.rows[0].name == "stem1"


def test_squeeze_and_excitation_and_the_head_are_no_units():
    block = ResBlock(4, 8, 4, reduction=2)
    model = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), Lambda(flatten), nn.Linear(16, 2))

    units = find_units(model)

    assert units == [*[*block.convs.children()][:3], block.shortcut.conv]
    assert lsuv_init(model, _noise(4, 8, 6, 6)).rows


def test_units_are_one_convolution_with_norm_or_activation_and_nothing_deeper():
    unit = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Dropout())
    two = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    around = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.ReLU()))
    model = nn.Sequential(unit, two, around)

    assert find_units(model) == [unit, two[0], two[2], around[0]]


def test_what_stands_before_the_convolution_of_a_unit_is_not_set():
    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3), nn.ELU(), nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 4, 1))
    norm = _state(model[0][0])

    report = lsuv_init(model, _images())

    assert report.rows[0].measured == "Conv2d"
    assert torch.equal(model[0][0].weight, norm["weight"])


def test_layers_are_set_in_the_order_of_the_forward_not_of_their_making():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)
            self.never = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.last(self.first(x) ** 2)

    report = lsuv_init(Backwards(), _images())

    assert [row.name for row in report.rows] == ["first", "last"]
    assert report.skipped == (("never", "does not run in the forward"),)
    assert str(report).endswith("skipped, does not run in the forward: never")


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(1, 11), min_size=1, max_size=3, unique=True))
def test_several_batches_are_as_good_as_one_of_all(cuts):
    x = _images(12, 8)
    one, several = _cnn(norm=None), _cnn(norm=None)

    expected = lsuv_init(one, x)
    report = lsuv_init(several, iter(x.tensor_split(sorted(cuts))))

    for row, other in zip(report.rows, expected.rows, strict=True):
        assert (row.mean_before, row.std_before) == pytest.approx((other.mean_before, other.std_before), abs=1e-5)
    for value, other in zip(several.state_dict().values(), one.state_dict().values(), strict=True):
        assert torch.allclose(value, other, atol=1e-4)


def test_a_fresh_model_loads_what_was_found():
    model, fresh = _cnn(norm=None), _cnn(norm=None)
    lsuv_init(model, _images())

    fresh.load_state_dict(model.state_dict())

    assert {"0.relu.sub", "1.relu.sub", "2.relu.sub"} <= set(model.state_dict())
    assert torch.equal(fresh.eval()(_images()), model.eval()(_images()))


def test_parameters_modes_statistics_and_random_state_are_untouched():
    model = _cnn(conv_norm_act).train()
    model[2].eval()
    parameters = [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()]
    running, random_state = _state(model[1].norm), torch.get_rng_state()

    lsuv_init(model, _images())

    # what an optimizer holds is still what the model has
    assert [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()] == parameters
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(running[name], model[1].norm.state_dict()[name]) for name in ("running_mean", "running_var"))
    assert model[1].norm.num_batches_tracked == 0
    assert [layer.training for layer in model[:3]] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_dropout_is_on_and_two_runs_agree():
    def layer(n_in, n_out, kernel, stride):
        return nn.Sequential(nn.Dropout2d(0.3), nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=1), GeneralRelu())

    first, second = _cnn(layer), _cnn(layer)

    reports = [lsuv_init(first, _images())]
    torch.rand(3)
    reports.append(lsuv_init(second, _images()))

    assert reports[0] == reports[1]
    assert _same(first.state_dict(), second.state_dict())
    assert _are_set(_stats(first, [layer[2] for layer in first[:3]], _images()))
    assert not _are_set([(output.mean().item(), output.std().item()) for output in [first.eval()[0](_images())]])


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d])
def test_other_dimensions_are_set_too(kind):
    model = nn.Sequential(kind(3, 4, 3), nn.ReLU(), kind(4, 4, 3))
    x = _noise(8, 3, *[7] * (1 if kind is nn.Conv1d else 3))

    assert [row.measured for row in lsuv_init(model, x).rows] == [kind.__name__] * 2


def test_channels_last_weights_stay_channels_last():
    model = _cnn(norm=None).to(memory_format=torch.channels_last)

    lsuv_init(model, _images().to(memory_format=torch.channels_last))

    assert model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].relu.sub.dtype == torch.float32


def test_inside_autocast_the_layers_are_set_for_bfloat16():
    model = _cnn(norm=None)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = lsuv_init(model, _images(), tolerance=0.01)

    assert all(row.n_passes >= 1 for row in report.rows)
    assert _are_set([(row.mean, row.std) for row in report.rows], 0.01)
    assert model[0].conv.weight.dtype == torch.float32


def test_a_double_model_takes_a_float_batch():
    model = _cnn(norm=None).double()

    lsuv_init(model, _images())

    assert model[0].relu.sub.dtype == torch.float64


def test_layers_of_ones_own_choice_are_set_alone():
    model = _cnn(norm=None)
    before = _state(model)

    report = lsuv_init(model, _images(), find=lambda model: [model[1].conv, model[5]])

    assert [(row.name, row.measured) for row in report.rows] == [("1.conv", "SameConv2d"), ("5", "Linear")]
    assert torch.equal(model[0].conv.weight, before["0.conv.weight"])


def _error(model, x, kind=TrainingError, **options):
    """The text of the error; everything must be as before and no hook left."""
    before = _state(model)
    with pytest.raises(kind) as caught:
        lsuv_init(model, x, **options)
    assert _same(_state(model), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return str(caught.value)


def test_a_dead_layer_is_named_and_all_is_put_back():
    model = _cnn(norm=None)
    nn.init.zeros_(model[1].conv.weight)

    assert _error(model, _images()) == (
        'layer "1" is dead: all its outputs are 0\n'
        "  where: lsuv_init\n"
        "  fix: initialise its weights first, with init_cnn say, and pass a batch of images that differ"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_named(value):
    model = _cnn(norm=None)
    with torch.no_grad():
        model[1].conv.bias[0] = value

    with pytest.raises(TrainingError) as caught:
        lsuv_init(model, _images())

    assert str(caught.value) == (
        'layer "1" gives values that are not finite\n'
        "  where: lsuv_init\n"
        "  fix: look for NaN in the batch and in the weights; initialise these first, with init_cnn say"
    )
    assert model[0].relu.sub is None


class Swish(nn.Module):
    """An activation of one's own, which no bias can centre."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.sigmoid()


def test_a_layer_that_does_not_settle_says_where_it_is():
    model = _cnn(norm=None, act=Swish)

    text = _error(model, _images(), max_passes=3)

    head, *rest = text.splitlines()
    assert head.startswith('layer "0" has mean ')
    assert head.endswith(" after 3 passes, not 0 and 1 within 0.001")
    assert rest == [
        "  where: lsuv_init",
        "  fix: allow a larger tolerance or more max_passes, use float32, or measure before its activation: let find="
        " give its convolution alone",
    ]


def test_a_layer_that_dies_on_the_way_does_not_settle_either():
    text = _error(_cnn(norm=None, act=Swish), _images(), max_passes=1000)

    assert text.startswith('layer "0" has mean ')


def test_a_layer_without_a_bias_has_its_deviation_set_and_says_so():
    model = lesson_cnn(nfs=(8,), act="silu")  # convolution without bias, SiLU, batch norm

    report = lsuv_init(model, _images() + 1)

    assert [row.can_shift for row in report.rows] == [False] * 4
    assert all(abs(row.std - 1) < 1e-3 for row in report.rows)
    assert str(report).splitlines()[-1] == "the deviation alone, there is no bias to shift: 0, 1, 2, 3"


def test_a_norm_without_a_weight_cannot_be_scaled():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), GeneralRelu())

    text = _error(nn.Sequential(layer), _images())

    head, *rest = text.splitlines()
    assert head.startswith('layer "0" has deviation 0.58')
    assert head.endswith(", and its BatchNorm2d no weight to scale")
    assert rest == [
        "  where: lsuv_init",
        "  fix: give it one (affine=True of a norm), or leave the layer out by find=",
    ]


def test_layers_that_share_an_activation_cannot_all_be_set():
    shared = GeneralRelu()
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), shared), nn.Sequential(nn.Conv2d(3, 3, 1), shared))

    text = _error(model, _images())

    head, *rest = text.splitlines()
    assert head.startswith('layer "0" lost what it was set to: mean ')
    assert rest == [
        "  where: lsuv_init",
        "  fix: give each layer its own weights and activation, or leave the layer out by find=",
    ]


def test_a_layer_that_runs_several_times_is_measured_at_its_first_call():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Conv2d(3, 3, 1), GeneralRelu())

        def forward(self, x):
            return self.layer(self.layer(x))

    model = Loop()

    lsuv_init(model, _images())

    assert _are_set(_stats(model, [model.layer], _images())[:1])


def test_a_layer_that_does_not_always_run_is_named():
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Conv2d(3, 3, 1), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x) if self.calls == 1 else x

    assert _error(Moody(), _images()) == (
        'layer "layer" ran in the first forward, and not in each one after it\n'
        "  where: lsuv_init\n"
        "  fix: switch off what skips layers at random"
    )


def test_an_exception_of_the_model_comes_through():
    with pytest.raises(RuntimeError, match="channels"):
        lsuv_init(_cnn(), _noise(2, 5, 8, 8))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([], "there is no batch\n  where: lsuv_init: x\n  fix: pass one batch of training images, or several"),
        (
            [(torch.zeros(1, 3, 8, 8), torch.zeros(1))],
            "batch 0 is a tuple, must be a tensor that holds images\n"
            "  where: lsuv_init: x\n"
            "  fix: pass the images alone: [x for x, y in batches]",
        ),
        (
            [torch.zeros(1, 3, 8, 8), torch.zeros(0, 3, 8, 8)],
            "batch 1 is [0, 3, 8, 8], must be a tensor that holds images\n"
            "  where: lsuv_init: x\n"
            "  fix: pass the images alone: [x for x, y in batches]",
        ),
    ],
)
def test_batches_that_are_none_are_refused(x, words):
    assert _error(_cnn(), x, ConfigError) == words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tolerance": 0},
            "tolerance is 0, must be above 0 and below 1\n"
            "  where: lsuv_init: tolerance\n"
            "  fix: leave it out for the default",
        ),
        (
            {"max_passes": 0},
            "max_passes is 0, must be at least 1\n  where: lsuv_init: max_passes\n  fix: leave it out for the default",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    assert _error(_cnn(), _images(), ConfigError, **options) == words


def test_what_is_no_layer_is_refused():
    assert _error(_cnn(), _images(), ConfigError, find=lambda model: [model[3]]) == (
        '"3" is a AdaptiveAvgPool2d, no layer that LSUV can set\n'
        "  where: lsuv_init: find\n"
        "  fix: find convolutions, linear layers, or modules of one of them with a norm or an activation"
    )


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(3, 2)])
def test_a_model_without_a_layer_to_set_is_refused(model):
    assert _error(model, _noise(4, 3), ConfigError) == (
        f"{type(model).__name__} has no layer to set\n"
        "  where: lsuv_init\n"
        "  fix: pass a model with convolutions that run, and not one from torch.compile"
    )


@pytest.mark.parametrize("x", [_noise(4, 3, 48, 48), _images(4, 48)], ids=["noise", "images"])
@pytest.mark.parametrize("make", [lesson_cnn, xresnet18])
def test_the_models_of_the_lessons_are_set(make, x):
    report = lsuv_init(make(), x)

    assert _are_set([(row.mean, row.std) for row in report.rows])
