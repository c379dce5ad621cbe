"""Mixing pairs of images and their targets: mixup and cutmix, one share an image.

The partner of an image is another one of its batch, by a keyed draw, so what is mixed is a function of the batch. The
draws put the batch in a ring, and each image's partner is the one before it: none is its own, unless it is alone.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from imagekit.batch.erase import box_mask
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import uniform_streams
from imagekit.transforms.sending import send

_N_POINTS = 2049


def draw_mix(keys_B: Tensor, *, alpha: float, stream: str) -> tuple[Tensor, Tensor, Tensor]:
    """(share_B, partner_B, place_B2) of each image by its key, on the device of the keys.

    share_B: float64, max(x, 1 - x) for x of Beta(alpha, alpha): how much of itself an image keeps. partner_B: int64,
    each image once. place_B2: float64 in 0..1, where cutmix puts its box.
    """
    u_B4 = uniform_streams(keys_B, [(stream, 4)])
    ring_B = u_B4[:, 1].argsort(stable=True)
    partner_B = torch.empty_like(ring_B).scatter_(0, ring_B, ring_B.roll(1))
    return upper_beta(u_B4[:, 0], alpha=alpha), partner_B, u_B4[:, 2:]


def mixup(x_BCHW: Tensor, share_B: Tensor, partner_B: Tensor) -> Tensor:
    """share * image + (1 - share) * partner, in the dtype of the batch, which must be floating.

    Raises ShapeError for bytes. Source: Zhang and others 2017, arXiv:1710.09412.
    """
    if not x_BCHW.is_floating_point():
        raise ShapeError(f"the batch is {x_BCHW.dtype}, mixup needs floats", where="mixup", fix="put ToFloat before it")
    share_B111 = send(share_B.to(x_BCHW.dtype), x_BCHW.device).view(-1, *[1] * (x_BCHW.ndim - 1))
    return torch.lerp(x_BCHW[send(partner_B, x_BCHW.device)], x_BCHW, share_B111)


def cutmix(x_BCHW: Tensor, share_B: Tensor, partner_B: Tensor, place_B2: Tensor) -> tuple[Tensor, Tensor]:
    """A box of 1 - share of each image replaced by its partner's pixels, and the shares that are really kept, float64.

    The box has the image's own aspect and lies inside it; its sides are whole pixels, hence the shares returned.
    Source: Yun and others 2019, arXiv:1905.04899.
    """
    height, width = x_BCHW.shape[2:]
    side_B = (1 - share_B).sqrt()
    box_width_B, box_height_B = (side_B * width).round().long(), (side_B * height).round().long()
    left_B = (place_B2[:, 0] * (width - box_width_B + 1)).long()
    top_B = (place_B2[:, 1] * (height - box_height_B + 1)).long()
    box_B4 = torch.stack([left_B, top_B, left_B + box_width_B, top_B + box_height_B], dim=1)
    mixed_BCHW = torch.where(box_mask(box_B4, x_BCHW), x_BCHW[send(partner_B, x_BCHW.device)], x_BCHW)
    return mixed_BCHW, 1 - (box_width_B * box_height_B).double() / (width * height)


def mix_targets(target: Tensor, share_B: Tensor, partner_B: Tensor, *, n_classes: int) -> Tensor:
    """Soft targets, float32 [B, K]: share at the own class, the rest at the partner's.

    target: class ids [B] of an integer dtype, or soft targets [B, K] already. Each image has its own share: rows stay
    paired with images. Raises ShapeError for targets that do not fit n_classes; class ids on another device are left to
    torch to refuse, for looking at them would make the host wait.
    """
    _check_targets(target, n_classes)
    hard = target.ndim == 1
    soft_BK = F.one_hot(target.long(), n_classes).float() if hard else target.float()
    share_B1 = send(share_B.float(), soft_BK.device)[:, None]
    return torch.lerp(soft_BK[send(partner_B, soft_BK.device)], soft_BK, share_B1)


def _check_targets(target: Tensor, n_classes: int) -> None:
    facts = f"the targets are {target.dtype} {list(target.shape)}"
    fix = f"give class ids below {n_classes}, or [B, {n_classes}]"
    fits = target.shape[1:] == (n_classes,) if target.is_floating_point() else target.ndim == 1
    if not fits:
        raise ShapeError(f"{facts}, and there are {n_classes} classes", where="mix_targets", fix=fix)
    if target.ndim == 1 and target.device.type == "cpu" and len(target):
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= n_classes:
            raise ShapeError(
                f"class ids run from {low} to {high}, and there are {n_classes} classes", where="mix_targets", fix=fix
            )


def upper_beta(u_B: Tensor, *, alpha: float) -> Tensor:
    """max(x, 1 - x) for x of Beta(alpha, alpha), from uniform numbers, by the inverse of the distribution function.

    u_B: float64 in [0, 1). Returns float64 in [0.5, 1]. Raises ConfigError for an alpha outside 0.01..100.
    """
    if not 0.01 <= alpha <= 100:
        raise ConfigError(f"alpha is {alpha}, must be from 0.01 to 100", where="mix: alpha", fix="set alpha = 0.4")
    cumulative_P, t_P = (part.to(u_B.device) for part in _upper_beta_table(float(alpha)))
    right_B = torch.searchsorted(cumulative_P, u_B.contiguous(), right=True).clamp(1, len(t_P) - 1)
    low_B, high_B = cumulative_P[right_B - 1], cumulative_P[right_B]
    t_B = torch.lerp(t_P[right_B - 1], t_P[right_B], (u_B - low_B) / (high_B - low_B))
    return 1 - t_B.pow(1 / min(alpha, 1.0))


@lru_cache(maxsize=64)
def _upper_beta_table(alpha: float) -> tuple[Tensor, Tensor]:
    """The distribution function of t = (1 - x)**min(alpha, 1) for x in 0.5..1, at equally spaced t.

    The density x**(alpha - 1) (1 - x)**(alpha - 1) dx has a pole at x = 1 where alpha is below 1; in t it becomes
    x**(alpha - 1) dt / alpha, which has none, so the trapezoids are good to 1e-6.
    """
    power = min(alpha, 1.0)
    t_P = torch.linspace(0, 0.5**power, _N_POINTS, dtype=torch.float64, device="cpu")
    rest_P = t_P.pow(1 / power)  # 1 - x
    density_P = (1 - rest_P).pow(alpha - 1) * rest_P.pow(alpha - power)
    cumulative_P = torch.cumulative_trapezoid(density_P, t_P)
    cumulative_P = torch.cat([cumulative_P.new_zeros(1), cumulative_P])
    return cumulative_P / cumulative_P[-1], t_P
