"""Maps of batches: their conventions, beside torch's own and closed forms, and one interpolation at most."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from imagekit.batch.fused import sample
from imagekit.batch.matrices import dihedral, flip, rotation, shear, shift, stretch, warp, zoom
from imagekit.batch.sampling import MODES, PADDINGS, grid_lines, grid_of
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.flips import dihedral as dihedral_of_one

_SIZES = [(8, 8), (128, 128), (160, 213), (100, 161), (224, 224), (1, 5)]


def _batch(n: int = 4, height: int = 16, width: int = 16, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    noise = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise.to(dtype, memory_format=torch.channels_last)


def _smooth(n: int, height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 3, width), indexing="ij")
    return torch.stack([x.sin(), y.cos(), (x * y).sin()])[None].repeat(n, 1, 1, 1)


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


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sampling_keeps_the_type_and_the_memory_format(dtype, layout):
    batch = _batch(2, 128, 128, dtype=dtype).contiguous(memory_format=layout)
    turn = rotation(torch.tensor([7.0, 0.0]), aspect=1.0)

    result = sample(batch, turn)

    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=layout)
    assert torch.allclose(result.float(), sample(batch.float(), turn), atol=4e-3)
    assert torch.equal(result[1], batch[1])


def test_sampling_does_not_change_its_input():
    batch = _batch()
    before = batch.clone()

    sample(batch, rotation(torch.full((4,), 33.0), aspect=1.0))

    assert torch.equal(batch, before)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_bytes_stay_bytes_and_are_rounded(layout):
    batch = (_batch(3, 20, 30) * 255).round().to(torch.uint8).contiguous(memory_format=layout)
    turn = rotation(torch.tensor([7.0, 90.0, 0.0]), aspect=1.5)

    result = sample(batch, turn, mode="bicubic")

    expected = sample(batch.float(), turn, mode="bicubic").round().clamp(0, 255)
    assert result.dtype == torch.uint8
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(result.float(), expected)
    assert torch.equal(result[2], batch[2])


@pytest.mark.parametrize("size", [(16, 16), (15, 22)])
def test_flipping_bytes_equals_flipping_floats(size):
    batch = (_batch(2, *size) * 255).round().to(torch.uint8)
    swap = flip(torch.tensor([True, True]))

    on_bytes, on_floats = sample(batch, swap) / 255, sample(batch / 255, swap)

    assert torch.equal(on_bytes, batch.flip(3) / 255)
    assert torch.allclose(on_bytes, on_floats, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("element", range(8))
def test_each_dihedral_map_of_a_square_is_that_of_one_image(element, mode):
    batch = (_batch(1, 9, 9) * 255).round().to(torch.uint8)

    result = sample(batch, dihedral(torch.tensor([element]), aspect=1.0), mode=mode)

    one = dihedral_of_one(batch[0].permute(1, 2, 0).contiguous().numpy(), element)
    assert torch.equal(result[0].permute(1, 2, 0), torch.from_numpy(one))


def test_a_quarter_turn_of_an_oblong_image_keeps_its_proportions():
    batch = torch.zeros(1, 1, 20, 40)
    batch[:, :, 8:12, 18:22] = 1  # a square in the middle

    turned = sample(batch, dihedral(torch.tensor([3]), aspect=2.0), padding_mode="zeros")

    assert torch.allclose(turned, batch, atol=1e-5)


@pytest.mark.parametrize(("n_right", "n_down"), [(3, 0), (0, -4), (-2, 5)])
def test_a_shift_by_whole_pixels_is_a_roll_inside_the_image(n_right, n_down):
    batch = _batch(1, 20, 30)

    moved = sample(batch, shift(torch.tensor([n_right / 30]), torch.tensor([n_down / 20])))

    rolled = batch.roll((n_down, n_right), (2, 3))
    assert torch.allclose(moved[:, :, 5:-5, 5:-5], rolled[:, :, 5:-5, 5:-5], atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (20, 50)])
def test_a_shear_by_45_degrees_moves_each_row_by_its_height(size):
    height, width = size
    batch = torch.zeros(1, 1, height, width)
    batch[..., width // 2] = 1  # an upright line

    leaning = sample(batch, shear(torch.tensor([45.0]), aspect=width / height), padding_mode="zeros")

    for row in range(height):
        column = width // 2 + (height - 1) / 2 - row  # to the right above the middle, to the left below it
        if 1 < column < width - 2:
            line = leaning[0, 0, row]
            assert float((line * torch.arange(width)).sum() / line.sum()) == pytest.approx(column, abs=0.01)


def test_a_stretch_by_four_shows_half_the_width_and_twice_the_height():
    batch = _smooth(1, 64, 64)

    wide = sample(batch, stretch(torch.tensor([4.0])), padding_mode="zeros")

    inside = F.interpolate(batch[:, :, :, 16:48], size=(32, 64), mode="bilinear")
    assert torch.allclose(wide[:, :, 17:47, 2:-2], inside[:, :, 1:-1, 2:-2], atol=1e-4)
    assert wide[:, :, :15].abs().max() == 0
    assert torch.linalg.det(stretch(torch.tensor([4.0])))[0] == pytest.approx(1)


@pytest.mark.parametrize("tilt", [0.3, -0.5, 0.8])
def test_a_tilt_takes_the_corners_where_it_says(tilt):
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=torch.float64)

    seen = (warp(torch.tensor([tilt]), torch.tensor([0.0]))[0] @ corners.T).T
    seen_sideways = (warp(torch.tensor([0.0]), torch.tensor([tilt]))[0] @ corners.T).T

    wide, narrow = 1 + tilt, 1 - tilt
    expected = [[-wide, -1], [wide, -1], [narrow, 1], [-narrow, 1]]
    assert (seen[:, :2] / seen[:, 2:]).flatten().tolist() == pytest.approx([*chain(*expected)], abs=1e-6)
    sideways = [[-1, -wide], [1, -narrow], [1, narrow], [-1, wide]]
    places = (seen_sideways[:, :2] / seen_sideways[:, 2:]).flatten().tolist()
    assert places == pytest.approx([*chain(*sideways)], abs=1e-6)


def test_a_perspective_map_of_a_batch_shows_what_pillow_shows():
    batch = _smooth(1, 64, 64)
    matrix = warp(torch.tensor([0.2]), torch.tensor([-0.1]))

    warped = sample(batch, matrix, padding_mode="zeros")

    # Pillow's map is in pixels of the corner of the image
    to_unit = torch.tensor([[2 / 64, 0, -1], [0, 2 / 64, -1], [0, 0, 1]], dtype=torch.float64)
    in_pixels = to_unit.inverse() @ matrix[0] @ to_unit
    coeffs = (in_pixels / in_pixels[2, 2]).flatten()[:8].tolist()
    for plane, ours in zip(batch[0], warped[0], strict=True):
        theirs = Image.fromarray(plane.numpy()).transform(
            (64, 64), Image.Transform.PERSPECTIVE, coeffs, Image.Resampling.BILINEAR
        )
        assert torch.allclose(torch.from_numpy(np.array(theirs))[8:-8, 8:-8], ours[8:-8, 8:-8], atol=1e-3)


def test_a_warp_tilts_about_the_level_axis_first():
    tilt_x, tilt_y, none = torch.tensor([0.3]), torch.tensor([-0.2]), torch.zeros(1)

    both = warp(tilt_x, tilt_y)

    assert torch.equal(both, warp(tilt_x, none) @ warp(none, tilt_y))
    assert not torch.allclose(both, warp(none, tilt_y) @ warp(tilt_x, none))


@settings(deadline=None)
@given(tilts=st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)))
def test_no_tilt_brings_the_horizon_into_the_image_by_one_axis(tilts):
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=torch.float64)

    for pair in ((tilts[0], 0.0), (0.0, tilts[1])):
        depth = (warp(torch.tensor([pair[0]]), torch.tensor([pair[1]]))[0] @ corners.T)[2]
        assert depth.min() >= 0.1 - 1e-6


def test_the_ways_to_multiply_the_grid_agree():
    height, width = 12, 20
    generator = torch.Generator().manual_seed(1)
    matrices = _identity(5) + 0.2 * torch.randn(5, 3, 3, generator=generator, dtype=torch.float64)
    matrices[:, 2] = torch.tensor([0.1, -0.1, 1.0])
    y, x = torch.meshgrid(_centres(height), _centres(width), indexing="ij")
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1)

    ours = grid_of(*grid_lines(matrices, (height, width), projective=True))

    by_bmm = torch.bmm(base.view(1, -1, 3).expand(5, -1, -1), matrices.transpose(1, 2)).view(5, height, width, 3)
    by_einsum = torch.einsum("hwk,bjk->bhwj", base, matrices)
    by_matmul = base @ matrices.transpose(1, 2)[:, None]
    for places in (by_bmm, by_einsum, by_matmul):
        assert torch.allclose(ours, places[..., :2] / places[..., 2:], atol=1e-12)


@pytest.mark.parametrize("n_channels", [1, 3, 4, 13])
def test_any_number_of_channels_is_sampled_alike(n_channels):
    plane = _smooth(2, 16, 20)[:, :1]
    turn = rotation(torch.tensor([30.0, -5.0]), aspect=20 / 16)

    result = sample(plane.repeat(1, n_channels, 1, 1), turn)

    assert result.shape == (2, n_channels, 16, 20)
    assert torch.allclose(result, sample(plane, turn).expand_as(result), atol=1e-6)


def test_composition_equals_one_after_another_up_to_interpolation():
    batch = _smooth(1, 64, 48)[:, :2]
    steps = [
        rotation(torch.tensor([8.0]), aspect=48 / 64),
        shift(torch.tensor([0.05]), torch.tensor([-0.03])),
        shear(torch.tensor([6.0]), aspect=48 / 64),
        stretch(torch.tensor([1.1])),
        warp(torch.tensor([0.05]), torch.tensor([-0.05])),
        zoom(torch.tensor([1.2])),
    ]

    at_once = batch
    for step in steps:
        at_once = sample(at_once, step)
    composed = sample(batch, torch.linalg.multi_dot([step[0] for step in steps])[None])

    inner = (slice(None), slice(None), slice(16, -16), slice(12, -12))
    # each interpolation bends a sine of this length by up to 5e-4
    assert torch.allclose(composed[inner], at_once[inner], atol=3e-3)
    backwards = sample(batch, torch.linalg.multi_dot([step[0] for step in reversed(steps)])[None])
    assert not torch.allclose(backwards[inner], at_once[inner], atol=1e-2)


def test_no_argument_is_changed():
    angles = torch.tensor([10.0, -20.0])
    kept = angles.clone()

    for make in (rotation, shear):
        make(angles, aspect=1.5)
    shift(angles, angles)
    warp(angles / 100, angles / 100)
    zoom(angles)

    assert torch.equal(angles, kept)


def test_one_interpolation_keeps_more_texture_than_two():
    noise, half = _batch(1, 64, 64), rotation(torch.tensor([15.0]), aspect=1.0)

    once, twice = sample(noise, half @ half), sample(sample(noise, half), half)

    assert once.std() > 1.1 * twice.std()


def test_angle_zero_is_the_identity_where_the_lesson_zoomed_by_half_a_pixel():
    # F.affine_grid without align_corners and F.grid_sample with it, as the lesson had them: the identity is none
    noise, eye = _batch(1, 32, 32), torch.eye(2, 3)[None]

    ours = sample(noise, rotation(torch.tensor([0.0]), aspect=1.0))
    lesson = F.grid_sample(noise, F.affine_grid(eye, [1, 3, 32, 32], align_corners=False), align_corners=True)

    assert torch.equal(ours, noise)
    assert (lesson - noise).abs().max() > 0.1


@pytest.mark.parametrize(("batch_shape", "n"), [((2, 3, 4), 2), ((5, 3, 4, 4), 2)])
def test_a_batch_that_does_not_fit_its_matrices_is_refused(batch_shape, n):
    with pytest.raises(ShapeError) as caught:
        sample(torch.zeros(batch_shape), _identity(n))

    assert str(caught.value) == (
        f"the batch is {list(batch_shape)} and the matrices are [2, 3, 3]\n"
        "  where: sample\n"
        "  fix: pass a batch [B, C, H, W] and one 3 x 3 matrix an image"
    )


@pytest.mark.parametrize("size", [24, (0, 5), (4, 5, 6), (4.0, 5)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ShapeError) as caught:
        sample(torch.zeros(1, 3, 4, 4), _identity(1), size=size)

    assert str(caught.value) == (
        f"size is {size}, must be (height, width) in whole pixels, at least 1\n  where: sample.size"
    )


@pytest.mark.parametrize(
    ("option", "value", "fix"),
    [
        ("padding_mode", "reflect", 'did you mean "reflection"? known: border, reflection, zeros'),
        ("mode", "bilinaer", 'did you mean "bilinear"? known: bicubic, bilinear, nearest'),
    ],
)
def test_an_unknown_mode_is_refused_with_the_nearest_name(option, value, fix):
    with pytest.raises(ConfigError) as caught:
        sample(torch.zeros(1, 3, 4, 4), _identity(1), **{option: value})

    assert str(caught.value) == f'{option} is "{value}", which is not known\n  where: sample.{option}\n  fix: {fix}'


def _centres(n: int) -> torch.Tensor:
    return (torch.arange(n, dtype=torch.float64) * 2 + 1) / n - 1
