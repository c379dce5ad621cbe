"""Tensors as pictures, to look at what a transform did: one image, or a batch with its class names.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

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
    x_CHW = torch.tensor(x).permute(2, 0, 1) if isinstance(x, np.ndarray) and x.ndim == 3 else x
    if not isinstance(x_CHW, Tensor) or x_CHW.ndim != 3 or not len(x_CHW):
        raise ShapeError(
            f"the image is {_facts(x)}, must be a PIL image, an array [H, W, C] or a tensor [C, H, W]",
            where="show_image",
            fix="show one image of a batch",
        )
    if x_CHW.dtype != torch.uint8 and not x_CHW.is_floating_point():
        raise ShapeError(
            f"the image is {_facts(x)}, must be uint8 or floats",
            where="show_image",
            fix="make it uint8: x.to(torch.uint8)",
        )
    if (mean is None) != (std is None):
        raise ShapeError("mean comes without std, or std without mean", where="show_image", fix="give both, or neither")
    x_CHW = x_CHW.detach().cpu()
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
    titles: Iterable[object] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    cell_px: int = 128,
) -> Image.Image:
    """A batch as one picture, `c` in a row and `r` rows (as many as it takes), with class names as titles.

    x: [B, C, H, W], or images as `show_image` takes them. titles: one an image, those beyond the last cell unused.
    Source: fast.ai course v3, lesson 11.
    """
    n_cells = None if r is None else max(0, c * r)
    pictures = [show_image(image, mean=mean, std=std) for image in islice(x, n_cells)]  # no more than is shown
    shown = None if titles is None else [str(title) for title in islice(titles, len(pictures))]
    return contact_sheet(pictures, n_columns=c, cell_px=cell_px, titles=shown)


def _facts(x: object) -> str:
    shape = f" {list(x.shape)}" if isinstance(x, Tensor | np.ndarray) else ""
    return f"{getattr(x, 'dtype', type(x).__name__)}{shape}"
