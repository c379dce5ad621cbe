"""The order of transforms, `compose`, and the pipeline that lays draws side by side."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.compose import ItemPipeline, compose
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.order import sort_by_order
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB, to_byte_tensor, to_float_tensor


class _Append:
    def __init__(self, letter: str, order: int | None = None) -> None:
        self.letter = letter
        if order is not None:
            self._order = order

    def __call__(self, text: str, ending: str = "") -> str:
        return text + self.letter + ending


def _picture(width: int = 20, height: int = 16) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def _keys(n: int) -> torch.Tensor:
    return make_keys(seed=0, epoch=0, ids_B=torch.arange(n))


def test_compose_runs_by_order_not_by_place_in_the_list():
    first, second, third = _Append("a"), _Append("b", 10), _Append("c", 20)

    assert compose("", [third, first, second]) == "abc"


def test_compose_keeps_the_place_of_equals():
    assert compose("", [_Append("b", 5), _Append("a", 5), _Append("z")]) == "zba"


def test_compose_hands_arguments_to_every_function():
    assert compose("", [_Append("a"), _Append("b")], "-") == "a-b-"
    assert compose("", [_Append("a"), _Append("b")], ending="+") == "a+b+"


def test_compose_takes_one_function_or_none():
    assert compose("x", _Append("a")) == "xa"
    assert compose("x", None) == "x"
    assert compose("x", []) == "x"


def test_compose_sorts_by_another_key():
    assert compose("", [_Append("a", 2), _Append("b", 1)], order_key="missing") == "ab"


@settings(deadline=None)
@given(orders=st.lists(st.integers(-3, 3), max_size=12))
def test_sorting_is_stable_for_any_orders(orders):
    functions = [_Append(str(i), order) for i, order in enumerate(orders)]

    result = sort_by_order(functions)

    assert [int(f.letter) for f in result] == sorted(range(len(orders)), key=lambda i: orders[i])


def test_transforms_run_as_rgb_resize_crop_and_bytes_last():
    functions = [to_byte_tensor, RandomFlip(), ResizeFixed(8), MakeRGB()]

    assert [f._order for f in sort_by_order(functions)] == [0, 10, 11, 20]


def test_pipeline_gives_every_transform_its_own_draws():
    pipeline = ItemPipeline([RandomFlip(), RandomResizedCrop(8), MakeRGB()])
    keys = _keys(3)

    draws = pipeline.draw(keys)

    crop = uniform(keys, stream=RandomResizedCrop.stream, n=22)
    assert pipeline.n_draws == 23
    assert torch.equal(draws, torch.cat([uniform(keys, stream=RandomFlip.stream), crop], dim=1))
    image = _picture()
    by_hand = RandomResizedCrop(8)(RandomFlip()(image, draws[0, :1].tolist()), draws[0, 1:].tolist())
    assert pipeline(image, draws[0].tolist()) == by_hand


def test_pipeline_draws_apart_for_the_same_transform_twice():
    draws = ItemPipeline([RandomFlip(), RandomFlip()]).draw(_keys(100))

    assert not torch.equal(draws[:, 0], draws[:, 1])


def test_pipeline_without_randomness_needs_no_draws():
    pipeline = ItemPipeline([CenterCrop(8), MakeRGB()])

    assert pipeline.draw(_keys(4)).shape == (4, 0)
    assert pipeline(_picture()).size == (8, 8)


def test_pipeline_does_not_depend_on_the_order_of_its_list():
    row = ItemPipeline([MakeRGB(), RandomFlip()]).draw(_keys(1))[0].tolist()

    assert ItemPipeline([MakeRGB(), RandomFlip()])(_picture(), row) == ItemPipeline([RandomFlip(), MakeRGB()])(
        _picture(), row
    )


def test_pipeline_refuses_a_wrong_number_of_draws():
    with pytest.raises(ShapeError) as caught:
        ItemPipeline([MakeRGB(), RandomFlip()])(_picture(), [])

    assert str(caught.value) == (
        "the pipeline got 0 draws, needs 1\n"
        "  where: ItemPipeline: MakeRGB, RandomFlip\n"
        "  fix: pass one row of pipeline.draw(keys_B).tolist()"
    )


def test_pipeline_survives_the_way_to_a_worker():
    pipeline = ItemPipeline([MakeRGB(), RandomResizedCrop(8), RandomFlip()])
    row = pipeline.draw(_keys(1))[0].tolist()

    copy = pickle.loads(pickle.dumps(pipeline))

    assert copy(_picture(), row) == pipeline(_picture(), row)


def test_pipeline_tells_its_transforms_in_plain_types():
    assert ItemPipeline([RandomFlip(p=0.8), ResizeFixed(8), MakeRGB()]).to_dict() == [
        {"name": "MakeRGB"},
        {"name": "ResizeFixed", "size": [8, 8], "filter": "bilinear"},
        {"name": "RandomFlip", "p": 0.8},
    ]


def test_a_transform_that_draws_from_no_stream_is_refused():
    class Nameless(ItemTransform):
        n_draws = 1

    with pytest.raises(ConfigError) as caught:
        ItemPipeline([Nameless()])

    assert str(caught.value) == (
        "Nameless draws and has no stream: it would draw what any other such transform draws\n"
        "  where: Nameless.stream\n"
        '  fix: give the class one of its own: stream = "own.name"'
    )


class _KeepsNoKind(ItemTransform):
    keeps_kind = False


@pytest.mark.parametrize(
    ("transforms", "n_fixed"),
    [
        ([], 0),
        ([MakeRGB()], 1),
        ([MakeRGB(), ResizeFixed(8), RandomFlip(), to_byte_tensor], 2),
        ([CenterCrop(8), to_byte_tensor, to_float_tensor], 1),
        ([ResizeFixed(8, filter=("bilinear", "box"))], 0),
        ([RandomResizedCrop(8)], 0),
        ([_Append("a"), ResizeFixed(8)], 0),
        ([ResizeFixed(8), _Append("a", 15)], 1),
        ([_KeepsNoKind(), ResizeFixed(8)], 0),
        ([RandomFlip(p=1)], 0),
    ],
)
def test_what_is_fixed_draws_nothing_keeps_the_kind_and_is_known_as_a_transform(transforms, n_fixed):
    pipeline = ItemPipeline(transforms)

    assert len(pipeline.fixed_transforms) == n_fixed
    assert (*pipeline.fixed_transforms, *pipeline.rest_transforms) == pipeline.transforms


@settings(deadline=None, max_examples=20)
@given(
    transforms=st.lists(
        st.sampled_from([MakeRGB(), ResizeFixed(9), CenterCrop(8), RandomFlip(), RandomResizedCrop(7), to_byte_tensor]),
        unique=True,
    )
)
def test_the_fixed_part_and_the_rest_make_what_the_whole_makes(transforms):
    pipeline, image = ItemPipeline(transforms), np.asarray(_picture())
    (draws,) = pipeline.draw(_keys(1)).tolist()

    whole = pipeline(image.copy(), draws)
    fixed = pipeline.fixed(image.copy())
    parts = [pipeline.rest(fixed, draws) for _ in range(2)]

    assert all(np.array_equal(part, whole) for part in parts)
    assert isinstance(fixed, np.ndarray)


def test_the_rest_refuses_a_wrong_number_of_draws_as_the_whole_does():
    with pytest.raises(ShapeError, match="the pipeline got 0 draws, needs 1"):
        ItemPipeline([MakeRGB(), RandomFlip()]).rest(_picture())
