"""Flip, rotation and zoom of a batch: one 3 x 3 matrix an image, one grid, one interpolation.

Conventions, the same everywhere in this room:

- Coordinates are torch's with align_corners=False: x from -1 (left edge of the image) to 1 (right edge), y from -1
  (top edge) to 1 (bottom edge); pixel centres lie half a pixel inside.
- A matrix takes the column (x, y, 1) of an output pixel to the place in the input that it shows.
- `first @ second` does `first` to the image, then `second`.
- Positive degrees turn the picture anti-clockwise on the screen; a zoom above 1 magnifies.

Matrices are float64: tiny, and autocast leaves doubles alone (it would multiply float32 matrices in bfloat16).

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from imagekit.batch.transform import BatchTransform
from imagekit.errors import ConfigError, ShapeError, did_you_mean
from imagekit.transforms.draws import uniform

Padding = Literal["zeros", "border", "reflection"]
PADDINGS: tuple[Padding, ...] = ("zeros", "border", "reflection")


def rotation(degrees_B: Tensor, *, aspect: float) -> Tensor:
    """Matrices that turn the picture anti-clockwise about its centre: float64 [B, 3, 3].

    aspect: width / height of the image in pixels; without it the corners of a picture that is not square would shear.
    """
    angles_B = torch.deg2rad(degrees_B.to(torch.float64))
    cos_B, sin_B = angles_B.cos(), angles_B.sin()
    return _matrices(cos_B, -sin_B / aspect, sin_B * aspect, cos_B)


def zoom(factor_B: Tensor) -> Tensor:
    """Matrices that magnify the picture about its centre, 2 showing half of either side: float64 [B, 3, 3]."""
    scale_B = factor_B.to(torch.float64).reciprocal()
    zero_B = torch.zeros_like(scale_B)
    return _matrices(scale_B, zero_B, zero_B, scale_B)


def flip(mask_B: Tensor) -> Tensor:
    """Matrices that swap left and right where mask_B (bool) is true: float64 [B, 3, 3]."""
    sign_B = 1.0 - 2.0 * mask_B.to(torch.float64)
    zero_B = torch.zeros_like(sign_B)
    return _matrices(sign_B, zero_B, zero_B, torch.ones_like(sign_B))


class Sampler:
    """Reads batches through matrices; keeps the pixel centres of every output size and device that it has seen."""

    def __init__(self, *, padding_mode: Padding = "reflection") -> None:
        check_padding(padding_mode, where="Sampler.padding_mode")
        self.padding_mode = padding_mode
        self._centres: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, x_BCHW: Tensor, matrix_B33: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
        """The batch seen through the matrices, bilinear: [B, C, height, width], channels_last, dtype of the input.

        x_BCHW: a floating dtype; below float32 the sampling is done in float32, because bfloat16 cannot tell the
        pixels of a row apart. size: (height, width) of the output, default that of the input; an image of the same
        size whose matrix is the identity comes back bit for bit.
        Raises ShapeError if batch and matrices do not fit each other.
        """
        _check_batch(x_BCHW, matrix_B33)
        n_images, n_channels, *side_lengths = x_BCHW.shape
        height, width = size or side_lengths
        sampled_BCHW = x_BCHW.new_empty((n_images, height, width, n_channels)).permute(0, 3, 1, 2)
        dtype = torch.float64 if x_BCHW.dtype == torch.float64 else torch.float32
        matrix_B33 = matrix_B33.to(dtype).to(x_BCHW.device, non_blocking=True)  # some devices have no doubles
        # on a CPU in parts: intermediate results of a whole batch cost more in page faults than in arithmetic
        n_part = 8 * torch.get_num_threads() if x_BCHW.device.type == "cpu" else max(n_images, 1)
        for start in range(0, n_images, n_part):
            part = slice(start, start + n_part)
            sampled_BCHW[part] = self._sample(x_BCHW[part], matrix_B33[part], height, width)
        return sampled_BCHW

    def _sample(self, x_BCHW: Tensor, matrix_B33: Tensor, height: int, width: int) -> Tensor:
        """The images through their matrices, in whatever layout grid_sample gives."""
        grid_BHW2 = self._grid(matrix_B33, height, width)
        sampled_BCHW = F.grid_sample(
            x_BCHW.to(grid_BHW2.dtype), grid_BHW2, mode="bilinear", padding_mode=self.padding_mode, align_corners=False
        ).to(x_BCHW.dtype)
        if (height, width) != x_BCHW.shape[2:]:
            return sampled_BCHW
        # rounding inside grid_sample moves a pixel by up to 1e-5 of the step to its neighbour at 224 pixels
        eye_33 = torch.eye(3, dtype=matrix_B33.dtype, device=matrix_B33.device)
        is_same_B = (matrix_B33 == eye_33).flatten(1).all(dim=1)
        return torch.where(is_same_B[:, None, None, None], x_BCHW, sampled_BCHW)

    def _grid(self, matrix_B33: Tensor, height: int, width: int) -> Tensor:
        """[B, H, W, 2]: what F.affine_grid computes, as a part along x plus a part along y.

        An affine map is separable, so the product over all pixels falls away: 0.1 ms for [64, 128, 128] on two CPU
        cores where F.affine_grid takes 5.4 and the product of base grid and matrices 4.4.
        """
        x_W, y_H = self._axis(width, matrix_B33), self._axis(height, matrix_B33)
        along_x_B2W = matrix_B33[:, :2, 0, None] * x_W
        along_y_B2H = matrix_B33[:, :2, 1, None] * y_H + matrix_B33[:, :2, 2, None]
        return (along_y_B2H[:, :, :, None] + along_x_B2W[:, :, None, :]).permute(0, 2, 3, 1)

    def _axis(self, n: int, like: Tensor) -> Tensor:
        """The n pixel centres of one axis, built in float64 once per device."""
        key = (n, like.device)
        if key not in self._centres:
            centres_N = (torch.arange(n, dtype=torch.float64) * 2 + 1) / n - 1
            # float32 keeps the device free of doubles, which some lack
            self._centres[key] = centres_N.float().to(like.device)
        return self._centres[key].to(like.dtype)


def sample(
    x_BCHW: Tensor, matrix_B33: Tensor, *, size: tuple[int, int] | None = None, padding_mode: Padding = "reflection"
) -> Tensor:
    """One reading of the batch through the matrices, as `Sampler` does: [B, C, H, W], channels_last.

    padding_mode: what lies outside the image, reflection (no black corners), border or zeros.
    Raises ShapeError if batch and matrices do not fit each other, ConfigError for an unknown padding.
    """
    return Sampler(padding_mode=padding_mode)(x_BCHW, matrix_B33, size=size)


class RandomAffine(BatchTransform):
    """Flip, rotation and zoom, each image by its own draws, in one interpolation. Training only.

    flip_p: chance of a flip. p_affine: chance of a rotation, and apart from it of a zoom. max_degrees: rotations are
    uniform in -max..max. max_zoom: zooms are uniform in 1..max. padding_mode: see `sample`. `max_degrees` and
    `max_zoom` may be changed between batches, to anneal the strength.
    Draws: flip, whether to rotate, whether to zoom, degrees, zoom. Raises ConfigError for a value out of range.
    """

    _order: ClassVar[int] = 10
    needs_keys: ClassVar[bool] = True
    stream: ClassVar[str] = "batch.random_affine"
    n_draws: ClassVar[int] = 5

    def __init__(
        self,
        *,
        flip_p: float = 0.5,
        max_degrees: float = 10.0,
        max_zoom: float = 1.1,
        p_affine: float = 0.75,
        padding_mode: Padding = "reflection",
    ) -> None:
        _check_value("flip_p", flip_p, 0.0, 1.0)
        _check_value("max_degrees", max_degrees, 0.0, 180.0)
        _check_value("max_zoom", max_zoom, 1.0, 100.0)
        _check_value("p_affine", p_affine, 0.0, 1.0)
        check_padding(padding_mode, where="RandomAffine.padding_mode")
        self.flip_p, self.p_affine = flip_p, p_affine
        self.max_degrees, self.max_zoom = max_degrees, max_zoom
        self.sampler = Sampler(padding_mode=padding_mode)

    def __call__(self, x: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """x: [B, C, H, W] of a floating dtype; keys_B: int64, on any device. Returns a new batch, channels_last."""
        if keys_B is None:
            raise ShapeError(
                "RandomAffine got no keys",
                where="RandomAffine: keys_B",
                fix="make them with make_keys(seed=..., epoch=..., ids_B=...)",
            )
        return self.sampler(x, self.matrices(keys_B, aspect=x.shape[-1] / x.shape[-2]))

    def matrices(self, keys_B: Tensor, *, aspect: float) -> Tensor:
        """The matrices that these keys draw for images of this aspect: float64 [B, 3, 3] on the keys' device."""
        u_B5 = uniform(keys_B, stream=self.stream, n=self.n_draws)
        turns_B, zooms_B = u_B5[:, 1] < self.p_affine, u_B5[:, 2] < self.p_affine
        degrees_B = (2 * u_B5[:, 3] - 1) * self.max_degrees * turns_B
        factor_B = 1 + u_B5[:, 4] * (self.max_zoom - 1) * zooms_B
        return flip(u_B5[:, 0] < self.flip_p) @ rotation(degrees_B, aspect=aspect) @ zoom(factor_B)

    def to_dict(self) -> dict[str, object]:
        return {
            "name": "RandomAffine",
            "flip_p": self.flip_p,
            "max_degrees": self.max_degrees,
            "max_zoom": self.max_zoom,
            "p_affine": self.p_affine,
            "padding_mode": self.sampler.padding_mode,
        }


def check_padding(padding_mode: str, *, where: str) -> None:
    """Raises ConfigError unless `padding_mode` is one of PADDINGS."""
    if padding_mode not in PADDINGS:
        raise ConfigError(
            f'padding_mode is "{padding_mode}", which is not known',
            where=where,
            fix=did_you_mean(padding_mode, PADDINGS),
        )


def _matrices(xx_B: Tensor, xy_B: Tensor, yx_B: Tensor, yy_B: Tensor) -> Tensor:
    """[[xx, xy, 0], [yx, yy, 0], [0, 0, 1]] for every image."""
    zero_B, one_B = torch.zeros_like(xx_B), torch.ones_like(xx_B)
    flat_B9 = torch.stack([xx_B, xy_B, zero_B, yx_B, yy_B, zero_B, zero_B, zero_B, one_B], dim=-1)
    return flat_B9.view(-1, 3, 3)


def _check_batch(x_BCHW: Tensor, matrix_B33: Tensor) -> None:
    if x_BCHW.ndim != 4 or not x_BCHW.is_floating_point() or matrix_B33.shape != (x_BCHW.shape[0], 3, 3):
        raise ShapeError(
            f"the batch is {x_BCHW.dtype} {list(x_BCHW.shape)} and the matrices are {list(matrix_B33.shape)}",
            where="sample",
            fix="pass floats [B, C, H, W] (ToFloat makes them) and one 3 x 3 matrix an image",
        )


def _check_value(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(
            f"{name} is {value}, must be from {low:g} to {high:g}",
            where=f"RandomAffine.{name}",
            fix=f"set {name} = {low:g} to do without",
        )
