"""One image under every transform: the plain image first, then what the transform does, by draws that a seed names."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from imagekit.batch.geometry import Rotate, Shift
from imagekit.batch.lighting import Brightness, Hue
from imagekit.look import augment
from imagekit.look.augment import (
    AnyTransform,
    default_batch,
    default_items,
    draw_alone,
    draw_augment,
    draw_together,
    other_transforms,
    strength,
)
from imagekit.look.source import Source
from imagekit.look.strips import Block
from imagekit.pixels.open import open_image
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.crops import GeneralCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.warp import TiltRandomCrop

SIDE = 32


def pixels(size: tuple[int, int] = (60, 48)) -> np.ndarray:
    """A picture in which every place looks different: a slope across, one down, noise."""
    width, height = size
    picture_HWC = np.random.default_rng(3).integers(0, 60, (height, width, 3), dtype=np.uint8)
    picture_HWC[..., 0] += np.linspace(0, 190, width).astype(np.uint8)
    picture_HWC[..., 1] += np.linspace(0, 190, height).astype(np.uint8)[:, None]
    return picture_HWC


def source(picture_HWC: np.ndarray) -> Source:
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, "PNG")
    return Source(name="one.png", picture=open_image(buffer.getvalue()))


def cells(page: Image.Image, n_strips: int) -> list[list[Image.Image]]:
    """The pictures of the first strips of a page of 128 px, found by the rows that paper does not fill."""
    is_picture = (np.asarray(page)[:, 18:146] != 255).any(axis=2).mean(axis=1) > 0.95
    starts = np.flatnonzero(is_picture[1:] & ~is_picture[:-1]) + 1
    tops = [int(top) for top in starts if is_picture[top : top + 128].all()][:n_strips]
    return [[page.crop((18 + 132 * i, top, 146 + 132 * i, top + 128)) for i in range(8)] for top in tops]


@pytest.mark.parametrize(
    "transform", [*default_items(SIDE), *default_batch(), *other_transforms(SIDE, 48)], ids=strength
)
def test_a_strip_is_the_plain_image_and_seven_draws(transform: AnyTransform):
    strip = draw_alone(pixels(), transform, side_px=SIDE, seed=0)

    plain = Image.fromarray(GeneralCrop(SIDE).apply(pixels(), ()))
    assert [picture.size for picture in strip] == [(SIDE, SIDE)] * 8
    assert strip[0].tobytes() == plain.tobytes()
    changed = [picture.tobytes() != plain.tobytes() for picture in strip[1:]]
    assert sum(changed) >= 5, "a transform that acts by chance always acts when it is alone"


def test_the_strip_of_the_flip_holds_mirrored_images():
    plain, *flipped = draw_alone(pixels(), RandomFlip(), side_px=SIDE, seed=0)

    assert {picture.tobytes() for picture in flipped} == {ImageOps.mirror(plain).tobytes()}


def test_brightness_keeps_the_proportions_of_colours():
    grey = np.full((40, 40, 3), (100, 50, 20), dtype=np.uint8)

    _, *drawn = draw_alone(grey, Brightness(), side_px=SIDE, seed=0)

    colours = [picture.getpixel((5, 5)) for picture in drawn]
    assert len(set(colours)) >= 5
    assert all(80 <= red <= 120 and abs(green - red / 2) <= 1 for red, green, _ in colours)


def test_what_moves_pixels_leaves_an_even_picture_even():
    even = np.full((40, 40, 3), 90, dtype=np.uint8)

    strips = [draw_alone(even, transform, side_px=SIDE, seed=0) for transform in (Rotate(), Shift(), Hue())]

    assert {colour for strip in strips for picture in strip for _, colour in picture.getcolors()} == {(90, 90, 90)}


def test_paddings_differ_outside_the_picture_alone():
    white = np.full((40, 40, 3), 250, dtype=np.uint8)

    zeros, border, reflection = (
        draw_alone(white, Rotate(max_degrees=40), side_px=SIDE, seed=0, padding_mode=mode)
        for mode in ("zeros", "border", "reflection")
    )

    assert min(picture.getpixel((0, 0)) for picture in zeros[1:]) == (0, 0, 0)
    assert {picture.getpixel((SIDE // 2, SIDE // 2)) for picture in zeros} == {(250, 250, 250)}
    assert {colour for picture in (*border, *reflection) for _, colour in picture.getcolors()} == {(250, 250, 250)}


def test_a_crop_chooses_from_the_whole_image_not_from_its_middle():
    wide = np.zeros((40, 200, 3), dtype=np.uint8)
    wide[:, :60] = (250, 0, 0)
    wide[:, 140:] = (0, 0, 250)

    plain, *drawn = draw_alone(wide, TiltRandomCrop(SIDE), side_px=SIDE, seed=0)

    assert {colour for _, colour in plain.getcolors()} == {(0, 0, 0)}
    assert any(picture.getpixel((1, 16))[0] > 200 for picture in drawn)
    assert any(picture.getpixel((30, 16))[2] > 200 for picture in drawn)


def test_the_draws_are_those_of_the_cells_numbers():
    picture_HWC, crop = pixels(), RandomResizedCrop(SIDE)
    draws = ItemPipeline([crop]).draw(make_keys(seed=5, epoch=0, ids_B=torch.arange(1, 8))).tolist()

    _, *drawn = draw_alone(picture_HWC, crop, side_px=SIDE, seed=5)

    assert [picture.tobytes() for picture in drawn] == [crop(picture_HWC, one).tobytes() for one in draws]


def test_together_no_two_draws_are_alike_and_the_seed_names_them():
    first, again, other = (draw_together(pixels(), side_px=SIDE, seed=seed) for seed in (0, 0, 1))

    assert len({picture.tobytes() for picture in first}) == 64
    assert [one.tobytes() for one in first] == [one.tobytes() for one in again]
    assert not {one.tobytes() for one in first} & {one.tobytes() for one in other}


def test_a_draw_does_not_depend_on_how_many_there_are():
    few, many = (draw_together(pixels(), side_px=SIDE, seed=0, n=n) for n in (3, 64))

    assert [one.tobytes() for one in few] == [one.tobytes() for one in many[:3]]


def test_the_page_says_what_was_done_with_which_image():
    drawn = draw_augment(source(pixels()), side_px=SIDE, seed=0)

    assert drawn.images == ("one.png",)
    assert drawn.notes[:6] == (
        "64 draws of RandomResizedCrop, RandomFlip of each image, then"
        " Rotate, Zoom, Shift, Warp, Brightness, Contrast, Saturation, Hue of the batch",
        "alone: RandomResizedCrop: scale 0.35..1, ratio 0.75..1.33",
        "alone: RandomFlip: p 0.5",
        "alone: Rotate: max_degrees 10, p 0.75, padding reflection",
        "alone: Rotate: max_degrees 10, p 0.75, padding border",
        "alone: Rotate: max_degrees 10, p 0.75, padding zeros",
    )
    assert len(drawn.notes) == 1 + 2 + 3 + 7 + 7


def test_the_page_holds_the_strips_then_the_64_draws():
    picture_HWC = pixels((200, 160))

    page = draw_augment(source(picture_HWC), side_px=128, seed=0).page

    crops, flips, turned, *_ = cells(page, 27)
    plain = GeneralCrop(128).apply(picture_HWC, ())
    assert [strip[0].tobytes() for strip in (crops, flips, turned)] == [plain.tobytes()] * 3
    assert flips[5].tobytes() == np.ascontiguousarray(plain[:, ::-1]).tobytes()
    expected = [picture.tobytes() for picture in draw_together(picture_HWC, side_px=128, seed=0)]
    grid = cells(page, 27)[19:]
    assert [picture.tobytes() for row in grid for picture in row] == expected


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (Rotate(max_degrees=7.5, p=0.25), "Rotate: max_degrees 7.5, p 0.25"),
        (RandomResizedCrop(9, scale=(0.08, 1.0)), "RandomResizedCrop: scale 0.08..1, ratio 0.75..1.33"),
        (GeneralCrop(9), "GeneralCrop"),
    ],
)
def test_strength_is_the_class_and_its_options(transform: AnyTransform, text: str):
    assert strength(transform) == text


def test_the_page_shows_each_padding_in_a_strip_of_its_own(monkeypatch):
    drawn: list[Block] = []
    monkeypatch.setattr(augment, "draw_page", lambda title, intro, blocks, **options: drawn.extend(blocks))

    draw_augment(source(pixels()), side_px=SIDE, seed=0)

    turned = [strip for strip in drawn[0].strips if strip.title.startswith("Rotate")]
    assert [strip.title.split("padding ")[1] for strip in turned] == ["reflection", "border", "zeros"]
    assert len({strip.pictures[1].tobytes() for strip in turned}) == 3
    assert len({strip.pictures[0].tobytes() for block in drawn[:2] for strip in block.strips}) == 1
