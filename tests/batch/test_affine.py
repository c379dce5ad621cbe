"""Affine maps of batches: their conventions, beside torch's own, and one interpolation at most."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from imagekit.batch.affine import PADDINGS, RandomAffine, Sampler, flip, rotation, sample, zoom
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys, uniform

_SIZES = [(8, 8), (128, 128), (160, 213), (100, 161), (224, 224), (1, 5)]


def _batch(n: int = 4, height: int = 16, width: int = 16, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    noise = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise.to(dtype, memory_format=torch.channels_last)


def _smooth(n: int, height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 3, width), indexing="ij")
    return torch.stack([x.sin(), y.cos(), (x * y).sin()])[None].repeat(n, 1, 1, 1)


def _keys(n: int, *, epoch: int = 0) -> torch.Tensor:
    return make_keys(seed=0, epoch=epoch, ids_B=torch.arange(n))


def _identity(n: int) -> torch.Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)


def test_a_quarter_turn_carries_the_right_edge_to_the_top():
    picture = torch.zeros(1, 1, 5, 5)
    picture[0, 0, 2, 4] = 1  # middle of the right edge

    turned = sample(picture, rotation(torch.tensor([90.0]), aspect=1.0))

    assert turned[0, 0, 0, 2] == pytest.approx(1, abs=1e-6)  # middle of the top edge: anti-clockwise
    assert turned.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("degrees", "n_quarters"), [(90.0, 1), (180.0, 2), (-90.0, 3), (360.0, 0)])
def test_quarter_turns_equal_rot90(degrees, n_quarters):
    batch = _batch()

    turned = sample(batch, rotation(torch.full((4,), degrees), aspect=1.0))

    assert torch.allclose(turned, batch.rot90(n_quarters, (2, 3)), atol=1e-5)


def test_a_rotation_of_an_oblong_image_keeps_right_angles():
    # in pixels the map must be a pure rotation: the same lengths along x and y, at a right angle
    aspect = 213 / 160
    to_pixels = torch.diag(torch.tensor([aspect, 1.0, 1.0], dtype=torch.float64))

    pixels = to_pixels @ rotation(torch.tensor([25.0]), aspect=aspect)[0] @ to_pixels.inverse()

    assert torch.allclose(pixels @ pixels.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert pixels[0, 0] == pytest.approx(math.cos(math.radians(25)))


@settings(deadline=None)
@given(first=st.floats(-180, 180), second=st.floats(-180, 180), aspect=st.floats(0.2, 5))
def test_two_rotations_are_the_rotation_by_their_sum(first, second, aspect):
    product = rotation(torch.tensor([first]), aspect=aspect) @ rotation(torch.tensor([second]), aspect=aspect)

    whole = rotation(torch.tensor([first], dtype=torch.float64) + second, aspect=aspect)
    assert torch.allclose(product, whole, atol=1e-5)
    assert torch.linalg.det(product)[0] == pytest.approx(1)


def test_a_zoom_by_two_shows_the_middle_half():
    batch = _smooth(2, 64, 64)

    zoomed = sample(batch, zoom(torch.tensor([2.0, 2.0])))

    expected = F.interpolate(batch[:, :, 16:48, 16:48], size=(64, 64), mode="bilinear")
    assert torch.allclose(zoomed[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2], atol=1e-4)


def test_a_product_of_matrices_does_the_first_to_the_image_first():
    batch = _smooth(1, 48, 64)
    flipped, turn = flip(torch.tensor([True])), rotation(torch.tensor([30.0]), aspect=64 / 48)

    at_once = sample(batch, flipped @ turn)
    one_by_one = sample(sample(batch, flipped), turn)

    assert torch.allclose(at_once, one_by_one, atol=1e-5)
    assert not torch.allclose(at_once, sample(batch, turn @ flipped), atol=1e-2)


@pytest.mark.parametrize("size", _SIZES)
def test_the_identity_gives_every_image_back_bit_for_bit(size):
    batch = _batch(3, *size)

    assert torch.equal(sample(batch, _identity(3)), batch)
    assert torch.equal(sample(batch, rotation(torch.zeros(3), aspect=1.7) @ zoom(torch.ones(3))), batch)


@pytest.mark.parametrize("size", _SIZES)
def test_the_grid_itself_is_an_identity_to_a_small_part_of_a_byte(size):
    batch = _batch(2, *size)
    nearly = _identity(2)
    nearly[:, 0, 2] = 1e-12  # not the identity, so it is interpolated

    assert (sample(batch, nearly) - batch).abs().max() < 3e-5


@pytest.mark.parametrize("size", _SIZES)
def test_a_flip_equals_a_flip_of_the_tensor(size):
    batch = _batch(2, *size)

    flipped = sample(batch, flip(torch.tensor([True, False])))

    assert torch.allclose(flipped[0], batch[0].flip(2), atol=3e-5)
    assert torch.equal(flipped[1], batch[1])


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("size", [(16, 16), (24, 10)])
@pytest.mark.parametrize("n", [0, 1, 5, 8 * torch.get_num_threads() + 3])
def test_sampling_agrees_with_torch_affine_grid_and_grid_sample(padding_mode, size, n):
    batch, generator = _batch(n, 16, 20), torch.Generator().manual_seed(1)
    matrices = _identity(n)
    matrices[:, :2] += 0.3 * torch.randn(n, 2, 3, generator=generator, dtype=torch.float64)

    ours = sample(batch, matrices, size=size, padding_mode=padding_mode)

    grid = F.affine_grid(matrices[:, :2].float(), [n, 3, *size], align_corners=False) if n else None
    theirs = (
        F.grid_sample(batch, grid, padding_mode=padding_mode, align_corners=False) if n else torch.zeros(0, 3, *size)
    )
    assert ours.shape == (n, 3, *size)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_reflection_leaves_no_black_corners_and_zeros_do():
    white, turn = torch.ones(1, 3, 32, 32), rotation(torch.tensor([20.0]), aspect=1.0)

    assert torch.allclose(sample(white, turn), white, atol=1e-6)
    assert sample(white, turn, padding_mode="zeros")[0, :, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sampling_keeps_the_type_and_gives_channels_last(dtype):
    batch = _batch(2, 128, 128, dtype=dtype)
    turn = rotation(torch.tensor([7.0, 0.0]), aspect=1.0)

    result = sample(batch, turn)

    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.float(), sample(batch.float(), turn), atol=4e-3)
    assert torch.equal(result[1], batch[1])


def test_a_sampler_builds_its_axes_once_per_size():
    sampler = Sampler()

    for _ in range(3):
        sampler(_batch(2, 16, 20), _identity(2))
        sampler(_batch(2, 8, 16), _identity(2))

    assert sorted(n for n, _ in sampler._centres) == [8, 16, 20]


def test_sampling_does_not_change_its_input():
    batch = _batch()
    before = batch.clone()

    sample(batch, rotation(torch.full((4,), 33.0), aspect=1.0))

    assert torch.equal(batch, before)


def test_random_affine_interpolates_once_and_gives_channels_last(monkeypatch):
    calls = []
    real = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))

    result = RandomAffine()(_batch(8), _keys(8))

    assert calls == [1]
    assert result.is_contiguous(memory_format=torch.channels_last)


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)), batch_size=st.integers(1, 12))
def test_an_image_is_changed_alike_in_any_batch(order, batch_size):
    batch, transform = _batch(12), RandomAffine(max_degrees=30)
    whole = transform(batch, _keys(12))

    for start in range(0, 12, batch_size):
        rows = torch.tensor(order[start : start + batch_size])
        part = transform(batch[rows], _keys(12)[rows])

        assert torch.equal(part, whole[rows])


def test_images_of_a_batch_and_epochs_differ():
    batch = _batch(1).repeat(8, 1, 1, 1)

    first, second = RandomAffine()(batch, _keys(8)), RandomAffine()(batch, _keys(8, epoch=1))

    assert len({tuple(image.flatten().tolist()) for image in first}) > 4
    assert not torch.equal(first, second)


def test_random_affine_draws_flips_angles_and_zooms_in_their_ranges():
    matrices = RandomAffine(flip_p=0.3, max_degrees=20, max_zoom=1.5, p_affine=0.6).matrices(_keys(20_000), aspect=1.0)

    scale = torch.linalg.det(matrices).abs().rsqrt()
    flipped = torch.linalg.det(matrices) < 0
    sign = torch.where(flipped, -1.0, 1.0)
    degrees = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 1, 1]))

    assert abs(flipped.double().mean() - 0.3) < 5 * (0.3 * 0.7 / 20_000) ** 0.5
    assert scale.min() > 1 - 1e-9
    assert 1.49 < scale.max() <= 1.5
    assert abs(((scale - 1).abs() > 1e-9).double().mean() - 0.6) < 5 * (0.6 * 0.4 / 20_000) ** 0.5
    assert 19.9 < degrees.abs().max() <= 20
    assert abs((degrees != 0).double().mean() - 0.6) < 5 * (0.6 * 0.4 / 20_000) ** 0.5
    assert abs(degrees.mean()) < 5 * 20 / (3 * 20_000) ** 0.5
    assert torch.allclose(matrices[:, 0, 0] * sign, matrices[:, 1, 1])


def test_random_affine_equals_its_three_maps_drawn_by_hand():
    keys, batch = _keys(6), _smooth(6, 24, 32)
    u = uniform(keys, stream="batch.random_affine", n=5)

    result = RandomAffine(flip_p=0.5, max_degrees=10, max_zoom=1.1, p_affine=1.0)(batch, keys)

    matrix = flip(u[:, 0] < 0.5) @ rotation((2 * u[:, 3] - 1) * 10, aspect=32 / 24) @ zoom(1 + u[:, 4] * 0.1)
    assert torch.equal(result, sample(batch, matrix))


def test_random_affine_without_strength_gives_the_batch_back():
    batch = _batch(8, 24, 32)

    assert torch.equal(RandomAffine(flip_p=0, max_degrees=0, max_zoom=1)(batch, _keys(8)), batch)
    assert torch.equal(RandomAffine(flip_p=0, p_affine=0)(batch, _keys(8)), batch)


def test_random_affine_is_the_same_under_autocast():
    batch, transform = _batch(8, 64, 64), RandomAffine()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(batch, _keys(8))

    assert torch.equal(inside, transform(batch, _keys(8)))


def test_the_strength_can_be_changed_between_batches():
    transform = RandomAffine(flip_p=0, p_affine=1, max_degrees=10, max_zoom=1.2)
    strong = transform.matrices(_keys(4), aspect=1.0)

    transform.max_degrees, transform.max_zoom = 0.0, 1.0

    assert not torch.equal(strong, _identity(4))
    assert torch.equal(transform.matrices(_keys(4), aspect=1.0), _identity(4))


def test_random_affine_asks_for_keys_and_tells_its_options():
    assert RandomAffine.needs_keys
    assert RandomAffine(max_degrees=5).to_dict() == {
        "name": "RandomAffine",
        "flip_p": 0.5,
        "max_degrees": 5,
        "max_zoom": 1.1,
        "p_affine": 0.75,
        "padding_mode": "reflection",
    }


def test_random_affine_without_keys_says_how_to_make_them():
    with pytest.raises(ShapeError) as caught:
        RandomAffine()(_batch())

    assert str(caught.value) == (
        "RandomAffine got no keys\n"
        "  where: RandomAffine: keys_B\n"
        "  fix: make them with make_keys(seed=..., epoch=..., ids_B=...)"
    )


@pytest.mark.parametrize(
    ("batch", "facts"),
    [
        (torch.zeros(2, 3, 4), "torch.float32 [2, 3, 4] and the matrices are [2, 3, 3]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "torch.uint8 [2, 3, 4, 4] and the matrices are [2, 3, 3]"),
        (torch.zeros(5, 3, 4, 4), "torch.float32 [5, 3, 4, 4] and the matrices are [2, 3, 3]"),
    ],
)
def test_a_batch_that_does_not_fit_its_matrices_is_refused(batch, facts):
    with pytest.raises(ShapeError) as caught:
        sample(batch, _identity(2))

    assert str(caught.value) == (
        f"the batch is {facts}\n"
        "  where: sample\n"
        "  fix: pass floats [B, C, H, W] (ToFloat makes them) and one 3 x 3 matrix an image"
    )


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"flip_p": 1.5}, "flip_p is 1.5, must be from 0 to 1", "set flip_p = 0 to do without"),
        ({"max_degrees": -1}, "max_degrees is -1, must be from 0 to 180", "set max_degrees = 0 to do without"),
        ({"max_zoom": 0.9}, "max_zoom is 0.9, must be from 1 to 100", "set max_zoom = 1 to do without"),
        ({"p_affine": math.nan}, "p_affine is nan, must be from 0 to 1", "set p_affine = 0 to do without"),
    ],
)
def test_strengths_out_of_range_are_refused(options, what, fix):
    with pytest.raises(ConfigError) as caught:
        RandomAffine(**options)

    assert str(caught.value) == f"{what}\n  where: RandomAffine.{next(iter(options))}\n  fix: {fix}"


@pytest.mark.parametrize(
    ("make", "where"), [(RandomAffine, "RandomAffine.padding_mode"), (Sampler, "Sampler.padding_mode")]
)
def test_an_unknown_padding_is_refused_with_the_nearest_name(make, where):
    with pytest.raises(ConfigError) as caught:
        make(padding_mode="reflect")

    assert str(caught.value) == (
        'padding_mode is "reflect", which is not known\n'
        f"  where: {where}\n"
        '  fix: did you mean "reflection"? known: border, reflection, zeros'
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_random_affine_on_the_gpu_agrees_and_never_waits_for_it():
    batch, transform, keys = _batch(16, 64, 64), RandomAffine(), _keys(16)
    on_gpu, keys_on_gpu = batch.cuda(), keys.cuda()
    transform(on_gpu, keys_on_gpu)  # the axes go to the device once

    torch.cuda.set_sync_debug_mode("error")
    try:
        result = transform(on_gpu, keys_on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.cpu(), transform(batch, keys), atol=1e-4)
