"""3 x 3 matrices that say where each pixel of an image is read from.

Conventions, the same everywhere in this room:

- Coordinates are torch's with align_corners=False: x from -1 (left edge of the image) to 1 (right edge), y from -1
  (top edge) to 1 (bottom edge); pixel centres lie half a pixel inside.
- A matrix takes the column (x, y, 1) of an output pixel to the place in the input that it shows; a perspective one
  gives (u, v, w), the place being (u/w, v/w).
- `first @ second` does `first` to the image, then `second`.
- Positive degrees turn the picture anti-clockwise on the screen; a zoom above 1 magnifies.

Matrices are float64 [B, 3, 3]: tiny, and autocast leaves doubles alone (it would multiply float32 in bfloat16). Every
one is the identity, to the last bit, where its argument says "nothing" (0 degrees, zoom 1).

Shapes: B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(degrees_B: Tensor, *, aspect: float) -> Tensor:
    """Turn the picture anti-clockwise about its centre.

    aspect: width / height of the image in pixels; without it the corners of a picture that is not square would shear.
    """
    angles_B = torch.deg2rad(degrees_B.to(torch.float64))
    cos_B, sin_B = angles_B.cos(), angles_B.sin()
    return _matrices(cos_B, -sin_B / aspect, sin_B * aspect, cos_B)


def zoom(factor_B: Tensor) -> Tensor:
    """Magnify the picture about its centre; 2 shows half of either side."""
    scale_B = factor_B.to(torch.float64).reciprocal()
    zero_B = torch.zeros_like(scale_B)
    return _matrices(scale_B, zero_B, zero_B, scale_B)


def shift(right_B: Tensor, down_B: Tensor) -> Tensor:
    """Move the picture by shares of its width to the right and of its height down."""
    right_B, down_B = right_B.to(torch.float64), down_B.to(torch.float64)
    matrix_B33 = torch.eye(3, dtype=torch.float64, device=right_B.device).repeat(len(right_B), 1, 1)
    matrix_B33[:, 0, 2], matrix_B33[:, 1, 2] = -2 * right_B, -2 * down_B  # a side is 2 long
    return matrix_B33


def shear(degrees_B: Tensor, *, aspect: float) -> Tensor:
    """Lean the picture: upright lines tilt to the right by the angle, level lines stay level."""
    slope_B = torch.deg2rad(degrees_B.to(torch.float64)).tan() / aspect
    one_B, zero_B = torch.ones_like(slope_B), torch.zeros_like(slope_B)
    return _matrices(one_B, slope_B, zero_B, one_B)


def stretch(ratio_B: Tensor) -> Tensor:
    """Make the picture wider by the root of the ratio and lower by as much, so that its area stays."""
    root_B = ratio_B.to(torch.float64).sqrt()
    zero_B = torch.zeros_like(root_B)
    return _matrices(root_B.reciprocal(), zero_B, zero_B, root_B)


def flip(mask_B: Tensor) -> Tensor:
    """Swap left and right where mask_B (bool) is true."""
    sign_B = 1.0 - 2.0 * mask_B.to(torch.float64)
    zero_B = torch.zeros_like(sign_B)
    return _matrices(sign_B, zero_B, zero_B, torch.ones_like(sign_B))


def dihedral(element_B: Tensor, *, aspect: float) -> Tensor:
    """The eight ways to lay a square down, numbered as `transforms.flips.dihedral` numbers them; int64 [B], 0 to 7.

    A picture that is not square keeps its proportions under a quarter turn: it ends short of two sides and reaches
    beyond the other two.
    """
    tall, wide = 1 / aspect, aspect
    table = [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, -tall, wide, 0),
        (-1, 0, 0, -1),
        (0, tall, -wide, 0),
        (0, tall, wide, 0),
        (0, -tall, -wide, 0),
    ]
    entries_84 = torch.tensor(table, dtype=torch.float64, device=element_B.device)
    return _matrices(*entries_84[element_B].unbind(dim=1))


def warp(tilt_x_B: Tensor, tilt_y_B: Tensor) -> Tensor:
    """Tilt the picture in perspective, about its level axis by tilt_x, then about its upright axis by tilt_y.

    At tilt_x the upper edge shows (1 + tilt_x) of the picture's width and the lower edge (1 - tilt_x), so the bottom
    looks closer; tilt_y does the same to left and right. Tilts are between -1 and 1. Level and upright edges stay so
    under a tilt about their own axis.
    """
    return _tilt(tilt_x_B, across=0, along=1) @ _tilt(tilt_y_B, across=1, along=0)


def _tilt(tilt_B: Tensor, *, across: int, along: int) -> Tensor:
    """With t for tilt: (u, v) = (u (1 - t t), v + t) / (1 + t v) takes the edges v = -1 and 1 to themselves."""
    tilt_B = tilt_B.to(torch.float64)
    matrix_B33 = torch.eye(3, dtype=torch.float64, device=tilt_B.device).repeat(len(tilt_B), 1, 1)
    matrix_B33[:, across, across] = 1 - tilt_B * tilt_B
    matrix_B33[:, along, 2] = matrix_B33[:, 2, along] = tilt_B
    return matrix_B33


def _matrices(xx_B: Tensor, xy_B: Tensor, yx_B: Tensor, yy_B: Tensor) -> Tensor:
    """[[xx, xy, 0], [yx, yy, 0], [0, 0, 1]] for every image."""
    zero_B, one_B = torch.zeros_like(xx_B), torch.ones_like(xx_B)
    flat_B9 = torch.stack([xx_B, xy_B, zero_B, yx_B, yy_B, zero_B, zero_B, zero_B, one_B], dim=-1)
    return flat_B9.view(-1, 3, 3)
