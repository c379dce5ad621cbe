"""One image on its way: every cell is what the step before its title makes of it."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from imagekit.look import steps
from imagekit.look.source import Source
from imagekit.look.strips import Block
from imagekit.pixels.open import open_image
from imagekit.transforms.compose import ItemPipeline
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.draws import make_keys


def test_the_crops_are_those_of_the_transforms_and_their_titles_tell_their_share(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    drawn: list[Block] = []
    monkeypatch.setattr(steps, "draw_page", lambda title, intro, blocks, **options: drawn.extend(blocks))

    steps.draw_steps(Source(name="a.png", picture=open_image(buffer.getvalue())), side_px=32, seed=3)

    crop, image = RandomResizedCrop(32), Image.fromarray(pixels)
    rows = ItemPipeline([crop]).draw(make_keys(seed=3, epoch=0, ids_B=torch.arange(6))).tolist()
    boxes = [crop.box(90, 60, row) for row in rows]
    shares = [(right - left) * (bottom - top) / 5_400 for left, top, right, bottom in boxes]
    (strip,) = drawn[0].strips
    expected = [image, image, CenterCrop(32)(image), *(crop(image, row) for row in rows)]
    assert [picture.tobytes() for picture in strip.pictures] == [picture.tobytes() for picture in expected]
    assert strip.titles[3:] == tuple(f"random resized crop, {100 * share:.0f} % of the area" for share in shares)
