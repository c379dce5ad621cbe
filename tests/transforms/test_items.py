"""RGB, one size, flips and bytes: transforms of one image, as PIL image and as array."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.flips import RandomDihedral, RandomFlip
from imagekit.transforms.images import resize_box
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB, make_rgb, to_byte_tensor, to_float_tensor


def _noise(width: int = 30, height: int = 20) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "LA", "I;16"])
def test_every_mode_becomes_three_bytes_a_pixel(mode):
    image = Image.new(mode, (5, 4))

    result = MakeRGB()(image)

    assert result.mode == "RGB"
    assert len(result.tobytes()) == 5 * 4 * 3


def test_an_rgb_image_or_array_passes_untouched():
    image, array = Image.fromarray(_noise()), _noise()

    assert MakeRGB()(image) is image
    assert MakeRGB()(array) is array


@pytest.mark.parametrize(("size", "expected"), [(16, (16, 16)), ((40, 10), (40, 10)), ([7, 9], (7, 9))])
def test_resize_gives_width_and_height_and_keeps_the_kind(size, expected):
    image = ResizeFixed(size)(Image.fromarray(_noise()))
    array = ResizeFixed(size)(_noise())

    assert image.size == expected
    assert array.shape == (expected[1], expected[0], 3)
    assert np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resize_agrees_with_pillow_for_every_filter(filter):
    image = Image.fromarray(_noise(60, 50) // 2 + 64)

    expected = image.resize((16, 16), Image.Resampling[filter.upper()])

    for result in (ResizeFixed(16, filter=filter)(image), ResizeFixed(16, filter=filter)(np.array(image))):
        assert np.abs(np.asarray(result).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("size", [0, -3, 2.5, True, (8, 0), (1, 2, 3), "128"])
def test_a_size_that_is_no_size_is_refused(size):
    with pytest.raises(ConfigError) as caught:
        ResizeFixed(size)

    assert str(caught.value) == (
        f"size is {size!r}, must be a side or (width, height) in whole pixels, at least 1\n"
        "  where: ResizeFixed.size\n"
        "  fix: set a size such as 128 or (160, 120)"
    )


def test_an_unknown_filter_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        ResizeFixed(8, filter="bilinaer")

    assert str(caught.value) == (
        'filter is "bilinaer", which is not known\n'
        "  where: ResizeFixed.filter\n"
        '  fix: did you mean "bilinear"? known: bicubic, bilinear, box, hamming, lanczos, nearest'
    )


def test_flip_swaps_left_and_right_exactly():
    array = _noise()

    flipped = RandomFlip(p=1.0)(array, [0.999])

    assert np.array_equal(flipped, array[:, ::-1])
    assert np.array_equal(np.asarray(RandomFlip(p=1.0)(Image.fromarray(array), [0.0])), array[:, ::-1])


def test_flipping_twice_gives_the_image_back():
    array = _noise()

    assert np.array_equal(RandomFlip(p=1.0)(RandomFlip(p=1.0)(array, [0.5]), [0.5]), array)


def test_flip_of_a_read_only_array_leaves_it_alone():
    array = _noise()
    array.flags.writeable = False

    assert np.array_equal(RandomFlip(p=1.0)(array, [0.5]), array[:, ::-1])


def test_flip_never_happens_at_probability_zero():
    array = _noise()

    assert RandomFlip(p=0.0)(array, [0.0]) is array


def test_flip_happens_as_often_as_asked():
    draws = uniform(make_keys(seed=0, epoch=0, ids_B=torch.arange(10_000)), stream=RandomFlip.stream)
    marked, mirrored = np.zeros((1, 2, 3), np.uint8), 0
    marked[0, 0] = 255

    for row in draws.tolist():
        mirrored += int(RandomFlip(p=0.8)(marked, row)[0, 0, 0] == 0)

    assert abs(mirrored / 10_000 - 0.8) < 3 * (0.8 * 0.2 / 10_000) ** 0.5


def test_flipping_bytes_equals_flipping_floats():
    array = _noise()

    bytes_first = to_byte_tensor(RandomFlip(p=1.0)(array, [0.0])).float() / 255
    floats_first = (to_byte_tensor(array).float() / 255).flip(2)

    assert torch.equal(bytes_first, floats_first)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_its_range_is_refused(p):
    with pytest.raises(ConfigError) as caught:
        RandomFlip(p=p)

    assert str(caught.value) == (
        f"p is {p}, must be a probability from 0 to 1\n"
        "  where: RandomFlip.p\n"
        "  fix: set p = 0.5 to flip every other image"
    )


def test_a_random_transform_without_draws_says_how_to_draw():
    with pytest.raises(ShapeError) as caught:
        RandomFlip()(_noise())

    assert str(caught.value) == (
        "RandomFlip got 0 draws, needs 1\n"
        "  where: item transform RandomFlip\n"
        '  fix: draw them with uniform(keys_B, stream="item.random_flip", n=1)[0].tolist()'
    )


def test_a_plain_transform_with_draws_is_refused():
    with pytest.raises(ShapeError) as caught:
        MakeRGB()(_noise(), [0.1])

    assert str(caught.value) == (
        "MakeRGB got 1 draws, needs 0\n  where: item transform MakeRGB\n  fix: call it with the item alone"
    )


def test_a_transform_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match="ItemTransform"):
        ItemTransform()(_noise())


def test_byte_tensor_has_channels_first_and_keeps_the_bytes_where_they_are():
    array = _noise()

    tensor = to_byte_tensor(Image.fromarray(array))

    assert tensor.dtype == torch.uint8
    assert tensor.shape == (3, 20, 30)
    assert tensor.stride() == (1, 90, 3)
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), array)


def test_byte_tensor_of_a_writable_array_shares_its_memory():
    array = _noise()

    assert to_byte_tensor(array).data_ptr() == array.ctypes.data


def test_byte_tensor_copies_what_cannot_be_shared():
    frozen, mirrored = _noise(), _noise()[:, ::-1]
    frozen.flags.writeable = False

    assert np.array_equal(to_byte_tensor(frozen).permute(1, 2, 0).numpy(), frozen)
    assert to_byte_tensor(frozen).data_ptr() != frozen.ctypes.data
    assert np.array_equal(to_byte_tensor(mirrored).permute(1, 2, 0).numpy(), mirrored)
    assert to_byte_tensor(mirrored).permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (Image.new("L", (4, 4)), "PIL mode L"),
        (np.zeros((4, 4), np.uint8), "uint8 [4, 4]"),
        (np.zeros((4, 4, 3), np.float32), "float32 [4, 4, 3]"),
    ],
)
def test_byte_tensor_refuses_what_is_not_rgb(image, facts):
    with pytest.raises(ShapeError) as caught:
        to_byte_tensor(image)

    assert str(caught.value) == (
        f"the image is {facts}, must be RGB or uint8 [H, W, C]\n  where: ToByteTensor\n  fix: put MakeRGB before it"
    )


@pytest.mark.parametrize("n_channels", [1, 4, 13])
def test_byte_tensor_takes_arrays_of_any_number_of_channels(n_channels):
    array = np.repeat(_noise()[..., :1], n_channels, axis=2)

    assert to_byte_tensor(array).shape == (n_channels, 20, 30)


def test_float_tensor_is_exactly_each_byte_over_255():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)

    result = to_float_tensor(to_byte_tensor(values))

    assert torch.equal(result.flatten(), torch.arange(256) / 255)
    assert (float(result.max()), result.dtype) == (1.0, torch.float32)


@pytest.mark.parametrize(
    ("image", "facts"),
    [(torch.zeros(3, 4, 4), "torch.float32 [3, 4, 4]"), (_noise(), "a ndarray"), (Image.new("RGB", (2, 2)), "a Image")],
)
def test_float_tensor_wants_bytes_in_a_tensor(image, facts):
    with pytest.raises(ShapeError) as caught:
        to_float_tensor(image)

    assert str(caught.value) == (
        f"the image is {facts}, must be a uint8 tensor\n  where: ToFloatTensor\n  fix: put ToByteTensor before it"
    )


def test_all_plain_transforms_have_the_lessons_order():
    transforms = [to_float_tensor, to_byte_tensor, RandomFlip(), RandomDihedral(), ResizeFixed(8), make_rgb]

    assert [t._order for t in transforms] == [30, 20, 11, 11, 10, 0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "LA"])
def test_pictures_of_any_mode_have_their_pixels_right_once_they_are_rgb(mode):
    # without the step to RGB their bytes would be taken for pixels
    picture = Image.fromarray(np.full((4, 6, 3), 255, np.uint8)).convert(mode)

    tensor = to_byte_tensor(make_rgb(picture))

    assert tensor.shape == (3, 4, 6)
    assert (tensor == 255).all()


def test_only_what_makes_tensors_of_images_does_not_keep_their_kind():
    kinds = {
        type(each).__name__: each.keeps_kind for each in (make_rgb, ResizeFixed(8), RandomFlip(), RandomDihedral())
    }

    assert set(kinds.values()) == {True}
    assert (to_byte_tensor.keeps_kind, to_float_tensor.keeps_kind, ItemTransform.keeps_kind) == (False, False, True)


@pytest.mark.parametrize("filter", ["bilinear", "lanczos"])
def test_a_box_of_the_wanted_size_is_only_looked_at_and_has_the_pixels_of_its_place(filter):
    image = _noise()

    crop = resize_box(image, (7, 5), filter=filter, box=(3, 2, 10, 7))

    assert np.shares_memory(crop, image)
    assert np.array_equal(crop, image[2:7, 3:10])
    assert np.array_equal(crop, resize_box(Image.fromarray(image), (7, 5), filter=filter, box=(3, 2, 10, 7)))


def test_a_box_of_another_size_is_made_anew_and_the_image_stays():
    image = _noise()
    before = image.copy()

    crop = resize_box(image, (7, 5), filter="bilinear", box=(3, 2, 11, 7))
    crop[...] = 0

    assert np.array_equal(image, before)


@pytest.mark.parametrize("transform", [RandomFlip(p=1), RandomDihedral(p=1), to_byte_tensor, ResizeFixed(8), make_rgb])
def test_an_image_that_may_only_be_read_is_transformed_as_any_other(transform):
    image = _noise(9, 9)
    locked = image[:]
    locked.flags.writeable = False
    draws = [[0.6]] if transform.n_draws else []

    assert np.array_equal(transform(locked, *draws), transform(image, *draws))


def test_what_is_made_of_a_view_of_an_image_shares_nothing_that_is_written_to():
    image = _noise()
    locked = image[:]
    locked.flags.writeable = False

    to_byte_tensor(resize_box(locked, (7, 5), filter="bilinear", box=(3, 2, 10, 7))).zero_()

    assert np.array_equal(image, _noise())
