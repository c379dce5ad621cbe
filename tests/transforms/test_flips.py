"""Flips and quarter turns: exact, as often as asked, alike for both kinds of image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.data.order import draws_of_rows
from imagekit.errors import ConfigError
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.flips import N_DIHEDRAL, AlternatingFlip, RandomDihedral, RandomFlip, dihedral


def _noise(width: int = 7, height: int = 5, n_channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, n_channels), dtype=np.uint8)


@pytest.mark.parametrize("element", range(N_DIHEDRAL))
def test_arrays_and_pillows_images_are_laid_down_alike(element):
    array = _noise()

    as_array, as_image = dihedral(array, element), dihedral(Image.fromarray(array), element)

    assert np.array_equal(as_array, np.asarray(as_image))
    assert as_array.flags.c_contiguous


def test_the_eight_are_all_different_and_closed_under_repetition():
    square = _noise(5, 5)
    seen = {dihedral(square, element).tobytes() for element in range(8)}

    twice = {dihedral(dihedral(square, first), second).tobytes() for first in range(8) for second in range(8)}

    assert len(seen) == 8
    assert twice == seen


@pytest.mark.parametrize("p", [0.75, 1.0])
def test_each_of_the_eight_is_equally_likely(p):
    n = 40_000
    transform = RandomDihedral(p=p)
    draws = uniform(make_keys(seed=0, epoch=0, ids_B=torch.arange(n)), stream=transform.stream)

    counts = np.bincount([transform.element(row) for row in draws.tolist()], minlength=8) / n

    other = p / 8
    sigma = math.sqrt(other * (1 - other) / n)
    assert abs(counts[0] - (1 - 7 * other)) < 3 * math.sqrt(7 * other * (1 - 7 * other) / n)
    assert np.abs(counts[1:] - other).max() < 3 * sigma


def test_at_three_quarters_65_625_percent_of_the_images_change():
    transform = RandomDihedral(p=0.75)

    changing = [transform.element([i / 64]) != 0 for i in range(64)]

    assert sum(changing) / 64 == 0.65625


@settings(deadline=None)
@given(draw=st.floats(0, 1, exclude_max=True), p=st.floats(0, 1))
def test_any_draw_and_chance_give_one_of_the_eight(draw, p):
    square = _noise(3, 3)

    result = RandomDihedral(p=p)(square, [draw])

    assert any(np.array_equal(result, dihedral(square, element)) for element in range(8))


def test_an_image_that_is_not_square_swaps_its_sides():
    turned = RandomDihedral(p=1.0)(_noise(7, 5), [3.5 / 8])

    assert turned.shape == (7, 5, 3)


@pytest.mark.parametrize("n_channels", [1, 3, 4, 13])
def test_any_number_of_channels_is_flipped(n_channels):
    array = _noise(n_channels=n_channels)

    assert np.array_equal(RandomFlip(p=1.0)(array, [0.0]), array[:, ::-1])


def test_a_mirrored_view_is_flipped_back():
    array = _noise()

    assert np.array_equal(RandomFlip(p=1.0)(array[:, ::-1], [0.0]), array)


def test_a_chance_that_is_none_is_refused():
    with pytest.raises(ConfigError) as caught:
        RandomDihedral(p=2)

    assert str(caught.value) == (
        "p is 2, must be a probability from 0 to 1\n"
        "  where: RandomDihedral.p\n"
        "  fix: set p = 1 for all eight to be equally likely"
    )


def _is_flipped(transforms: list[object], *, epoch: int, p: float = 0.5, n: int = 1000) -> np.ndarray:
    """Of n rows, which the last transform flips in an epoch."""
    rows_N = torch.arange(n)
    draws_NN = draws_of_rows(ItemPipeline(transforms), rows_N, torch.zeros_like(rows_N), seed=3, epoch=epoch)
    return (draws_NN[:, -1] < p).numpy()


def test_what_is_flipped_in_one_epoch_is_not_in_the_next_and_half_are():
    epochs = [_is_flipped([AlternatingFlip()], epoch=epoch) for epoch in range(4)]

    assert np.array_equal(epochs[0], ~epochs[1])
    assert np.array_equal(epochs[0], epochs[2])
    assert np.array_equal(epochs[1], epochs[3])
    assert abs(epochs[0].mean() - 0.5) < 3 * 0.5 / math.sqrt(1000)


def test_with_another_chance_that_share_is_flipped_in_each_epoch():
    shares = [_is_flipped([AlternatingFlip(p=0.3)], epoch=epoch, p=0.3).mean() for epoch in range(2)]

    assert np.abs(np.array(shares) - 0.3).max() < 3 * math.sqrt(0.3 * 0.7 / 1000)


@settings(deadline=None, max_examples=20)
@given(p=st.floats(0.05, 0.95), n_epochs=st.integers(1, 12))
def test_every_image_is_flipped_in_its_share_of_the_epochs_to_one(p, n_epochs):
    n_flips = sum(_is_flipped([AlternatingFlip(p=p)], epoch=epoch, p=p, n=100).astype(int) for epoch in range(n_epochs))

    assert np.abs(n_flips - n_epochs * p).max() <= 1 + 1e-9


def test_others_beside_an_alternating_flip_draw_anew_in_every_epoch():
    rows_N, copies_N = torch.arange(50), torch.zeros(50, dtype=torch.int64)
    both, alone = (
        [draws_of_rows(ItemPipeline(flips), rows_N, copies_N, seed=3, epoch=epoch) for epoch in (0, 1)]
        for flips in ([RandomFlip(), AlternatingFlip()], [RandomFlip()])
    )

    assert all(torch.equal(one[:, :1], other) for one, other in zip(both, alone, strict=True))
    assert torch.equal((both[0][:, 1] + 0.5) % 1, both[1][:, 1])


def test_an_alternating_flip_flips_as_a_random_one():
    image = _noise()

    kept, flipped = (AlternatingFlip()(image, [draw]) for draw in (0.5, 0.49))

    assert np.array_equal(kept, image)
    assert np.array_equal(flipped, image[:, ::-1])
