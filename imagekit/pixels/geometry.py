"""Where the pixels go: what of the picture is seen, at which size, on how large a canvas. Pure arithmetic.

mode        what is seen              at size                                          canvas
shortest    all                       shortest side N, aspect kept                     that size
longest     all                       longest side N, aspect kept                      that size
fit         all                       longest side N, aspect kept                      N x N, the picture centred
fill        the centred square        N x N                                            that size
stretch     all                       N x N                                            that size

shortest, longest and fit never enlarge unless asked to; fill and stretch promise N x N and enlarge a smaller picture.
Every rule treats both sides alike, so a picture may be placed as it is stored and turned afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagekit.errors import ShapeError, UsageError, did_you_mean

MODES = ("shortest", "longest", "fit", "fill", "stretch")

# libjpeg's cheap reductions; others (5/8, say) cost more than they save.
_DECODE_SCALES = (8, 4, 2)
# What must be left for the resize, in both sides. At 2 the result differs from that of a full decode by up to 1.1 of
# 255 on average (12 megapixels, sharp, decoded at 1/8), at 3 by 0.6; that costs an eighth more time.
_LEFT_FOR_THE_RESIZE = 3

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """box: (left, top, right, bottom) of the source in pixels; size: of the box afterwards; canvas: of the result."""

    box: Box
    size: Size
    canvas: Size

    def changes(self, size: Size) -> bool:
        """True where a source of `size` would be resampled or cropped; padding alone changes no pixel."""
        return self.size != size or self.box != (0, 0, *size)


def place(size: Size, side_px: int, *, mode: str, enlarge: bool = False) -> Placement:
    """Where a picture of `size` (width, height) goes under one of MODES with N = side_px.

    enlarge: whether shortest, longest and fit may enlarge. Sides are rounded half up and never below 1 pixel.
    Errors: UsageError for an unknown mode; ShapeError for a side below 1.
    """
    _check(size, side_px, mode)
    square, whole = (side_px, side_px), (0.0, 0.0, float(size[0]), float(size[1]))
    if mode == "stretch":
        return Placement(box=whole, size=square, canvas=square)
    if mode == "fill":
        return Placement(box=_centred_square(size), size=square, canvas=square)
    scaled = scaled_size(size, min(size) if mode == "shortest" else max(size), side_px, enlarge=enlarge)
    return Placement(box=whole, size=scaled, canvas=square if mode == "fit" else scaled)


def scaled_size(size: Size, reference_px: int, side_px: int, *, enlarge: bool = False) -> Size:
    """`size` times side_px / reference_px, rounded half up; as it is where that would enlarge it unasked."""
    if reference_px <= side_px and not enlarge:
        return size
    width, height = (max(1, (2 * side * side_px + reference_px) // (2 * reference_px)) for side in size)
    return width, height


def decode_scale(placement: Placement, *, times: int = 1) -> int:
    """8, 4 or 2 where a decoder may reduce by it and leave at least three times the target in both sides, else 1.

    times: how many times the target size the resize needs.
    """
    left, top, right, bottom = placement.box
    width, height = placement.size
    reduction = min((right - left) / (width * times), (bottom - top) / (height * times))
    return next((scale for scale in _DECODE_SCALES if reduction >= _LEFT_FOR_THE_RESIZE * scale), 1)


def _centred_square(size: Size) -> Box:
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def _check(size: Size, side_px: int, mode: str) -> None:
    if mode not in MODES:
        raise UsageError(f'mode is "{mode}"', where="place: mode", fix=did_you_mean(mode, MODES))
    if min(size) < 1 or side_px < 1:
        raise ShapeError(
            f"the picture is {size[0]} x {size[1]} pixels and the side {side_px}, all must be at least 1",
            where="place: size",
        )
