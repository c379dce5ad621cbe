"""The summary: rows, parameters and multiply-accumulates against figures by hand, and no trace of the forward."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imagekit.errors import ConfigError, ShapeError
from imagekit.models.cnn import lesson_cnn
from imagekit.models.layers import Lambda, flatten
from imagekit.models.summary import align, model_summary
from imagekit.models.xresnet import xresnet50


class Twice(nn.Module):
    """One layer run twice, another never, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.spare = nn.Linear(4, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.shared(x))


class Listed(nn.Module):
    """Its layers stand in a list, which never runs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 2))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_the_lesson_cnn_has_the_shapes_and_figures_worked_out_by_hand():
    summary = model_summary(lesson_cnn(), (4, 3, 128, 128))

    assert [row.output_shape for row in summary.rows] == [
        (4, 16, 128, 128),
        (4, 32, 64, 64),
        (4, 64, 32, 32),
        (4, 64, 16, 16),
        (4, 64, 8, 8),
        (4, 128, 4, 4),
        (4, 256, 2, 2),
        (4, 256, 1, 1),
        (4, 256),
        (4, 10),
    ]
    assert summary.n_parameters == summary.n_trainable == sum(row.n_parameters for row in summary.rows) == 469_658
    # 9 x channels in x channels out x pixels out; the last layer has 256 x 10
    assert [row.n_macs for row in summary.rows] == [
        7_077_888,
        18_874_368,
        18_874_368,
        9_437_184,
        2_359_296,
        1_179_648,
        1_179_648,
        0,
        0,
        2_560,
    ]
    assert summary.n_macs == 58_984_960


def test_the_table_is_aligned_and_ends_in_totals():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), Lambda(flatten), nn.Linear(8, 2)
    )
    model[4].requires_grad_(False)

    assert str(model_summary(model, (2, 3, 10, 12))) == (
        "layer  type               output          parameters     MACs\n"
        "0      Conv2d             2 x 8 x 8 x 10         224  17.28 K\n"
        "1      BatchNorm2d        2 x 8 x 8 x 10          16        0\n"
        "2      AdaptiveAvgPool2d  2 x 8 x 1 x 1            0        0\n"
        "3      Lambda             2 x 8                    0        0\n"
        "4      Linear             2 x 2                   18       16\n"
        "total                                            258  17.30 K\n"
        "input 2 x 3 x 10 x 12; MACs are those of one sample; 18 parameters are frozen"
    )


def test_xresnet50_at_224_pixels_computes_what_its_convolutions_say():
    with torch.device("meta"):
        model = xresnet50(c_out=1000)

    summary = model_summary(model, (1, 3, 224, 224), deep=True)

    def conv(n_in, n_out, kernel, side):
        return n_in * n_out * kernel**2 * side**2

    expected = conv(3, 32, 3, 112) + conv(32, 64, 3, 112) + conv(64, 64, 3, 112) + 2048 * 1000
    n_in = 64
    for hidden, n_blocks, side in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        n_out = hidden * 4
        expected += conv(n_in, n_out, 1, side)  # the shortcut of the first block, behind its pool
        for number in range(n_blocks):
            side_before = side * 2 if number == 0 and hidden > 64 else side
            expected += (
                conv(n_in, hidden, 1, side_before) + conv(hidden, hidden, 3, side) + conv(hidden, n_out, 1, side)
            )
            n_in = n_out
    assert summary.n_macs == expected == 4_675_641_344
    assert "4.68 G" in str(summary)


@settings(deadline=None, max_examples=10)
@given(
    groups=st.integers(1, 3),
    n_in=st.integers(1, 3),
    n_out=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    batch=st.integers(1, 3),
    is_transposed=st.booleans(),
)
def test_multiplications_are_those_that_torch_counts(groups, n_in, n_out, kernel, stride, batch, is_transposed):
    kind = nn.ConvTranspose2d if is_transposed else nn.Conv2d
    conv = kind(n_in * groups, n_out * groups, kernel, stride=stride, groups=groups, bias=False)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(2), Lambda(flatten), nn.Linear(n_out * groups * 4, 3))

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(batch, n_in * groups, 7, 6))

    assert model_summary(model, (batch, n_in * groups, 7, 6)).n_macs * batch * 2 == counter.get_total_flops()


def test_deep_rows_are_the_modules_without_children():
    names = [row.name for row in model_summary(lesson_cnn(), (1, 3, 16, 16), deep=True).rows]

    assert names[:4] == ["0.conv", "0.relu", "0.norm", "1.conv"]
    assert names[-3:] == ["7", "8", "9"]


def test_found_rows_are_those_of_the_condition_and_the_rest_is_elsewhere():
    summary = model_summary(lesson_cnn(), (1, 3, 16, 16), find=lambda module: isinstance(module, nn.Linear))

    assert [(row.name, row.kind, row.output_shape) for row in summary.rows] == [("9", "Linear", (1, 10))]
    assert str(summary).splitlines()[2].split() == ["(elsewhere)", "467,088", "1.25", "M"]
    assert summary.n_parameters == 469_658


def test_a_module_that_runs_twice_counts_twice_and_its_parameters_once():
    summary = model_summary(Twice(), (2, 4))

    assert [(row.name, row.n_parameters, row.n_macs) for row in summary.rows] == [("shared", 20, 16), ("shared", 0, 16)]
    assert (summary.n_parameters, summary.n_macs) == (20 + 10 + 3, 32)
    assert str(summary).splitlines()[3].split() == ["(elsewhere)", "13", "0"]


def test_a_list_of_modules_is_replaced_by_its_entries():
    assert [row.name for row in model_summary(Listed(), (1, 4)).rows] == ["layers.0", "layers.1"]


def test_a_model_without_children_is_its_own_row():
    summary = model_summary(nn.Linear(3, 2), (5, 7, 3))

    assert [(row.name, row.output_shape, row.n_macs) for row in summary.rows] == [("(model)", (5, 7, 2), 42)]


def test_an_output_that_is_no_tensor_has_no_shape():
    summary = model_summary(nn.Sequential(nn.GRU(2, 2)), (1, 1, 2))

    assert summary.rows[0].output_shape is None
    assert str(summary).splitlines()[1].split() == ["0", "GRU", "-", "36", "0"]


def test_a_batch_serves_as_well_as_its_shape():
    model = lesson_cnn(c_in=1)

    assert model_summary(model, torch.ones(2, 1, 20, 30)) == model_summary(model, (2, 1, 20, 30))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_batch_takes_the_models_type(dtype):
    assert model_summary(nn.Linear(3, 2).to(dtype), (1, 3)).rows[0].output_shape == (1, 2)


def test_a_model_on_the_meta_device_is_summed_up_without_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4096, 3), nn.ReLU())

    assert model_summary(model, (1, 3, 5, 5)).n_macs == 3 * 4096 * 9 * 9


def test_the_forward_leaves_no_trace():
    model = nn.Sequential(lesson_cnn(), nn.Dropout()).train()
    model[0][0].norm.eval()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in model.modules()]

    model_summary(model, torch.ones(2, 3, 16, 16))

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_fails_is_named_with_its_input_and_its_words_are_kept():
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), nn.Linear(4, 2))

    with pytest.raises(ShapeError) as caught:
        model_summary(model, (5, 4))

    assert str(caught.value) == (
        'layer "1" (Linear) fails on [5, 3]: mat1 and mat2 shapes cannot be multiplied (5x3 and 4x2)\n'
        "  where: model_summary\n"
        "  fix: pass a batch as the model takes it, its shape and type, or mend the layer"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_failure_of_the_models_own_code_names_the_model():
    with pytest.raises(ShapeError) as caught:
        model_summary(Lambda(_refuse), (5, 4))

    assert str(caught.value).splitlines()[0] == 'layer "(model)" (Lambda) fails on [5, 4]: not mine'


def _refuse(x):
    raise ValueError("not mine")


def test_a_failure_that_the_model_catches_is_none():
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(9, 2), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.first(x)
            except RuntimeError:
                return self.second(x)

    summary = model_summary(nn.Sequential(Careful()), (1, 4))

    assert [(row.name, row.output_shape, row.n_macs) for row in summary.rows] == [("0", (1, 2), 8)]


@pytest.mark.parametrize(("shape", "words"), [((0, 3), "[0, 3]"), ((), "[]")])
def test_an_empty_batch_is_refused(shape, words):
    with pytest.raises(ShapeError) as caught:
        model_summary(nn.Linear(3, 2), shape)

    assert str(caught.value) == (
        f"the batch is {words}, must hold one sample at least\n"
        "  where: model_summary: x\n"
        "  fix: pass a batch, or its shape with the batch axis: (1, 3, 128, 128) say"
    )


def test_deep_and_find_exclude_each_other():
    with pytest.raises(ConfigError) as caught:
        model_summary(nn.Linear(3, 2), (1, 3), deep=True, find=lambda module: True)

    assert str(caught.value) == (
        "deep and find are both given\n  where: model_summary\n  fix: leave one out: each says which layers are rows"
    )


def test_a_condition_that_nothing_meets_is_refused():
    with pytest.raises(ConfigError) as caught:
        model_summary(nn.Linear(3, 2), (1, 3), find=lambda module: False)

    assert str(caught.value) == (
        "find is met by no module of Linear\n  where: model_summary: find\n  fix: leave it out for the model's children"
    )


def test_columns_line_up_text_to_the_left_numbers_to_the_right():
    assert align([("a", "b"), ("long", "12")], n_left=1) == ["a      b", "long  12"]
