"""Tensors as pictures: what is shown is what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from imagekit.errors import ShapeError
from imagekit.look.pictures import show_batch, show_image
from imagekit.transforms.tensors import to_byte_tensor


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


STEPS = {
    "a PIL image": Image.fromarray,
    "an array": lambda array: array,
    "a view": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "bytes": to_byte_tensor,
    "floats": lambda array: to_byte_tensor(array) / 255,
    "doubles with gradients": lambda array: (to_byte_tensor(array) / 255).double().requires_grad_(),
}


@pytest.mark.parametrize("step", STEPS)
def test_an_image_at_any_step_is_shown_as_it_is(step):
    shown = show_image(STEPS[step](_pixels()))

    assert shown.mode == "RGB"
    assert np.array_equal(np.asarray(shown), _pixels())


def test_a_normalisation_is_undone_to_show_the_picture():
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    x = (to_byte_tensor(_pixels()) / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    assert np.array_equal(np.asarray(show_image(x, mean=mean, std=std)), _pixels())


def test_values_outside_are_cut_off():
    x = torch.tensor([-0.5, 0.5, 2.0]).view(1, 1, 3)

    assert np.asarray(show_image(x))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("n_channels", "shown"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (13, (0, 1, 2))])
def test_one_channel_is_grey_and_of_many_three_are_shown(n_channels, shown):
    x = torch.arange(n_channels, dtype=torch.uint8)[:, None, None].expand(-1, 2, 2)

    assert show_image(x).getpixel((0, 0)) == shown


@pytest.mark.parametrize(
    ("x", "facts"),
    [
        (torch.zeros(2, 3, 4, 4), "torch.float32 [2, 3, 4, 4]"),
        (torch.zeros(0, 4, 4), "torch.float32 [0, 4, 4]"),
        (np.zeros((4, 4), np.uint8), "uint8 [4, 4]"),
        ([[1, 2]], "list"),
    ],
)
def test_what_is_no_image_is_refused(x, facts):
    with pytest.raises(ShapeError) as caught:
        show_image(x)

    assert str(caught.value) == (
        f"the image is {facts}, must be a PIL image, an array [H, W, C] or a tensor [C, H, W]\n"
        "  where: show_image\n"
        "  fix: show one image of a batch"
    )


def test_whole_numbers_of_another_type_are_refused():
    with pytest.raises(ShapeError) as caught:
        show_image(torch.full((3, 2, 2), 200))

    assert str(caught.value) == (
        "the image is torch.int64 [3, 2, 2], must be uint8 or floats\n"
        "  where: show_image\n"
        "  fix: make it uint8: x.to(torch.uint8)"
    )


def test_half_a_normalisation_cannot_be_undone():
    with pytest.raises(ShapeError) as caught:
        show_image(torch.zeros(3, 2, 2), mean=[0.5] * 3)

    assert str(caught.value) == (
        "mean comes without std, or std without mean\n  where: show_image\n  fix: give both, or neither"
    )


def test_no_more_images_are_made_than_are_shown():
    made = []

    def images():
        for number in range(100):
            made.append(number)
            yield _pixels()

    show_batch(images(), c=2, r=2, titles=range(100))

    assert len(made) == 4


def test_a_read_only_array_is_shown():
    frozen = _pixels()
    frozen.flags.writeable = False

    assert np.array_equal(np.asarray(show_image(frozen)), _pixels())


def test_a_batch_is_shown_in_rows_with_its_titles():
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [9, 9, 9]], dtype=torch.uint8)
    batch = colours[:, :, None, None].expand(-1, -1, 8, 8)

    sheet = show_batch(batch, c=2, cell_px=32)
    titled = show_batch(batch, c=2, r=2, titles=["red", "green", "blue", "yellow", "grey"], cell_px=32)

    assert sheet.size == (64, 96)
    middles = [sheet.getpixel((16 + 32 * (i % 2), 16 + 32 * (i // 2))) for i in range(5)]
    assert middles == [tuple(colour) for colour in colours.tolist()]
    assert titled.size == (64, 84)
    assert (np.asarray(titled)[:10] < 128).any()  # ink in the strip of the titles
