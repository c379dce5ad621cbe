"""Where the pixels go: aspect kept, sides never empty, nothing enlarged unasked, the crop centred."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ShapeError, UsageError
from imagekit.pixels.geometry import MODES, Placement, decode_scale, place, scaled_size

SIDES = st.integers(1, 20_000)
SIZES = st.tuples(SIDES, SIDES)


@pytest.mark.parametrize(
    ("mode", "size", "placed"),
    [
        ("shortest", (500, 375), Placement(box=(0, 0, 500, 375), size=(213, 160), canvas=(213, 160))),
        ("shortest", (201, 100), Placement(box=(0, 0, 201, 100), size=(322, 160), canvas=(322, 160))),
        ("longest", (500, 375), Placement(box=(0, 0, 500, 375), size=(160, 120), canvas=(160, 120))),
        ("longest", (1000, 1), Placement(box=(0, 0, 1000, 1), size=(160, 1), canvas=(160, 1))),
        ("fit", (375, 500), Placement(box=(0, 0, 375, 500), size=(120, 160), canvas=(160, 160))),
        ("fill", (500, 375), Placement(box=(62.5, 0, 437.5, 375), size=(160, 160), canvas=(160, 160))),
        ("stretch", (500, 375), Placement(box=(0, 0, 500, 375), size=(160, 160), canvas=(160, 160))),
    ],
)
def test_each_mode_places_a_picture_as_its_table_says(mode, size, placed):
    assert place(size, 160, mode=mode, enlarge=True) == placed


@pytest.mark.parametrize(
    ("mode", "size", "canvas"),
    [
        ("shortest", (100, 80), (100, 80)),
        ("longest", (100, 80), (100, 80)),
        ("fit", (100, 80), (160, 160)),
        ("fill", (160, 160), (160, 160)),
        ("stretch", (160, 160), (160, 160)),
    ],
)
def test_a_small_picture_keeps_its_pixels_unless_it_may_be_enlarged_or_n_by_n_is_promised(mode, size, canvas):
    placed = place(size, 160, mode=mode)

    assert (placed.size, placed.canvas, placed.changes(size)) == (size, canvas, False)


@given(
    size=SIZES, side_px=st.integers(1, 2_000), mode=st.sampled_from(["shortest", "longest", "fit"]), more=st.booleans()
)
def test_the_aspect_is_kept_to_half_a_pixel_and_the_side_met(size, side_px, mode, more):
    width, height = place(size, side_px, mode=mode, enlarge=more).size

    reference = min if mode == "shortest" else max
    assert reference(width, height) == (side_px if more else min(side_px, reference(size)))
    factor = reference(width, height) / reference(size)
    for side, was in ((width, size[0]), (height, size[1])):
        assert abs(side - was * factor) <= 0.5 or (side == 1 and was * factor < 1)


@given(size=SIZES, side_px=st.integers(1, 2_000), mode=st.sampled_from(MODES), more=st.booleans())
def test_a_placement_lies_inside_and_treats_both_sides_alike(size, side_px, mode, more):
    placed = place(size, side_px, mode=mode, enlarge=more)

    left, top, right, bottom = placed.box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert (left, top) == (size[0] - right, size[1] - bottom)
    assert all(1 <= side <= canvas for side, canvas in zip(placed.size, placed.canvas, strict=True))
    assert mode in ("shortest", "longest") or placed.canvas == (side_px, side_px)
    turned = place(size[::-1], side_px, mode=mode, enlarge=more)
    assert turned.box == (top, left, bottom, right)
    assert (turned.size, turned.canvas) == (placed.size[::-1], placed.canvas[::-1])


@given(size=SIZES, side_px=st.integers(1, 2_000))
def test_fill_sees_the_largest_square(size, side_px):
    left, top, right, bottom = place(size, side_px, mode="fill").box

    assert right - left == bottom - top == min(size)


@given(size=SIZES, side_px=st.integers(1, 2_000), mode=st.sampled_from(MODES), times=st.integers(1, 2))
def test_a_reduced_decode_leaves_three_times_the_target_or_is_not_done(size, side_px, mode, times):
    placed = place(size, side_px, mode=mode)

    scale = decode_scale(placed, times=times)

    left, top, right, bottom = placed.box
    reduction = min((right - left) / (placed.size[0] * times), (bottom - top) / (placed.size[1] * times))
    assert scale == 1 or reduction / scale >= 3
    assert scale == 8 or reduction / (2 * scale) < 3


@pytest.mark.parametrize(
    ("size", "scale"), [((959, 960), 1), ((960, 960), 2), ((1919, 1920), 2), ((1920, 1920), 4), ((3840, 3840), 8)]
)
def test_the_limits_of_a_reduced_decode_are_exact(size, scale):
    assert decode_scale(place(size, 160, mode="stretch")) == scale


def test_half_a_pixel_goes_up():
    assert scaled_size((201, 100), 100, 50) == (101, 50)


def test_an_unknown_mode_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        place((5, 5), 2, mode="fitt")

    assert str(caught.value) == (
        'mode is "fitt"\n  where: place: mode\n  fix: did you mean "fit"? known: fill, fit, longest, shortest, stretch'
    )


@pytest.mark.parametrize(("size", "side_px"), [((0, 5), 2), ((5, -1), 2), ((5, 5), 0)])
def test_a_side_of_nothing_is_refused(size, side_px):
    assert place((1, 1), 1, mode="fit").canvas == (1, 1)

    with pytest.raises(ShapeError) as caught:
        place(size, side_px, mode="fit")

    assert str(caught.value) == (
        f"the picture is {size[0]} x {size[1]} pixels and the side {side_px}, all must be at least 1\n"
        "  where: place: size"
    )
