"""Perspective: the coefficients, the corners, and what is seen beside Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.homography import find_coeffs, find_homographies
from imagekit.transforms.warp import PerspectiveWarp, TiltRandomCrop, warp

LESSON_SOURCE = [(90, 60), (30, 280), (310, 280), (250, 60)]
TARGET = [(0, 0), (0, 128), (128, 128), (128, 0)]
_DRAWS = st.floats(0, 1, exclude_max=True)


def _smooth(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1).astype(np.uint8)


def _noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _assert_convex(corners: list[tuple[float, float]]) -> None:
    """Every turn goes the same way, so no line through two corners, and no horizon, passes through the inside."""
    points = np.array([*corners, *corners[:2]])
    sides = np.diff(points, axis=0)
    turns = sides[:-1, 0] * sides[1:, 1] - sides[:-1, 1] * sides[1:, 0]
    assert (turns <= 1e-9).all()


def _apply(coeffs: list[float], x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f, g, h = coeffs
    return (a * x + b * y + c) / (g * x + h * y + 1), (d * x + e * y + f) / (g * x + h * y + 1)


def test_the_lessons_corners_give_the_lessons_coefficients():
    coeffs = find_coeffs(LESSON_SOURCE, TARGET)

    assert coeffs == pytest.approx([1.25, -0.569196, 90, 0, 0.78125, 60, 0, -0.003348], abs=1e-6)


def test_each_corner_of_the_output_is_its_corner_of_the_source():
    coeffs = find_coeffs(LESSON_SOURCE, TARGET)

    for target, source in zip(TARGET, LESSON_SOURCE, strict=True):
        assert _apply(coeffs, *target) == pytest.approx(source, abs=1e-3)


@settings(deadline=None)
@given(jitter=st.lists(st.floats(-0.3, 0.3), min_size=8, max_size=8))
def test_any_four_corners_are_met(jitter):
    square = torch.tensor([[[-1.0, -1], [-1, 1], [1, 1], [1, -1]]], dtype=torch.float64)
    moved = square + torch.tensor(jitter, dtype=torch.float64).view(1, 4, 2)

    matrix = find_homographies(square, moved)[0]

    places = torch.cat([square[0], torch.ones(4, 1)], dim=1) @ matrix.T
    assert torch.allclose(places[:, :2] / places[:, 2:], moved[0], atol=1e-6)


def test_four_points_on_a_line_have_no_map():
    with pytest.raises(ShapeError) as caught:
        find_coeffs([(0, 0), (1, 1), (2, 2), (3, 3)], [(0, 0), (0, 0), (1, 1), (1, 0)])

    assert str(caught.value) == (
        "three of the four points lie on a line, so no perspective map takes them to their partners\n"
        "  where: find_homographies\n"
        "  fix: give the corners of two quadrilaterals"
    )


def test_a_warp_shows_what_pillow_shows():
    image = _smooth(400, 300)

    ours = warp(image, (128, 128), LESSON_SOURCE)

    theirs = Image.fromarray(image).transform(
        (128, 128), Image.Transform.PERSPECTIVE, find_coeffs(LESSON_SOURCE, TARGET), Image.Resampling.BILINEAR
    )
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 2
    assert np.array_equal(np.asarray(warp(Image.fromarray(image), (128, 128), LESSON_SOURCE)), ours)


def test_nearest_takes_pixels_as_they_are():
    image = _noise(60, 60)

    result = warp(image, (60, 60), [(0, 0), (0, 60), (60, 60), (60, 0)], filter="nearest")

    assert np.array_equal(result, image)


def test_a_warp_that_reduces_does_not_alias():
    # stripes of one pixel: single samples would show them as broad bands, averages as even grey
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255

    result = warp(stripes, (64, 64), [(0, 0), (0, 256), (256, 256), (256, 0)])

    assert result.std() < 2
    assert abs(result.mean() - 127.5) < 2


@settings(deadline=None)
@given(
    width=st.integers(1, 300), height=st.integers(1, 300), magnitude=st.floats(0, 0.25), draws=st.tuples(*[_DRAWS] * 4)
)
def test_no_corner_of_a_tilt_leaves_the_image(width, height, magnitude, draws):
    corners = TiltRandomCrop(8, magnitude=magnitude, crop_size=max(1, min(width, height) // 3)).corners(
        width, height, draws
    )

    _assert_convex(corners)
    for x, y in corners:
        assert -1e-9 <= x <= width + 1e-9
        assert -1e-9 <= y <= height + 1e-9


@settings(deadline=None, max_examples=30)
@given(draws=st.tuples(*[_DRAWS] * 4))
def test_no_pixel_of_a_tilt_comes_from_outside_the_image(draws):
    # a wide black frame would show if the quadrilateral reached beyond the white picture
    corners = TiltRandomCrop(32, magnitude=0.25, crop_size=60).corners(160, 120, draws)
    framed = np.zeros((320, 360, 3), np.uint8)
    framed[100:220, 100:260] = 255

    # the edge's own pixels blend with the frame: half a pixel of either
    seen = warp(framed, (32, 32), [(x + 100, y + 100) for x, y in corners], filter="nearest")

    assert (seen == 255).all()


@settings(deadline=None)
@given(draws=st.tuples(*[_DRAWS] * 8), magnitude=st.floats(0, 2 / 3))
def test_the_corners_of_a_perspective_warp_move_inwards_by_at_most_half_a_side(draws, magnitude):
    corners = PerspectiveWarp(8, magnitude=magnitude).corners(100, 80, draws)

    _assert_convex(corners)

    for (x, y), (corner_x, corner_y) in zip(corners, [(0, 0), (0, 80), (100, 80), (100, 0)], strict=True):
        assert abs(x - corner_x) <= magnitude * 50 + 1e-9
        assert abs(y - corner_y) <= magnitude * 40 + 1e-9
        assert 0 <= x <= 100
        assert 0 <= y <= 80


def test_tilts_go_either_way_and_corners_of_a_warp_move_apart():
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(4_000))
    tilt, perspective = TiltRandomCrop(8, crop_size=50, magnitude=0.2), PerspectiveWarp(8)

    tilted = [tilt.corners(200, 200, row) for row in uniform(keys, stream=tilt.stream, n=4).tolist()]
    moved = [perspective.corners(100, 100, row) for row in uniform(keys, stream=perspective.stream, n=8).tolist()]

    lean = np.array([c[1][0] - c[0][0] for c in tilted])  # of the left edge
    slope = np.array([c[0][1] - c[3][1] for c in tilted])  # of the upper edge
    sigma = 3 / (2 * np.sqrt(4_000))
    assert abs((lean > 0).mean() - 0.5) < sigma + (lean == 0).mean()
    assert abs((slope > 0).mean() - 0.5) < sigma + (slope == 0).mean()
    shifts = np.array(moved).reshape(4_000, 8).T
    assert np.abs(np.corrcoef(shifts) - np.eye(8)).max() < 4 / np.sqrt(4_000)


def test_without_magnitude_a_tilt_is_a_plain_crop():
    image, draws = _smooth(200, 100), [0.3, 0.9, 0.8, 0.1]
    tilt = TiltRandomCrop(50, crop_size=50, magnitude=0)

    result = tilt(image, draws)

    left, top = int(0.3 * 151), int(0.9 * 51)
    assert np.array_equal(result, image[top : top + 50, left : left + 50])


def test_a_crop_without_room_beside_it_is_not_tilted_along_that_axis():
    # the largest square of an oblong image spans its height: there is nothing above or below to tilt into
    corners = TiltRandomCrop(8, magnitude=0.25).corners(200, 100, [0.5, 0.0, 0.9, 0.9])

    ys = [y for _, y in corners]
    assert ys == [0, 100, 100, 0]
    assert len({x for x, _ in corners}) == 4


def test_tilting_the_upper_corners_together_makes_the_top_look_closer():
    image = np.zeros((100, 300, 3), np.uint8)
    image[:20, 145:155] = 255  # a bar at the top
    wide = warp(image, (100, 100), [(100, 0), (100, 100), (200, 100), (200, 0)])

    closer = warp(image, (100, 100), [(120, 0), (80, 100), (220, 100), (180, 0)])

    assert (closer[5, :, 0] > 127).sum() > (wide[5, :, 0] > 127).sum()


@settings(deadline=None)
@given(draws=st.tuples(*[_DRAWS] * 4))
def test_a_tilt_hangs_on_its_draws_alone(draws):
    image, tilt = _noise(80, 60), TiltRandomCrop(16, crop_size=30)
    assume(draws != (0.5, 0.5, 0.5, 0.5))

    assert np.array_equal(tilt(image, draws), tilt(image, draws))
    assert not np.array_equal(tilt(image, draws), tilt(image, [1 - d if d else 0.7 for d in draws]))


def test_a_crop_larger_than_the_image_says_both_sizes():
    with pytest.raises(ShapeError) as caught:
        TiltRandomCrop(128, crop_size=200)(_noise(213, 160), [0.1] * 4)

    assert str(caught.value) == (
        "the crop is 200 x 200 pixels, the image 213 x 160\n"
        "  where: TiltRandomCrop.crop_size\n"
        "  fix: make it smaller, or leave it out to crop the largest square"
    )


@pytest.mark.parametrize(("kind", "most"), [(TiltRandomCrop, "0.25"), (PerspectiveWarp, "0.666667")])
@pytest.mark.parametrize("magnitude", [-0.1, 0.67, float("nan")])
def test_a_magnitude_out_of_range_is_refused(kind, most, magnitude):
    with pytest.raises(ConfigError) as caught:
        kind(8, magnitude=magnitude)

    assert str(caught.value) == (
        f"magnitude is {magnitude}, must be from 0 to {most}\n"
        f"  where: {kind.__name__}.magnitude\n"
        "  fix: set magnitude = 0.2, or 0 for no warp"
    )


@pytest.mark.parametrize(
    ("act", "where"),
    [
        (lambda: PerspectiveWarp(8, filter="lanczos"), "PerspectiveWarp.filter"),
        (lambda: warp(_noise(9, 9), (4, 4), [(0, 0), (0, 9), (9, 9), (9, 0)], filter="lanczos"), "warp.filter"),
    ],
)
def test_a_filter_that_a_warp_lacks_is_refused(act, where):
    with pytest.raises(ConfigError) as caught:
        act()

    assert str(caught.value) == (
        'filter is "lanczos", which a warp does not know\n'
        f"  where: {where}\n"
        "  fix: set bilinear, or nearest to keep single pixels"
    )


@pytest.mark.parametrize(
    ("image", "facts"),
    [(Image.new("L", (9, 9)), "PIL mode L"), (np.zeros((9, 9, 3), np.float32), "float32 [9, 9, 3]")],
)
def test_a_warp_wants_rgb_or_bytes(image, facts):
    with pytest.raises(ShapeError) as caught:
        PerspectiveWarp(8)(image, [0.1] * 8) if isinstance(image, Image.Image) else warp(image, (4, 4), [(0, 0)] * 4)

    assert str(caught.value) == (
        f"the image is {facts}, must be RGB or uint8 [H, W, C]\n  where: warp\n  fix: put MakeRGB before it"
    )
