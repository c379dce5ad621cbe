"""One image through every resampling filter: what each keeps of its texture, and what it makes up.

A filter that averages loses contrast between neighbouring pixels; one that skips pixels keeps it, and shows edges and
patterns that are not there. Which is better for training is to be tried. Source: fast.ai course v3, lesson 11.

H height, W width, C channels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from imagekit.look.drawn import Drawn
from imagekit.look.pictures import show_image
from imagekit.look.source import Source
from imagekit.look.strips import Block, Strip, draw_page
from imagekit.pixels.open import open_image
from imagekit.pixels.shrink import SHRINK_FILTERS, Shrinking, shrink
from imagekit.transforms.crops import GeneralCrop

SHOWN_PX = 384  # a cell's picture is the smallest multiple of the size that is as large
N_COLUMNS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """What one filter made of the crop. kept: how much texture is left, beside what `nearest` leaves."""

    name: str
    image: Image.Image
    kept: float


def resample_all(crop: Image.Image, *, side_px: int) -> list[Resampled]:
    """The square RGB image at `side_px` by every filter of `make-subset --filter`, and once without antialiasing.

    kept: texture of the result over that of `nearest`, which takes pixels as they are; 1 where there is none to lose.
    """
    buffer = io.BytesIO()
    crop.save(buffer, "PNG", compress_level=1)
    images = {name: _shrink(buffer.getvalue(), name, side_px) for name in SHRINK_FILTERS}
    images["bilinear, not antialiased"] = _interpolate(crop, side_px)
    whole = texture(images["nearest"])
    return [
        Resampled(name=name, image=image, kept=texture(image) / whole if whole else 1.0)
        for name, image in images.items()
    ]


def texture(image: Image.Image) -> float:
    """The mean difference of neighbouring pixels in luma (ITU-R BT.601), across and down, 0 to 255.

    Not the standard deviation of the picture, which its large shapes decide. A single pixel has none.
    """
    luma_HW = np.asarray(image.convert("L"), dtype=np.float64)
    steps = [np.abs(np.diff(luma_HW, axis=axis)) for axis in (0, 1)]
    return float(np.mean([step.mean() if step.size else 0.0 for step in steps]))


def draw_resamplers(source: Source, *, side_px: int) -> Drawn:
    """The largest square in the middle of the image by every filter, pixels shown as squares, each with what it keeps.

    The crop itself is the first picture.
    """
    rgb = source.rgb()
    crop = rgb.crop(GeneralCrop(side_px).box(*rgb.size, ()))
    results = resample_all(crop, side_px=side_px)
    shown_px = side_px * -(-SHOWN_PX // side_px)
    strip = Strip(
        pictures=[crop, *(result.image for result in results)],
        titles=[f"source, {crop.width} px", *(f"{result.name}: {result.kept:.2f}" for result in results)],
        n_columns=N_COLUMNS,
    )
    heading = "The number is the texture that is left beside nearest: the mean difference of neighbouring pixels"
    intro = f"{crop.width} px to {side_px} px by every filter, enlarged without smoothing"
    if crop.width < 2 * side_px:
        intro += f"; bicubic-nearest is plain bicubic below {2 * side_px} px"
    return Drawn(
        page=draw_page(source.name, intro, [Block(heading=heading, strips=[strip])], side_px=shown_px),
        images=(source.name,),
        notes=(intro, *(f"{result.name}: keeps {result.kept:.2f} of the texture" for result in results)),
    )


def _shrink(png: bytes, filter: str, side_px: int) -> Image.Image:
    """As make-subset does it."""
    how = Shrinking(side_px=side_px, mode="stretch", filter=filter, format="png")
    return open_image(shrink(png, how).payload).image


def _interpolate(crop: Image.Image, side_px: int) -> Image.Image:
    """What torch does unless it is told to antialias: between four neighbours, whatever lies beyond them is skipped."""
    x_1CHW = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float()
    small_1CHW = interpolate(x_1CHW, size=(side_px, side_px), mode="bilinear", antialias=False, align_corners=False)
    return show_image(small_1CHW[0] / 255)
