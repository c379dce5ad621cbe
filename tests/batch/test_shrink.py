"""Batches made smaller: as Pillow does it, bytes as bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from imagekit.batch.shrink import shrink


def _batch(height: int = 40, width: int = 40) -> torch.Tensor:
    """Smooth pictures as a loader gives them: bytes, channels last in memory."""
    small = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in small]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("height", "width", "size"), [(40, 40, (24, 24)), (40, 60, (24, 36)), (33, 20, (40, 24))])
def test_bytes_are_those_of_pillow_but_for_rounding(height, width, size):
    x_BCHW = _batch(height, width)

    made_BCHW = shrink(x_BCHW, min(size))

    if min(size) >= min(height, width):
        assert made_BCHW is x_BCHW
        return
    theirs = [
        np.asarray(Image.fromarray(each.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR))
        for each in x_BCHW
    ]
    assert made_BCHW.dtype == torch.uint8
    assert made_BCHW.shape == (3, 3, *size)
    assert np.abs(made_BCHW.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(theirs)).max() <= 1


def test_floats_stay_floats_and_agree_with_bytes():
    x_BCHW = _batch()

    made_BCHW = shrink(x_BCHW.float() / 255, 24)

    assert made_BCHW.dtype == torch.float32
    assert (made_BCHW * 255 - shrink(x_BCHW, 24)).abs().max() < 1.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bytes_on_a_gpu_are_off_by_one_at_most():
    x_BCHW = _batch()

    made_BCHW = shrink(x_BCHW.cuda(), 24)

    assert made_BCHW.dtype == torch.uint8
    assert (made_BCHW.cpu().int() - shrink(x_BCHW, 24).int()).abs().max() <= 1
