"""Tensors as pictures, to look at what a transform did: one image, or a batch with its class names.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from imagekit.errors import ShapeError
from imagekit.look.sheet import contact_sheet
from imagekit.pixels.rgb import to_rgb

Viewable = Image.Image | np.ndarray | Tensor


def show_image(x: Viewable, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Image.Image:
    """An RGB picture of an image at any step of its way; a notebook shows it, `.save` writes it.

    x: a PIL image, an array [H, W, C], a tensor [C, H, W]; uint8, or floats in 0..1. mean, std: of the normalisation to
    undo. One channel is shown as grey, of more than three the first three; floats outside 0..1 are cut off.
    Raises ShapeError for anything else.
    """
    if isinstance(x, Image.Image):
        return to_rgb(x)
    x_CHW = (
        torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) if isinstance(x, np.ndarray) else x.detach().cpu()
    )
    if x_CHW.ndim != 3 or not len(x_CHW):
        raise ShapeError(
            f"the image has shape {list(x.shape)}, must be [C, H, W]",
            where="show_image",
            fix="show one image of a batch",
        )
    if mean is not None and std is not None:
        x_CHW = x_CHW.float() * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    if x_CHW.dtype != torch.uint8:
        x_CHW = x_CHW.float().mul(255).round().clamp(0, 255).to(torch.uint8)
    shown_CHW = x_CHW[:3] if len(x_CHW) >= 3 else x_CHW[:1].expand(3, -1, -1)
    return Image.fromarray(shown_CHW.permute(1, 2, 0).contiguous().numpy())


def show_batch(
    x: Tensor | Iterable[Viewable],
    c: int = 4,
    r: int | None = None,
    *,
    titles: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    cell_px: int = 128,
) -> Image.Image:
    """A batch as one picture, `c` in a row and `r` rows (as many as it takes), with class names as titles.

    x: [B, C, H, W], or images as `show_image` takes them. titles: one an image, those beyond the last cell unused.
    Source: fast.ai course v3, lesson 11.
    """
    n_cells = None if r is None else c * r
    pictures = [show_image(image, mean=mean, std=std) for image in list(x)[:n_cells]]
    shown = None if titles is None else list(titles)[:n_cells]
    return contact_sheet(pictures, n_columns=c, cell_px=cell_px, titles=shown)
