"""One image at every step of its way to the model: what the file holds, what is made of it, what is cut out of it."""

from __future__ import annotations

import torch
from PIL import Image

from imagekit.look.drawn import Drawn
from imagekit.look.source import Source
from imagekit.look.strips import Block, Strip, draw_page
from imagekit.pixels.rgb import to_rgb
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys

N_CROPS = 6
SHOWN_PX = 256  # a cell's picture is the smallest multiple of the size that is as large


def draw_steps(source: Source, *, side_px: int, seed: int) -> Drawn:
    """As stored, upright and RGB, then what a centre crop (scale 1.14) and six random resized crops make of it.

    Crops are `side_px` and shown enlarged without smoothing; their draws are those of cells 0 to 5 under the seed.
    """
    rgb, stored = source.rgb(), source.picture
    centre = CenterCrop(side_px)
    turned = f", orientation {stored.orientation}" if stored.orientation != 1 else ""
    steps = [
        (f"as stored: {stored.format}, {stored.mode}, {stored.width} x {stored.height}{turned}", to_rgb(stored.image)),
        (f"upright RGB: {rgb.width} x {rgb.height}", rgb),
        (f"centre crop, scale {centre.scale:g}", centre(rgb)),
        *_random_crops(rgb, side_px=side_px, seed=seed),
    ]
    titles, pictures = zip(*steps, strict=True)
    intro = f"{side_px} px, crops drawn with seed {seed}"
    block = Block(
        heading="From the file to what a model sees", strips=[Strip(pictures=pictures, titles=titles, n_columns=3)]
    )
    shown_px = side_px * -(-SHOWN_PX // side_px)
    return Drawn(
        page=draw_page(source.name, intro, [block], side_px=shown_px), images=(source.name,), notes=(intro, *titles)
    )


def _random_crops(rgb: Image.Image, *, side_px: int, seed: int) -> list[tuple[str, Image.Image]]:
    crop = RandomResizedCrop(side_px)
    keys_B = make_keys(seed=seed, epoch=0, ids_B=torch.arange(N_CROPS))
    crops = []
    for draws in ItemPipeline([crop]).draw(keys_B).tolist():
        left, top, right, bottom = crop.box(*rgb.size, draws)
        share = (right - left) * (bottom - top) / (rgb.width * rgb.height)
        crops.append((f"random resized crop, {100 * share:.0f} % of the area", crop(rgb, draws)))
    return crops
