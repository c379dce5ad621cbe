"""The perspective map that takes four points to four points: eight numbers, by one linear system.

Shapes: B maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagekit.errors import ShapeError

Point = tuple[float, float]


def find_homographies(from_B42: Tensor, to_B42: Tensor) -> Tensor:
    """The 3 x 3 matrices, float64 [B, 3, 3] with 1 in the corner, that map each of four points to its partner.

    from_B42, to_B42: four (x, y) each, any float dtype. A point (x, y, 1) becomes (u, v, w), and lies at (u/w, v/w).
    Raises ShapeError where three of the four points lie on a line, so that no such map exists.
    Source: Wren 1998, Perspective Transform Estimation; the lesson's find_coeffs, with torch.linalg.solve.
    """
    from_B42, to_B42 = from_B42.to(torch.float64), to_B42.to(torch.float64)
    x_B4, y_B4, u_B4, v_B4 = from_B42[..., 0], from_B42[..., 1], to_B42[..., 0], to_B42[..., 1]
    one_B4, zero_B4 = torch.ones_like(x_B4), torch.zeros_like(x_B4)
    across_B48 = torch.stack([x_B4, y_B4, one_B4, zero_B4, zero_B4, zero_B4, -u_B4 * x_B4, -u_B4 * y_B4], dim=-1)
    down_B48 = torch.stack([zero_B4, zero_B4, zero_B4, x_B4, y_B4, one_B4, -v_B4 * x_B4, -v_B4 * y_B4], dim=-1)
    system_B88 = torch.cat([across_B48, down_B48], dim=1)
    try:
        solved_B8 = torch.linalg.solve(system_B88, torch.cat([u_B4, v_B4], dim=1))
    except RuntimeError as error:  # LinAlgError, which torch.linalg does not export by name
        raise ShapeError(
            "three of the four points lie on a line, so no perspective map takes them to their partners",
            where="find_homographies",
            fix="give the corners of two quadrilaterals",
        ) from error
    return torch.cat([solved_B8, torch.ones_like(solved_B8[:, :1])], dim=1).view(-1, 3, 3)


def find_coeffs(source_points: Sequence[Point], target_points: Sequence[Point]) -> list[float]:
    """The eight numbers that Pillow's PERSPECTIVE takes: they map each target point, in the output, to its source.

    Points: four (x, y) in pixels, in the same order. Raises ShapeError where three of them lie on a line.
    """
    pairs = (torch.tensor([list(points)], dtype=torch.float64) for points in (target_points, source_points))
    matrix_133 = find_homographies(*pairs)
    return matrix_133.flatten().tolist()[:8]
