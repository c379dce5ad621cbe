"""One image under every transform: each by itself beside the plain image, and 64 draws of all of them together.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from imagekit.batch.erase import Cutout, RandomErasing
from imagekit.batch.geometry import Dihedral, Rotate, Shear, Shift, Stretch, Warp, Zoom
from imagekit.batch.lighting import Brightness, Contrast, Hue, Saturation
from imagekit.batch.normalize import ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.batch.sampling import PADDINGS, Padding
from imagekit.batch.transform import BatchTransform
from imagekit.look.drawn import Drawn
from imagekit.look.pictures import show_image
from imagekit.look.source import Source
from imagekit.look.strips import Block, Strip, draw_page
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.crops import GeneralCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.tensors import to_byte_tensor
from imagekit.transforms.warp import PerspectiveWarp, TiltRandomCrop

N_TOGETHER = 64
N_ALONE = 7
N_COLUMNS = 8
NO_STRENGTH = ("name", "size", "crop_size", "filter")  # of what a transform says of itself

AnyTransform = ItemTransform | BatchTransform
Pixels = NDArray[np.uint8]


def default_items(side_px: int) -> tuple[ItemTransform, ...]:
    """What a usual augmentation does to each image by itself."""
    return RandomResizedCrop(side_px), RandomFlip()


def default_batch() -> tuple[BatchTransform, ...]:
    """What it then does to the batch, on its device."""
    return Rotate(), Zoom(), Shift(), Warp(), Brightness(), Contrast(), Saturation(), Hue()


def other_transforms(side_px: int, shortest_px: int) -> tuple[AnyTransform, ...]:
    """Those that are worth a look and no part of it. shortest_px: of the image; a tilt needs room beside its crop."""
    tilt = TiltRandomCrop(side_px, crop_size=max(1, shortest_px * 3 // 4))
    moving = (Dihedral(), Shear(), Stretch(), PerspectiveWarp(side_px), tilt)
    return (*moving, RandomErasing(), Cutout(side_px=max(1, side_px // 3)))


def draw_augment(source: Source, *, side_px: int, seed: int) -> Drawn:
    """A strip for each transform, the plain image and seven draws; then 8 x 8 draws of a usual augmentation.

    It is this page's own: `imagekit train` does what its config says.
    Alone a transform acts in every draw, together each acts with its own `p`, all at their default strength. A draw is
    made of the seed and the number of its cell, so the strips of Rotate differ in their padding alone. The plain image
    is the largest square in the middle.
    """
    image_HWC, items, batch = np.array(source.rgb()), default_items(side_px), default_batch()

    def strip(transform: AnyTransform, padding_mode: Padding = "reflection") -> Strip:
        drawn = draw_alone(image_HWC, transform, side_px=side_px, seed=seed, padding_mode=padding_mode)
        padding = f", padding {padding_mode}" if isinstance(transform, Rotate) else ""
        return Strip(title=f"{strength(transform)}{padding}", pictures=drawn, n_columns=N_COLUMNS)

    turned = [strip(batch[0], padding_mode) for padding_mode in reversed(PADDINGS)]  # the default first
    alone = [*map(strip, items), *turned, *map(strip, batch[1:])]
    others = [*map(strip, other_transforms(side_px, min(image_HWC.shape[:2])))]
    together = Strip(pictures=draw_together(image_HWC, side_px=side_px, seed=seed), n_columns=N_COLUMNS)
    whole = f"{_names(items)} of each image, then {_names(batch)} of the batch"
    alone_heading = "alone, acting in every draw whatever its p: the plain image, then seven draws"
    blocks = [
        Block(heading=f"Each transform of a usual augmentation {alone_heading}", strips=alone),
        Block(heading="Transforms that are no part of it, likewise", strips=others),
        Block(heading=f"{N_TOGETHER} draws of all of it together: {whole}", strips=[together]),
    ]
    intro = f"one image again and again, {side_px} px, drawn with seed {seed}"
    return Drawn(
        page=draw_page(source.name, intro, blocks, side_px=side_px),
        images=(source.name,),
        notes=(f"{N_TOGETHER} draws of {whole}", *(f"alone: {strip.title}" for strip in (*alone, *others))),
    )


def draw_together(image_HWC: Pixels, *, side_px: int, seed: int, n: int = N_TOGETHER) -> list[Image.Image]:
    """n draws of the whole augmentation, of cells 0 to n - 1. image_HWC: RGB."""
    keys_B = make_keys(seed=seed, epoch=0, ids_B=torch.arange(n))
    x_BCHW = torch.stack(_draw_items(image_HWC, default_items(side_px), keys_B))
    return [show_image(x_CHW) for x_CHW in BatchPipeline([ToFloat(), *default_batch()])(x_BCHW, keys_B)]


def draw_alone(
    image_HWC: Pixels,
    transform: AnyTransform,
    *,
    side_px: int,
    seed: int,
    padding_mode: Padding = "reflection",
    n: int = N_ALONE,
) -> list[Image.Image]:
    """The plain image, then n draws with the transform, of cells 1 to n. image_HWC: RGB.

    A transform that acts by chance acts in each of them. One that crops chooses from the whole image.
    """
    keys_B = make_keys(seed=seed, epoch=0, ids_B=torch.arange(1, n + 1))
    plain_HWC = GeneralCrop(side_px).apply(image_HWC, ())
    acting: Any = transform
    if hasattr(acting, "p"):
        acting = replace(acting, p=1.0)
    if isinstance(acting, BatchTransform):
        x_BCHW = to_byte_tensor(plain_HWC).expand(n, -1, -1, -1)
        drawn = list(BatchPipeline([ToFloat(), acting], padding_mode=padding_mode)(x_BCHW, keys_B))
    else:
        drawn = _draw_items(image_HWC if hasattr(acting, "size") else plain_HWC, [acting], keys_B)
    return [show_image(x) for x in (plain_HWC, *drawn)]


def strength(transform: AnyTransform) -> str:
    """Its class and how strong it is: `Rotate: max_degrees 10, p 0.75`."""
    options = {name: value for name, value in transform.to_dict().items() if name not in NO_STRENGTH}
    told = ", ".join(f"{name} {_short(value)}" for name, value in options.items())
    return f"{type(transform).__name__}: {told}" if told else type(transform).__name__


def _draw_items(image_HWC: Pixels, transforms: Sequence[ItemTransform], keys_B: Tensor) -> list[Tensor]:
    pipeline = ItemPipeline([*transforms, to_byte_tensor])
    return [pipeline(image_HWC, draws) for draws in pipeline.draw(keys_B).tolist()]


def _names(transforms: Sequence[AnyTransform]) -> str:
    return ", ".join(type(transform).__name__ for transform in transforms)


def _short(value: object) -> str:
    """A number with three digits, a range as low..high."""
    if isinstance(value, list):
        return "..".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
