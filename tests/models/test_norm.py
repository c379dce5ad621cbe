"""The normalising layers: equal to torch's where torch has them, and RunningBatchNorm by what it promises."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from imagekit.errors import ConfigError, ShapeError
from imagekit.models.norm import (
    NORMS,
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RunningBatchNorm,
    group_norm,
    make_norm,
)
from imagekit.models.registry import create_model

FP32_SHAPE = (8, 6, 9, 7)
SHAPES = st.tuples(st.integers(2, 5), st.just(6), st.integers(1, 5), st.integers(2, 5))


def _images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 1


def _shift(norm: nn.Module) -> None:
    """Weights that are not all 1, and biases that are not all 0."""
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, len(norm.weight)))
        norm.bias.copy_(torch.linspace(-1, 1, len(norm.bias)))


def _same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """Assert equal outputs and gradients of the input, the weight and the bias.

    In float64 for shapes of any kind: between two values that are nearly equal, rounding to fp32 decides.
    """
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    found = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        (y * weights).sum().backward()
        found.append((y, leaf.grad, norm.weight.grad, norm.bias.grad))
    tolerance = 1e-4 if x.dtype == torch.float32 else 1e-7
    for got, expected in zip(*found, strict=True):
        assert torch.allclose(got, expected, rtol=tolerance, atol=tolerance)


def _pair(ours: nn.Module, theirs: nn.Module, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    _shift(ours)
    _shift(theirs)
    return ours.to(dtype), theirs.to(dtype)


@given(shape=SHAPES, seed=st.integers(0, 99))
@example(shape=FP32_SHAPE, seed=0)
@settings(deadline=None, max_examples=15)
def test_batch_norm_is_torchs_in_outputs_gradients_and_running_statistics(shape, seed):
    dtype = torch.float32 if shape == FP32_SHAPE else torch.float64
    ours, theirs = _pair(BatchNorm(6), nn.BatchNorm2d(6), dtype)

    for step in range(2):
        _same(ours, theirs, _images(*shape, seed=seed + step, dtype=dtype))
    _same(ours.eval(), theirs.eval(), _images(1, 6, 1, 1, seed=seed, dtype=dtype))

    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    for key, value in ours.state_dict().items():
        assert value.dtype == expected[key].dtype
        assert torch.allclose(value, expected[key], rtol=1e-5)


def test_batch_norm_divides_by_the_biased_variance_and_keeps_the_unbiased_one():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1, 1)
    norm = BatchNorm(1, eps=0.0)

    y = norm(x)

    assert y.square().mean().item() == pytest.approx(1.0)  # 0.75 if divided by the unbiased 5/3
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * 5 / 3)
    assert norm.running_mean.item() == pytest.approx(0.1 * 1.5)


@pytest.mark.parametrize(("source", "target"), [(BatchNorm, nn.BatchNorm2d), (nn.BatchNorm2d, BatchNorm)])
def test_states_of_batch_norm_load_both_ways(source, target):
    first, second = source(6), target(6)
    _shift(first)
    first(_images(4, 6, 3, 3))

    second.load_state_dict(first.state_dict())

    x = _images(2, 6, 3, 3, seed=1)
    assert torch.allclose(second.eval()(x), first.eval()(x), atol=1e-6)


def test_batch_norm_of_one_value_a_channel_is_refused_in_training_only():
    with pytest.raises(ShapeError) as caught:
        BatchNorm(6)(torch.zeros(1, 6, 1, 1))

    assert str(caught.value) == (
        "BatchNorm got [1, 6, 1, 1] in training, must have at least 2 values a channel\n"
        "  where: BatchNorm\n"
        '  fix: use a larger batch or larger images, or norm = "running"'
    )
    assert BatchNorm(6).eval()(torch.zeros(1, 6, 1, 1)).shape == (1, 6, 1, 1)


@given(shape=SHAPES, seed=st.integers(0, 99))
@example(shape=FP32_SHAPE, seed=0)
@settings(deadline=None, max_examples=10)
def test_layer_instance_and_group_norm_are_torchs(shape, seed):
    dtype = torch.float32 if shape == FP32_SHAPE else torch.float64
    x = _images(*shape, seed=seed, dtype=dtype)

    for ours, theirs in (
        (LayerNorm(6), nn.GroupNorm(1, 6)),
        (InstanceNorm(6), nn.InstanceNorm2d(6, affine=True)),
        (GroupNorm(2, 6), nn.GroupNorm(2, 6)),
        (GroupNorm(3, 6), nn.GroupNorm(3, 6)),
    ):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        _same(*_pair(ours, theirs, dtype), x)


def test_layer_norm_is_torchs_layer_norm_with_a_weight_a_channel():
    x, norm = _images(2, 6, 3, 4), LayerNorm(6)
    _shift(norm)

    result = norm(x)

    weight, bias = (value.reshape(6, 1, 1).expand(6, 3, 4) for value in (norm.weight, norm.bias))
    assert torch.allclose(result, F.layer_norm(x, (6, 3, 4), weight, bias), atol=1e-5)


@pytest.mark.parametrize("norm", [InstanceNorm(6), GroupNorm(6, 6)])
def test_a_group_of_one_value_is_refused(norm):
    name = type(norm).__name__

    with pytest.raises(ShapeError) as caught:
        norm(torch.zeros(4, 6, 1, 1))

    assert str(caught.value) == (
        f"{name} got [4, 6, 1, 1], where a group has one value only: it would always become 0\n"
        f"  where: {name}\n"
        "  fix: use larger images, or another norm"
    )
    assert norm(torch.zeros(4, 6, 1, 2)).shape == (4, 6, 1, 2)


@pytest.mark.parametrize("n_groups", [0, 4])
def test_groups_that_do_not_come_out_even_are_refused(n_groups):
    with pytest.raises(ConfigError) as caught:
        GroupNorm(n_groups, 6)

    assert str(caught.value) == (
        f"n_groups is {n_groups}, must divide the 6 channels\n"
        "  where: GroupNorm: n_groups\n"
        "  fix: choose a divisor of 6"
    )


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 6), (6, 3, 3)])
@pytest.mark.parametrize("norm", [BatchNorm(6), RunningBatchNorm(6), LayerNorm(6)])
def test_images_of_another_shape_are_refused(norm, shape):
    name = type(norm).__name__

    with pytest.raises(ShapeError) as caught:
        norm(torch.zeros(shape))

    assert str(caught.value) == (
        f"{name} got {list(shape)}, must be [B, 6, H, W]\n  where: {name}\n  fix: give it images of 6 channels"
    )


@pytest.mark.parametrize(
    ("n_channels", "n_groups"),
    [(1, 1), (6, 1), (8, 1), (13, 1), (16, 2), (24, 3), (32, 4), (64, 8), (256, 32), (2048, 32)],
)
def test_group_norm_by_name_leaves_at_least_eight_channels_a_group(n_channels, n_groups):
    assert group_norm(n_channels).num_groups == n_groups


# RunningBatchNorm


def test_the_first_batch_is_normalised_with_its_own_statistics():
    x = _images(32, 6, 4, 4)

    result = RunningBatchNorm(6)(x)

    assert torch.allclose(result, F.batch_norm(x, None, None, training=True), atol=1e-4)


def test_running_statistics_are_the_averages_of_sums_squares_and_counts():
    first, second = _images(3, 6, 2, 2), _images(5, 6, 4, 4, seed=1)
    norm = RunningBatchNorm(6)

    norm(first)
    norm(second)

    new = [1 - 0.9 / (n - 1) ** 0.5 for n in (3, 5)]
    for buffer, of in ((norm.sums, lambda x: x), (norm.sqrs, torch.square), (norm.count, lambda x: x[:, 0] * 0 + 1)):
        a, b = (of(x).transpose(0, 1).flatten(1).sum(1) if buffer.dim() else of(x).sum() for x in (first, second))
        assert torch.allclose(buffer, a * new[0] * (1 - new[1]) + b * new[1], rtol=1e-5)
    assert norm.n_seen.item() == 8


@pytest.mark.parametrize("n_images", [1, 2, 7])
def test_evaluation_uses_the_statistics_of_training(n_images):
    x, norm = _images(n_images, 6, 3, 3), RunningBatchNorm(6)
    for _ in range(3):
        trained = norm(x)

    assert torch.allclose(norm.eval()(x), trained, atol=1e-5)


def test_an_untrained_norm_passes_its_input_on():
    x = _images(2, 6, 3, 3)

    assert torch.allclose(RunningBatchNorm(6).eval()(x), x, atol=1e-4)


def test_the_variance_is_held_up_until_twenty_images_were_seen():
    flat = torch.full((19, 1, 2, 2), 3.0) + torch.tensor([[-0.01, 0.01], [-0.01, 0.01]])
    norm = RunningBatchNorm(1)

    few = norm(flat)
    enough = norm(flat)

    assert few.std().item() == pytest.approx(0.1, rel=0.05)  # 0.01 / sqrt(0.01), not 0.01 / 0.01
    assert enough.std().item() == pytest.approx(0.95, rel=0.05)  # sqrt(1e-4 / (1e-4 + eps))


def test_a_constant_channel_stays_finite():
    norm, x = RunningBatchNorm(1), torch.full((8, 1, 4, 4), 1000.1, requires_grad=True)

    for _ in range(4):
        norm(x).sum().backward()

    assert x.grad.isfinite().all()
    assert norm.eval()(x).isfinite().all()


def test_no_graph_is_kept_from_step_to_step():
    norm, x = RunningBatchNorm(6), _images(2, 6, 3, 3)

    for _ in range(3):
        norm(x.requires_grad_()).square().sum().backward()

    assert not any(buffer.requires_grad for buffer in norm.buffers())


def test_gradients_flow_through_what_the_batch_brought_to_the_statistics():
    norm = RunningBatchNorm(2).double()
    norm(_images(24, 2, 3, 3, dtype=torch.float64))
    x = _images(3, 2, 2, 2, dtype=torch.float64, seed=1).requires_grad_()

    assert torch.autograd.gradcheck(lambda x: copy.deepcopy(norm)(x), (x,))


def test_one_norm_may_be_used_twice_before_the_gradients():
    norm, x = RunningBatchNorm(6), _images(2, 6, 3, 3).requires_grad_()

    (norm(x) + norm(2 * x)).square().sum().backward()

    assert x.grad.isfinite().all()


@pytest.mark.parametrize("is_training", [True, False])
def test_running_statistics_are_copied_saved_and_loaded(is_training):
    norm, loaded, x = RunningBatchNorm(6), RunningBatchNorm(6), _images(2, 6, 3, 3)
    norm(x)
    loaded.load_state_dict(norm.state_dict())
    copied = copy.deepcopy(norm)

    expected = norm.train(is_training)(x)

    assert list(norm.state_dict()) == ["weight", "bias", "sums", "sqrs", "count", "n_seen"]
    assert torch.equal(loaded.train(is_training)(x), expected)
    assert torch.equal(copied.train(is_training)(x), expected)


def _levels(n_images: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose mean is the class: what is lost when two images are normalised against one another."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(4, (n_images,), generator=generator)
    return torch.randn(n_images, 1, 8, 8, generator=generator) / 2 + (target - 1.5)[:, None, None, None], target


def _fit(norm: str, *, batch_size: int, lr: float, n_steps: int) -> tuple[float, float, float]:
    """Accuracy on new images in evaluation, and the mean loss of the first and of the last 20 steps."""
    model = create_model("lesson-cnn", c_in=1, c_out=4, nfs=(16,), norm=norm)
    images, target = _levels(n_steps * batch_size, seed=0)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=lr), []
    for x, y in zip(images.split(batch_size), target.split(batch_size), strict=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    images, target = _levels(200, seed=1)
    with torch.no_grad():
        accuracy = (model.eval()(images).argmax(1) == target).float().mean().item()
    return accuracy, sum(losses[:20]) / 20, sum(losses[-20:]) / 20


def test_batches_of_two_train_with_running_norm_and_hardly_with_batch_norm():
    accuracy, _, running = _fit("running", batch_size=2, lr=0.05, n_steps=100)
    _, first, plain = _fit("batch", batch_size=2, lr=0.05, n_steps=100)

    assert accuracy > 0.95
    assert running < 0.25
    assert plain > first / 2


def test_batches_of_one_train_with_running_norm():
    accuracy, first, last = _fit("running", batch_size=1, lr=0.02, n_steps=150)

    assert last < first / 2
    assert accuracy > 0.7


# all of them


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_keeps_type_and_memory_order_and_computes_in_full_precision(name):
    norm = make_norm(name, 16)
    x = _images(4, 16, 6, 5).to(memory_format=torch.channels_last)
    full = copy.deepcopy(norm)(x)

    half = norm(x.bfloat16())

    assert half.dtype == torch.bfloat16
    assert half.is_contiguous(memory_format=torch.channels_last)
    assert full.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(half.float(), full, atol=0.05)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_of_half_precision_are_those_of_the_same_numbers_in_full(dtype, name):
    x = (20 + _images(8, 16, 16, 16)).to(dtype)

    assert torch.allclose(make_norm(name, 16)(x).float(), make_norm(name, 16)(x.float()), atol=0.02)


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_centres_and_scales_what_it_gets(name):
    result = make_norm(name, 16)(_images(32, 16, 8, 8))

    assert abs(result.mean().item()) < 0.01
    assert result.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_pickles_and_is_the_same_after(name):
    buffer, norm, x = io.BytesIO(), make_norm(name, 16), _images(4, 16, 3, 3)
    norm(x)
    torch.save(norm, buffer)
    buffer.seek(0)

    loaded = torch.load(buffer, weights_only=False)

    assert torch.equal(loaded.eval()(x), norm.eval()(x))
    assert repr(loaded) == repr(norm)


def test_norms_print_their_settings():
    assert repr(BatchNorm(6)) == "BatchNorm(6, eps=1e-05)"
    assert repr(GroupNorm(2, 6)) == "GroupNorm(2, 6, eps=1e-05)"


def test_a_norm_is_made_by_name_by_function_or_not_at_all():
    assert type(make_norm("batch", 8)) is nn.BatchNorm2d
    assert type(make_norm(nn.SyncBatchNorm, 8)) is nn.SyncBatchNorm
    assert make_norm(None, 8) is None


def test_an_unknown_norm_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        make_norm("bach", 8)

    assert str(caught.value) == (
        'norm is "bach", which is not known\n'
        "  where: norm\n"
        '  fix: did you mean "batch"? known: batch, batch-scratch, group, instance, layer, running'
    )


@pytest.mark.parametrize(("norm", "text"), [(True, "True"), (nn.Identity(), "Identity()")])
def test_what_makes_no_norm_is_refused(norm, text):
    with pytest.raises(ConfigError) as caught:
        make_norm(norm, 8)

    assert str(caught.value) == (
        f"norm is {text}, must be a name, a function of the number of channels, or None\n"
        "  where: norm\n"
        '  fix: write norm="batch", norm=nn.BatchNorm2d, or norm=None; '
        "known: batch, batch-scratch, group, instance, layer, running"
    )
