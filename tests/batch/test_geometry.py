"""Batch transforms that move pixels: what they draw, how often, and that strength is a hyper."""

from __future__ import annotations

import math

import pytest
import torch

from imagekit.batch import geometry, matrices
from imagekit.batch.geometry import Dihedral, Flip, Identity, Rotate, Shear, Shift, Stretch, Warp, Zoom
from imagekit.batch.transform import BatchTransform, Geometry
from imagekit.errors import ConfigError
from imagekit.transforms.draws import make_keys, uniform

N = 20_000
EVERY = [Flip, Dihedral, Rotate, Zoom, Shift, Shear, Stretch, Warp]


def _draws(transform: Geometry, n: int = N) -> torch.Tensor:
    keys = make_keys(seed=0, epoch=0, ids_B=torch.arange(n))
    return uniform(keys, stream=transform.stream, n=transform.n_draws)


def _drawn(transform: Geometry, *, aspect: float = 1.0) -> torch.Tensor:
    return transform.matrices(_draws(transform), aspect=aspect)


def _rate_is(happens: torch.Tensor, p: float) -> bool:
    return abs(float(happens.double().mean()) - p) < 3 * math.sqrt(p * (1 - p) / len(happens))


def _changes(matrix_B33: torch.Tensor) -> torch.Tensor:
    return (matrix_B33 != torch.eye(3, dtype=torch.float64)).flatten(1).any(dim=1)


@pytest.mark.parametrize("kind", EVERY)
def test_each_acts_as_often_as_asked_and_gives_the_exact_identity_else(kind):
    share = 7 / 8 if kind is Dihedral else 1

    assert _rate_is(_changes(_drawn(kind(p=0.3))), 0.3 * share)
    assert not _changes(_drawn(kind(p=0.0))).any()
    assert _rate_is(_changes(_drawn(kind(p=1.0))), share) if kind is Dihedral else _changes(_drawn(kind(p=1.0))).all()


def test_the_eight_dihedral_maps_are_equally_likely():
    found = {tuple(m.flatten().tolist()) for m in _drawn(Dihedral(p=1.0))}
    drawn = _drawn(Dihedral(p=1.0))

    assert len(found) == 8
    for element in range(8):
        expected = matrices.dihedral(torch.tensor([element]), aspect=1.0)
        assert _rate_is((drawn == expected).flatten(1).all(dim=1), 1 / 8)


def test_angles_are_uniform_up_to_the_greatest():
    drawn = _drawn(Rotate(max_degrees=20, p=1.0))

    degrees = torch.rad2deg(torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    assert 19.9 < degrees.abs().max() <= 20
    assert abs(degrees.mean()) < 3 * 20 / math.sqrt(3 * N)
    assert abs(degrees.std() - 20 / math.sqrt(3)) < 0.15


def test_zooms_are_uniform_between_both_bounds():
    factor = 1 / _drawn(Zoom(min_zoom=0.8, max_zoom=1.5, p=1.0))[:, 0, 0]

    assert 0.8 <= factor.min() < 0.801
    assert 1.499 < factor.max() <= 1.5
    assert abs(factor.mean() - 1.15) < 3 * 0.7 / math.sqrt(12 * N)


def test_shifts_across_and_down_are_drawn_apart():
    drawn = _drawn(Shift(max_shift=0.2, p=1.0))

    right, down = -drawn[:, 0, 2] / 2, -drawn[:, 1, 2] / 2
    assert 0.199 < right.abs().max() <= 0.2
    assert 0.199 < down.abs().max() <= 0.2
    assert abs(torch.corrcoef(torch.stack([right, down]))[0, 1]) < 3 / math.sqrt(N)


def test_a_stretch_is_as_often_wide_as_tall_and_keeps_the_area():
    drawn = _drawn(Stretch(max_ratio=2, p=1.0))

    ratio = drawn[:, 1, 1] / drawn[:, 0, 0]
    assert _rate_is(ratio > 1, 0.5)
    assert 1.99 < ratio.max() <= 2 + 1e-9
    assert 0.5 - 1e-9 <= ratio.min() < 0.503
    assert torch.allclose(torch.linalg.det(drawn), torch.ones(N, dtype=torch.float64))


def test_shears_lean_as_often_left_as_right():
    slope = _drawn(Shear(max_degrees=20, p=1.0))[:, 0, 1]

    degrees = torch.rad2deg(slope.atan())
    assert _rate_is(degrees > 0, 0.5)
    assert 19.9 < degrees.max() <= 20 + 1e-9
    assert -20 - 1e-9 <= degrees.min() < -19.9


def test_tilts_about_both_axes_go_either_way_and_are_drawn_apart():
    transform = Warp(magnitude=0.3, p=1.0)
    u = _draws(transform)

    drawn = transform.matrices(u, aspect=1.0)

    tilt_x, tilt_y = 0.3 * (2 * u[:, 1] - 1), 0.3 * (2 * u[:, 2] - 1)
    assert torch.equal(drawn, matrices.warp(tilt_x, tilt_y))
    assert _rate_is(tilt_x > 0, 0.5)
    assert abs(torch.corrcoef(torch.stack([tilt_x, tilt_y]))[0, 1]) < 3 / math.sqrt(N)


def test_no_pair_of_tilts_brings_the_horizon_into_the_picture():
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=torch.float64)
    most = torch.tensor([[0.0, a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)], dtype=torch.float64)

    drawn = Warp(magnitude=0.6, p=1.0).matrices(most, aspect=1.0)

    assert (drawn[:, 2] @ corners.T).min() > 0.01


def test_the_identity_moves_nothing_and_draws_nothing():
    assert torch.equal(_drawn(Identity())[:3], torch.eye(3, dtype=torch.float64).repeat(3, 1, 1))
    assert Identity.n_draws == 0


def test_a_shear_and_a_rotation_see_the_pixels_of_an_oblong_image():
    for transform in (Rotate(p=1.0), Shear(p=1.0)):
        oblong, square = _drawn(transform, aspect=2.0), _drawn(transform)
        to_pixels = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))

        assert torch.allclose(to_pixels @ oblong @ to_pixels.inverse(), square)


def test_only_a_warp_needs_the_division():
    assert [kind.__name__ for kind in EVERY if kind.is_projective] == ["Warp"]
    assert all((_drawn(kind(p=1.0))[:, 2, :2] == 0).all() for kind in EVERY if kind is not Warp)


def test_the_strength_of_each_can_be_changed_between_batches():
    for kind, strength in [
        (Rotate, "max_degrees"),
        (Shift, "max_shift"),
        (Shear, "max_degrees"),
        (Stretch, "max_ratio"),
        (Warp, "magnitude"),
    ]:
        transform = kind(p=1.0)
        strong = _drawn(transform)

        setattr(transform, strength, kind.hypers[strength][0])

        assert _changes(strong).all()
        assert not _changes(_drawn(transform)).any()


@pytest.mark.parametrize("kind", EVERY)
def test_each_tells_its_options_and_has_a_stream_of_its_own(kind):
    told = kind().to_dict()

    assert told["name"] == kind.__name__
    assert set(told) == {"name", *kind.hypers}
    assert len({other.stream for other in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("kind", "option", "value", "what", "fix"),
    [
        (Flip, "p", 1.5, "p is 1.5, must be from 0 to 1", "set p = 0 to do without"),
        (Rotate, "max_degrees", -1, "max_degrees is -1, must be from 0 to 180", "set max_degrees = 0 to do without"),
        (Rotate, "p", math.nan, "p is nan, must be from 0 to 1", "set p = 0 to do without"),
        (Zoom, "max_zoom", 0, "max_zoom is 0, must be from 0.01 to 100", "set it to 0.01 or more"),
        (Stretch, "max_ratio", 0.9, "max_ratio is 0.9, must be from 1 to 100", "set max_ratio = 1 to do without"),
        (Warp, "magnitude", "big", "magnitude is big, must be from 0 to 0.6", "set magnitude = 0 to do without"),
    ],
)
def test_a_strength_out_of_range_is_refused_at_first_and_later(kind, option, value, what, fix):
    transform = kind()
    for act in (lambda: kind(**{option: value}), lambda: setattr(transform, option, value)):
        with pytest.raises(ConfigError) as caught:
            act()

        assert str(caught.value) == f"{what}\n  where: {kind.__name__}.{option}\n  fix: {fix}"
    assert getattr(transform, option) == getattr(kind(), option)


def test_a_least_zoom_above_the_greatest_is_refused():
    with pytest.raises(ConfigError) as caught:
        _drawn(Zoom(min_zoom=1.2, max_zoom=1.1))

    assert str(caught.value) == (
        "min_zoom is 1.2, above max_zoom, 1.1\n  where: Zoom.min_zoom\n  fix: set both to 1 to do without"
    )


def test_a_geometry_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match="Geometry"):
        Geometry().matrices(torch.zeros(1, 0), aspect=1.0)
    assert all(issubclass(getattr(geometry, kind.__name__), BatchTransform) for kind in EVERY)
