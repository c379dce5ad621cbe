"""What an optimizer remembers: averages, how they begin, and that nothing else is remembered."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optim.steps import make_params, set_grads
from torch import nn

from imagekit.optim.lists import Lists, multiply_
from imagekit.optim.stats import AverageGrad, AverageSqrGrad, FactoredSqrGrad, MomentumBuffer, StepCount, debias

# the values of the lesson's spreadsheet, and its average of them without the bias of the beginning
SHEET = [5, 1, 1, 1, 1, 1, 5, 1]
AVERAGES = [5.0, 2.895, 2.196, 1.848, 1.641, 1.504, 2.174, 1.968]


def _lists(value: float) -> Lists:
    return Lists([torch.zeros(1, dtype=torch.float64)], [torch.tensor([float(value)], dtype=torch.float64)])


def _averages(stat, values, **hypers):
    state, found = {}, []
    for value in values:
        x = _lists(value)
        x.state = state
        stat.update(x, **hypers)
        found.append(x.state[stat.keeps[0]][0].item())
    return found


@pytest.mark.parametrize("dampening", [True, False])
def test_debiased_averages_are_those_of_the_lessons_sheet_dampened_or_not(dampening):
    raw = _averages(AverageGrad(dampening=dampening), SHEET, momentum=0.9)

    weight = 0.1 if dampening else 1.0
    found = [value / debias(0.9, weight, i + 1) for i, value in enumerate(raw)]
    assert found == pytest.approx(AVERAGES, abs=5e-4)


def test_correcting_the_bias_does_not_feed_back_into_the_average():
    # one of the lesson's versions returns the corrected value as the state, and corrects it again at the next step
    raw = _averages(AverageGrad(dampening=True), SHEET, momentum=0.9)

    closed = [sum(0.1 * 0.9 ** (i - j) * SHEET[j] for j in range(i + 1)) for i in range(len(SHEET))]
    assert raw == pytest.approx(closed, rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=10),
    momentum=st.floats(0, 0.999),
    dampening=st.booleans(),
)
def test_averages_have_their_closed_form(values, momentum, dampening):
    found = _averages(AverageGrad(dampening=dampening), values, momentum=momentum)

    weight = 1 - momentum if dampening else 1.0
    n = len(values)
    assert found[-1] == pytest.approx(
        sum(weight * momentum ** (n - 1 - i) * value for i, value in enumerate(values)), abs=1e-9, rel=1e-9
    )


@settings(deadline=None, max_examples=30)
@given(momentum=st.floats(0, 0.999), step=st.integers(1, 1000), dampened=st.booleans())
def test_debias_is_what_the_average_of_equal_values_is_of_the_value(momentum, step, dampened):
    weight = 1 - momentum if dampened else 1.0

    expected = sum(weight * momentum**i for i in range(step))

    assert debias(momentum, weight, step) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("momentum", "gain"), [(0.5, 2), (0.7, 3.33), (0.9, 10), (0.99, 100)])
def test_an_undampened_average_grows_to_a_gain_of_one_over_one_minus_momentum(momentum, gain):
    assert _averages(AverageGrad(), [1] * 2000, momentum=momentum)[-1] == pytest.approx(gain, rel=2e-3)


@pytest.mark.parametrize("sqr_momentum", [0.0, 0.9, 0.99])
def test_the_average_of_squares_has_its_closed_form(sqr_momentum):
    found = _averages(AverageSqrGrad(), SHEET, sqr_momentum=sqr_momentum)

    n = len(SHEET)
    weights = [(1 - sqr_momentum) * sqr_momentum ** (n - 1 - i) for i in range(n)]
    assert found[-1] == pytest.approx(sum(w * v**2 for w, v in zip(weights, SHEET, strict=True)), rel=1e-12)


def test_the_first_gradient_enters_a_momentum_buffer_whole():
    assert _averages(MomentumBuffer(), [4, 1], momentum=0.5, dampening=0.5) == [4.0, 0.5 * 4 + 0.5 * 1]


def test_nothing_is_kept_where_momentum_is_zero():
    x = _lists(3)

    MomentumBuffer().update(x, momentum=0.0)

    assert x.state == {}


def test_steps_are_counted_for_each_parameter_as_plain_numbers():
    x = _lists(1)

    for _ in range(3):
        StepCount().update(x)

    assert x.step == 3


def test_factored_squares_of_a_convolution_take_a_row_and_a_column():
    weights = nn.Conv2d(16, 32, 3).weight.detach()
    x = Lists([weights], [torch.ones_like(weights)], counts={"step": 1})

    FactoredSqrGrad().update(x)

    assert x.state["row_var"][0].shape == (32, 1)
    assert x.state["col_var"][0].shape == (1, 144)
    assert "variance" not in x.state


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_decay_near_one_is_not_rounded_to_one_first(dtype):
    # a list multiplication on a CPU makes the factor bfloat16, in which 0.999 is 1
    tensors = [torch.full((64,), 1024.0, dtype=dtype)]

    for _ in range(4):
        multiply_(tensors, 0.996)

    assert tensors[0][0].item() < 1024 * 0.99


def test_state_has_the_memory_order_and_type_of_its_parameter():
    params = make_params()
    params[0].data = params[0].data.contiguous(memory_format=torch.channels_last)
    set_grads(params, 0)
    x = Lists(params, [param.grad for param in params])

    AverageSqrGrad().update(x, sqr_momentum=0.9)

    assert [each.stride() for each in x.state["exp_avg_sq"]] == [param.stride() for param in params]
